"""A cache that keeps what it is given, one that does not, and one that nobody shares."""

from __future__ import annotations

import os
import signal
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.db import connections

from resilience import conf, env
from resilience.cache import state
from resilience.cache.backend import ResilientCache
from resilience.findings import Finding, Level
from resilience.probes import areas, cache, runner
from resilience.probes.base import Deadline
from resilience.simulation.network import Refused
from tests.servers import redis_server

LOCAL = "django.core.cache.backends.locmem.LocMemCache"
FILES = "django.core.cache.backends.filebased.FileBasedCache"
DUMMY = "django.core.cache.backends.dummy.DummyCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"
DJANGO = "django.core.cache.backends.redis.RedisCache"
OURS = "resilience.cache.ResilientCache"
HERE = __name__
CACHED = "django.contrib.sessions.backends.cache"
CACHED_DB = "django.contrib.sessions.backends.cached_db"
IN_DATABASE = "django.contrib.sessions.backends.db"

INFO, WARNING, ERROR = Level.INFO, Level.WARNING, Level.ERROR


def run() -> list[Finding]:
    return [found for probe in cache.probes() for found in probe.run(Deadline(5.0))]


def ids() -> list[str]:
    return [found.id for found in run()]


def use(settings: Any, backend: str, location: object = "", **options: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": location, **options}}


@pytest.fixture(autouse=True)
def no_state_stays() -> Iterator[None]:
    yield
    state.reset()


@pytest.fixture
def laptop(hosted) -> None:
    hosted("none")


# ── the round trip ──────────────────────────────────────────────────────────────────────────────


def test_files__are_written_read_and_gone(settings, tmp_path):
    use(settings, FILES, tmp_path)
    [found] = run()
    assert (found.id, found.subject, found.level) == ("cache.ok", "caches.default", Level.OK)
    assert "FileBasedCache" in found.summary
    assert float(found.facts["round_trip_ms"]) > 0
    assert list(tmp_path.iterdir()) == []


def test_files__twin__a_folder_that_cannot_be_written(settings, tmp_path):
    occupied = tmp_path / "file"
    occupied.touch()
    use(settings, FILES, occupied / "cache")
    [found] = run()
    assert (found.id, found.level) == ("cache.failed", ERROR)
    assert "NotADirectoryError" in found.summary


def test_memory__keeps_nothing_of_ours(settings, laptop):
    use(settings, LOCAL, "test_memory")
    assert ids() == ["cache.local-only", "cache.ok"]
    kept: Any = caches["default"]
    assert list(kept._cache) == []


def test_a_real_redis__keeps_nothing_of_ours(settings, tmp_path):
    with redis_server(directory=tmp_path) as server:
        use(settings, DJANGO_REDIS, server.url(), KEY_PREFIX="shop")
        assert ids() == ["cache.ok"]
        assert server.command("DBSIZE") == 0
        assert server.command("INFO", "commandstats")["cmdstat_set"]["calls"] == 1


def test_every_alias_is_asked(settings, tmp_path, laptop):
    settings.CACHES = {
        "default": {"BACKEND": LOCAL},
        "files": {"BACKEND": FILES, "LOCATION": tmp_path},
        "none": {"BACKEND": DUMMY},
    }
    assert [(found.subject, found.id) for found in run()] == [
        ("caches.default", "cache.local-only"),
        ("caches.default", "cache.ok"),
        ("caches.files", "cache.ok"),
        ("caches.none", "cache.dummy"),
    ]


# ── a backend that is broken or lies ────────────────────────────────────────────────────────────


class Honest(LocMemCache):
    """The twin of those below."""


class Forgetful(LocMemCache):
    def set(self, *_: Any, **__: Any) -> None:
        pass


class Liar(LocMemCache):
    def get(self, *_: Any, **__: Any) -> Any:
        return "another value"


class Hoarder(LocMemCache):
    def delete(self, *_: Any, **__: Any) -> bool:
        return True


class Raising(LocMemCache):
    def get(self, *_: Any, **__: Any) -> Any:
        raise ConnectionError("redis://:hunter2@cache:6379 is not there")


class Closing(LocMemCache):
    closed = 0

    def close(self, **_: Any) -> None:
        Closing.closed += 1


def test_an_honest_backend(settings):
    use(settings, f"{HERE}.Honest")
    assert ids() == ["cache.ok"]


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("Forgetful", "reading gave something else"),
        ("Liar", "reading gave something else"),
        ("Hoarder", "it survived its deletion"),
    ],
)
def test_a_backend_that_lies__twin(settings, backend, said):
    use(settings, f"{HERE}.{backend}")
    [found] = run()
    assert (found.id, found.level) == ("cache.mismatch", ERROR)
    assert said in found.summary


