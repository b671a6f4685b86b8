"""A real Redis and a real PostgreSQL: their clocks, and the TLS that PostgreSQL is asked for."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from django.db import connections

from resilience.findings import Level
from resilience.probes import discovery, runner, tls
from resilience.probes.base import Deadline
from resilience.probes.clocks import Clocks
from resilience.probes.sightings import Sightings
from tests.probes.test_database import allowed, of, use  # noqa: F401 - the fixtures
from tests.servers import PostgresServer, RedisServer, postgres_server, redis_with_password
from tests.tls.pki import ROOT, Issued, issue, leaf

PASSWORD = "geheim"


@pytest.fixture(scope="module")
def redis(tmp_path_factory) -> Iterator[RedisServer]:
    with redis_with_password(tmp_path_factory.mktemp("redis"), PASSWORD) as server:
        yield server


def cache(settings, redis: RedisServer, password: str | None = None) -> None:
    location = redis.url(password=password or PASSWORD)
    backend = "resilience.cache.ResilientCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": location}}


def clock(ahead: timedelta = timedelta()) -> Clocks:
    return Clocks("clock", sightings=Sightings(()), now=lambda: datetime.now(UTC) + ahead)


def test_redis_agrees_with_this_clock(settings, redis):
    cache(settings, redis)
    (found,) = clock().run(Deadline(2))
    assert (found.id, "caches.default" in found.summary) == ("tls.ok", True)


@pytest.mark.parametrize(("hours", "said"), [(3, "3.0 h fast"), (-3, "3.0 h slow")])
def test_redis_does_not_agree_with_a_wrong_clock(hours, said, settings, redis):
    cache(settings, redis)
    probe = clock(timedelta(hours=hours))
    (found,) = probe.run(Deadline(2))
    assert (found.id, found.level) == ("tls.clock-skew", Level.WARNING)
    assert said in found.summary
    assert abs(probe.sightings.skew("x", 0.1) + timedelta(hours=hours)) < timedelta(seconds=5)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory) -> Iterator[PostgresServer]:
    with postgres_server(tmp_path_factory.mktemp("postgres")) as server:
        yield server


def test_a_database_and_its_twin(use, settings, postgres):  # noqa: F811
    settings.CACHES = {}
    use(of(postgres))
    (found,) = clock().run(Deadline(5))
    assert (found.id, "databases.default" in found.summary) == ("tls.ok", True)
    (found,) = clock(timedelta(hours=1)).run(Deadline(5))
    assert (found.id, "databases.default" in found.summary) == ("tls.clock-skew", True)


def test_who_does_not_answer_is_left_out(settings, redis):
    cache(settings, redis, password="wrong")
    assert list(clock().run(Deadline(2))) == []


def test_without_a_server_that_uses_tls_no_clock_matters(settings, redis):
    cache(settings, redis)
    assert [probe.subject for probe in tls.probes()] == ["tls"]
    settings.SENTRY_DSN = "https://o1.ingest.sentry.io/1"
    assert [probe.subject for probe in tls.probes()][-1] == "clock"


# ── TLS of PostgreSQL ───────────────────────────────────────────────────────────────────────────


def switch_on(server: PostgresServer, certificate: Issued) -> None:
    """``ssl = on`` with files that PostgreSQL accepts: its own user's, the key for it alone."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        row = connection.execute("SHOW data_directory").fetchone()
        assert row is not None
        data = Path(row[0])
        for name, text in (("server.crt", certificate.pem), ("server.key", certificate.key_pem)):
            file = data / name
            file.write_text(text)
            file.chmod(0o600)
            os.chown(file, data.stat().st_uid, data.stat().st_gid)
        connection.execute("ALTER SYSTEM SET ssl = on")
        connection.execute("SELECT pg_reload_conf()")


def test_a_postgresql_without_tls_and_with_it(use, settings, postgres, tmp_path):  # noqa: F811
    root = tmp_path / "root.pem"
    root.write_text(ROOT.pem)
    config = of(postgres, HOST="localhost")
    config["OPTIONS"] = {"sslmode": "verify-full", "sslrootcert": str(root)}
    settings.CACHES = {}
    use(config)

    def examined() -> list[str]:
        (endpoint,) = discovery.endpoints()
        return [each.id for each in runner.run(tls.probes_of([endpoint]), Deadline(5))]

    assert examined() == ["tls.no-starttls"]
    switch_on(postgres, leaf())
    until = time.monotonic() + 5
    while examined() == ["tls.no-starttls"] and time.monotonic() < until:
        time.sleep(0.05)  # the server reads its configuration when it gets to it
    assert examined() == ["tls.ok"]
    with connections["default"].cursor() as cursor:  # the application's own verdict
        cursor.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert cursor.fetchone() == (True,)
    connections["default"].close()
    root.write_text(issue("Another", ca=True).pem)
    assert examined() == ["tls.untrusted-root"]
    root.unlink()
    assert examined() == ["tls.bundle-missing"]
