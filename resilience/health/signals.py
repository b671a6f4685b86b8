"""Who wants to know that a subject's level changed, and the thread that tells them."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import NamedTuple

from django.dispatch import Signal

from resilience.cache.worker import Worker
from resilience.findings import Finding, Level

subject_changed: Signal = Signal()
"""Sent after a run whose level is another than that of the run before, in a thread of its own.

With ``subject`` (the sender too), ``old`` (None at first), ``new``, ``finding`` (the worst one of
the run, linked to its cause) and ``at`` (unix seconds). A receiver that hangs keeps later signals
from being sent, and nothing else; what one raises is logged.
"""

MOST = 1000  # changes that are kept for a receiver that hangs; then the oldest are forgotten


class Change(NamedTuple):
    """What ``subject_changed`` is sent with."""

    subject: str
    old: Level | None
    new: Level
    finding: Finding
    at: float


class Announcer(Worker):
    """Sends the signal, one change after the other."""

    def __init__(self) -> None:
        super().__init__("resilience-health-signals")
        self._changes: deque[Change] = deque(maxlen=MOST)

    def announce(self, change: Change) -> None:
        """Returns at once."""
        if subject_changed.has_listeners():
            self._changes.append(change)
            self.start()

    def turn(self) -> float:
        while self._changes:
            change = self._changes.popleft()
            subject_changed.send_robust(sender=change.subject, **change._asdict())
        return 0.0

    def is_idle(self) -> bool:
        return not self._changes


def _after_fork() -> None:
    """The announcer may have been sending: who disconnects in the child would wait for ever."""
    subject_changed.lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
