"""A circuit breaker: counts how calls ended and says when to stop asking. No threads, no I/O."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from resilience.cache.faults import Kind

State = Literal["closed", "open", "half-open"]
OnChange = Callable[[State, State, str], None]

WINDOW = 10  # seconds
MIN_CALLS = 20  # in the window, before a rate means anything
MAX_RATE = 0.5
IN_A_ROW = 5
IN_A_ROW_HARD = 2

# The server answered, or was never asked: says nothing about the next call.
_UNCOUNTED = frozenset({Kind.SATURATION, Kind.PERMISSION, Kind.BUG})


class Breaker:
    """Opens on failures; somebody else probes, then closes or reopens it.

    ``closed`` is all that the hot path reads, without the lock. ``since`` is the clock (seconds)
    of the last opening or closing: probing in between does not move it. ``latest`` is how long the
    last recorded call took (seconds), ``answered`` when the last one succeeded (on the clock).
    ``on_change(old, new, why)`` runs in the thread that caused the change, outside the lock: two
    changes in a moment may be told in either order.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, on_change: OnChange | None = None
    ) -> None:
        self.on_change = on_change
        self.closed = True
        self.state: State = "closed"
        self.since = clock()
        self.forced: Literal["open", "closed"] | None = None
        self.latest = 0.0
        self.answered = 0.0
        self._clock = clock
        # Reentrant: a finalizer or a signal handler may use the cache while its thread holds this.
        self._lock = threading.RLock()
        self._second: int
        self._row: int
        self._hard_row: int
        self._calls: list[int]  # by second
        self._failures: list[int]
        self._forget()

    def record_success(self, seconds: float) -> None:
        """Count a call that succeeded, which it only can within its time."""
        self.latest = seconds
        if self._row:
            with self._lock:
                self._row = self._hard_row = 0
        self.answered = now = self._clock()
        second = int(now)
        if second != self._second:
            with self._lock:
                self._turn(second)
        # Outside the lock: a count that is lost to another thread costs 1 of the 20, no more.
        self._calls[second % WINDOW] += 1

    def record_failure(self, kind: Kind, seconds: float) -> None:
        """Count a call that failed; opens if it is one too many. Kinds that say nothing are not."""
        if kind in _UNCOUNTED:
            return
        self.latest = seconds
        with self._lock:
            if not self.closed or self.forced:
                return
            second = int(self._clock())
            self._turn(second)
            self._calls[second % WINDOW] += 1
            self._failures[second % WINDOW] += 1
            self._row += 1
            self._hard_row = self._hard_row + 1 if kind is Kind.HARD_OUTAGE else 0
            why = self._reason(kind, seconds)
            old = self._enter("open") if why else None
        self._tell(old, "open", why)

    def half_open(self) -> bool:
        """A probe begins; False if there is nothing to probe: closed, forced or under way."""
        return self._move(("open",), "half-open", "a probe is under way")

    def close(self) -> bool:
        """Redis is back; what was counted before is forgotten. False if closed or forced."""
        return self._move(("open", "half-open"), "closed", "the probe succeeded")

    def reopen(self) -> bool:
        """The probe failed. False if none was under way."""
        return self._move(("half-open",), "open", "the probe failed")

    def force(self, state: Literal["open", "closed"] | None) -> None:
        """Hold it open or closed whatever happens; None releases it.

        Released, it stays as it is: an open one waits for the next probe.
        """
        if state not in ("open", "closed", None):
            raise ValueError(f'A breaker is forced "open", "closed" or None, not {state!r}.')
        with self._lock:
            new: State = state or self.state
            old = self._enter(new)
            self.forced = state
            self._forget()  # nothing counts while it is forced, so what counted before is old
        self._tell(old, new, f"forced {new}")

    def _move(self, origins: tuple[State, ...], new: State, why: str) -> bool:
        with self._lock:
            if self.forced or self.state not in origins:
                return False
            old = self._enter(new)
        self._tell(old, new, why)
        return True

    def _enter(self, new: State) -> State | None:
        """The state that was left, with the lock held; None if it is the same."""
        old = self.state
        if new == old:
            return None
        if "closed" in (old, new):
            self.since = self._clock()
            self._forget()
        self.state = new
        self.closed = new == "closed"
        return old

    def _tell(self, old: State | None, new: State, why: str) -> None:
        if old is not None and self.on_change is not None:
            self.on_change(old, new, why)

    def _reason(self, kind: Kind, seconds: float) -> str:
        """Why to open, or nothing."""
        last = f"the last: {kind.value} after {seconds:.3g} s"
        if kind is Kind.CONFIGURATION:
            return f"configuration error after {seconds:.3g} s"
        if self._hard_row >= IN_A_ROW_HARD or self._row >= IN_A_ROW:
            return f"{self._row} failures in a row, {last}"
        calls, failures = sum(self._calls), sum(self._failures)
        if calls >= MIN_CALLS and failures >= MAX_RATE * calls:
            return f"{failures} of {calls} calls failed within {WINDOW} s, {last}"
        return ""

    def _forget(self) -> None:
        self._row = self._hard_row = 0
        self._calls = [0] * WINDOW
        self._failures = [0] * WINDOW
        self._second = int(self._clock())

    def _turn(self, second: int) -> None:
        """Empty the buckets of the seconds that have begun since the last call."""
        for begun in range(max(self._second + 1, second - WINDOW + 1), second + 1):
            self._calls[begun % WINDOW] = self._failures[begun % WINDOW] = 0
        self._second = max(self._second, second)
