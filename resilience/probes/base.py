"""What a probe is, and the time it has."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar

from resilience.findings import Finding

STAGE_SECONDS = 2.0
"""The longest that one network stage (DNS, TCP, TLS, one reply) may take, in seconds."""


class Deadline:
    """The moment at which a run ends, on a monotonic clock."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends = clock() + seconds

    def left(self) -> float:
        """Seconds until the end, never negative."""
        return max(0.0, self._ends - self._clock())

    def stage(self) -> float:
        """Seconds that the next network stage may take: 2, never more than what is left.

        A tenth of what is left is kept, so that the stage can still say what it waited for before
        the run ends. Never 0, which sockets read as "do not block".
        """
        return max(0.001, min(STAGE_SECONDS, self.left() * 0.9))


def elapsed_ms(began: float) -> float:
    """Milliseconds since a ``time.perf_counter()`` value."""
    return round((time.perf_counter() - began) * 1000, 2)


def utc_now() -> datetime:
    """The time of day of this machine."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Probe(ABC):
    """One question about one subject.

    ``needs`` are the subjects that this one stands on: their error explains its own. A probe that
    is not ``live`` reads settings and the environment only, so it may run in a system check and
    while an image is built. ``asked_for`` is False where nobody named its area: what is no news
    may be told in brief. One that goes ``outside`` asks somebody else's service, perhaps for money.
    """

    area: ClassVar[str]
    live: ClassVar[bool] = True
    outside: ClassVar[bool] = False

    subject: str
    needs: tuple[str, ...] = ()
    asked_for: bool = field(default=True, kw_only=True, compare=False)

    @abstractmethod
    def run(self, deadline: Deadline) -> Iterator[Finding]:
        """Yield what was found. Whatever this raises, the runner reports."""

    def unobtrusive(self) -> Probe:
        """The same question as a running app may ask itself every few seconds.

        It builds nothing that the app has not built, and leaves out what costs much.
        """
        return self
