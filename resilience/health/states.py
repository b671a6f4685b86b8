"""What is known of every subject, and what it means for this process. Immutable."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from resilience.findings import Finding, Level, Report

HUNG = 10.0
"""Seconds of a run that are worth telling: twice the deadline after which it is reported."""


class Sample(NamedTuple):
    """One run of one subject that ended, or that had no answer in time.

    ``at`` is its end in unix seconds, ``level`` the worst of its findings.
    """

    at: float
    level: Level
    duration_ms: float


@dataclass(frozen=True)
class SubjectState:
    """Everything known of one subject now. Times are unix seconds.

    ``level`` is the plain worst of ``findings``, those of the last run; the thresholds against
    flapping are for ``Health.readiness`` alone. ``findings`` are linked to their causes across the
    whole snapshot. ``since`` is when ``level`` began to hold in this process, ``checked_at`` the
    end of the last run. ``running_since`` is set while a run is under way: for long where a probe
    hangs. ``last_failure`` is the last run that found an error or had no answer, ``last_ok`` the
    last other one. ``samples`` are the last 360 runs at most, the oldest first.
    """

    subject: str
    area: str
    level: Level
    findings: tuple[Finding, ...]
    since: float
    checked_at: float
    duration_ms: float
    running_since: float | None
    last_ok: float | None
    last_failure: float | None
    samples: tuple[Sample, ...]

    def running(self, now: float) -> float:
        """Seconds that the run under way has taken until ``now``; 0 without one."""
        return max(0.0, now - (self.running_since or now))


class Readiness(StrEnum):
    """Whether this process should be sent requests; only NOT_READY and STARTING say no."""

    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    NOT_READY = "not-ready"


@dataclass(frozen=True)
class Health:
    """One snapshot. Times are unix seconds.

    ``readiness`` is NOT_READY only by errors of critical subjects, STARTING until each of them has
    answered once; a warning, or an error of another subject, is DEGRADED. ``report`` holds all
    findings as ``checkdeploy`` reports them. ``subjects`` are those that have answered, in the
    order of the report. ``background`` tells whether runs go on by themselves in this process.
    """

    readiness: Readiness
    report: Report
    subjects: tuple[SubjectState, ...]
    taken_at: float
    booted_at: float
    background: bool
