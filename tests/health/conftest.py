"""Monitors of the test's own, whose threads end with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from resilience.health.monitor import Monitor
from resilience.health.schedule import Pace
from resilience.probes.base import Probe
from tests.health.probes import Scripted
from tests.waiting import until

FAST = Pace(period=0.2, deadline=0.1, failing=0.2, check=0.2)

Made = Callable[..., Monitor]


@pytest.fixture
def watching() -> Iterator[Made]:
    """A monitor of these probes at this pace; at the end every probe that hangs is released."""
    made: list[tuple[Monitor, tuple[Probe, ...]]] = []

    def make(*probes: Probe, pace: Pace = FAST) -> Monitor:
        monitor = Monitor(probes=lambda: list(probes), pace=pace)
        made.append((monitor, probes))
        return monitor

    yield make
    for monitor, probes in made:
        monitor.rounds.stop()
        for probe in probes:
            if isinstance(probe, Scripted):
                probe.told.hang = False
                probe.told.released.set()
                assert until(probe.told.is_left)
        assert until(monitor.rounds._ended.is_set)
