"""A Health as the monitor makes them, of any size: 50 subjects that ran for an hour."""

from __future__ import annotations

import random
from collections.abc import Sequence

from resilience import hosting
from resilience.findings import Finding, Level, Report
from resilience.health.states import Health, Readiness, Sample, SubjectState

NOW = 1_795_000_000.0  # 2026-11-18


def finding(subject: str, level: Level = Level.OK, cause: Finding | None = None) -> Finding:
    """One of an area that no probe has."""
    return Finding(
        f"sample.{level}",
        level,
        subject,
        f"{subject} is {level}.",
        "" if level < Level.WARNING else f"Mend {subject}.",
        {"wait_ms": 12.5, "server": "localhost:6379"},
        "shop/settings.py:12" if level else None,
        cause,
        area="sample",
        duration_ms=3.2,
    )


def state(*findings: Finding, samples: int = 360) -> SubjectState:
    """One subject whose last run found this, after ``samples`` runs of every kind."""
    chance = random.Random(findings[0].subject)  # noqa: S311 - the same picture every time
    level = max(each.level for each in findings)
    runs = tuple(
        Sample(
            NOW - 10.0 * (samples - index),
            chance.choices(list(Level), [90, 4, 3, 3])[0],
            chance.expovariate(0.1),
        )
        for index in range(samples)
    )
    return SubjectState(
        subject=findings[0].subject,
        area="sample",
        level=level,
        findings=findings,
        since=NOW - 1234,
        checked_at=NOW - 4,
        duration_ms=runs[-1].duration_ms if runs else 0.0,
        running_since=None,
        last_ok=NOW - 4,
        last_failure=NOW - 2000 if samples else None,
        samples=runs,
    )


def health(
    states: Sequence[SubjectState], readiness: Readiness = Readiness.READY, critical: str = ""
) -> Health:
    """What the monitor would say of them."""
    findings = tuple(each for one in states for each in one.findings)
    report = Report(findings, hosting.Hosting(instance="web-1"), 42.0, frozenset({critical}))
    return Health(readiness, report, tuple(states), NOW, NOW - 3600, background=True)


def many(count: int) -> Health:
    """``count`` subjects, one of five in trouble, half of those because of another."""
    states: list[SubjectState] = []
    cause: Finding | None = None
    for index in range(count):
        level = (Level.OK, Level.OK, Level.WARNING, Level.INFO, Level.ERROR)[index % 5]
        because = cause if level is Level.ERROR and index % 2 else None
        found = finding(f"subject.{index}", level, because)
        cause = found if level is Level.ERROR and because is None else cause
        states.append(state(found))
    return health(states, Readiness.DEGRADED)
