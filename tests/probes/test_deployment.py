"""A deployment is examined from outside: real gunicorns, one of them ending TLS."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from http.client import HTTPMessage
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from resilience import conf
from resilience.errors import UsageError
from resilience.findings import Finding, Level
from resilience.probes import deployment, deployment_details, http
from resilience.probes.base import Deadline
from resilience.probes.deployment import Deployment
from resilience.probes.exchange import Answer
from resilience.probes.http import Site, read_site
from resilience.simulation.authority import Authority
from resilience.simulation.network import Garbage, Refused, Silence
from tests.gunicorns import gunicorn
from tests.processes import manage

TOKEN = "status-token-0123456789"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "fedcba9876543210fedcba9876543210fedcba98"

# Answers what script.json says of a path, and keeps what it was asked.
SCRIPTED = """
import json, pathlib
HERE = pathlib.Path(__file__).parent

def application(environ, start):
    path = environ["PATH_INFO"]
    asked = [environ["wsgi.url_scheme"], environ.get("HTTP_HOST"), path,
             environ.get("HTTP_AUTHORIZATION", "")]
    with (HERE / "asked.log").open("a") as log:
        log.write(json.dumps(asked) + "\\n")
    script = json.loads((HERE / "script.json").read_text())
    if asked[1].endswith(".invalid") and "stranger" in script:
        path = "stranger"
    elif path == "/readyz" and asked[3]:
        path = "verbose" if asked[3] == "Bearer " + script["token"] else "refused"
    status, headers, body = script.get(path, script["other"])
    start(f"{status} X", [("Content-Type", "text/plain"), *map(tuple, headers)])
    return [body.encode()]
"""
SECURE = [
    ["Strict-Transport-Security", "max-age=3600"],
    ["X-Content-Type-Options", "nosniff"],
    ["Referrer-Policy", "same-origin"],
    ["X-Frame-Options", "DENY"],
]


def details(commit: str = COMMIT, word: str = "ready", **more: Any) -> str:
    """As ``/readyz?verbose`` answers in JSON to whoever has the token."""
    report = {"schema": 1, "hosting": {"commit": commit}, "findings": [], **more}
    return json.dumps({"status": word, "schema": 1, "report": report})


HEALTHY: dict[str, Any] = {
    "token": TOKEN,
    "/": [200, SECURE, "<h1>Shop</h1>"],
    "/livez": [200, [], "ok"],
    "/readyz": [200, [], json.dumps({"status": "ready"})],
    "verbose": [200, [], details()],
    "refused": [401, [], "unauthorized"],
    "stranger": [400, [], "Bad Request"],
    "other": [404, [], "Not Found"],
}


class Scripted:
    """A folder with the app above in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "scripted.py").write_text(SCRIPTED)
        self.says()

    def says(self, **changed: Any) -> None:
        """``HEALTHY`` with some answers changed; ``_`` in a name stands for ``/``."""
        named = {name.replace("_", "/"): answer for name, answer in changed.items()}
        (self.folder / "script.json").write_text(json.dumps(HEALTHY | named))
        (self.folder / "asked.log").write_text("")

    def asked(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "asked.log").read_text().splitlines()]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Scripted:
    return Scripted(tmp_path_factory.mktemp("scripted"))


@pytest.fixture(scope="module")
def secure_port(scripted: Scripted, authority: Authority) -> Iterator[int]:
    chain, key = scripted.folder / "chain.pem", scripted.folder / "key.pem"
    authority.write_server(chain, key, "localhost")
    with gunicorn(scripted.folder, "scripted:application", certificate=(chain, key)) as port:
        yield port


@pytest.fixture
def site(secure_port: int, scripted: Scripted, authority: Authority, settings: Any) -> Site:
    """The site over HTTPS, healthy at first, its authority trusted by this project's settings."""
    scripted.says()
    path = authority.write_ca(scripted.folder / "ca.pem")
    settings.RESILIENCE = {"TLS": {"CA": str(path)}}
    conf.push()
    return read_site(f"https://localhost:{secure_port}")