def test_a_backend_that_raises(settings):
    use(settings, f"{HERE}.Raising")
    [found] = run()
    assert (found.id, found.level) == ("cache.failed", ERROR)
    assert "ConnectionError: redis://***@cache:6379 is not there" in found.summary
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize("backend", ["no.such.Backend", f"{HERE}.NoSuchBackend", "nothing"])
def test_a_backend_that_cannot_be_imported_is_named(settings, backend):
    use(settings, backend)
    [found] = run()
    assert (found.id, found.level) == ("cache.failed", ERROR)
    assert backend in found.summary


@pytest.mark.parametrize("backend", ["no.such.Backend", f"{HERE}.NoSuchBackend"])
def test_a_backend_that_cannot_be_imported_is_mended_in_its_setting(settings, backend):
    use(settings, backend)
    assert run()[0].hint == (
        "Install the package that is missing, or correct CACHES['default']['BACKEND']."
    )


def test_a_table_that_does_not_exist_is_mended_by_its_command(settings, django_db_blocker):
    use(settings, "django.core.cache.backends.db.DatabaseCache", "no_such_table")
    with django_db_blocker.unblock():
        [found] = run()
    connections["default"].close()
    assert found.id == "cache.failed"
    assert "python manage.py createcachetable" in found.hint


def test_a_backend_that_raises__twin__something_else(settings):
    use(settings, f"{HERE}.Raising")
    assert run()[0].hint == "Look at what it stands on, then at CACHES['default']."


def test_a_connection_is_closed_whatever_happened(settings):
    before = Closing.closed
    use(settings, f"{HERE}.Closing")
    run()
    assert Closing.closed == before + 1


# ── whose cache it is ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("where", "sessions", "level"),
    [
        (("none", None), IN_DATABASE, INFO),
        (("none", 4), IN_DATABASE, INFO),
        (("none", None), CACHED, INFO),
        (("railway", None), IN_DATABASE, WARNING),
        (("railway", 1), IN_DATABASE, WARNING),
        (("railway", 2), IN_DATABASE, ERROR),
        (("railway", 1), CACHED, ERROR),
        (("railway", None), CACHED_DB, ERROR),
        (("kubernetes", 4), CACHED, ERROR),
    ],
)
def test_a_cache_of_one_process(settings, hosted, where, sessions, level):
    platform, processes = where
    hosted(platform, processes)
    settings.SESSION_ENGINE = sessions
    use(settings, LOCAL)
    local, fine = run()
    assert (local.id, local.level, fine.id) == ("cache.local-only", level, "cache.ok")
    assert ("WEB_CONCURRENCY starts" in local.summary) is (processes is not None and processes > 1)


def test_a_cache_of_one_process__sessions_in_another_alias(settings, hosted, tmp_path):
    hosted("railway", 1)
    settings.SESSION_ENGINE, settings.SESSION_CACHE_ALIAS = CACHED, "sessions"
    settings.CACHES = {
        "default": {"BACKEND": LOCAL},
        "sessions": {"BACKEND": FILES, "LOCATION": tmp_path},
    }
    assert run()[0].level is WARNING


def test_a_cache_of_one_process__twin__a_shared_one(settings, hosted, tmp_path):
    hosted("railway", 4)
    use(settings, FILES, tmp_path)
    assert ids() == ["cache.ok"]


