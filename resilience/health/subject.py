"""What is remembered of one subject from run to run. No threads, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from resilience.findings import Finding, Level
from resilience.health.runs import Run
from resilience.health.states import Sample, SubjectState
from resilience.health.thresholds import Threshold
from resilience.probes.base import Probe
from resilience.probes.runner import is_failure

SAMPLES = 360


class Subject:
    """The last answer about one subject, and the run that is under way.

    ``started`` is the time of the last start, on the monitor's monotonic clock.
    """

    def __init__(self, probes: Sequence[Probe]) -> None:
        self.probes = tuple(probes)
        self.name = probes[0].subject
        self.run: Run | None = None
        self.started: float | None = None
        self.findings: tuple[Finding, ...] = ()  # of the last run, not linked
        self.is_failing = False  # whether that found an error, or had no answer
        self.level: Level | None = None  # before the first answer
        self.threshold = Threshold()
        self._since = 0.0
        self._checked_at = 0.0
        self._duration_ms = 0.0
        self._last_ok: float | None = None
        self._last_failure: float | None = None
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)

    @property
    def area(self) -> str:
        return self.probes[0].area

    @property
    def is_awaited(self) -> bool:
        """Whether a run is under way of which there is hope yet."""
        return self.run is not None and self.run.judged is None

    def note(self, linked: Sequence[Finding], *, at: float, duration_ms: float) -> Level | None:
        """A run ended at ``at`` (unix seconds) with these findings; the level until then."""
        old, level = self.level, worst(linked)
        if level is not old:
            self.level, self._since = level, at
        self.is_failing = any(map(is_failure, linked))
        self.threshold.note(failed=level >= Level.ERROR)
        self._checked_at, self._duration_ms = at, duration_ms
        if self.is_failing:
            self._last_failure = at
        else:
            self._last_ok = at
        self._samples.append(Sample(at, level, duration_ms))
        return old

    def state(self, findings: tuple[Finding, ...]) -> SubjectState | None:
        """As everybody sees it, with these linked findings; None before the first answer."""
        if self.level is None:
            return None
        return SubjectState(
            subject=self.name,
            area=self.area,
            level=self.level,
            findings=findings,
            since=self._since,
            checked_at=self._checked_at,
            duration_ms=self._duration_ms,
            running_since=self.run.began_at if self.run else None,
            last_ok=self._last_ok,
            last_failure=self._last_failure,
            samples=tuple(self._samples),
        )


def worst(findings: Sequence[Finding]) -> Level:
    """The level of the worst of them; OK where there is nothing to say."""
    return max((finding.level for finding in findings), default=Level.OK)
