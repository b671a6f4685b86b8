"""Who may see and do what, over real HTTP; and what an entry without a table costs a project."""

from __future__ import annotations

import http.client
import json
import re
import sqlite3
import sys
import time
from contextlib import closing
from urllib.parse import urlencode

import pytest

from tests.page.conftest import CANARIES, Scene
from tests.page.site import TOKEN, Site, stopped
from tests.processes import ROOT, run, write_project

PAGE = "/admin/resilience/componentstatus/"
CHECK, FORCE = f"{PAGE}check/", f"{PAGE}force/"


def post(site: Site, path: str, who: str, *, csrf: bool = True, **form: str) -> tuple[int, str]:
    """Status, and what a browser shows next."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=20)
    cookie = f"sessionid={site.sessions[who]}" if who else ""
    if csrf:
        secret = "a" * 32
        cookie += f"; csrftoken={secret}"
        form["csrfmiddlewaretoken"] = secret
    headers = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
    try:
        connection.request("POST", path, urlencode(form), headers)
        answer = connection.getresponse()
        answer.read()
        status, where = answer.status, answer.getheader("Location")
        if where is None:
            return status, ""
        # Django keeps its messages in a cookie.
        told = (answer.getheader("Set-Cookie") or "").partition(";")[0]
        connection.request("GET", where, headers={"Cookie": f"{cookie}; {told}"})
        return status, connection.getresponse().read().decode()
    finally:
        connection.close()


def logged(site: Site) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(site.folder / "data" / "site.sqlite3")) as database:
        return list(
            database.execute("SELECT object_id, change_message FROM django_admin_log ORDER BY id")
        )


@pytest.mark.parametrize(
    ("who", "sees", "operates"),
    [("operator", True, True), ("viewer", True, False), ("stranger", False, False)],
)
def test_permissions_are_apart(fine: Scene, who, sees, operates):
    site = fine.site
    before = logged(site)
    status, body, _ = site.status(who)
    assert status == (200 if sees else 403)
    assert ("Check now" in body, 'name="state"' in body) == (operates, operates)
    assert ("componentstatus" in site.get("/admin/", who)[1]) is sees
    assert post(site, CHECK, who)[0] == (303 if operates else 403)
    forced = post(site, FORCE, who, alias="default", state="auto")
    assert forced[0] == (303 if operates else 403)
    new = logged(site)[len(before) :]
    assert [subject for subject, _ in new] == (
        ["all subjects", "caches.default"] if operates else []
    )


def test_nobody_is_asked_to_log_in(fine: Scene):
    assert 'name="password"' in post(fine.site, CHECK, "")[1]
    status, body, _ = fine.site.get(PAGE)
    assert (status, 'id="ro-page"' in body) == (200, False)


@pytest.mark.parametrize("path", [CHECK, FORCE])
def test_actions_need_post_and_a_csrf_token(fine: Scene, path):
    before = logged(fine.site)
    assert fine.site.get(path, "operator")[0] == 405
    assert post(fine.site, path, "operator", csrf=False, alias="default", state="auto")[0] == 403
    assert logged(fine.site) == before


@pytest.mark.parametrize(
    "form", [{"alias": "other", "state": "open"}, {"alias": "default", "state": "x"}, {}]
)
def test_what_no_form_of_the_page_asks_is_refused(fine: Scene, form):
    before = logged(fine.site)
    assert "There is no such cache" in post(fine.site, FORCE, "operator", **form)[1]
    assert logged(fine.site) == before


def test_forcing_is_done_told_and_logged(fine: Scene):
    body = post(fine.site, FORCE, "operator", alias="default", state="open")[1]
    assert "held open" in body
    assert re.search(r"held open in process \d+ of ", logged(fine.site)[-1][1])
    assert "this process answers" in body
    body = post(fine.site, FORCE, "operator", alias="default", state="auto")[1]
    assert "automatic again" in body
    ends = time.monotonic() + 5
    while "this process answers" in fine.site.status()[1]:  # until the prober has asked Redis
        assert time.monotonic() < ends
        time.sleep(0.2)


@pytest.mark.parametrize("path", ["add/", "caches.default/change/", "caches.default/delete/"])
def test_nothing_can_be_added_changed_or_deleted(fine: Scene, path):
    assert fine.site.get(f"{PAGE}{path}", "operator")[0] == 404
    index = fine.site.get("/admin/", "operator")[1]
    assert "componentstatus/add" not in index


def test_diagnostics_are_what_the_page_holds_for_scripts_too(fine: Scene):
    body = fine.site.status()[1]
    held = re.search(r'<textarea id="ro-report".*?>(.*?)</textarea>', body, re.DOTALL)
    assert held is not None
    report = json.loads(held[1].replace("&lt;", "<").replace("&amp;", "&"))
    assert {"schema", "verdict", "exit_code", "hosting", "findings"} <= report.keys()
    assert {"databases.default", "caches.default"} <= {f["subject"] for f in report["findings"]}


def test_no_secret_is_in_any_byte(bad: Scene):
    """The fixture planted them in passwords, keys and tokens; the page names the variables."""
    pages = [
        *(bad.site.status(who)[1] for who in ("operator", "viewer")),
        bad.site.token_page()[1],
        bad.site.get("/readyz", Accept="text/html")[1],
    ]
    with stopped(bad.redis.pid):
        post(bad.site, CHECK, "operator")
        pages += [bad.site.status()[1], bad.site.token_page()[1], bad.site.log]
    for secret in (*CANARIES, TOKEN):
        for form in (secret, secret.replace("&", "%26"), secret.replace("&", "&amp;"), secret[:12]):
            assert not [page for page in pages if form.lower() in page.lower()]
    assert all("OPENAI_API_KEY" in page for page in pages[:3])


def test_redis_that_hangs_does_not_delay_the_page(bad: Scene):
    """Also in its first second, when nothing has noticed yet."""
    with stopped(bad.redis.pid):
        for _ in range(3):
            status, _, seconds = bad.site.status()
            assert (status, seconds < 1.0) == (200, True)
            time.sleep(0.3)


BARE = """
SECRET_KEY = "x" * 60
INSTALLED_APPS = ["resilience", "django.contrib.contenttypes", "django.contrib.auth"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "site.sqlite3"}}
USE_TZ = True
"""
SEEN = """
import sys, django; django.setup()
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from resilience.models import ComponentStatus
of_ours = Permission.objects.filter(content_type__app_label="resilience")
print(sorted(of_ours.values_list("codename", flat=True)))
print([name for name in connection.introspection.table_names() if "resilience" in name])
print("resilience.admin" in sys.modules, "resilience.page" in sys.modules)
print(list(ComponentStatus.objects.all()), ComponentStatus._base_manager.count())
"""


def test_a_project_without_the_admin_has_no_table_and_no_migration(tmp_path):
    project = write_project(tmp_path, BARE)
    variables = {"PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "site_settings"}

    def manage(*arguments: str) -> str:
        ended = run(sys.executable, "manage.py", *arguments, cwd=project, variables=variables)
        assert ended.code == 0, ended.err
        return ended.out

    manage("makemigrations", "--check")
    assert "resilience" not in manage("showmigrations")
    manage("migrate", "-v", "0")
    manage("makemigrations", "--check")
    seen = run(sys.executable, "-c", SEEN, cwd=project, variables=variables)
    assert seen.out.splitlines() == [
        "['operate_componentstatus', 'view_componentstatus']",
        "[]",
        "False False",
        "[] 0",
    ], seen.err
    # Both go through every model that is installed, this one too.
    for everything in ([], ["--all"]):
        assert '"model": "auth.permission"' in manage("dumpdata", *everything)
