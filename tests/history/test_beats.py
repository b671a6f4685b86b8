"""A beat: what it writes, on which connection, within which time."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connections, transaction
from django.test import override_settings

from resilience import conf
from resilience.findings import Finding, Level
from resilience.health import monitor
from resilience.history import connection, heartbeat, identity, reading, writing
from resilience.history.heartbeat import Heart
from resilience.history.models import Instance, Stretch, Transition
from resilience.history.recording import Recorder
from resilience.simulation.network import BlackHole
from tests.history.conftest import SQLITE, migrate
from tests.waiting import until


def beat(heart: Heart, *, stopping: bool = False) -> float:
    """One turn of the thread's work, in this thread; how many seconds it took."""
    began = time.monotonic()
    heart._turn(stopping=stopping)
    return time.monotonic() - began


def changed(heart: Heart, subject: str = "caches.default", **more: Any) -> None:
    new = more.get("new", Level.ERROR)
    finding = Finding("tcp.refused", new, subject, "Nobody listens.", "Start it.")
    at = more.get("at", time.time())
    heart.recorder.note(
        subject=subject, old=more.get("old", Level.OK), new=new, finding=finding, at=at
    )


@pytest.mark.parametrize("odd", ["a\x00b", "h\udcff", "x" * 10_000])
def test_odd_names_keep_no_beat_from_being_written(odd, database, monkeypatch):
    """A variable that is no UTF-8 gives lone surrogates; PostgreSQL takes no NUL."""
    state = SimpleNamespace(subject=f"redis.{odd}", level=Level.ERROR)
    health = SimpleNamespace(subjects=[state])
    monkeypatch.setattr(monitor, "snapshot", lambda: health)
    monkeypatch.setattr(
        conf, "detect_hosting", lambda: SimpleNamespace(instance=odd, on_platform=False)
    )
    heart = Heart("web")
    changed(heart, state.subject)
    beat(heart)
    assert heart.problem == ""
    (row,) = Instance.objects.all()
    (name,) = row.levels
    assert list(Transition.objects.values_list("subject", flat=True)) == [name]
    assert set(Stretch.objects.values_list("subject", flat=True)) == {name}


def test_the_first_beat_says_who_and_the_next_one_that_it_lives(database, monkeypatch):
    monkeypatch.setenv("RENDER_GIT_COMMIT", "abc123")
    heart = Heart("web")
    beat(heart)
    (row,) = Instance.objects.all()
    assert (row.pid, row.role, row.commit, row.stopped) == (os.getpid(), "web", "abc123", False)
    assert row.host
    assert row.replica
    assert row.versions.startswith("Python 3.")
    assert row.memory_bytes is not None
    assert 1_000_000 < row.memory_bytes < 100_000_000_000
    assert abs(row.last_beat - time.time()) < 5
    assert row.booted_at <= row.last_beat
    beat(heart)
    (later,) = Instance.objects.all()
    assert later.pk == row.pk
    assert later.last_beat > row.last_beat
    assert heart.problem == ""


def test_a_goodbye(database):
    heart = Heart("web")
    beat(heart)
    beat(heart, stopping=True)
    assert Instance.objects.get().stopped is True
    assert reading.read().instances[0].state == "stopped"


def test_a_purged_row_comes_back(database):
    heart = Heart("web")
    beat(heart)
    Instance.objects.all().delete()
    beat(heart)
    assert Instance.objects.get().pid == os.getpid()


def test_a_change_is_written_with_its_own_time(database):
    heart = Heart("web")
    beat(heart)
    changed(heart, at=time.time() - 100)
    beat(heart)
    (row,) = Transition.objects.all()
    assert (row.subject, row.old, row.new) == ("caches.default", Level.OK, Level.ERROR)
    assert (row.finding, row.summary, row.pid) == ("tcp.refused", "Nobody listens.", os.getpid())
    assert abs(time.time() - 100 - row.at) < 5
    beat(heart)
    assert Transition.objects.count() == 1, "once"


