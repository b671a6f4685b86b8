"""The how-to pages about the cache, followed: what they show is what happens."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import requests

from resilience.simulation.network import Refused
from resilience.simulation.program import free_port
from tests.docs.blocks import parse
from tests.docs.guides import Guide, following

OURS = '"resilience.cache.ResilientCache"'
THEIRS = '"django_redis.cache.RedisCache"'
FROM_DJANGO_REDIS = "docs/how-to/migrate-from-django-redis.md"
FROM_IGNORE_EXCEPTIONS = "docs/how-to/migrate-from-ignore-exceptions.md"
RATE_LIMITS = "docs/how-to/rate-limits.md"
PAGES = (FROM_DJANGO_REDIS, FROM_IGNORE_EXCEPTIONS, RATE_LIMITS)

# Each call on one alias, in one process: what it returns, or what it raises.
CALLS = """
import json
from django.core.cache import caches

def said(alias, call):
    try:
        return repr(eval(call, {"cache": caches[alias]}))
    except Exception as error:
        return f"raises {type(error).__name__}"
"""


def in_django(guide: Guide, code: str) -> list[str]:
    """The JSON list that it prints."""
    guide.append("asked.py", CALLS + code)
    printed = guide.type("python manage.py shell --verbosity 0 -c 'import asked'")
    (line,) = re.findall(r"^\[.*\]$", printed, re.MULTILINE)
    found: list[str] = json.loads(line)
    return found


def test_from_django_redis(shop, tmp_path, throwaway):
    """One line is changed; the other backend reads what was written, both ways."""
    here = {"6379": str(throwaway.port)}
    folder = tmp_path / "project"
    with following(FROM_DJANGO_REDIS, shop, folder, here=here) as guide:
        guide.follow(*guide.blocks)
        both = guide.of("python")[0].text.replace(OURS, THEIRS)
        assert both != guide.of("python")[0].text
        old = f'{both}\nOLD = CACHES["default"]\n'
        guide.append("shop/settings.py", f'NEW = CACHES["default"]\n{guide.translated(old)}')
        guide.append("shop/settings.py", 'CACHES = {"default": NEW, "old": OLD}\n')
        theirs, ours = guide.rows("Written by")
        written = re.search(r"`(cache.set\(.+\))`", theirs[0])
        assert written is not None
        with_time = written[1].replace("})", "}, 300)")
        other = re.search(r"`(cache.set\(.+\))`", ours[0])
        assert other is not None
        calls = [
            ("old", with_time),
            ("default", 'cache.get("basket")'),
            ("default", 'cache.ttl("basket")'),
            ("default", other[1]),
            ("old", 'cache.get("rulers")'),
        ]
        said = in_django(guide, f"print(json.dumps([said(*each) for each in {calls!r}]))")
        assert said[1:2] == re.findall(r"`(\{.+?\})`", theirs[1])
        assert int(said[2]) in (299, 300), theirs[1]
        assert said[4:] == re.findall(r"`(.+?)`", ours[1])


def test_from_ignore_exceptions(shop, tmp_path):
    """Every row of the table, in both columns, against a port where nobody listens."""
    with Refused() as port:
        here, folder = {"6396": str(port.port)}, tmp_path / "project"
        with following(FROM_IGNORE_EXCEPTIONS, shop, folder, here=here) as guide:
            before, _ = guide.of("python")
            guide.follow(before, *guide.of("console"))
            guide.append("shop/settings.py", 'OLD = CACHES["default"]\n')
            guide.append("shop/settings.py", f'CACHES["new"] = OLD | {{"BACKEND": {OURS}}}\n')
            rows = guide.rows("Call")
            calls = [row[0].strip("`") for row in rows]
            calls = [f"cache.{call}" if "(" in call else call for call in calls]
            columns = ((alias, call) for alias in ("default", "new") for call in calls)
            said = in_django(guide, f"print(json.dumps([said(*each) for each in {[*columns]!r}]))")
            shown = [row[column].strip("`") for column in (1, 2) for row in rows]
            assert dict(enumerate(said)) == dict(enumerate(shown))
            guide.append("shop/settings.py", 'CACHES = {"default": CACHES["new"]}\n')
            after = guide.type("python manage.py checkdeploy cache redis")
            assert "(cache.fallback)" in after
            assert "cache.mismatch" not in after


LIMITED = """
INSTALLED_APPS += ["axes", "rest_framework"]
MIDDLEWARE += ["axes.middleware.AxesMiddleware"]
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend",
                           "django.contrib.auth.backends.ModelBackend"]
