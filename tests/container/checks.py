"""What is asked of the image. Each check raises AssertionError, or returns what it measured.

Where a check could pass by not looking, its twin breaks one thing and is expected to find it.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

from resilience.simulation.authority import Authority
from resilience.simulation.proxy import Latency, Proxy
from tests.container import contents, context, site
from tests.container.engines import Ended, Engine
from tests.servers import HOST, PostgresServer, free_port, redis_server
from tests.services import LangSmith
from tests.waiting import until

IN_FLIGHT = 4  # requests at SIGTERM: as many as one worker has threads
SLOW = 0.4  # seconds that every reply of the database takes meanwhile
SETTLE = 0.3  # seconds
CUT_AFTER = "--graceful-timeout=1"  # less than such a request takes
CHECKDEPLOY = ("python", "manage.py", "checkdeploy", "--format", "json")
_STORE = "/etc/ssl/certs"
_CA = "/run/ca.pem"
_WITHIN = 60.0  # seconds, for a command


class Setting(NamedTuple):
    """The image, and what it is given."""

    engine: Engine
    given: dict[str, str]
    postgres: PostgresServer
    health: list[str]


# ── what is in it ───────────────────────────────────────────────────────────────────────────────


def files(setting: Setting) -> str:
    """No settings, history, compiler, cache, test; all of it readable, none of it writable."""
    program = ("python", "-c", contents.LIST, context.CANARY)
    listed = _done(setting.engine.once(*program, user="0"))
    found = contents.parse(listed)
    problems = contents.problems(found)
    assert not problems, "\n".join([*problems[:20], f"{len(problems)} problems in all"])
    whole, ours = contents.mebibytes(found), contents.mebibytes(found, "/app/", "/venv/")
    return f"{whole:.0f} MiB: base {whole - ours:.0f}, packages and project {ours:.0f}"


def user(setting: Setting) -> str:
    """Nobody's account, and root needs no password to be kept out: it cannot write."""
    program = (
        "import json, os; print(json.dumps([os.getuid(), os.getgid(), [path for path in "
        "('/', '/app', '/app/opsproject', '/venv', '/etc') if os.access(path, os.W_OK)]]))"
    )
    number, group, writable = json.loads(_done(setting.engine.once("python", "-c", program)))
    assert number == group == contents.USER, f"it runs as {number}:{group}"
    assert not writable, f"it may write to {', '.join(writable)}"
    return f"uid {number}, may write to nothing of the image"


# ── whether it works ────────────────────────────────────────────────────────────────────────────


def migrated(setting: Setting) -> str:
    """The pre-deploy command of the platform, in the image."""
    began = time.monotonic()
    command = ("python", "manage.py", "migrate", "--no-input", "--verbosity", "0")
    _done(setting.engine.once(*command, variables=setting.given, within=_WITHIN))
    return f"{time.monotonic() - began:.1f} s"


def boots(setting: Setting, limit: float, tries: int = 3) -> str:
    """The best of a few starts: what else the machine does only adds to it."""
    taken = []
    for _ in range(tries):
        with site.site(setting.engine, setting.given) as served:
            taken.append(served.seconds)
            assert served.get("/") == 200, "the first page"
            status, _seconds = _stopped(served)
            assert status == 0, f"SIGTERM ended it with {status}"
    told = ", ".join(f"{seconds:.2f}" for seconds in taken)
    assert min(taken) <= limit, f"{site.READY} after {told} s; the goal is {limit:g} s"
    return f"{site.READY} after {told} s (goal {limit:g} s)"


def healthy(setting: Setting) -> str:
    """HEALTHCHECK's own command: 0 beside the server, 1 where there is none."""
    assert setting.health, "the Dockerfile has no HEALTHCHECK"
    with site.site(setting.engine, setting.given) as served:
        port = {"PORT": str(served.port)}
        began = time.monotonic()
        beside = setting.engine.once(*setting.health, variables=port)
        seconds = time.monotonic() - began
        assert beside.code == 0, beside.err
    port = {"PORT": str(free_port())}
    alone = setting.engine.once(*setting.health, variables=port)
    assert alone.code == 1, f"without a server it ends with {alone.code}: {alone.err}"
    return f"{' '.join(setting.health)}: 0 in {seconds:.1f} s, and 1 without a server"


