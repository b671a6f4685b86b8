"""What is asked how often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from resilience.health.subject import Subject
from resilience.probes import areas
from resilience.probes.base import Probe

PERIOD = 10.0
"""Seconds between two runs of what may change by itself at any time."""

DEADLINE = 5.0
"""Seconds after which a run is reported as hanging."""

# The outside is asked less often; what a process is born with, once (None). Any other: PERIOD.
PERIODS: Mapping[str, float | None] = MappingProxyType(
    {
        "env": None,
        "hosting": None,
        "tls": 300.0,
        "langsmith": 60.0,
        "instances": 15.0,
        "deploy": None,
        "conf": None,
    }
)


@dataclass(frozen=True)
class Pace:
    """All times of a monitor, in seconds.

    ``failing`` bounds the period of what fails, and of what something that fails stands on: a
    mended certificate is seen in a minute, and what broke it all is asked again in time to be told
    as the cause.
    """

    period: float = PERIOD
    deadline: float = DEADLINE
    outside: float = 60.0
    failing: float = 60.0
    check: float = 1.0
    periods: Mapping[str, float | None] = field(default_factory=lambda: PERIODS)

    def period_of(self, subject: Subject) -> float | None:
        """Between two runs; the shortest of its probes', None for one run only.

        One that goes outside holds back those that share its subject.
        """
        if any(probe.outside for probe in subject.probes):
            return self.outside
        known = [self.periods.get(probe.area, self.period) for probe in subject.probes]
        return min((period for period in known if period is not None), default=None)

    def due_at(self, subject: Subject, *, explains: bool) -> float | None:
        """When to start the next run, on the clock of ``started``; None for never.

        ``explains`` says that something that fails stands on it.
        """
        if subject.run is not None:
            return None
        if subject.started is None:
            return float("-inf")
        period = self.period_of(subject)
        if period is None:
            return None
        if subject.is_failing or explains:
            period = min(period, self.failing)
        return subject.started + period

    def judged_at(self, subject: Subject) -> float | None:
        """When to report the run that is under way, if it is still."""
        if subject.run is None:
            return None
        if subject.run.judged is None:
            return subject.run.began + self.deadline
        return subject.run.judged + self.period


PACE = Pace()


def probes() -> list[Probe]:
    """Every probe of this project that a running app may ask, in the order of the report."""
    return [probe.unobtrusive() for probe in areas.probes_of()]