AXES_HANDLER = "axes.handlers.cache.AxesCacheHandler"
AXES_FAILURE_LIMIT = 2
REST_FRAMEWORK = {
    "DEFAULT_THROTTLE_CLASSES": ["rest_framework.throttling.AnonRateThrottle"],
    "DEFAULT_THROTTLE_RATES": {"anon": "2/day"},
    "UNAUTHENTICATED_USER": None,
}
"""
LIMITS = """
from django.http import HttpResponse
from django_ratelimit.decorators import ratelimit
from rest_framework.response import Response
from rest_framework.views import APIView


class Api(APIView):
    authentication_classes = []

    def get(self, request):
        return Response("fine")


def fine(request):
    return HttpResponse("fine")


limited = ratelimit(key="ip", rate="2/d")(fine)
urlpatterns += [path("limited/", limited), path("api/", Api.as_view())]
"""


def asked(port: str) -> list[list[int]]:
    """The three columns of the table, three requests each."""
    site = f"http://127.0.0.1:{port}"
    with requests.Session() as visitor:
        visitor.trust_env = False
        counted = [
            [visitor.get(f"{site}/{path}/", timeout=10).status_code for _ in range(3)]
            for path in ("limited", "api")
        ]
        logins = []
        for _ in range(3):
            visitor.get(f"{site}/admin/login/", timeout=10)
            form = {
                "username": "ada",
                "password": "wrong",
                "csrfmiddlewaretoken": visitor.cookies["csrftoken"],
            }
            logins.append(visitor.post(f"{site}/admin/login/", form, timeout=10).status_code)
        return [*counted, logins]


def test_rate_limits(shop, tmp_path, throwaway):
    """The three packages behind a real server, with Redis and without."""
    port = str(free_port())
    here, variables = {"8000": port}, {"REDIS_URL": f"redis://127.0.0.1:{throwaway.port}/0"}
    with following(
        RATE_LIMITS, shop, tmp_path / "project", here=here, variables=variables
    ) as guide:
        guide.append("shop/settings.py", LIMITED)
        guide.append("shop/urls.py", LIMITS)
        guide.follow(*guide.of("python"))
        guide.stay("python manage.py runserver 8000")
        rows = [[list(map(int, cell.split(", "))) for cell in row[1:]] for row in guide.rows("")]
        assert asked(port) == rows[0], "Redis answers"
        throwaway.stop()
        assert asked(port) == rows[1], "Redis is stopped"
        assert "deploy.rate-limit-local" not in guide.type("python manage.py checkdeploy deploy")
        settings = guide.folder / "shop" / "settings.py"
        settings.write_text(re.sub(r'"STRICT": \[.*?\]', "", settings.read_text()))
        guide.follow(*guide.of("console"))


@pytest.mark.parametrize(
    ("old", "new"), [("cache.options-superseded", "cache.ok"), ("2 ok", "3 problems")]
)
def test_a_page_that_is_wrong_is_found__twin(old, new, shop, tmp_path, throwaway):
    folder = tmp_path / "project"
    shutil.copytree(shop, folder)
    with Guide(FROM_DJANGO_REDIS, folder, {"6379": str(throwaway.port)}, {}) as guide:
        text = guide.text.replace(old, new, 1)
        assert text != guide.text
        guide.follow(*parse(text))
        (told,) = guide.wrong
        assert "--- printed" in told


def left_out(shop: Path, folder: Path) -> None:
    with following(RATE_LIMITS, shop, folder) as guide:
        guide.follow(*guide.of("python"))


def test_a_block_that_nobody_followed_is_told__twin(shop, tmp_path):
    with pytest.raises(AssertionError, match="a block was left out"):
        left_out(shop, tmp_path / "project")
