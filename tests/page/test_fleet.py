"""The other processes and the changes, as the page tells what ``resilience.history`` read."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.db import OperationalError

from resilience.findings import Level
from resilience.page import fleet
from resilience.page.subjects import rows
from tests.page import samples

NOW = samples.NOW


def instance(pid: int, **other: Any) -> SimpleNamespace:
    """A row of ``history.reading``, live and like the others."""
    row: dict[str, Any] = {
        "replica": f"web-{pid // 10}", "host": f"10.0.0.{pid // 10}", "pid": pid, "role": "web",
        "booted_at": NOW - 3600, "last_beat": NOW - 9, "state": "live", "commit": "8f3c2d1ab0945e",
        "config": "a41f0c2b77", "versions": "Django 5.2", "memory_bytes": 130 << 20, "this": False,
        "differs": (),
    }  # fmt: skip
    return SimpleNamespace(**row | other)


@dataclass
class History:
    """What ``history.reading.read`` returns."""

    instances: tuple[Any, ...] = ()
    spans: dict[str, Any] = field(default_factory=dict)
    transitions: tuple[Any, ...] = ()
    problem: str = ""


@pytest.fixture
def reading(monkeypatch) -> SimpleNamespace:
    """Stands for the app, whose own tests read a real database; ``found`` is what it finds."""
    module = SimpleNamespace(found=History())

    def read(_now: float) -> History:
        found: History | Exception = module.found
        if isinstance(found, Exception):
            raise found
        return found

    module.read = read
    monkeypatch.setattr(apps, "is_installed", lambda name: name == fleet.APP)
    monkeypatch.setattr(fleet, "import_module", lambda _: module)
    monkeypatch.setattr(fleet, "connection", SimpleNamespace(in_atomic_block=False))
    return module


def test_what_somebody_should_look_at_comes_first_and_is_never_folded(reading):
    ordinary = [instance(pid) for pid in range(100, 300)]
    odd = [
        instance(7, state="gone", last_beat=NOW - 300),
        instance(9, differs=("commit",), commit="77aa01c9d3e2b4"),
        *(instance(pid, state="stale") for pid in range(20, 40)),
    ]
    reading.found = History((*ordinary, instance(5, this=True), *odd))
    found = fleet.read(NOW)
    shown = [each.where.rpartition(":")[2] for each in found.instances]
    assert shown[0] == "7"
    assert set(shown) == {"7", "9", "5", *map(str, range(20, 40))}
    assert len(found.instances) + len(found.more_instances) == 223
    assert found.summary == "202 live, 20 stale, 1 gone, 1 with another commit"
    assert found.versions == "Django 5.2"
    assert found.instances[0].beat.ago == "5 min ago"
    assert found.instances[0].memory == "130 MiB"


def test_versions_that_differ_are_shown_with_each(reading):
    reading.found = History((instance(1), instance(2, versions="Django 6.0")))
    assert fleet.read(NOW).versions == ""


def test_what_nobody_knows_of_is_said_in_words(reading):
    odd = instance(1, state="hibernating", commit="", memory_bytes=None)
    reading.found = History((odd,))
    (only,) = fleet.read(NOW).instances
    assert (only.mark.word, only.commit, only.memory) == ("unknown", "", "")


def test_spans_become_the_three_timelines(reading):
    span = SimpleNamespace(start=NOW - 600, end=NOW, level=Level.ERROR)
    health = samples.health([samples.state(samples.finding("redis.db"))])
    reading.found = History(
        (instance(1),), {"redis.db": dict.fromkeys(("24h", "7d", "90d"), (span,))}
    )
    (row,) = rows(health, fleet.read(NOW).spans)
    assert [window for window, _ in row.bars] == ["24h", "7d", "90d"]
    assert "the last 24 hours: error 0.7 % (10 min in 1 spell), unknown 99.3 %" in row.bars[0][1]


def test_changes_are_told_the_newest_first(reading):
    changes = [
        SimpleNamespace(
            at=NOW - 60 * number, subject="redis.db", old=None if number else Level.OK,
            new=Level.ERROR, finding="tcp.refused", summary="Nobody listens.",
            replica="web-1", pid=7,
        )
        for number in range(30)
    ]  # fmt: skip
    reading.found = History((instance(1),), {}, tuple(changes))
    found = fleet.read(NOW)
    assert (len(found.transitions), len(found.more_transitions)) == (12, 18)
    first, second = found.transitions[:2]
    assert (first.old.word, first.new.word, first.when.ago) == ("ok", "error", "0 s ago")
    assert second.old.word == "unknown"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (History(problem="the tables are missing: run migrate"), "run migrate"),
        (History(), "no process has written"),
        (OperationalError("no route to db.internal"), "cannot be read"),
    ],
)
def test_a_history_that_cannot_be_read_leaves_the_page_of_this_process(reading, found, said):
    reading.found = found
    told = fleet.read(NOW)
    assert said in told.said
    assert told.spans is None
    health = samples.health([samples.state(samples.finding("redis.db"))])
    (row,) = rows(health, told.spans)
    assert [window for window, _ in row.bars] == ["process"]