def test_nothing_is_left_open_on_the_server(postgres_tables, postgres):
    heart = Heart("web")
    with psycopg.connect(postgres.url()) as watcher:
        query = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        connections["default"].close()
        before = watcher.execute(query).fetchone()
        for _ in range(3):
            beat(heart)
        for _ in range(100):  # the server notices the end of a connection a moment later
            if watcher.execute(query).fetchone() == before:
                return
            time.sleep(0.01)
        pytest.fail("a connection is left")


def test_the_requests_transaction_is_another(database):
    """Its rollback takes no beat away, and on PostgreSQL it is not in the way either."""
    heart = Heart("web")
    mine = connections["default"]
    with transaction.atomic():
        thread = threading.Thread(target=beat, args=(heart,))
        thread.start()
        thread.join()
        transaction.set_rollback(True)
    assert Instance.objects.count() == 1
    assert connections["default"] is mine


@pytest.mark.parametrize(
    "more", [{"AUTOCOMMIT": False}, {"ATOMIC_REQUESTS": True}, {"CONN_MAX_AGE": 600}]
)
def test_however_the_connection_is_configured(more, database, use):
    use({**database, **more})
    heart = Heart("web")
    beat(heart)
    assert heart.problem == ""
    use(database)
    assert Instance.objects.count() == 1


@pytest.mark.parametrize("use_tz", [True, False])
def test_times_mean_the_same_whatever_the_time_zone(use_tz, database, use):
    with override_settings(USE_TZ=use_tz, TIME_ZONE="Asia/Kathmandu"):
        use(database)
        beat(Heart("web"))
        found = reading.read()
    assert abs(found.instances[0].last_beat - time.time()) < 5
    assert found.instances[0].state == "live"


class Elsewhere:
    """A router that keeps the history in a database of its own."""

    def db_for_write(self, model: Any, **_: Any) -> str | None:
        return "ops" if model._meta.app_label == "resilience_history" else None

    db_for_read = None


def test_a_router_decides_where(database, use, tmp_path):
    ops = tmp_path / "ops.sqlite3"
    sqlite3.connect(ops).close()
    use(database, ops={"ENGINE": SQLITE, "NAME": ops})
    migrate("ops")
    with override_settings(DATABASE_ROUTERS=["tests.history.test_beats.Elsewhere"]):
        beat(Heart("web"))
        assert len(reading.read().instances) == 1
        assert Instance.objects.using("ops").count() == 1
    assert Instance.objects.using("default").count() == 0


def test_behind_a_pooler_no_session_is_changed(postgres_tables):
    """The bounds hold in the transaction and end with it."""

    def bound() -> str:
        with connections["default"].cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            return str(cursor.fetchone()[0])

    with connection.bounded("default"):
        assert bound() == "3s"
    assert bound() == "0"


# ── what the database may do ────────────────────────────────────────────────────────────────────