def examine(
    site: Site, *, commit: str = "", token: str = "", plain: Site | None = None, seconds: float = 10
) -> list[Finding]:
    probe = Deployment(site.subject, site=site, commit=commit, token=token, plain=plain)
    return list(probe.run(Deadline(seconds)))


def ids(site: Site, **options: Any) -> list[str]:
    return [found.id for found in examine(site, **options)]


# ── a deployment as it should be ────────────────────────────────────────────────────────────────


def test_a_deployment_as_it_should_be(site):
    [found] = examine(site, commit=COMMIT[:7], token=TOKEN)
    assert (found.id, found.level) == ("deploy.ok", Level.OK)
    assert found.subject == f"deploy.localhost:{site.endpoint.port}"
    assert "runs commit 0123456" in found.summary


def test_the_certificate_is_the_tls_probes_own_business(site):
    """Its days are told, and the deployment stands on it."""
    tls, probe = deployment.probes_of(site, "", "")
    [*_, fine] = tls.run(Deadline(10))
    assert (fine.id, "days_left" in fine.facts) == ("tls.ok", True)
    assert probe.needs == (tls.subject,)


def test_a_certificate_that_nobody_vouches_for_gets_no_request(site, scripted, settings):
    settings.RESILIENCE = {}
    conf.push()
    [found] = examine(site, commit=COMMIT, token=TOKEN)
    assert (found.id, found.level) == ("deploy.url-unhealthy", Level.ERROR)
    assert "tls.untrusted-root" in found.summary
    assert scripted.asked() == []


def test_switching_verification_off_does_not_give_the_token_away(site, scripted, settings):
    where = {"reason": "test", "until": "2099-01-01"}
    settings.RESILIENCE = {"TLS": {"INSECURE": {site.endpoint.where: where}}}
    conf.push()
    assert ids(site, token=TOKEN) == ["deploy.url-unhealthy"]
    assert scripted.asked() == []


# ── nobody there ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("server", "id"),
    [
        (Refused, "tcp.refused"),
        (Silence, "deploy.url-unhealthy"),
        (partial(Garbage, b"SSH-2.0-OpenSSH_9.6\r\n"), "deploy.url-unhealthy"),
    ],
)
def test_a_server_that_does_not_answer(server, id):
    with server() as there:
        [found] = examine(read_site(f"http://127.0.0.1:{there.port}"), seconds=1)
    assert (found.id, found.level) == (id, Level.ERROR)
    assert found.subject.startswith("deploy.127.0.0.1:")


# ── the front page ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("status", "words"), [(500, "log"), (502, "log"), (400, "ALLOWED_HOSTS")])
def test_a_front_page_that_fails(site, scripted, status, words):
    scripted.says(_=[status, SECURE, ""])
    [found] = examine(site)
    assert (found.id, found.level) == ("deploy.url-unhealthy", Level.ERROR)
    assert words in found.hint


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_front_page_that_fails__twin__it_is_only_closed(site, scripted, status):
    scripted.says(_=[status, SECURE, ""])
    assert ids(site) == ["deploy.ok"]


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("/", ["deploy.redirect-loop"]),
        ("https://localhost:{port}/", ["deploy.redirect-loop"]),
        ("http://localhost/login", ["deploy.redirect-plain", "deploy.ok"]),
        ("/login/", ["deploy.ok"]),
        ("https://elsewhere.example/", ["deploy.ok"]),
    ],
)
def test_where_the_front_page_leads(site, scripted, location, said):
    location = location.format(port=site.endpoint.port)
    scripted.says(_=[301, [*SECURE, ["Location", location]], ""])
    assert ids(site) == said


def missing(site: Site) -> str:
    [found] = [each for each in examine(site) if each.id == "deploy.headers-missing"]
    return found.summary


@pytest.mark.parametrize("index", range(4))
def test_a_security_header_that_is_missing_is_named(site, scripted, index):
    headers = [pair for pair in SECURE if pair is not SECURE[index]]
    scripted.says(_=[200, headers, ""])
    said = missing(site)
    assert [pair[0] in said for pair in SECURE] == [n == index for n in range(4)]


