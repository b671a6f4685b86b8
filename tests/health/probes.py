"""Probes that do as the test tells them, and count how they are asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from resilience.findings import Finding, Level
from resilience.probes.base import Deadline, Probe

HINT = "Mend it."


@dataclass
class Told:
    """What a scripted probe does next, and what became of it so far."""

    level: Level = Level.OK
    hang: bool = False
    error: BaseException | None = None
    runs: int = 0
    inside: int = 0
    most_inside: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def is_left(self) -> bool:
        """Whether nobody is in its probe."""
        return self.inside == 0


@dataclass(frozen=True)
class Scripted(Probe):
    """Answers at once, hangs for up to a minute, or raises."""

    area = "database"
    told: Told = field(kw_only=True, compare=False)

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - it keeps none
        told = self.told
        with told.lock:
            told.runs += 1
            told.inside += 1
            told.most_inside = max(told.most_inside, told.inside)
            level, hang, released = told.level, told.hang, told.released
        try:
            if hang:
                released.wait(60)
            if told.error is not None:
                raise told.error
            hint = HINT if level >= Level.WARNING else ""
            identifier = "database.ok" if level < Level.WARNING else "database.unreachable"
            yield Finding(identifier, level, self.subject, f"It is {level}.", hint)
        finally:
            with told.lock:
                told.inside -= 1


@dataclass(frozen=True)
class Seldom(Scripted):
    """The same, of an area that is asked every five minutes."""

    area = "tls"


@dataclass(frozen=True)
class Once(Scripted):
    """The same, of an area that is asked once."""

    area = "env"
