"""A database that answers, one that does not, and why; nothing is left behind on either side."""

from __future__ import annotations

import os
import secrets
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from asgiref.local import Local
from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from resilience import env
from resilience.findings import Finding, Level
from resilience.probes import database, runner
from resilience.probes.base import Deadline
from resilience.simulation.network import BlackHole, Garbage, Refused, Silence
from tests.servers import PostgresServer

SQLITE = "django.db.backends.sqlite3"
POSTGRES = "django.db.backends.postgresql"

Use = Callable[..., None]


@pytest.fixture(autouse=True)
def allowed(django_db_blocker) -> Iterator[None]:
    """These tests bring their own databases; none is Django's test database."""
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def use(monkeypatch) -> Use:
    """Put these databases in the place of the configured ones, for Django's own code as well."""

    def configure(default: dict[str, Any], **others: dict[str, Any]) -> None:
        configured = connections.configure_settings({"default": default, **others})
        monkeypatch.setattr(connections, "settings", configured)
        monkeypatch.setattr(connections, "_connections", Local(connections.thread_critical))

    return configure


def file(path: Path | str) -> dict[str, Any]:
    return {"ENGINE": SQLITE, "NAME": path}


def run(seconds: float = 5.0) -> list[Finding]:
    return [found for probe in database.probes() for found in probe.run(Deadline(seconds))]


def ids() -> list[str]:
    return [found.id for found in run()]


def migrate(alias: str = "default") -> None:
    connection = connections[alias]
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())
    connection.close()


# ── SQLite files ────────────────────────────────────────────────────────────────────────────────


def test_sqlite__without_its_migrations(use, tmp_path):
    path = tmp_path / "db.sqlite3"
    path.touch()
    use(file(path))
    pending, fine = run()
    assert (pending.id, pending.level) == ("database.migrations", Level.WARNING)
    assert "pending, first contenttypes.0001_initial" in pending.summary
    assert "python manage.py migrate before" in pending.hint
    assert (fine.id, fine.level, fine.subject) == ("database.ok", Level.OK, "databases.default")
    assert float(fine.facts["connect_and_query_ms"]) > 0
    assert path.stat().st_size == 0  # asked, not written


def test_sqlite__twin__with_them(use, tmp_path):
    use(file(tmp_path / "db.sqlite3"))
    migrate()
    assert ids() == ["database.ok"]


def test_sqlite__another_alias_is_named_in_the_command(use, tmp_path):
    (tmp_path / "other").touch()
    use(file(tmp_path / "db.sqlite3"), other=file(tmp_path / "other"))
    migrate()
    fine, pending, _ = run()
    assert (fine.subject, fine.id) == ("databases.default", "database.ok")
    assert pending.subject == "databases.other"
    assert "migrate --database other" in pending.hint


@pytest.mark.parametrize("kind", [Path, str])
def test_sqlite__a_missing_file_is_not_made_by_being_asked(use, tmp_path, kind):
    path = tmp_path / "db.sqlite3"
    use(file(kind(path)))
    [found] = run()
    assert (found.id, found.level) == ("database.migrations", Level.WARNING)
    assert "does not exist yet" in found.summary
    # Where the app serves already, it has gone, or its volume is not mounted.
    served = [each for probe in database.probes() for each in probe.unobtrusive().run(Deadline(5))]
    assert [(each.id, each.level) for each in served] == [("database.unreachable", Level.ERROR)]
    assert list(tmp_path.iterdir()) == []
    migrate()
    served = [each for probe in database.probes() for each in probe.unobtrusive().run(Deadline(5))]
    assert [each.id for each in served] == ["database.ok"]


def test_sqlite__a_missing_file__twin__django_would_make_it(use, tmp_path):
    path = tmp_path / "db.sqlite3"
    use(file(path))
    connections["default"].ensure_connection()
    connections["default"].close()
    assert path.exists()


def test_sqlite__a_missing_folder(use, tmp_path):
    use(file(tmp_path / "volume" / "db.sqlite3"))
    [found] = run()
    assert (found.id, found.level) == ("database.unreachable", Level.ERROR)
    assert "folder" in found.summary
    assert list(tmp_path.iterdir()) == []


def test_sqlite__a_file_that_is_no_database(use, tmp_path):
    path = tmp_path / "db.sqlite3"
    path.write_bytes(b"this is a letter, and a rather long one" * 20)
    use(file(path))
    [found] = run()
    assert (found.id, found.level) == ("database.unreachable", Level.ERROR)
    assert "file is not a database" in found.summary


