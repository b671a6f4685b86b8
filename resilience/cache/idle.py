"""Lets go of connections that nobody uses, for platforms that put an app to sleep.

Such a platform keeps an app awake while packets leave it, and the kernel sends some for every open
connection: keepalives, or the answers to Redis's own.
"""

from __future__ import annotations

from typing import Protocol
from weakref import WeakSet

from resilience.cache.worker import Worker

CLOSE_AFTER = 60.0
"""Seconds after which an idle connection is closed."""


class Holder(Protocol):
    """Who has connections."""

    def close_idle(self, after: float) -> float | None:
        """Close what is idle for so many seconds; in how many the next one will be, if any."""

    @property
    def has_idle(self) -> bool:
        """Whether there is any. Waits for no lock."""


class Closer(Worker):
    """Runs while there is an idle connection, and only where ``wanted``."""

    def __init__(self, close_after: float = CLOSE_AFTER) -> None:
        super().__init__("resilience-idle")
        self.close_after = close_after
        self.wanted = False
        self._holders: WeakSet[Holder] = WeakSet()

    def use(self, *, wanted: bool) -> None:
        """Begin with it, or leave it."""
        self.wanted = wanted
        if not self.is_idle():  # at the start of an app there is nothing, and no thread yet
            self.start(wake=True)

    def watch(self, holder: Holder) -> None:
        self._holders.add(holder)

    def turn(self) -> float:
        if not self.wanted:
            return 0.0
        left = [holder.close_idle(self.close_after) for holder in list(self._holders)]
        return min((seconds for seconds in left if seconds is not None), default=0.0)

    def is_idle(self) -> bool:
        return not (self.wanted and any(holder.has_idle for holder in list(self._holders)))

    def after_fork(self) -> None:
        """In the child, where the thread is not. Harmless if repeated."""
        wanted, holders = self.wanted, self._holders
        self.__init__(self.close_after)  # type: ignore[misc] # locks and events anew
        self.wanted, self._holders = wanted, holders


CLOSER = Closer()  # of this process