@pytest.mark.parametrize(("platform", "laptop"), [("none", True), ("railway", False)])
@pytest.mark.parametrize("declared", [True, False])
def test_how_a_cache_is_shared(settings, hosted, platform, laptop, declared):
    """By the variable, where the project has one; otherwise in the settings."""
    hosted(platform)
    use(settings, LOCAL)
    if declared:
        env.str("REDIS_URL", default="")
    hint = run()[0].hint
    assert hint.startswith("Nothing to do on a laptop. ") is laptop
    assert ("set REDIS_URL to a Redis" in hint) is declared
    assert ("CACHES['default']" in hint) is not declared


@pytest.mark.parametrize(("platform", "level"), [("none", INFO), ("railway", WARNING)])
def test_a_cache_that_keeps_nothing(settings, hosted, platform, level):
    hosted(platform)
    use(settings, DUMMY)
    [found] = run()
    assert (found.id, found.level) == ("cache.dummy", level)


# ── what it stands on ───────────────────────────────────────────────────────────────────────────


def examine() -> dict[str, Finding]:
    probes = areas.probes_of(["cache", "redis"])
    return {found.id: found for found in runner.run(probes, Deadline(5.0))}


@pytest.mark.parametrize(("hides", "symptom"), [(True, "cache.mismatch"), (False, "cache.failed")])
def test_redis_is_down__and_the_cache_says_because_of_it(settings, hides, symptom):
    """A backend that hides its errors (IGNORE_EXCEPTIONS) is found out by what it returns."""
    with Refused() as nobody:
        url = f"redis://127.0.0.1:{nobody.port}/0"
        use(settings, DJANGO_REDIS, url, OPTIONS={"IGNORE_EXCEPTIONS": hides})
        found = examine()
    assert set(found) == {symptom, "tcp.refused"}
    assert found[symptom].cause == found["tcp.refused"]
    assert [each.is_root_cause for each in (found[symptom], found["tcp.refused"])] == [False, True]


def test_redis_is_down__twin__it_is_up(settings, tmp_path):
    with redis_server("--maxmemory", "64mb", directory=tmp_path) as server:
        use(settings, DJANGO_REDIS, server.url(), OPTIONS={"IGNORE_EXCEPTIONS": True})
        found = examine()
    assert {"cache.ok", "redis.ok"} <= set(found)
    assert all(each.cause is None for each in found.values())


def test_a_lie_of_its_own_has_no_cause(settings):
    use(settings, f"{HERE}.Liar")
    assert examine()["cache.mismatch"].is_root_cause


def test_a_missing_variable_is_the_cause(settings, monkeypatch):
    monkeypatch.delenv("REDIS_URL", raising=False)
    with env.collecting():
        use(settings, DJANGO_REDIS, env.str("REDIS_URL"))
        [found] = run()
    assert (found.id, found.level, found.skipped) == ("env.missing", INFO, True)
    assert found.cause is not None
    assert (found.cause.id, found.cause.subject) == ("env.missing", "REDIS_URL")