@pytest.mark.parametrize("name", [":memory:", "file:shared?mode=memory&cache=shared"])
def test_sqlite__in_memory_has_no_file_to_miss(use, name):
    use(file(name))
    assert ids() == ["database.migrations", "database.ok"]


def test_sqlite__no_file_stays_open(use, tmp_path):
    path = tmp_path / "db.sqlite3"
    use(file(path))
    migrate()
    for _ in range(3):
        run()
    assert str(path) not in [str(link) for link in _open_files()]


def test_sqlite__no_file_stays_open__twin__a_connection_that_is_kept(use, tmp_path):
    path = tmp_path / "db.sqlite3"
    use(file(path))
    connections["default"].ensure_connection()
    assert str(path) in [str(link) for link in _open_files()]
    connections["default"].close()


def _open_files() -> Iterator[Path]:
    for link in Path("/proc/self/fd").iterdir():
        try:
            yield link.readlink()
        except OSError:  # the listing's own
            continue


@pytest.mark.parametrize("name", [":memory:", "file:shared?mode=memory&cache=shared"])
def test_sqlite__in_memory_is_closed_too(use, name):
    use(file(name))
    with database.own_connection("default", Deadline(5.0)) as connection:
        connection.ensure_connection()
        driver = connection.connection
    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        driver.execute("SELECT 1")


def test_sqlite__in_memory__twin__django_leaves_it_open(use):
    use(file(":memory:"))
    connection = connections["default"].copy()
    connection.ensure_connection()
    connection.close()
    assert connection.connection.execute("SELECT 1").fetchone() == (1,)
    connection.connection.close()


# ── what is not a database ──────────────────────────────────────────────────────────────────────


def test_none_is_configured(use):
    use({})
    assert database.probes() == []


def test_an_engine_that_does_not_exist(use):
    use({"ENGINE": "no.such.engine", "NAME": "x"})
    [found] = run()
    assert (found.id, found.level) == ("database.unreachable", Level.ERROR)
    assert "no.such.engine" in found.summary


def test_a_missing_variable_is_the_cause(use, monkeypatch):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with env.collecting():
        use(env.db("DATABASE_URL"))
        [found] = run()
    assert (found.id, found.level, found.skipped) == ("env.missing", Level.INFO, True)
    assert found.cause is not None
    assert found.cause.subject == "DATABASE_URL"


def test_a_missing_variable__twin__it_is_there(use, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "sqlite://:memory:")
    with env.collecting():
        use(env.db("DATABASE_URL"))
        assert "database.ok" in ids()


# ── PostgreSQL ──────────────────────────────────────────────────────────────────────────────────


def of(server: PostgresServer, **changed: Any) -> dict[str, Any]:
    return {
        "ENGINE": POSTGRES,
        "NAME": server.database,
        "USER": server.user,
        "PASSWORD": server.password,
        "HOST": server.host,
        "PORT": server.port,
        **changed,
    }


def at(port: int) -> dict[str, Any]:
    where = {"HOST": "127.0.0.1", "PORT": port}
    return {"ENGINE": POSTGRES, "NAME": "x", "USER": "x", "PASSWORD": "hunter2hunter2", **where}


def test_postgres__answers(use, postgres):
    use(of(postgres))
    pending, fine = run()
    assert pending.id == "database.migrations"
    assert fine.id == "database.ok"
    assert fine.summary.startswith("PostgreSQL ")
    assert "." in str(fine.facts["version"])


@pytest.mark.parametrize(
    "changed", [{"PASSWORD": "wrong-hunter2"}, {"PASSWORD": ""}, {"USER": "nobody"}]
)
def test_postgres__a_wrong_password_or_user(use, postgres, monkeypatch, changed):
    monkeypatch.delenv("PGPASSWORD", raising=False)
    use(of(postgres, **changed))
    [found] = run()
    assert (found.id, found.level) == ("database.auth", Level.ERROR)
    assert postgres.password not in repr(found)
    assert "hunter2" not in repr(found)


def test_postgres__a_database_that_does_not_exist(use, postgres):
    use(of(postgres, NAME="elsewhere"))
    [found] = run()
    assert (found.id, found.level) == ("database.unreachable", Level.ERROR)
    assert "does not exist" in found.summary


@pytest.mark.parametrize("fault", [Refused, Garbage])
def test_postgres__nobody_who_speaks_it(use, fault):
    with fault() as nobody:
        use(at(nobody.port))
        [found] = run()
    assert (found.id, found.level) == ("database.unreachable", Level.ERROR)
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize("fault", [BlackHole, Silence])
def test_postgres__no_answer_holds_nobody_up(use, fault):
    with fault() as nobody:
        use(at(nobody.port))
        began = time.monotonic()
        [found] = runner.run(
            database.probes(), Deadline(0.3), critical=frozenset({"databases.default"})
        )
        assert time.monotonic() - began < 1.0
    assert (found.id, found.level) == ("probe.timeout", Level.ERROR)


