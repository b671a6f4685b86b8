"""How often a process beats, and what its silence means."""

from __future__ import annotations

from resilience.chance import CHANCE

INTERVAL = 15.0
"""Seconds between two beats of a process, give or take a fifth."""

JITTER = 0.2
_STALE = 2  # beats missed
_GONE = 4


def pause() -> float:
    """Seconds until the next beat."""
    return INTERVAL * CHANCE.uniform(1 - JITTER, 1 + JITTER)


def stale_after() -> float:
    """Seconds of silence after which at least two beats are missing."""
    return _STALE * INTERVAL * (1 + JITTER)


def gone_after() -> float:
    """Seconds of silence after which at least four beats are missing."""
    return _GONE * INTERVAL * (1 + JITTER)