@pytest.mark.parametrize(
    "header",
    [
        ["Strict-Transport-Security", "max-age=0"],
        ["X-Content-Type-Options", "sniff"],
        ["Referrer-Policy", ""],
    ],
)
def test_a_security_header_that_does_nothing_is_missing(site, scripted, header):
    headers = [header if pair[0] == header[0] else pair for pair in SECURE]
    scripted.says(_=[200, headers, ""])
    assert header[0] in missing(site)


def test_a_policy_about_frames_will_do(site, scripted):
    policy = ["Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'"]
    scripted.says(_=[200, [*SECURE[:3], policy], ""])
    assert ids(site) == ["deploy.ok"]


def test_cookies_without_their_flags_are_named_without_their_values(site, scripted):
    cookies = [
        ["Set-Cookie", "sessionid=s3cr3tvalue; Path=/; SameSite=Lax"],
        ["Set-Cookie", "csrftoken=t0k3nvalue; Path=/; Secure; SameSite=Lax"],
        ["Set-Cookie", "seen=1; Secure; HttpOnly"],
    ]
    scripted.says(_=[200, SECURE + cookies, ""])
    found = examine(site)[0]
    assert found.id == "deploy.cookie-flags"
    assert "sessionid lacks Secure, HttpOnly; seen lacks SameSite." in found.summary
    assert "value" not in repr(found)


def test_cookies__twin__with_their_flags(site, scripted):
    scripted.says(
        _=[200, [*SECURE, ["Set-Cookie", "sessionid=x; Secure; HttpOnly; SameSite=Lax"]], ""]
    )
    assert ids(site) == ["deploy.ok"]


# ── what the app gives away ─────────────────────────────────────────────────────────────────────

DJANGO = """
import sys
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import path
settings.configure(DEBUG={debug}, SECRET_KEY="x" * 60, ROOT_URLCONF=__name__, ALLOWED_HOSTS={hosts})
urlpatterns = [path("admin/", get_wsgi_application)]
application = get_wsgi_application()
"""


