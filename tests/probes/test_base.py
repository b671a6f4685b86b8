"""The time that a run has and how much of it one stage gets; what a probe is by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from resilience.findings import Finding
from resilience.probes.base import STAGE_SECONDS, Deadline, Probe, elapsed_ms


def deadline(seconds: float, passed: float = 0.0) -> Deadline:
    clock = SimpleNamespace(now=1000.0)
    found = Deadline(seconds, lambda: clock.now)
    clock.now += passed
    return found


@pytest.mark.parametrize(("passed", "left"), [(0.0, 5.0), (1.5, 3.5), (5.0, 0.0), (60.0, 0.0)])
def test_what_is_left_is_never_negative(passed, left):
    assert deadline(5.0, passed).left() == left


@pytest.mark.parametrize(
    ("left", "stage"),
    [
        (10.0, 2.0),  # the longest
        (2.0, 1.8),  # a tenth is kept
        (1.0, 0.9),
        (0.0, 0.001),  # never 0, which sockets read as "do not block"
    ],
)
def test_a_stage_has_two_seconds_and_never_more_than_what_is_left(left, stage):
    assert deadline(left).stage() == pytest.approx(stage)
    assert deadline(left + 7, passed=7).stage() == pytest.approx(stage)
    assert STAGE_SECONDS == 2


def test_milliseconds_of_a_stage(monkeypatch):
    monkeypatch.setattr(time, "perf_counter", lambda: 100.0)
    assert elapsed_ms(90.0) == 10_000
    assert elapsed_ms(100.0 - 0.00123456) == 1.23


class Quiet(Probe):
    area = "quiet"

    def run(self, deadline: Deadline) -> Iterator[Finding]:
        del deadline
        yield from ()


def test_a_probe_is_live_stays_inside_and_needs_nothing():
    probe = Quiet("redis")
    assert (probe.live, probe.outside, probe.needs, probe.asked_for) == (True, False, (), True)
    assert probe.unobtrusive() is probe


def test_who_asked_makes_no_other_question():
    assert Quiet("redis", asked_for=False) == Quiet("redis")
    assert Quiet("redis") != Quiet("postgres")
    with pytest.raises(TypeError):
        Quiet("redis", (), False)  # type: ignore[call-arg]