def test_postgres__no_answer__is_named_within_a_stage(use):
    with Silence() as nobody:
        use(at(nobody.port))
        began = time.monotonic()
        [found] = run()
        assert time.monotonic() - began < 3.0
    assert (found.id, found.level) == ("database.unreachable", Level.ERROR)


@pytest.fixture
def migrated(use, postgres) -> None:
    """With a table of migrations, which Django reads through the alias, not through us."""
    name = f"migrated_{secrets.token_hex(4)}"
    with psycopg.connect(postgres.url(), autocommit=True) as making:
        making.execute(f"CREATE DATABASE {name}".encode())
    use(of(postgres, NAME=name))
    migrate()


def test_postgres__no_connection_stays(postgres, migrated):
    with psycopg.connect(postgres.url()) as watching:
        before = _sessions(watching)
        for _ in range(5):
            assert ids() == ["database.ok"]
            assert _settles_at(watching, before)
            runner.run(database.probes(), Deadline(5.0))
            assert _settles_at(watching, before)


def test_postgres__one_connection_at_a_time(postgres, migrated):
    """Its own, also for what Django asks through the alias."""
    with psycopg.connect(postgres.url()) as watching:
        before = _sessions(watching)
        [probe] = database.probes()
        steps = probe.run(Deadline(5.0))
        assert next(steps).id == "database.ok"
        assert _sessions(watching) == before + 1
        assert list(steps) == []
        assert _settles_at(watching, before)


def test_postgres__no_connection_stays__twin__one_that_does(postgres):
    with psycopg.connect(postgres.url()) as watching:
        before = _sessions(watching)
        with psycopg.connect(postgres.url()):
            assert _sessions(watching) == before + 1
            assert not _settles_at(watching, before, seconds=0.1)


def _sessions(watching: psycopg.Connection[Any]) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    row = watching.execute(query).fetchone()
    watching.rollback()  # a transaction would go on seeing its first answer
    assert row is not None
    return int(row[0])


def _settles_at(watching: psycopg.Connection[Any], count: int, seconds: float = 2.0) -> bool:
    """A server process ends some milliseconds after its client."""
    ends = time.monotonic() + seconds
    while _sessions(watching) != count:
        if time.monotonic() > ends:
            return False
        time.sleep(0.01)
    return True


# ── the connection ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "left", "timeout"),
    [
        ({}, 10.0, 2),
        ({}, 1.2, 1),
        ({}, 0.0, 1),
        ({"connect_timeout": 7}, 10.0, 7),  # the project's own
    ],
)
def test_the_connect_timeout(use, options, left, timeout):
    use({**at(1), "OPTIONS": options})
    with database.own_connection("default", Deadline(left, lambda: 0.0)) as connection:
        assert connection.settings_dict["OPTIONS"]["connect_timeout"] == timeout


def test_a_pool_is_not_used(use):
    """It would open more connections than one, keep them, and wait 30 s for a server."""
    use({**at(1), "OPTIONS": {"pool": {"min_size": 2}}})
    with database.own_connection("default", Deadline(5.0)) as connection:
        assert "pool" not in connection.settings_dict["OPTIONS"]
    assert connections["default"].settings_dict["OPTIONS"] == {"pool": {"min_size": 2}}


def test_the_connection_of_the_app_is_not_touched(use, tmp_path):
    use(file(tmp_path / "db.sqlite3"))
    migrate()
    usual = connections["default"]
    assert ids() == ["database.ok"]
    assert connections["default"] is usual
    assert usual.connection is None
    assert [path.name for path in tmp_path.iterdir()] == ["db.sqlite3"]


def test_postgres__a_server_that_vanished_is_given_up(use, postgres):
    """Told the kernel, whose own time is 15 minutes, or 2 hours where an answer is waited for."""
    use(of(postgres))
    with database.own_connection("default", Deadline(4.0)) as connection:
        connection.ensure_connection()
        with socket.socket(fileno=os.dup(connection.connection.fileno())) as sock:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 2
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 1


def test_postgres__a_server_that_vanished__twin__the_projects_own_time_counts(use, postgres):
    use(of(postgres, OPTIONS={"tcp_user_timeout": 9000}))
    with database.own_connection("default", Deadline(4.0)) as connection:
        connection.ensure_connection()
        with socket.socket(fileno=os.dup(connection.connection.fileno())) as sock:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 9000
