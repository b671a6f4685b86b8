"""What a page is told: from rows as 200 processes leave them in 90 days."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext

from resilience.findings import Level
from resilience.history import heartbeat, pace, reading
from resilience.history.clock import DatabaseNow
from resilience.history.models import Instance, Stretch, Transition
from resilience.history.reading import Span
from tests.history.rows import instance, stretch, transition

OK, WARNING, ERROR = Level.OK, Level.WARNING, Level.ERROR
HOUR, DAY = 3600.0, 86400.0
NOW = 1_800_000_000.0


def test_nothing_yet(database):
    found = reading.read(NOW)
    assert found == reading.History(now=NOW)
    assert reading.read().problem == ""


@pytest.mark.parametrize(
    ("ago", "stopped", "state"),
    [
        (0, False, "live"),
        (-300, False, "live"),  # the database's clock was set back
        (36, False, "live"),
        (37, False, "stale"),
        (72, False, "stale"),
        (73, False, "gone"),
        (7 * DAY, False, "gone"),
        (1, True, "stopped"),
        (DAY, True, "stopped"),
    ],
)
def test_silence_has_four_names(ago, stopped, state, sqlite_file):
    instance(NOW, ago=ago, stopped=stopped)
    assert reading.read(NOW).instances[0].state == state


def test_the_databases_clock_decides(database, monkeypatch):
    """A reader whose clock is an hour off sees the same, in its own time."""
    heart = heartbeat.Heart("web")
    heart._turn(stopping=False)
    real = time.time
    monkeypatch.setattr("resilience.history.reading.time.time", lambda: real() + HOUR)
    found = reading.read()
    assert found.instances[0].state == "live"
    assert abs(found.instances[0].last_beat - (real() + HOUR)) < 5
    assert abs(found.now - (real() + HOUR)) < 5


def test_the_databases_clock_is_unix_time(database):
    instance(NOW)
    (now,) = Instance._default_manager.annotate(now=DatabaseNow()).values_list("now", flat=True)
    assert abs(now - time.time()) < 2


def test_this_process_is_marked(database, monkeypatch):
    heart = heartbeat.Heart("web")
    monkeypatch.setattr(heartbeat, "_heart", heart)
    heart._turn(stopping=False)
    instance(time.time())
    assert sorted(row.this for row in reading.read().instances) == [False, True]


def test_the_one_that_differs_is_named(database):
    for number in range(8):
        instance(NOW, pid=number)
    instance(NOW, pid=8, commit="bbbb")
    instance(NOW, pid=9, config="c2")
    instance(NOW, pid=10, commit="bbbb", role="celery-worker")
    instance(NOW, pid=11, commit="bbbb", ago=100)
    instance(NOW, pid=12, commit="bbbb", stopped=True)
    differs = {row.pid: row.differs for row in reading.read(NOW).instances if row.differs}
    assert differs == {8: ("commit",), 9: ("configuration",)}


def test_in_the_middle_of_a_deploy_the_old_ones_differ(sqlite_file):
    instance(NOW, pid=1, commit="old", booted_at=NOW - DAY)
    instance(NOW, pid=2, commit="new", booted_at=NOW - 10)
    differs = {row.pid: row.differs for row in reading.read(NOW).instances}
    assert differs == {1: ("commit",), 2: ()}


def test_three_queries_with_200_instances_and_90_days(database):
    """One more until the tables have been seen; never one per row."""
    many = [instance(NOW, pid=number) for number in range(2)]
    Instance._default_manager.bulk_create(
        [_copy(many[0], pid=number) for number in range(198)], batch_size=50
    )
    Transition._default_manager.bulk_create(
        [transition(NOW - number * 700, f"s.{number % 50}") for number in range(5_000)],
        batch_size=500,
    )
    Stretch._default_manager.bulk_create(
        [
            stretch(NOW - (day + 1) * DAY, NOW - day * DAY, OK, f"s.{subject}")
            for day in range(90)
            for subject in range(50)
        ],
        batch_size=500,
    )
    counted = []
    for _ in range(2):
        with CaptureQueriesContext(connections["default"]) as queries:
            found = reading.read(NOW)
        counted.append(len(queries))
    assert max(counted[0] - 4, 0) == 0, [each["sql"][:80] for each in queries]
    assert counted[1] == 3
    assert (len(found.instances), len(found.transitions), len(found.spans)) == (200, 100, 50)
    assert [row.at for row in found.transitions] == [NOW - number * 700 for number in range(100)]
    assert found.spans["s.7"]["90d"] == (Span(NOW - 90 * DAY, NOW, OK),)


def _copy(row: Instance, **more: object) -> Instance:
    import uuid

    names = [field.name for field in Instance._meta.fields if field.name != "id"]
    values = {name: getattr(row, name) for name in names}
    return Instance(**{**values, "key": uuid.uuid4(), **more})


def test_inside_the_requests_transaction_too(database):
    with transaction.atomic(), CaptureQueriesContext(connections["default"]) as queries:
        reading.read()
    assert len(queries) <= 4


def test_windows_end_now_and_what_nobody_saw_is_unknown(database):
    Stretch._default_manager.bulk_create(
        [
            stretch(NOW - 100 * DAY, NOW - 80 * DAY, OK),
            stretch(NOW - 2 * HOUR, NOW - HOUR, ERROR),
            stretch(NOW - HOUR, NOW - 10, OK),
        ]
    )
    spans = reading.read(NOW).spans["redis"]
    # Nobody is alive: nothing is known of the last ten seconds.
    assert spans["24h"] == (
        Span(NOW - DAY, NOW - 2 * HOUR, None),
        Span(NOW - 2 * HOUR, NOW - HOUR, ERROR),
        Span(NOW - HOUR, NOW - 10, OK),
        Span(NOW - 10, NOW, None),
    )
    assert spans["90d"][0] == Span(NOW - 90 * DAY, NOW - 80 * DAY, OK)
    assert [span.level for span in spans["7d"]] == [None, ERROR, OK, None]


def test_the_end_is_what_the_live_processes_say_now(database):
    Stretch._default_manager.bulk_create([stretch(NOW - HOUR, NOW - 10, OK)])
    instance(NOW, levels={"redis": 40})
    instance(NOW)
    assert reading.read(NOW).spans["redis"]["24h"][-1] == Span(NOW - 10, NOW, ERROR)
    Instance._default_manager.exclude(levels={}).delete()
    assert reading.read(NOW).spans["redis"]["24h"][-1] == Span(NOW - HOUR, NOW, OK)


def test_after_a_gap_the_live_ones_say_nothing_of_it(sqlite_file):
    Stretch._default_manager.bulk_create([stretch(NOW - HOUR, NOW - 1000, OK)])
    instance(NOW)
    assert reading.read(NOW).spans["redis"]["24h"][-1] == Span(NOW - 1000, NOW, None)


def test_levels_of_a_newer_version(sqlite_file):
    Transition._default_manager.bulk_create([transition(NOW, old=None, new=35)])
    (row,) = reading.read(NOW).transitions
    assert (row.old, row.new) == (None, WARNING)
    assert reading.known_level(-5) is OK


def test_the_rows_can_be_replaced_by_the_page(sqlite_file):
    """Frozen, and copied by the standard library."""
    instance(NOW)
    row = reading.read(NOW).instances[0]
    assert replace(row, state="gone").state == "gone"
    assert pace.stale_after() == 36.0
