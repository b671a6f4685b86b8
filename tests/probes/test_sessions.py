"""Which engine of sessions on which cache loses what, and how loudly that is said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.sessions.backends import cache as on_cache, cached_db, db
from django.core import checks

from resilience.cache import state
from resilience.findings import Finding, Level
from resilience.probes import deploy, runner, sessions
from resilience.probes.base import Deadline
from resilience.simulation.network import Refused

CACHE = "django.contrib.sessions.backends.cache"
CACHED_DB = "django.contrib.sessions.backends.cached_db"
DB = "django.contrib.sessions.backends.db"
OURS = "resilience.cache.ResilientCache"
DJANGO = "django.core.cache.backends.redis.RedisCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"
REDIS: dict[str, Any] = {"BACKEND": OURS, "LOCATION": "redis://localhost/0"}
CACHES: dict[str, dict[str, Any]] = {
    "ours": REDIS,
    "memory": {"BACKEND": OURS, "LOCATION": ""},
    "locmem": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "dummy": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
    "django": {"BACKEND": DJANGO, "LOCATION": "redis://localhost/0"},
    "django-redis": {"BACKEND": DJANGO_REDIS, "LOCATION": "redis://localhost/0"},
    "silenced": {
        "BACKEND": DJANGO_REDIS,
        "LOCATION": "redis://localhost/0",
        "OPTIONS": {"IGNORE_EXCEPTIONS": True},
    },
    "database": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "t"},
}
PLACES = {"laptop": ("none", None), "laptop, 4": ("none", 4), "railway": ("railway", None)}
INFO, WARNING, ERROR = "info", "warning", "error"


@pytest.fixture
def clean_cache() -> Iterator[None]:
    """What this test leaves unsaid to a Redis that is gone is not logged when the tests end."""
    yield
    state.reset()


def run(settings: Any, engine: str, config: dict[str, Any]) -> list[Finding]:
    settings.SESSION_ENGINE = engine
    settings.CACHES = {"default": config}
    return [found for probe in sessions.probes() for found in probe.run(Deadline(1.0))]


@pytest.mark.parametrize(
    ("engine", "cache", "expected"),
    [
        (CACHE, "ours", (INFO, INFO, WARNING)),
        (CACHE, "memory", (INFO, WARNING, ERROR)),
        (CACHE, "locmem", (INFO, WARNING, ERROR)),
        (CACHE, "dummy", (WARNING, WARNING, ERROR)),
        (CACHE, "django", (INFO, INFO, WARNING)),
        (CACHE, "silenced", (INFO, INFO, WARNING)),
        (CACHE, "database", (INFO, INFO, WARNING)),
        (CACHED_DB, "ours", (None, None, None)),
        (CACHED_DB, "memory", (None, WARNING, ERROR)),
        (CACHED_DB, "locmem", (None, WARNING, ERROR)),
        (CACHED_DB, "dummy", (None, None, None)),
        (CACHED_DB, "django", (INFO, INFO, INFO)),
        (CACHED_DB, "django-redis", (INFO, INFO, INFO)),
        (CACHED_DB, "silenced", (None, None, None)),
        (CACHED_DB, "database", (None, None, None)),
        (DB, "dummy", (None, None, None)),
        ("django.contrib.sessions.backends.signed_cookies", "locmem", (None, None, None)),
    ],
)
def test_engine_and_cache(settings, hosted, engine, cache, expected):
    for place, level in zip(PLACES.values(), expected, strict=True):
        hosted(*place)
        found = run(settings, engine, CACHES[cache])
        assert [each.level.name.lower() for each in found] == ([level] if level else [])
        assert all(
            (each.id, each.subject) == ("deploy.cache-sessions", "sessions") for each in found
        )
        assert all(each.hint for each in found)


def test_the_hint_for_the_engine_cache_is_cached_db(settings, hosted):
    hosted("railway")
    [found] = run(settings, CACHE, REDIS)
    assert f'SESSION_ENGINE = "{CACHED_DB}"' in found.hint
    assert run(settings, CACHED_DB, REDIS) == []


def test_the_processes_are_named_by_their_variable(settings, hosted):
    hosted("railway", 4)
    for engine in (CACHE, CACHED_DB):
        assert (
            "WEB_CONCURRENCY starts 4 processes"
            in run(settings, engine, CACHES["locmem"])[0].summary
        )
    hosted("railway")
    assert "starts" not in run(settings, CACHE, CACHES["locmem"])[0].summary


# ── an engine of one's own ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("base", "count"),
    [(on_cache.SessionStore, 1), (cached_db.SessionStore, 0), (db.SessionStore, 0)],
)
def test_an_engine_that_extends_djangos_is_one(
    settings, hosted, tmp_path, monkeypatch, base, count
):
    name = f"engine_{base.__module__.rpartition('.')[2]}"
    (tmp_path / f"{name}.py").write_text(
        f"from {base.__module__} import SessionStore as Base\nclass SessionStore(Base): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    hosted("railway")
    assert len(run(settings, name, REDIS)) == count


def test_an_engine_that_does_not_import_stops_nobody(settings):
    assert run(settings, "no_such_module", REDIS) == []


# ── settings that cannot work ───────────────────────────────────────────────────────────────────


def test_an_alias_that_is_not_there(settings):
    settings.SESSION_CACHE_ALIAS = "sessions"
    [found] = run(settings, CACHED_DB, REDIS)
    assert (found.level, found.hint) == (Level.ERROR, "Set it to one of CACHES.")
    settings.SESSION_CACHE_ALIAS = "default"
    assert run(settings, CACHED_DB, REDIS) == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("cache", "raises"),
    [("django", True), ("django-redis", True), ("silenced", False), ("ours", False)],
)
def test_what_is_said_of_cached_db_is_true(settings, clean_cache, cache, raises):
    session = db.SessionStore()
    session["note"] = "milk"
    session.save()
    with Refused() as gone:
        config = {**CACHES[cache], "LOCATION": f"redis://{gone.host}:{gone.port}/0"}
        said = any(each.level is Level.INFO for each in run(settings, CACHED_DB, config))
        loading = cached_db.SessionStore(session.session_key).load
        if raises:
            with pytest.raises(Exception, match=r"[Cc]onnect"):
                loading()
        else:
            assert loading() == {"note": "milk"}
    assert said == raises


@pytest.mark.parametrize(
    "broken",
    [
        {"default": None},
        {"default": REDIS, "other": None},
        {"default": {**REDIS, "LOCATION": "redis://:a/b@host"}},
    ],
)
def test_settings_of_another_form_are_the_caches_own_matter(settings, broken):
    settings.SESSION_ENGINE, settings.CACHES = CACHED_DB, broken
    assert [found for probe in sessions.probes() for found in probe.run(Deadline(1.0))] == []


@pytest.mark.parametrize(
    ("strict", "count"),
    [
        (["*"], 1),
        (["rl:*", "django.contrib.sessions.*"], 1),
        (["rl:*"], 0),
        ([], 0),
        ("no list", 0),  # cache.options-invalid says that
    ],
)
def test_strict_sessions_cannot_be_read_in_an_outage(settings, strict, count):
    """tests/cache/test_sessions.py shows that it is so."""
    config = {**REDIS, "OPTIONS": {"RESILIENCE": {"STRICT": strict}}}
    found = run(settings, CACHED_DB, config)
    assert [each.level for each in found] == [Level.WARNING] * count


# ── in a report ─────────────────────────────────────────────────────────────────────────────────


def test_it_is_part_of_the_area_and_follows_from_the_cache(settings, hosted):
    hosted("railway", 4)
    settings.SESSION_ENGINE, settings.CACHES = CACHE, {"default": CACHES["locmem"]}
    from resilience.probes import cache

    probes = [*cache.probes(), *deploy.probes()]
    found = {each.id: each for each in runner.run(probes, Deadline(10.0))}
    because = found["deploy.cache-sessions"].cause
    assert because is not None
    assert because.id == "cache.local-only"


def test_it_is_part__twin__a_database_needs_no_cache(settings, hosted):
    hosted("railway", 4)
    settings.SESSION_ENGINE, settings.CACHES = DB, {"default": CACHES["locmem"]}
    found = {each.id for each in runner.run(deploy.probes(), Deadline(10.0))}
    assert "deploy.cache-sessions" not in found


@pytest.mark.parametrize(("engine", "is_said"), [(CACHE, True), (CACHED_DB, False)])
def test_it_is_one_of_the_deployment_checks(settings, hosted, engine, is_said):
    hosted("railway")
    settings.SESSION_ENGINE, settings.CACHES = engine, {"default": REDIS}
    said = {str(each.id) for each in checks.run_checks(include_deployment_checks=True)}
    assert ("resilience.deploy.cache-sessions" in said) == is_said