def checked(setting: Setting) -> str:
    """``checkdeploy`` inside ends with 0; with a wrong password it names that."""
    fine = setting.engine.once(*CHECKDEPLOY, variables=setting.given, within=_WITHIN)
    report = _report(fine)
    assert fine.code == 0, _errors(report)
    assert report["hosting"]["platform"] == "railway", report["hosting"]
    warnings = [one["id"] for one in report["findings"] if one["level"] == "warning"]
    wrong = setting.given["REDIS_URL"].replace("//:", "//:not")
    given = {**setting.given, "REDIS_URL": wrong}
    twin = setting.engine.once(*CHECKDEPLOY, variables=given, within=_WITHIN)
    assert twin.code == 1, f"with a wrong password it ends with {twin.code}"
    assert "redis.auth-wrong" in _errors(_report(twin)), _errors(_report(twin))
    told = f", warnings {', '.join(warnings)}" if warnings else ", no warning"
    return f"ends with 0{told}; with a wrong password 1, redis.auth-wrong"


# ── without the system's certificates ───────────────────────────────────────────────────────────


def limited_store(setting: Setting) -> str:
    """An emptied store: Redis and LangSmith over TLS by TLS_CA_BUNDLE, strangers by certifi."""
    folder = setting.engine.folder
    authority, password = Authority(), secrets.token_urlsafe(16)
    empty, bundle = folder / "no-certificates", authority.write_ca(folder / "ca.pem")
    empty.mkdir()
    for path in (empty, bundle):
        path.chmod(0o755)
    volumes = {empty: _STORE, bundle: _CA}
    tracer = LangSmith(secrets.token_urlsafe(16), tls=authority.server_context("localhost", HOST))
    redis = redis_server("--requirepass", password, directory=folder, tls=authority)
    with redis as server, tracer:
        given = {
            **setting.given,
            "REDIS_URL": server.url(password=password),
            "LANGSMITH_TRACING": "true",
            "LANGSMITH_API_KEY": tracer.key,
            "LANGSMITH_ENDPOINT": tracer.origin,
        }
        roots = _certificates(setting, volumes)
        trusting = {**given, "TLS_CA_BUNDLE": _CA}
        _works_over_tls(setting, trusting, volumes)
        _traces(setting, trusting, volumes)
        assert tracer.named("answered"), "no trace arrived at LangSmith's stand-in"
        with site.site(setting.engine, trusting, volumes=volumes) as served:
            assert served.get("/account/") == 200
        twin = _ask_tls(setting, given, volumes)
        assert twin.code == 1, f"without TLS_CA_BUNDLE checkdeploy ends with {twin.code}"
        assert "tls.untrusted-root" in _errors(_report(twin)), _errors(_report(twin))
    return f"{roots} roots by certifi; Redis and LangSmith by TLS_CA_BUNDLE, and not without it"


def _certificates(setting: Setting, volumes: Mapping[Path, str]) -> int:
    """How many authorities the project trusts there; the twin: what plain OpenSSL finds."""
    program = (
        "import json, os, ssl; from resilience.tls import trust; "
        "print(json.dumps([len(os.listdir('/etc/ssl/certs')), "
        "len(ssl.create_default_context().get_ca_certs()), "
        "len(trust.Trust.load().context().get_ca_certs())]))"
    )
    told = _done(setting.engine.once("python", "-c", program, volumes=volumes))
    left, plain, ours = json.loads(told)
    assert left == plain == 0, f"the store is not empty: {left} files, {plain} certificates"
    assert ours > 50, f"only {ours} certificates are trusted"
    return int(ours)


def _works_over_tls(setting: Setting, given: dict[str, str], volumes: Mapping[Path, str]) -> None:
    fine = _ask_tls(setting, given, volumes)
    report = _report(fine)
    assert fine.code == 0, _errors(report)
    assert any(one["id"] == "tls.ok" for one in report["findings"]), "no TLS server was asked"


