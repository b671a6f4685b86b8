"""Ten thousand asks and many rounds leave no connection and no thread behind.

Counted where it hurts: by redis-server and PostgreSQL themselves.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, SECRET_KEY, run
from tests.servers import redis_server

CHILD = """
import json, os, sys, threading, time
os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
import django
django.setup()
import psycopg, redis
from django.conf import settings
from resilience.health import monitor
from resilience.health.schedule import Pace

watch = redis.Redis.from_url(settings.REDIS)
asked = psycopg.connect(settings.POSTGRES, autocommit=True)

def count():
    others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    return {
        "redis": len(watch.client_list()),
        "postgres": asked.execute(others).fetchone()[0],
        "threads": threading.active_count(),
    }

def settled():  # until every run of the last round has landed, and its connection is closed
    ends = time.monotonic() + 5
    health = monitor.check_now(5.0)
    while any(state.running_since for state in health.subjects) and time.monotonic() < ends:
        time.sleep(0.01)
        health = monitor.snapshot()
    time.sleep(0.3)
    return health

monitor._monitor = monitor.Monitor(pace=Pace(check=0.0))
health = settled()
levels = {state.subject: str(state.level) for state in health.subjects}
before = count()
for _ in range(ROUNDS):
    monitor.check_now(5.0)
for _ in range(10000):
    monitor.ask(1.0)
health = settled()
runs = {state.subject: len(state.samples) for state in health.subjects}
print(json.dumps([before, count(), levels, runs]))
"""
SETTINGS = """
SECRET_KEY = {key!r}
INSTALLED_APPS = ["resilience"]
POSTGRES = {postgres!r}
REDIS = {redis!r}
DATABASES = {{"default": {{"ENGINE": "django.db.backends.postgresql", "HOST": {host!r},
    "PORT": {port}, "NAME": {name!r}, "USER": {user!r}, "PASSWORD": {password!r}}},
    "lite": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "lite.sqlite3"}}}}
CACHES = {{
    "default": {{"BACKEND": "resilience.cache.ResilientCache", "LOCATION": REDIS}},
    "theirs": {{"BACKEND": "django_redis.cache.RedisCache", "LOCATION": REDIS + "/1"}},
    "djangos": {{"BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS + "/2"}},
}}
USE_TZ = True
"""
ROUNDS = 25


@pytest.fixture(scope="module")
def counted(tmp_path_factory, postgres) -> list[dict[str, int]]:
    """Before and after; then the levels of the subjects, and how often each was asked."""
    folder: Path = tmp_path_factory.mktemp("growth")
    with redis_server(directory=folder) as redis:
        (folder / "site_settings.py").write_text(
            SETTINGS.format(
                key=SECRET_KEY,
                postgres=postgres.url(),
                redis=redis.url().rpartition("/")[0],
                host=postgres.host,
                port=postgres.port,
                name=postgres.database,
                user=postgres.user,
                password=postgres.password,
            )
        )
        (folder / "lite.sqlite3").touch()
        (folder / "child.py").write_text(CHILD.replace("ROUNDS", str(ROUNDS)))
        variables = {"PYTHONPATH": str(ROOT)}
        ended = run(sys.executable, "child.py", cwd=folder, variables=variables)
    assert ended.code == 0, ended.err
    found: list[dict[str, int]] = json.loads(ended.out)
    return found


def test_every_subject_was_really_asked(counted):
    _, _, levels, runs = counted
    names = {"databases.default", "databases.lite", "caches.default", "caches.theirs"}
    assert names | {"caches.djangos"} <= set(levels)
    assert {name for name, level in levels.items() if level == "error"} == set()
    assert all(runs[name] >= ROUNDS for name in names)


@pytest.mark.parametrize("what", ["redis", "postgres", "threads"])
def test_nothing_grows(counted, what):
    before, after, _, _ = counted
    assert after[what] <= before[what]
