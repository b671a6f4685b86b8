"""What changed since the last beat: kept in memory, written by the thread of the heartbeat."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from resilience.findings import Finding, Level
from resilience.history.fitting import fit

MOST = 1000
"""Changes that wait for the database; of more, the oldest are dropped and counted."""

# Every process reads these from the same table: the change of one would be told by all.
_SHARED = "instances"


class Change(NamedTuple):
    """One subject got another level. ``at`` is on the clock of :class:`Recorder`."""

    at: float
    subject: str
    old: Level | None
    new: Level
    finding: str
    summary: str


class Recorder:
    """``note`` is quick and never raises; ``clock`` is monotonic, ``wall`` unix seconds."""

    def __init__(
        self,
        woken: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.dropped = 0
        self._woken, self._clock, self._wall = woken, clock, wall
        self._lock = threading.Lock()
        self._waiting: list[Change] = []
        self._worst: dict[str, Level] = {}

    def note(
        self,
        *,
        subject: str,
        old: Level | None,
        new: Level,
        finding: Finding,
        at: float,
        **_: object,
    ) -> None:
        """A receiver of ``subject_changed``. That a process begins with OK is no news."""
        if finding.area == _SHARED or (old is None and new is Level.OK):
            return
        subject = fit(subject)  # as everything else in the history calls it
        age = max(0.0, self._wall() - at)
        change = Change(self._clock() - age, subject, old, new, finding.id, finding.summary)
        with self._lock:
            self._worst[subject] = max(self._worst.get(subject, new), new)
            self._waiting.append(change)
            self._trim()
        self._woken()

    def take(self, most: int) -> list[Change]:
        """The oldest that wait. What could not be written goes back by :meth:`restore`."""
        with self._lock:
            taken, self._waiting = self._waiting[:most], self._waiting[most:]
            return taken

    def restore(self, changes: Sequence[Change]) -> None:
        with self._lock:
            self._waiting[:0] = changes
            self._trim()

    def levels(self, now: Mapping[str, Level]) -> dict[str, Level]:
        """The worst level of each subject since the last beat: a short failure shows, too."""
        with self._lock:
            worst = self._worst
            return {name: max(level, worst.get(name, level)) for name, level in now.items()}

    def told(self, levels: Mapping[str, Level]) -> None:
        """The database has what :meth:`levels` said."""
        with self._lock:
            self._worst = {
                name: level
                for name, level in self._worst.items()
                if level > levels.get(name, Level.OK)
            }

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def _trim(self) -> None:
        over = len(self._waiting) - MOST
        if over > 0:
            del self._waiting[:over]
            self.dropped += over