def test_a_missing_variable__twin__it_is_there(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("CACHE_FOLDER", str(tmp_path))
    with env.collecting():
        use(settings, FILES, env.str("CACHE_FOLDER"))
        assert ids() == ["cache.ok"]


# ── our own backend ─────────────────────────────────────────────────────────────────────────────


class Ours(ResilientCache):
    """As a project may extend it."""


@pytest.mark.parametrize(
    "backend", [OURS, f"{HERE}.Ours", "resilience.cache.backend.ResilientCache"]
)
def test_ours__redis_answers(settings, hosted, tmp_path, backend):
    hosted("railway", 2)
    with redis_server(directory=tmp_path) as server:
        use(settings, backend, server.url(), KEY_PREFIX="shop")
        [found] = run()
        assert (found.id, found.level) == ("cache.ok", Level.OK)
        took = found.facts["round_trip_ms"]
        assert float(took) > 0
        assert found.facts == {
            "state": "closed",
            "round_trip_ms": took,
            "l1_max_mib": 16.0,
            "processes": 2,
        }
        assert server.command("DBSIZE") == 0


def test_ours__redis_is_refused__and_the_cache_says_because_of_it(settings):
    with Refused() as nobody:
        use(settings, OURS, f"redis://127.0.0.1:{nobody.port}/0", KEY_PREFIX="shop")
        found = examine()
    assert set(found) == {"cache.fallback", "tcp.refused"}
    fallback = found["cache.fallback"]
    assert fallback.cause == found["tcp.refused"]
    assert "Answered by this process instead of Redis" in fallback.summary
    assert set(fallback.facts) == {
        "state",
        "write_state",
        "last_error",
        "fallbacks",
        "l1_bytes",
    }
    assert int(fallback.facts["fallbacks"]) == 2
    assert "refused" in str(fallback.facts["last_error"])


def test_ours__redis_is_refused__twin__it_is_up(settings, tmp_path):
    with redis_server("--maxmemory", "64mb", directory=tmp_path) as server:
        use(settings, OURS, server.url(), KEY_PREFIX="shop")
        found = examine()
    assert {"cache.ok", "redis.ok"} <= set(found)
    assert all(each.cause is None for each in found.values())


def test_ours__redis_hangs(settings, tmp_path):
    with redis_server(directory=tmp_path) as server:
        use(settings, OURS, server.url(), KEY_PREFIX="shop")
        os.kill(server.pid, signal.SIGSTOP)
        found = examine()
        os.kill(server.pid, signal.SIGCONT)
    assert set(found) == {"cache.fallback", "redis.silent"}
    assert found["cache.fallback"].cause == found["redis.silent"]


def test_ours__redis_takes_no_writes(settings, tmp_path):
    """Reads are Redis's, and so the state is closed; what was written is not there."""
    with redis_server(directory=tmp_path) as server:
        server.command("REPLICAOF", "127.0.0.1", "1")
        use(settings, OURS, server.url(), KEY_PREFIX="shop")
        [found] = run()
    assert (found.id, found.facts["state"]) == ("cache.fallback", "closed")
    assert "ReadOnlyError" in found.summary


def test_ours__a_user_that_may_not_read(settings, tmp_path):
    acl = "user default on nopass ~* &* +@all -get\n"
    with redis_server(directory=tmp_path, acl=acl) as server:
        use(settings, OURS, server.url(), KEY_PREFIX="shop")
        [found] = run()
    assert found.id == "cache.fallback"
    assert "NoPermission" in found.summary


def test_ours__its_circuit_is_open(settings, tmp_path):
    with redis_server(directory=tmp_path) as server:
        use(settings, OURS, server.url(), KEY_PREFIX="shop")
        assert ids() == ["cache.ok"]
        state.force("default", "open", "write")
        [held] = run()
        assert (held.id, "held open by hand: write" in held.summary) == ("cache.fallback", True)
        assert "by itself" not in held.hint
        assert "force('default', None)" in held.hint
        state.force("default", None)
        [released] = run()
        assert "by hand" not in released.summary, "the twin: open until the next probe"
        assert "returns to Redis by itself" in released.hint
        state.force("default", "closed")
        # What the outage left is still being taken out of Redis.
        own: Any = caches["default"]
        own._state.journal.add(["of another alias"], "another:*", unknown=False)
        assert ids() == ["cache.ok"]


@pytest.mark.parametrize(
    ("where", "sessions", "level"),
    [
        (("none", 4), CACHED, INFO),
        (("railway", 1), IN_DATABASE, WARNING),
        (("railway", 2), IN_DATABASE, ERROR),
        (("railway", 1), CACHED, ERROR),
    ],
)
@pytest.mark.parametrize("location", ["", None, [], " "])
def test_ours__without_location(settings, hosted, where, sessions, level, location):
    hosted(*where)
    settings.SESSION_ENGINE = sessions
    use(settings, OURS, location)
    local, fine = run()
    assert (local.id, local.level) == ("cache.local-only", level)
    assert "CACHES['default'] a LOCATION redis://" in local.hint
    assert (fine.id, fine.facts["state"]) == ("cache.ok", "memory")


def test_ours__a_missing_variable_is_the_cause(settings, monkeypatch):
    monkeypatch.delenv("REDIS_URL", raising=False)
    with env.collecting():
        use(settings, OURS, env.str("REDIS_URL"))
        assert ids() == ["env.missing"]


def test_ours__several_servers_are_examined(settings, tmp_path):
    with redis_server(directory=tmp_path) as primary, redis_server(directory=tmp_path) as replica:
        replica.command("REPLICAOF", primary.host, primary.port)
        use(settings, OURS, f"{primary.url()}, {replica.url()}", KEY_PREFIX="shop")
        probes = areas.probes_of(["redis"])
        found = runner.run(probes, Deadline(5.0))
    assert [each.subject for each in found if each.id == "redis.ok"] == [
        f"redis.127.0.0.1:{primary.port}/0",
        f"redis.127.0.0.1:{replica.port}/0",
    ]


def test_ours__behind_sentinel(settings):
    use(settings, OURS, "redis://mymaster/0", OPTIONS=SENTINEL, KEY_PREFIX="shop")
    assert [found.id for found in runner.run(areas.probes_of(["redis"]), Deadline(5.0))] == [
        "redis.sentinel"
    ]


SENTINEL = {
    "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
    "SENTINELS": [("127.0.0.1", 1)],
    "PASSWORD": "x",
}


# ── what its options say ────────────────────────────────────────────────────────────────────────


def static() -> list[Finding]:
    return [
        found for probe in cache.probes() if not probe.live for found in probe.run(Deadline(5.0))
    ]


def configure(
    settings: Any, backend: str = OURS, location: object = "redis://127.0.0.1/0", **options: Any
) -> None:
    use(settings, backend, location, OPTIONS=options, KEY_PREFIX="shop")


def test_options_that_have_no_effect_are_named(settings):
    configure(settings, SOCKET_TIMEOUT=30, IGNORE_EXCEPTIONS=True)
    [found] = static()
    assert (found.id, found.level) == ("cache.options-superseded", INFO)
    assert "SOCKET_TIMEOUT, IGNORE_EXCEPTIONS" in found.summary


@pytest.mark.parametrize("backend", [OURS, DJANGO_REDIS])
def test_options_that_have_no_effect__twin(settings, backend):
    options = {} if backend == OURS else {"SOCKET_TIMEOUT": 30}
    configure(settings, backend, **options)
    assert static() == []


def test_options_that_are_refused_are_one_finding(settings):
    configure(settings, RESILIENCE={"OPERATION_TIMOUT": 1})
    [found] = run()
    assert (found.id, found.level) == ("cache.options-invalid", ERROR)
    assert "CACHES['default']: " in found.summary
    assert "'OPERATION_TIMEOUT'" in found.summary
    configure(settings, RESILIENCE={"OPERATION_TIMEOUT": 1})
    assert static() == []


@pytest.mark.parametrize(("platform", "level"), [("none", INFO), ("railway", WARNING)])
def test_a_prefix_that_is_empty(settings, hosted, platform, level):
    hosted(platform)
    use(settings, OURS, "redis://127.0.0.1/0")
    [found] = static()
    assert (found.id, found.level) == ("cache.prefix-empty", level)
    assert "clear() takes every key that begins with a colon" in found.summary


def test_a_prefix_that_is_empty__twin__the_keys_of_clear_are_named(settings):
    own = {"RESILIENCE": {"CLEAR_PATTERN": "mine:*"}}
    use(settings, OURS, "redis://127.0.0.1/0", OPTIONS=own)
    assert static() == []
    use(settings, DJANGO_REDIS, "redis://127.0.0.1/0")
    assert static() == []


def test_two_aliases_of_one_database_without_a_prefix(settings):
    one = {"BACKEND": DJANGO_REDIS, "LOCATION": "redis://127.0.0.1/1"}
    settings.CACHES = {"default": one, "other": {**one, "BACKEND": DJANGO}}
    assert [(found.id, found.subject) for found in static()] == [
        ("cache.prefix-empty", "caches.default"),
        ("cache.prefix-empty", "caches.other"),
    ]
    assert "mix with those of caches.other" in static()[0].summary


@pytest.mark.parametrize("change", [{"LOCATION": "redis://127.0.0.1/2"}, {"KEY_PREFIX": "two"}])
def test_two_aliases_of_one_database__twin(settings, change):
    one = {"BACKEND": DJANGO_REDIS, "LOCATION": "redis://127.0.0.1/1"}
    settings.CACHES = {"default": one, "other": {**one, **change}}
    assert static() == []


def in_container(mib: int | None, processes: int | None) -> None:
    """As detected in a container with this limit."""
    read = conf._read()
    limit = None if mib is None else mib << 20
    limited = replace(read.hosting, memory_limit=limit, processes=processes)
    conf._current = read._replace(hosting=limited)


def three_stores(settings: Any, mib: int = 16) -> None:
    def alias(location: str, mib: int) -> dict[str, Any]:
        own = {"RESILIENCE": {"L1_MAX_BYTES": mib << 20}}
        return {"BACKEND": OURS, "LOCATION": location, "KEY_PREFIX": location, "OPTIONS": own}

    settings.CACHES = {
        "default": alias("redis://127.0.0.1/0", mib),
        "same store": alias("redis://127.0.0.1:6379/0?protocol=2", mib // 2),
        "other store": alias("redis://127.0.0.1/1", mib),
    }


def test_copies_that_take_too_much_of_the_container(settings):
    three_stores(settings)
    in_container(512, 5)
    [found] = static()
    assert (found.id, found.level, found.subject) == ("cache.l1-memory", WARNING, "caches")
    assert found.facts == {
        "processes": 5,
        "stores": 2,
        "l1_max_mib": 32.0,
        "memory_limit_mib": 512.0,
    }


@pytest.mark.parametrize(("mib", "processes"), [(512, 4), (512, None), (None, 50)])
def test_copies_that_take_too_much__twin(settings, mib, processes):
    three_stores(settings)
    in_container(mib, processes)
    assert static() == []


@pytest.mark.parametrize("backend", [OURS, DJANGO_REDIS, DJANGO])
@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("redis://cache.internal/0", "on the network without a password"),
        ("rediss://cache.internal/0", "on the network without a password"),
        ("rediss://:pw@cache.internal/0?ssl_cert_reqs=none", "nobody verifies"),
        ("rediss://localhost/0?ssl_cert_reqs=none", "nobody verifies"),
        ("rediss://:pw@cache.internal/0", None),
        ("redis://:pw@cache.internal/0", None),
        ("redis://localhost/0", None),
        ("redis://127.0.0.2/0", None),
        ("redis://[::1]/0", None),
        ("unix:///run/redis.sock?db=0", None),
    ],
)
def test_pickles_that_others_may_write(settings, backend, location, said):
    configure(settings, backend, location)
    found = static()
    assert [(each.id, each.level, each.subject) for each in found] == (
        [("redis.pickle-untrusted", WARNING, "caches.default")] if said else []
    )
    if found:
        assert str(said) in found[0].summary
        assert "a password and its TLS a certificate that is verified" in found[0].hint
        configure(settings, backend, "rediss://:pw@cache.internal/0")
        assert static() == []


@pytest.mark.parametrize(
    "serializer",
    [
        "django_redis.serializers.json.JSONSerializer",
        "resilience.cache.signing.SignedPickleSerializer",
    ],
)
def test_pickles_that_others_may_write__twin__none_or_signed(settings, serializer):
    configure(settings, location="redis://cache.internal/0", SERIALIZER=serializer)
    assert static() == []


@pytest.mark.parametrize(
    ("given", "found"),
    [({}, True), ({"enable-threads": True}, False), ({"threads": b"4"}, False), (None, False)],
)
def test_uwsgi_without_threads_never_reaches_redis(given, found, settings, monkeypatch):
    """A stand-in for the module that exists inside the server only."""
    if given is not None:
        monkeypatch.setitem(sys.modules, "uwsgi", types.SimpleNamespace(opt=given))
    settings.CACHES = {
        "default": {
            "BACKEND": "resilience.cache.ResilientCache",
            "LOCATION": "redis://localhost",
            "KEY_PREFIX": "shop",
        }
    }
    ids = [
        finding.id
        for probe in areas.probes_of(["cache"], "build")
        for finding in probe.run(Deadline(1))
    ]
    assert ("cache.no-threads" in ids) is found
