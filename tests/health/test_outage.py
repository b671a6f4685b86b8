"""The real probes on real servers: what is told when one of them goes, and when it is back."""

from __future__ import annotations

import os
import signal

import pytest

from resilience.cache import state
from resilience.findings import Level
from resilience.health.monitor import Monitor
from resilience.health.schedule import Pace
from resilience.health.states import Readiness
from tests.cache.aliases import alias
from tests.health.test_monitor import state_of
from tests.health.test_processes import python
from tests.servers import redis_server

PACE = Pace(period=60.0, deadline=1.0, check=0.0)


@pytest.fixture
def own(tmp_path):
    with redis_server(directory=tmp_path) as server:
        yield server
        state.reset()


def test_a_redis_that_stops_is_the_one_cause_of_its_caches(own, settings):
    settings.RESILIENCE = {"CRITICAL": ["caches.default"]}
    with alias(own.url(), OPERATION_TIMEOUT=0.1):
        redis = f"redis.{own.host}:{own.port}/0"
        monitor = Monitor(pace=PACE)
        health = monitor.check_now(5.0)
        assert state_of(health, "caches.default").level < Level.WARNING
        assert state_of(health, redis).level < Level.ERROR
        os.kill(own.pid, signal.SIGSTOP)
        try:
            for _ in range(2):
                health = monitor.check_now(5.0)
        finally:
            os.kill(own.pid, signal.SIGCONT)
        (fallback,) = [
            one for one in state_of(health, "caches.default").findings if one.level is Level.ERROR
        ]
        assert fallback.id == "cache.fallback"
        assert fallback.cause is not None
        assert fallback.cause.subject == redis
        roots = {one.subject for one in health.report.findings if one.is_root_cause}
        assert redis in roots
        assert "caches.default" not in roots
        assert health.readiness is Readiness.NOT_READY
        settings.RESILIENCE = {"CRITICAL": []}
        assert monitor.snapshot().readiness is Readiness.DEGRADED
        monitor.rounds.stop(1.0)


DATABASE = """
import signal
server = int(os.environ["SERVER"])
monitor._monitor = monitor.Monitor(pace=Pace(check=0.0, deadline=1.5))

def told(health):
    (state,) = [one for one in health.subjects if one.subject == "databases.default"]
    hanging = " hanging" if state.running_since else ""
    print(f"{health.readiness} {state.findings[-1].id}{hanging}")

monitor.ask(5.0)
until(lambda: len(monitor.snapshot().subjects) > 5)
told(monitor.check_now(5.0))
os.kill(server, signal.SIGSTOP)
try:
    told(monitor.check_now(5.0))  # libpq waits for 2 s, the monitor for less
    until(lambda: all(one.running_since is None for one in monitor.snapshot().subjects))
    told(monitor.check_now(5.0))
finally:
    os.kill(server, signal.SIGCONT)
until(lambda: all(one.running_since is None for one in monitor.snapshot().subjects))
told(monitor.check_now(5.0))
told(monitor.check_now(5.0))
"""


def test_a_database_that_stops_takes_the_app_out_of_service_until_it_is_back(tmp_path, postgres):
    settings = f"""
DATABASES = {{"default": {{"ENGINE": "django.db.backends.postgresql", "HOST": {postgres.host!r},
    "PORT": {postgres.port}, "NAME": {postgres.database!r}, "USER": {postgres.user!r},
    "PASSWORD": {postgres.password!r}}}}}
SILENCED_SYSTEM_CHECKS = ["resilience.cache.local-only"]
"""
    ended = python(tmp_path, DATABASE, settings, SERVER=str(postgres.pid))
    assert ended.code == 0, ended.err
    assert ended.out.splitlines() == [
        "degraded database.ok",
        "degraded probe.timeout hanging",
        "not-ready probe.timeout hanging",
        "not-ready database.ok",
        "degraded database.ok",
    ]
