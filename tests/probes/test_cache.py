"""A cache that keeps what it is given, one that does not, and one that nobody shares."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache

from resilience import env
from resilience.findings import Finding, Level
from resilience.probes import areas, cache, runner
from resilience.probes.base import Deadline
from resilience.simulation.network import Refused
from tests.servers import redis_server

LOCAL = "django.core.cache.backends.locmem.LocMemCache"
FILES = "django.core.cache.backends.filebased.FileBasedCache"
DUMMY = "django.core.cache.backends.dummy.DummyCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"
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
