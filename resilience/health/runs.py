"""One run of one subject: all of its probes, one after the other, in a thread nobody waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence

from resilience.findings import Finding
from resilience.probes.base import Deadline, Probe
from resilience.probes.runner import Job, conclude


class Run:
    """Under way until ``landed`` is called with it, in its thread and whenever that may be.

    ``began`` and ``judged`` are times of the caller's monotonic clock, ``began_at`` is unix
    seconds. ``judged`` is set when the run was last reported as hanging.
    """

    def __init__(
        self,
        probes: Sequence[Probe],
        deadline: Deadline,
        landed: Callable[[Run], None],
        *,
        began: float,
        began_at: float,
    ) -> None:
        self.subject = probes[0].subject
        self.began, self.began_at = began, began_at
        self.judged: float | None = None
        self._probes, self._deadline, self._landed = probes, deadline, landed
        self._jobs = [Job(probes[0], time.monotonic())]

    def start(self) -> None:
        """In a daemon thread. Without one to be had the run ends at once, as a crash."""
        name = f"resilience-health-{self.subject}"
        thread = threading.Thread(target=self._examine, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system has no thread left
            job = self._jobs[0]
            job.crash, job.ended = error, job.began
            self._landed(self)

    def findings(self, critical: Collection[str]) -> tuple[Finding, ...]:
        """What is known by now; of the probe that hangs, that it does."""
        return tuple(finding for job in list(self._jobs) for finding in conclude(job, critical))

    def _examine(self) -> None:
        try:
            self._jobs[0].examine(self._deadline)
            for probe in self._probes[1:]:
                job = Job(probe, time.monotonic())
                self._jobs.append(job)
                job.examine(self._deadline)
        finally:
            self._landed(self)
