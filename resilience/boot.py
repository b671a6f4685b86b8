"""How long this process took from its start until Django was ready. Linux; elsewhere unknown."""

from __future__ import annotations

import os
import time
from pathlib import Path

# Of /proc/self/stat behind the command's name, which may hold spaces (proc_pid_stat(5)).
_START = 19

_seconds: float | None = None


def note_ready() -> None:
    """Keep how old this process is now: called by ``ready()``, and only its first call counts."""
    global _seconds  # noqa: PLW0603 - the one boot of this process
    if _seconds is None:
        _seconds = _age()


def seconds() -> float | None:
    """What ``note_ready()`` kept, in seconds; None if it cannot be known.

    A worker that was forked after that has its parent's.
    """
    return _seconds


def _age() -> float | None:
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        started = int(fields[_START]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    except (OSError, ValueError, IndexError, AttributeError):
        return None