def _ask_tls(setting: Setting, given: dict[str, str], volumes: Mapping[Path, str]) -> Ended:
    command = (*CHECKDEPLOY, "redis", "tls", "cache")
    return setting.engine.once(*command, variables=given, volumes=volumes, within=_WITHIN)


def _traces(setting: Setting, given: dict[str, str], volumes: Mapping[Path, str]) -> None:
    program = (
        "import django; django.setup(); from resilience.components import components; "
        "components['langsmith']; from langsmith import traceable; "
        "traceable(lambda: 1, name='answered')()"
    )
    variables = {**given, "DJANGO_SETTINGS_MODULE": "opsproject.settings"}
    command = ("python", "-c", program)
    _done(setting.engine.once(*command, variables=variables, volumes=volumes, within=_WITHIN))


# ── how it ends ─────────────────────────────────────────────────────────────────────────────────


def ends_in_order(setting: Setting) -> str:
    """SIGTERM while requests wait for a slow database: all are answered, then it ends in time."""
    answers, status, seconds = _under_load(setting)
    assert answers == [200] * IN_FLIGHT, f"requests that were running ended as {answers}"
    assert status == 0, f"it ended with {status} after {seconds:.1f} s"
    assert seconds < site.GRACEFUL, f"it took {seconds:.1f} s to end"
    twin, _status, _seconds = _under_load(setting, GUNICORN_CMD_ARGS=CUT_AFTER)
    assert twin != [200] * IN_FLIGHT, (
        f"with {CUT_AFTER} nothing was cut: the requests were too fast"
    )
    cut = sum(answer != 200 for answer in twin)
    return (
        f"{IN_FLIGHT} of {IN_FLIGHT} running requests answered 200, ended {seconds:.1f} s after "
        f"SIGTERM (with {CUT_AFTER}: {cut} cut)"
    )


def _under_load(setting: Setting, **more: str) -> tuple[list[int | str], int | None, float]:
    """How each request ended, and the server; AssertionError if any was answered too early."""
    with Proxy(HOST, setting.postgres.port) as database:
        through = setting.postgres.url().replace(f":{setting.postgres.port}/", f":{database.port}/")
        given = {**setting.given, "DATABASE_URL": through, **more}
        with site.site(setting.engine, given) as served:
            database.fault = Latency(SLOW)
            before = database.connections
            requests = [_Request(served) for _ in range(IN_FLIGHT)]
            assert until(lambda: database.connections >= before + IN_FLIGHT, 10.0)
            time.sleep(SETTLE)  # a health probe may have been one of them
            early = [request.answer for request in requests if request.answer is not None]
            assert not early, f"answered before SIGTERM: {early}"
            status, seconds = _stopped(served)
            database.fault = None
            return [request.result() for request in requests], status, seconds


class _Request:
    """A page that asks the database for a session, under way in a thread."""

    def __init__(self, served: site.Site) -> None:
        self.answer: int | str | None = None
        self._served = served
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def result(self) -> int | str:
        self._thread.join(site.STOP_WITHIN)
        return "nothing" if self.answer is None else self.answer

    def _ask(self) -> None:
        cookie = {"Cookie": f"sessionid={secrets.token_hex(16)}"}  # of no session in the cache
        try:
            self.answer = self._served.get("/account/", {**site.EDGE, **cookie})
        except (OSError, HTTPException) as error:
            self.answer = type(error).__name__


# ── shared ──────────────────────────────────────────────────────────────────────────────────────


def _stopped(served: site.Site) -> tuple[int | None, float]:
    """Send SIGTERM; exit status and seconds as ``site.ended``."""
    served.running.terminate()
    return site.ended(served.running, site.STOP_WITHIN)


def _done(ended: Ended) -> str:
    assert ended.code == 0, f"it ended with {ended.code}: {ended.err[-2000:]}"
    return ended.out


def _report(ended: Ended) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(ended.out)
    except ValueError as error:
        raise AssertionError(f"no report, but {ended.code}: {ended.err[-2000:]}") from error
    return found


def _errors(report: dict[str, Any]) -> str:
    told = [
        f"{one['id']} of {one['subject']}: {one['summary']}"
        for one in report["findings"]
        if one["level"] == "error"
    ]
    return "\n".join(told)
