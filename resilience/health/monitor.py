"""How this process does, for whoever asks. The one monitor of the process lives here."""

from __future__ import annotations

import atexit
import os

from resilience.health.rounds import Monitor
from resilience.health.schedule import DEADLINE, PERIOD
from resilience.health.states import Health

__all__ = ["DEADLINE", "PERIOD", "Monitor", "ask", "check_now", "reset", "snapshot", "start"]

AT_EXIT = 0.5
"""Seconds for which the end of the process waits for runs under way."""

_monitor = Monitor()
_hooked = False


def start() -> None:
    """See to it that background runs go on, unless ``BACKGROUND`` is False. Cheap, idempotent."""
    if not _monitor.rounds.running:
        _hook()
        _monitor.start()


def snapshot() -> Health:
    """What is known now. Never waits for a run, starts none."""
    return _monitor.snapshot()


def ask(wait: float = 1.0) -> Health:
    """What is known now; if that is nothing yet, what is known after ``wait`` seconds at most.

    Under ``BACKGROUND = False`` an answer older than PERIOD counts as none: the call starts the one
    run of everything that is due.
    """
    _hook()
    return _monitor.ask(wait)


def check_now(wait: float = 6.0) -> Health:
    """Run everything that is not under way, at most once a second; wait for it so many seconds."""
    _hook()
    return _monitor.check_now(wait)


def reset() -> None:
    """Forget everything (tests). What is under way ends by itself, and nobody is told."""
    global _monitor  # noqa: PLW0603 - the one monitor of this process
    _monitor.rounds.stop()
    _monitor = Monitor()


def _hook() -> None:
    global _hooked  # noqa: PLW0603 - once per process, on first use
    if not _hooked:
        _hooked = True
        os.register_at_fork(after_in_child=_after_fork)
        atexit.register(lambda: _monitor.end(AT_EXIT))


def _after_fork() -> None:
    """The parent's threads are not here, and what they held is never let go."""
    global _monitor  # noqa: PLW0603 - as in reset()
    _monitor = Monitor()