@contextmanager
def locked(path: Any) -> Iterator[None]:
    """Somebody else writes."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def test_sqlite__a_busy_database_drops_the_beat(sqlite_file, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "resilience.history")
    heart = Heart("web")
    beat(heart)
    before = Instance.objects.get().last_beat
    changed(heart)
    with locked(sqlite_file["NAME"]):
        assert beat(heart) < 2.0
        beat(heart)
    monkeypatch.setattr(heartbeat, "_heart", heart)
    found = reading.read()
    assert found.problem.startswith("This host only: the database did not take the beat")
    assert "locked" in found.problem
    assert Instance.objects.get().last_beat == before
    beat(heart)
    assert reading.read().problem == ""
    assert Instance.objects.get().last_beat > before
    assert Transition.objects.count() == 1, "the change waited"
    said = [record.levelname for record in caplog.records if record.name == "resilience.history"]
    assert said == ["WARNING", "INFO"], "once for each change of state"


def test_postgres__a_lock_holds_a_beat_back_for_a_second(postgres_tables, postgres):
    heart = Heart("web")
    beat(heart)
    with psycopg.connect(postgres.url()) as other:
        other.execute("LOCK TABLE resilience_history_instance IN ACCESS EXCLUSIVE MODE")
        took = beat(heart)
        assert "lock timeout" in heart.problem
    assert took < connection.LOCK + 1.0
    beat(heart)
    assert heart.problem == ""


def test_postgres__a_statement_that_takes_too_long_is_ended(postgres_tables, monkeypatch):
    monkeypatch.setattr(connection, "STATEMENT", 0.2)

    def wait() -> None:
        with connection.own("default"), connection.bounded("default"):
            with connections["default"].cursor() as cursor:
                cursor.execute("SELECT pg_sleep(10)")

    with pytest.raises(OperationalError, match="statement timeout"):
        wait()


def test_postgres__a_server_that_nobody_reaches(postgres_tables, use):
    heart = Heart("web")
    with BlackHole() as hole:
        use({**postgres_tables, "HOST": "127.0.0.1", "PORT": str(hole.port)})
        assert beat(heart) < connection.CONNECT + 2.0
    assert heart.problem.startswith("the beat failed") or "did not take" in heart.problem
    use(postgres_tables)
    beat(heart)
    assert heart.problem == ""


def test_a_database_that_hangs_holds_one_thread_and_a_bounded_queue(
    postgres_tables, postgres, monkeypatch
):
    """Ten thousand changes while a beat waits: a thousand are kept, and the rest is counted."""
    monkeypatch.setattr(connection, "LOCK", 0.3)
    with override_settings(RESILIENCE={}):
        with psycopg.connect(postgres.url()) as other:
            other.execute("LOCK TABLE resilience_history_instance IN ACCESS EXCLUSIVE MODE")
            threads = threading.active_count()
            monkeypatch.setattr(monitor, "start", lambda: None)
            heartbeat.start("web")
            heart = heartbeat._heart
            assert heart is not None
            for number in range(10_000):
                changed(heart, f"subject.{number}")
                heartbeat.start("web")
            assert threading.active_count() == threads + 1
            assert until(lambda: heart.problem)
            # The beat under way holds some of them until the lock has taken its time.
            assert until(lambda: heart.recorder.dropped >= 9_000)
        assert heart.recorder.waiting <= 1000
        assert "changes of state are lost" in heartbeat.problem()


def test_tables_that_are_not_there_are_no_noise(use, tmp_path, caplog, monkeypatch):
    path = tmp_path / "new.sqlite3"
    use({"ENGINE": SQLITE, "NAME": path})
    heart = Heart("web")
    monkeypatch.setattr(heartbeat, "_heart", heart)
    beat(heart)
    assert not path.exists(), "a beat makes no database"
    sqlite3.connect(path).close()
    assert heart._turn(stopping=False) == heartbeat.RARELY
    assert reading.read().problem == heartbeat.MISSING
    migrate()
    beat(heart)
    assert reading.read().problem == ""
    assert [record for record in caplog.records if "new.sqlite3" in record.message] == []


def test_tables_that_are_not_there_leave_the_requests_transaction_alone(use, postgres):
    with psycopg.connect(postgres.url(), autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS empty")
        admin.execute("CREATE DATABASE empty")
    from tests.history.conftest import config_of

    use({**config_of(postgres), "NAME": "empty"})
    with transaction.atomic():
        assert reading.read().problem == heartbeat.MISSING
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT 1")
    connections["default"].close()


# ── when ────────────────────────────────────────────────────────────────────────────────────────


def test_without_background_nothing_is_sent(database):
    with override_settings(RESILIENCE={"BACKGROUND": False}):
        conf.reset()
        heartbeat.start("web")
        assert heartbeat._heart is None
        beat(Heart("web"))
        assert reading.read().problem == heartbeat.OFF
    assert Instance.objects.count() == 0
    with override_settings(RESILIENCE={}):
        beat(Heart("web"))
    assert Instance.objects.count() == 1, "the twin"


def test_a_failed_write_keeps_its_changes(sqlite_file):
    recorder = Recorder()
    heart = Heart("web")
    heart.recorder = recorder
    changed(heart)
    with locked(sqlite_file["NAME"]), pytest.raises(OperationalError):
        with connection.own("default"):
            writing.write("default", identity.identify("web"), recorder, {}, stopped=False)
    assert recorder.waiting == 1
    assert recorder.levels({"caches.default": Level.OK}) == {"caches.default": Level.ERROR}