@pytest.fixture(scope="module")
def careless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A real Django with DEBUG and every host; it has no page but its error pages."""
    folder = tmp_path_factory.mktemp("careless")
    (folder / "careless.py").write_text(DJANGO.format(debug=True, hosts=["*"]))
    with gunicorn(folder, "careless:application") as port:
        yield read_site(f"http://127.0.0.1:{port}")


def test_debug_out_there_is_seen(careless):
    found = {each.id: each.level for each in examine(careless)}
    assert found["deploy.debug-live"] is Level.ERROR
    assert "deploy.ok" not in found


def test_debug_out_there__twin(site):
    assert "deploy.debug-live" not in ids(site)


@pytest.mark.parametrize(
    "stranger",
    [
        [200, [], "<h1>Shop</h1>"],
        [301, [["Location", "https://checkdeploy.invalid/login/"]], ""],
    ],
)
def test_an_app_that_takes_any_host(site, scripted, stranger):
    scripted.says(stranger=stranger)
    assert ids(site) == ["deploy.any-host", "deploy.ok"]


@pytest.mark.parametrize(
    "stranger", [[400, [], ""], [404, [], ""], [301, [["Location", "https://localhost/"]], ""]]
)
def test_an_app_that_takes_any_host__twin(site, scripted, stranger):
    scripted.says(stranger=stranger)
    assert ids(site) == ["deploy.ok"]


# ── without TLS ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scripted, Site]]:
    """A site over plain HTTP on 127.0.0.1: another host than localhost."""
    app = Scripted(tmp_path_factory.mktemp("other"))
    with gunicorn(app.folder, "scripted:application") as port:
        yield app, read_site(f"http://127.0.0.1:{port}")


def test_http_leads_to_https(site, other):
    app, plain = other
    app.says(_=[301, [["Location", "https://localhost/"]], ""])
    assert ids(site, plain=plain) == ["deploy.ok"]


@pytest.mark.parametrize("answer", [[200, [], "Shop"], [301, [["Location", "/login/"]], ""]])
def test_http_leads_to_https__twin__it_answers_itself(site, other, answer):
    app, plain = other
    app.says(_=answer)
    found = [each for each in examine(site, plain=plain) if each.id == "deploy.plain-http"]
    assert [each.level for each in found] == [Level.WARNING]


def test_http_that_is_not_served_is_as_good(site):
    with Refused() as there:
        plain = read_site(f"http://127.0.0.1:{there.port}")
        assert ids(site, plain=plain) == ["deploy.ok"]


def test_the_usual_ports_belong_together():
    [*_, probe] = deployment.probes_of(read_site("https://shop.example/a"), "", "")
    assert isinstance(probe, Deployment)
    assert probe.plain is not None
    assert (probe.plain.endpoint.port, probe.plain.origin) == (80, "http://shop.example")
    [alone] = deployment.probes_of(read_site("http://shop.example"), "", "")
    assert isinstance(alone, Deployment)
    assert alone.plain is None
    assert alone.needs == ()


# ── health ──────────────────────────────────────────────────────────────────────────────────────


def test_what_the_platform_would_take_for_dead(site, scripted):
    scripted.says(_livez=[301, [["Location", "/livez/"]], ""])
    [found] = examine(site)
    assert found.id == "deploy.url-unhealthy"
    assert "/livez answers 301" in found.summary


FAILING = [
    {"id": "tcp.refused", "subject": "databases.default", "level": "error", "cause": None},
    {"id": "cache.slow", "subject": "caches.default", "level": "warning", "cause": None},
    {"id": "x.y", "subject": "z", "level": "error", "cause": {"id": "tcp.refused"}},
    {"id": "env.ok", "subject": "env", "level": "ok", "cause": None},
]


@pytest.mark.parametrize("word", ["not-ready", "starting", "draining"])
def test_an_app_that_is_not_ready(site, scripted, word):
    said = json.dumps({"status": word})
    scripted.says(_readyz=[503, [], said], verbose=[503, [], details(word=word, findings=FAILING)])
    [found] = examine(site)
    assert (found.id, found.level) == ("deploy.url-unhealthy", Level.ERROR)
    assert f"/readyz answers 503, {word}." in found.summary
    assert "STATUS_TOKEN" in found.hint
    [found] = examine(site, token=TOKEN)
    assert f"{word} (databases.default tcp.refused, caches.default cache.slow)." in found.summary


def test_an_app_that_lacks_something(site, scripted):
    scripted.says(_readyz=[200, [], json.dumps({"status": "degraded"})])
    found = examine(site)
    assert [each.id for each in found] == ["deploy.url-degraded", "deploy.ok"]


@pytest.mark.parametrize(
    ("answer", "id"),
    [
        ([404, [], "Not Found"], "deploy.no-endpoint"),
        ([302, [["Location", "/login/?next=/readyz"]], ""], "deploy.no-endpoint"),
        ([200, [], "<html>"], "deploy.no-endpoint"),
        ([200, [], '["ready"]'], "deploy.no-endpoint"),
        ([200, [], '{"status": "up"}'], "deploy.no-endpoint"),
        ([500, [], "Error"], "deploy.url-unhealthy"),
    ],
)
def test_an_app_without_the_endpoint(site, scripted, answer, id):
    scripted.says(_readyz=answer, _livez=[404, [], ""])
    assert ids(site)[0] == id


def test_details_for_everybody_are_an_error(site, scripted):
    scripted.says(_readyz=[200, [], details()])
    assert ids(site) == ["deploy.details-public"]


# ── the token ───────────────────────────────────────────────────────────────────────────────────


def tokens(app: Scripted) -> list[str]:
    return [path for _, _, path, authorization in app.asked() if authorization]


def test_the_token_goes_to_readyz_alone(site, scripted):
    examine(site, token=TOKEN, commit=COMMIT)
    assert tokens(scripted) == ["/readyz"] * deployment.SAMPLES
    scripted.says()
    examine(site, commit=COMMIT)
    assert tokens(scripted) == []


def test_a_wrong_token_is_named_and_not_shown(site, scripted):
    found = examine(site, token="wrong-token-0123456789", commit=COMMIT)
    assert [each.id for each in found] == ["deploy.token-refused", "deploy.commit-unknown"]
    assert "wrong-token" not in repr(found)
    assert "wrong-token" not in repr(Deployment("x", site=site, token="wrong-token-0123456789"))


def test_no_redirect_takes_the_token_anywhere(site, scripted, other):
    """Whatever is answered, on every path: the other host is never asked at all."""
    app, elsewhere = other
    app.says()
    away = [302, [*SECURE, ["Location", f"{elsewhere.origin}/readyz?verbose"]], ""]
    scripted.says(_=away, _livez=away, _readyz=away, verbose=away, stranger=away, other=away)
    examine(site, token=TOKEN, commit=COMMIT)
    assert app.asked() == []


def test_the_token_does_not_cross_a_network_in_clear(other, monkeypatch):
    app, plain = other
    app.says()
    assert ids(plain, token=TOKEN, commit=COMMIT) == ["deploy.ok"]
    assert tokens(app) == ["/readyz"] * deployment.SAMPLES  # it is on loopback
    app.says()
    monkeypatch.setattr(http, "_LOOPBACK", ())
    found = examine(plain, token=TOKEN, commit=COMMIT)
    assert [each.id for each in found] == ["deploy.commit-unknown"]
    assert "not sent over plain HTTP" in found[0].summary
    assert tokens(app) == []


# ── the commit ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("said", "expected", "id"),
    [
        (COMMIT, COMMIT, "deploy.ok"),
        (COMMIT.upper(), COMMIT[:7], "deploy.ok"),
        (COMMIT[:10], COMMIT, "deploy.ok"),
        (OTHER, COMMIT, "deploy.commit-mismatch"),
        (COMMIT[:7], "0123457", "deploy.commit-mismatch"),
        ("", COMMIT, "deploy.commit-unknown"),
        ("not a commit", COMMIT, "deploy.commit-unknown"),
    ],
)
def test_the_commit_that_answers(site, scripted, said, expected, id):
    scripted.says(verbose=[200, [], details(said)])
    assert ids(site, token=TOKEN, commit=expected) == [id]


def test_the_commit_may_stand_above(site, scripted):
    scripted.says(verbose=[200, [], json.dumps({"status": "ready", "commit": COMMIT})])
    assert ids(site, token=TOKEN, commit=COMMIT) == ["deploy.ok"]


def test_a_commit_that_nobody_can_see_is_no_success(site, scripted):
    assert ids(site, commit=COMMIT) == ["deploy.commit-unknown"]
    scripted.says(_readyz=[404, [], ""])
    assert ids(site, commit=COMMIT) == ["deploy.no-endpoint", "deploy.commit-unknown"]


def test_replicas_of_two_commits(site, monkeypatch):
    """In the middle of a deploy the load balancer sends some requests to the old one."""
    answers = [details(COMMIT), details(OTHER), details(COMMIT)]

    def verbose(self: Deployment, client: http.Client, deadline: Deadline) -> Answer:
        answer = client.ask("/readyz", deadline)
        return replace(answer, body=answers.pop(0).encode())

    monkeypatch.setattr(Deployment, "_ask_verbose", verbose)
    [found] = examine(site, token=TOKEN, commit=COMMIT)
    assert found.id == "deploy.commit-mismatch"
    assert "others the expected one" in found.summary


# ── whatever it answers ─────────────────────────────────────────────────────────────────────────

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ("status", "report", "findings", "hosting", "commit", "level", "cause")
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@hypothesis_settings(max_examples=100, deadline=None)
@given(JSON)
def test_any_document_is_read_without_a_crash(document):
    body = json.dumps(document).encode()
    read = Answer(200, HTTPMessage(), body).document
    assert isinstance(deployment_details.commit_of(read), str)
    assert all(isinstance(each, str) for each in deployment_details.roots(read))


# ── words ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("word", "origin", "path"),
    [
        ("https://shop.example", "https://shop.example", "/"),
        ("https://shop.example:8443/a/b", "https://shop.example:8443", "/a/b"),
        ("http://localhost:8000/", "http://localhost:8000", "/"),
        ("http://shop.example", "http://shop.example", "/"),
        ("https://[::1]:8443", "https://[::1]:8443", "/"),
        ("https://[::1]", "https://[::1]", "/"),
    ],
)
def test_a_site_is_read_as_it_is_written(word, origin, path):
    site = read_site(word)
    assert (site.origin, site.path) == (origin, path)
    assert site.subject == f"deploy.{site.name}"


@pytest.mark.parametrize(
    "word",
    [
        "shop.example",
        "ftp://shop.example",
        "https://",
        "https://user:hunter2hunter2@shop.example",
        "https://shop.example/?token=hunter2hunter2",
        "https://shop.example/#x",
        "https://shop.example:99999",
        "https://shop.example/a b",
        "https://shop.example/\u00e4",
    ],
)
def test_a_site_that_is_none_is_refused_without_its_words(word):
    with pytest.raises(UsageError) as caught:
        read_site(word)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("word", ["", "main", "0123456", "0123456z", "a" * 65])
def test_a_commit_is_hexadecimal(word):
    if word == "0123456":
        assert deployment.read_commit(word) == word
    else:
        with pytest.raises(UsageError):
            deployment.read_commit(word)


# ── the command ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("expected", "code"), [(COMMIT, 0), (OTHER, 1)])
def test_the_command_from_end_to_end(site, scripted, expected, code):
    """With the token and the authority from the environment, as continuous integration has them."""
    ended = manage(
        "checkdeploy",
        *("--url", site.origin, "--commit", expected[:12], "--format", "json"),
        STATUS_TOKEN=TOKEN,
        TLS_CA_BUNDLE=str(scripted.folder / "ca.pem"),
    )
    assert ended.code == code
    subject = f"deploy.{site.name}"
    bad = [("deploy.commit-mismatch", subject)] if code else []
    assert ended.roots == bad
    assert {"tls.ok"} <= ended.ids
    assert TOKEN not in ended.out + ended.err


def test_a_certificate_that_does_not_verify_is_one_root_cause(site):
    ended = manage("checkdeploy", "--url", site.origin, "--format", "json")
    assert ended.code == 1
    assert ended.roots == [("tls.untrusted-root", f"tls.{site.endpoint.where}")]
    cause = ended.find("deploy.url-unhealthy")["cause"]
    assert cause == {"id": "tls.untrusted-root", "subject": f"tls.{site.endpoint.where}"}


def test_waiting_for_a_deploy_to_end(site, scripted):
    """The old commit answers at first; the command sees the new one come."""
    scripted.says(verbose=[200, [], details(OTHER)])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(
            manage,
            *("checkdeploy", "--url", site.origin, "--commit", COMMIT, "--wait", "20"),
            STATUS_TOKEN=TOKEN,
            TLS_CA_BUNDLE=str(scripted.folder / "ca.pem"),
        )
        until = time.monotonic() + 10
        while "/readyz" not in str(scripted.asked()) and time.monotonic() < until:
            time.sleep(0.05)
        scripted.says()
        ended = waiting.result(timeout=30)
    assert ended.code == 0
    assert "runs commit 0123456789ab." in ended.out


# ── with the middleware itself ──────────────────────────────────────────────────────────────────

REAL = """
from django.conf import settings
from django.core.wsgi import get_wsgi_application
settings.configure(
    SECRET_KEY="x" * 60, ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"],
    INSTALLED_APPS=["resilience"], MIDDLEWARE=["resilience.middleware.HealthMiddleware"],
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}},
    RESILIENCE={{"STATUS_TOKEN": "{token}"}},
)
urlpatterns = []
application = get_wsgi_application()
"""


def test_the_real_endpoint_names_its_commit(tmp_path):
    (tmp_path / "real.py").write_text(REAL.format(token=TOKEN))
    with gunicorn(tmp_path, "real:application", variables={"GIT_SHA": COMMIT}) as port:
        site = read_site(f"http://127.0.0.1:{port}")
        examine(site)  # the first answer may be "starting"
        assert "deploy.commit-mismatch" not in ids(site, token=TOKEN, commit=COMMIT)
        assert "deploy.commit-unknown" not in ids(site, token=TOKEN, commit=COMMIT)
        assert "deploy.commit-mismatch" in ids(site, token=TOKEN, commit=OTHER)
