"""What one process does for all: the state over time, and the purge."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from django.db import Error as DatabaseError, connections

from resilience.findings import Level
from resilience.history import connection, keeping, purge, reading, writing
from resilience.history.models import Instance, Keeper, Stretch, Transition
from resilience.history.recording import Change, Recorder
from tests.history.rows import instance, me, stretch, transition

OK, WARNING, ERROR = Level.OK, Level.WARNING, Level.ERROR
DAY = purge.DAY


def keep(subjects: tuple[str, ...] = ("redis",)) -> bool:
    """One turn, as if an interval had passed since the last one."""
    keeping.prepare("default")
    Keeper._default_manager.update(taken_at=0)
    return keeping.keep("default", subjects)


def stretches(subject: str = "redis") -> list[tuple[Level, bool]]:
    """Levels in their order, and whether each begins where the one before it ends."""
    rows = list(Stretch._default_manager.filter(subject=subject).order_by("start", "pk"))
    return [
        (Level(row.level), index == 0 or row.start == rows[index - 1].end)
        for index, row in enumerate(rows)
    ]


def test_the_worst_of_all_live_processes_holds(database):
    now = time.time()
    fine, failing = instance(now), instance(now, levels={"redis": 40})
    instance(now, levels={"redis": 30})
    instance(now, levels={"caches.x": 40}, stopped=True)
    instance(now, levels={"caches.y": 40}, ago=100)
    keep()
    assert stretches() == [(ERROR, True)]
    failing.levels = {}
    failing.save()
    keep()
    assert stretches() == [(ERROR, True), (WARNING, True)]
    fine.levels = {"redis": 40, "other": 20}
    fine.save()
    keep()
    assert stretches() == [(ERROR, True), (WARNING, True), (ERROR, True)]
    assert set(Stretch._default_manager.values_list("subject", flat=True)) == {"redis", "other"}


def test_a_failure_begins_no_later_than_it_was_seen_and_ends_no_earlier(sqlite_file):
    now = time.time()
    row = instance(now)
    keep()
    seen_fine = Stretch._default_manager.get().end
    row.levels = {"redis": 40}
    row.save()
    keep()
    bad = Stretch._default_manager.get(level=40)
    assert bad.start == seen_fine
    seen_bad = bad.end
    row.levels = {}
    row.save()
    keep()
    bad.refresh_from_db()
    good = Stretch._default_manager.latest("pk")
    assert (good.level, good.start) == (0, bad.end)
    assert bad.end > seen_bad


def test_the_same_level_is_one_row_however_often(database):
    instance(time.time())
    for _ in range(5):
        keep()
    assert stretches() == [(OK, True)]


def test_after_a_gap_a_new_one_begins(database):
    now = time.time()
    instance(now)
    Stretch._default_manager.bulk_create([stretch(now - 5000, now - 1000, OK)])
    keep()
    (old, new) = Stretch._default_manager.order_by("pk")
    assert abs(old.end - (now - 1000)) < 1e-3
    assert new.start == new.end
    spans = reading.read().spans["redis"]["24h"]
    assert [span.level for span in spans][:3] == [None, OK, None]


def test_once_per_interval_however_many_ask(database):
    keeping.prepare("default")
    assert [keeping.keep("default", ["redis"]) for _ in range(5)] == [True, *[False] * 4]


def test_a_clock_that_was_set_back_does_not_stop_it(database):
    keeping.prepare("default")
    Keeper._default_manager.update(taken_at=time.time() + DAY)
    assert keeping.keep("default", ["redis"]) is True


def test_one_at_a_time_of_many_at_once(postgres_tables):
    keeping.prepare("default")
    for _ in range(5):
        Keeper._default_manager.update(taken_at=0)
        said: list[Any] = []
        start = threading.Barrier(8)

        def ask(start: threading.Barrier = start, said: list[Any] = said) -> None:
            with connection.own("default"):
                with connections["default"].cursor() as cursor:
                    cursor.execute("SELECT 1")
                start.wait()
                try:
                    said.append(keeping.keep("default", ["redis", "env"]))
                except DatabaseError as error:
                    said.append(error)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(map(str, said)) == ["False"] * 7 + ["True"]
    assert Stretch._default_manager.count() == 2


# ── the journal ─────────────────────────────────────────────────────────────────────────────────


def change(old: Level | None, new: Level) -> Change:
    return Change(time.monotonic(), "redis", old, new, "tcp.refused", "Nobody listens.")


@pytest.mark.parametrize(
    ("held", "old", "new", "told"),
    [
        (None, None, ERROR, True),
        (ERROR, None, ERROR, False),  # the hundredth process finds what all have found
        (OK, None, ERROR, True),
        (ERROR, OK, ERROR, True),  # this one saw it happen
        (ERROR, ERROR, OK, True),
    ],
)
def test_what_everybody_knew_is_no_news_of_a_new_process(held, old, new, told, database):
    now = time.time()
    if held is not None:
        Stretch._default_manager.bulk_create(
            [stretch(now - 90, now - 50, OK), stretch(now - 50, now, held)]
        )
    recorder = Recorder()
    recorder._waiting = [change(old, new)]
    writing.write("default", me(), recorder, {}, stopped=False)
    assert Transition._default_manager.count() == int(told)


def test_a_flood_is_written_in_portions(sqlite_file):
    recorder = Recorder()
    recorder._waiting = [change(OK, ERROR)] * 450
    counts = []
    for _ in range(4):
        writing.write("default", me(), recorder, {}, stopped=False)
        counts.append(Transition._default_manager.count())
    assert counts == [200, 400, 450, 450]


# ── the purge ───────────────────────────────────────────────────────────────────────────────────


def purged(now: float) -> int:
    turns = 0
    while purge.purge("default", now):
        turns += 1
        assert turns < 50
    return turns


def test_what_is_too_old_goes_in_portions(database):
    now = time.time()
    old = [transition(now - 91 * DAY) for _ in range(1_200)]
    Transition._default_manager.bulk_create([*old, transition(now - 89 * DAY)], batch_size=300)
    Stretch._default_manager.bulk_create(
        [stretch(now - 95 * DAY, now - 91 * DAY, OK), stretch(now - 95 * DAY, now - 89 * DAY, OK)]
    )
    assert purged(now) == 3, "500 rows at a time"
    assert Transition._default_manager.count() == Stretch._default_manager.count() == 1


def test_processes_are_forgotten_after_a_week_and_those_in_peace_after_a_day(database):
    now = time.time()
    instance(now, pid=1, ago=6.9 * DAY)
    instance(now, pid=2, ago=7.1 * DAY)
    instance(now, pid=3, ago=0.9 * DAY, stopped=True)
    instance(now, pid=4, ago=1.1 * DAY, stopped=True)
    purged(now)
    assert set(Instance._default_manager.values_list("pid", flat=True)) == {1, 3}


def test_of_too_many_the_newest_stay(database, monkeypatch):
    monkeypatch.setattr(purge, "TRANSITIONS", 10)
    monkeypatch.setattr(purge, "INSTANCES", 10)
    monkeypatch.setattr(purge, "STRETCHES", 10)
    monkeypatch.setattr(purge, "BATCH", 5)
    now = time.time()
    Transition._default_manager.bulk_create([transition(now - 100 + n) for n in range(40)])
    for number in range(25):
        instance(now, pid=number, ago=number)
    flapping = [stretch(now - 100 + n, now - 99 + n, Level(40 * (n % 2))) for n in range(30)]
    quiet = stretch(now - 1000, now - 500, OK, "env")
    Stretch._default_manager.bulk_create([quiet, *flapping])
    purged(now)
    assert Transition._default_manager.count() == 10
    assert min(Transition._default_manager.values_list("at", flat=True)) > now - 71
    assert set(Instance._default_manager.values_list("pid", flat=True)) == set(range(10))
    assert 6 <= Stretch._default_manager.count() <= 10
    assert Stretch._default_manager.filter(subject="env").count() == 1, "it did not flap"


def test_postgres_finds_the_newest_and_the_oldest_by_their_index(postgres_tables):
    now = time.time()
    Transition._default_manager.bulk_create(
        [transition(now - number * 60) for number in range(20_000)], batch_size=1_000
    )
    with connections["default"].cursor() as cursor:
        cursor.execute("ANALYZE resilience_history_transition")
    rows = Transition._default_manager
    asked = (
        rows.order_by("-at", "-id")[:100],
        rows.filter(at__lt=now - 90 * DAY).order_by("at", "id")[:500],
        rows.filter(pk__lte=5).order_by("pk")[:500],
        rows.order_by("-pk")[:1],
    )
    for query in asked:
        plan = query.explain()
        assert "Index" in plan, plan
        assert "Seq Scan" not in plan, plan
        assert "Sort" not in plan, plan
    scanned = rows.filter(summary="x").explain()
    assert "Seq Scan" in scanned, "the twin: a plan without an index says so"
