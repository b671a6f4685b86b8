"""How one run of one subject ended: what the pictures of latency and state are drawn from."""

from __future__ import annotations

from typing import NamedTuple

from resilience.findings import Level


class Sample(NamedTuple):
    """One run that ended, or that had no answer in time.

    ``at`` is its end in unix seconds, ``level`` the worst of its findings.
    """

    at: float
    level: Level
    duration_ms: float
