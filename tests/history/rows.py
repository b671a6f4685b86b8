"""Rows as processes would have written them."""

from __future__ import annotations

import uuid
from typing import Any

from resilience.findings import Level
from resilience.history import identity
from resilience.history.models import Instance, Stretch, Transition


def instance(now: float, *, ago: float = 0.0, **more: Any) -> Instance:
    """A process whose last beat was ``ago`` seconds before ``now``."""
    values = {
        "key": uuid.uuid4(),
        "replica": "replica-1",
        "host": "host-1",
        "pid": 4711,
        "role": "web",
        "booted_at": now - ago - 3600,
        "last_beat": now - ago,
        "commit": "aaaa",
        "config": "c1",
        "versions": "Python 3.11",
        "memory_bytes": 100_000_000,
    }
    return Instance._default_manager.create(**{**values, **more})


def transition(at: float, subject: str = "redis", **more: Any) -> Transition:
    values = {
        "at": at,
        "subject": subject,
        "old": Level.OK,
        "new": Level.ERROR,
        "finding": "tcp.refused",
        "summary": "Nobody listens.",
        "replica": "replica-1",
        "pid": 4711,
    }
    return Transition(**{**values, **more})


def stretch(start: float, end: float, level: Level, subject: str = "redis") -> Stretch:
    return Stretch(subject=subject, level=level, start=start, end=end)


def me(role: str = "web") -> identity.Identity:
    return identity.identify(role)
