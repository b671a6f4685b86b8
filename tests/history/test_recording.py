"""What waits for the database: bounded, in order, nothing twice."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import given, strategies as st

from resilience.findings import Finding, Level
from resilience.history.recording import MOST, Recorder


@cache
def finding_of(level: Level, area: str) -> Finding:
    return Finding("tcp.refused", level, "redis", "Nobody.", "Start it.", area=area)


def note(recorder: Recorder, subject: str = "redis", **more: Any) -> None:
    new = more.get("new", Level.ERROR)
    finding = finding_of(new, more.get("area", ""))
    at = more.get("at", 0.0)
    recorder.note(subject=subject, old=more.get("old", Level.OK), new=new, finding=finding, at=at)


def test_a_beginning_that_is_fine_is_no_news():
    recorder = Recorder()
    note(recorder, old=None, new=Level.OK)
    note(recorder, area="instances")
    assert recorder.waiting == 0
    note(recorder, old=None, new=Level.WARNING)
    assert recorder.waiting == 1


def test_a_short_failure_shows_in_the_next_beat_and_only_there():
    recorder = Recorder()
    note(recorder, new=Level.ERROR)
    note(recorder, old=Level.ERROR, new=Level.OK)
    first = recorder.levels({"redis": Level.OK, "env": Level.INFO})
    assert first == {"redis": Level.ERROR, "env": Level.INFO}
    recorder.told(first)
    assert recorder.levels({"redis": Level.OK}) == {"redis": Level.OK}


def test_what_came_meanwhile_and_is_worse_stays():
    recorder = Recorder()
    note(recorder, new=Level.WARNING)
    sent = recorder.levels({"redis": Level.WARNING})
    note(recorder, old=Level.WARNING, new=Level.ERROR)
    recorder.told(sent)
    assert recorder.levels({"redis": Level.OK}) == {"redis": Level.ERROR}


def test_a_subject_is_as_every_database_takes_it():
    recorder = Recorder()
    for subject in ("caches.a\x00b", "redis.\udcff:6379/0", "caches." + "x" * 10_000, "caches.ä"):
        note(recorder, subject=subject)
    found = [change.subject for change in recorder.take(5)]
    assert found == [r"caches.a\x00b", r"redis.\udcff:6379/0", "caches." + "x" * 193, "caches.ä"]


def test_the_time_is_that_of_the_change():
    recorder = Recorder(clock=lambda: 500.0, wall=lambda: 1_000_010.0)
    note(recorder, at=1_000_000.0)
    note(recorder, at=1_000_020.0)  # a clock that was set back
    assert [change.at for change in recorder.take(5)] == [490.0, 500.0]


def test_each_change_wakes_the_writer():
    woken: list[int] = []
    recorder = Recorder(lambda: woken.append(1))
    note(recorder)
    note(recorder, old=None, new=Level.OK)
    assert woken == [1]


@given(st.lists(st.sampled_from(["note", "many", "write", "fail"]), max_size=30))
def test_the_newest_are_kept_in_order_and_the_others_counted(steps):
    recorder, told, number = Recorder(), 0, 0
    written: list[int] = []
    for step in steps:
        if step in ("note", "many"):
            for _ in range(1 if step == "note" else 400):
                note(recorder, f"s.{number}")
                number += 1
        else:
            taken = recorder.take(200)
            if step == "write":
                written += [int(change.subject[2:]) for change in taken]
            else:
                recorder.restore(taken)
        told = len(written) + recorder.waiting + recorder.dropped
        assert told == number
        assert recorder.waiting <= MOST
    assert written == sorted(set(written))
