"""Runs probes all at once, ends on time whatever they do, and links symptoms to their cause.

Every probe gets a daemon thread of its own that is never joined: neither an executor nor an event
loop can be left while a thread of theirs hangs (measured: a 1 s timeout answered after 12 s).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from resilience import places, redact
from resilience.findings import Finding, Level
from resilience.probes.base import Deadline, Probe

GRACE_SECONDS = 1.0
"""How long a probe is still waited for once the subject it needs is known to be down."""

_TICK = 0.2


@dataclass
class Job:
    """One probe under way: what it has yielded so far, and when it began and ended (monotonic)."""

    probe: Probe
    began: float
    found: list[Finding] = field(default_factory=list)
    crash: BaseException | None = None
    ended: float | None = None
    gave_up_after: float | None = None

    def examine(self, deadline: Deadline) -> None:
        """Ask the probe, in the thread that may hang. Raises nothing."""
        try:
            # One at a time, so that what was found before a hang or a crash is kept.
            for finding in self.probe.run(deadline):
                self.found.append(finding)
        except BaseException as error:  # noqa: BLE001 - a probe may raise SystemExit, the report must stand
            self.crash = error
        self.ended = time.monotonic()


def run(
    probes: Sequence[Probe],
    deadline: Deadline,
    *,
    critical: Collection[str] = (),
    progress: Callable[[list[str]], None] | None = None,
) -> tuple[Finding, ...]:
    """Every finding of every probe, in the order of ``probes``, within ``deadline``.

    A probe that has not ended by then is reported as ``probe.timeout`` behind whatever it had
    already found; one that raises anything at all, ``SystemExit`` included, as ``probe.crashed``.
    ``progress`` is called with the subjects still awaited, some times a second.
    """
    ended = threading.Semaphore(0)
    jobs = [Job(probe, time.monotonic()) for probe in probes]
    waiting = [job for job in jobs if _start(job, deadline, ended)]
    while waiting and deadline.left() > 0:
        ended.acquire(timeout=min(_TICK, deadline.left()))
        waiting = [job for job in waiting if job.ended is None]
        _give_up_dependents(waiting, jobs)
        waiting = [job for job in waiting if job.gave_up_after is None]
        if progress is not None:
            progress([job.probe.subject for job in waiting])
    found = [finding for job in jobs for finding in conclude(job, critical)]
    return link(found, needs_of(probes))


def needs_of(probes: Iterable[Probe]) -> dict[str, tuple[str, ...]]:
    """The subjects that each subject stands on, whichever of its probes says so."""
    needs: dict[str, tuple[str, ...]] = {}
    for probe in probes:
        needs[probe.subject] = (*needs.get(probe.subject, ()), *probe.needs)
    return needs


def link(findings: Sequence[Finding], needs: Mapping[str, tuple[str, ...]]) -> tuple[Finding, ...]:
    """Give every failure of a subject the failure of a subject that it needs as its cause."""
    failures = {f.subject: f for f in reversed(findings) if is_failure(f) and f.cause is None}
    causes: dict[str, str] = {}
    for subject in failures:
        for needed in needs.get(subject, ()):
            # Subjects that need each other must not explain each other: one stays the root.
            if needed in failures and subject not in _chain(needed, causes):
                causes[subject] = needed
                break

    explained: dict[str, Finding] = {}  # each once: a finding is redacted anew when it is made

    def explain(subject: str) -> Finding:
        if subject not in explained:
            explained[subject] = linked(failures[subject])
        return explained[subject]

    def linked(finding: Finding) -> Finding:
        if finding.subject not in causes or not is_failure(finding) or finding.cause is not None:
            return finding
        return replace(finding, cause=explain(causes[finding.subject]))

    return tuple(linked(finding) for finding in findings)


def _chain(subject: str, causes: Mapping[str, str]) -> Iterator[str]:
    yield subject
    while subject in causes:
        subject = causes[subject]
        yield subject


def is_failure(finding: Finding) -> bool:
    """Whether it may explain another subject's, or be explained."""
    return finding.level >= Level.ERROR or finding.id == "probe.timeout"


def _start(job: Job, deadline: Deadline, ended: threading.Semaphore) -> bool:
    def examine() -> None:
        job.examine(deadline)
        ended.release()

    thread = threading.Thread(target=examine, name=f"resilience-probe-{job.probe.subject}")
    thread.daemon = True
    try:
        thread.start()
    except RuntimeError as error:  # the system has no thread left
        job.crash, job.ended = error, job.began
        return False
    return True


def _give_up_dependents(waiting: list[Job], jobs: list[Job]) -> None:
    """Stop waiting for what hangs on a subject that is already known to be down.

    A cache client that retries for a minute would otherwise hold back the answer that its Redis
    has been giving since the first second.
    """
    now = time.monotonic()
    down = {
        job.probe.subject: job.ended
        for job in jobs
        if job.ended is not None and any(is_failure(finding) for finding in job.found)
    }
    for job in waiting:
        since = [down[subject] for subject in job.probe.needs if subject in down]
        if since and now - max(job.began, *since) >= GRACE_SECONDS:
            job.gave_up_after = now - job.began


def conclude(job: Job, critical: Collection[str]) -> list[Finding]:
    """What is known of a job by now: its findings, then its crash, or that it still hangs."""
    probe = job.probe
    found = list(job.found)
    took = (job.ended or time.monotonic()) - job.began
    if job.crash is not None:
        found.append(_crashed(probe, job.crash))
    elif job.ended is None:
        found.append(_timeout(probe, job.gave_up_after or took, probe.subject in critical))
    return [replace(f, area=probe.area, duration_ms=round(took * 1000, 1)) for f in found]


def _timeout(probe: Probe, waited: float, is_critical: bool) -> Finding:  # noqa: FBT001
    return Finding(
        "probe.timeout",
        Level.ERROR if is_critical else Level.WARNING,
        probe.subject,
        f"No answer within {waited:.1f} s; it is still hanging.",
        "Look for a missing timeout on the way to it; --deadline allows more time.",
        {"waited_ms": round(waited * 1000)},
    )


def _crashed(probe: Probe, error: BaseException) -> Finding:
    return Finding(
        "probe.crashed",
        Level.ERROR,
        probe.subject,
        f"The check itself failed with {redact.exception(error)}",
        "Report it with this output; -v 2 adds the places it came through.",
        {"traceback": places.trace(error)},
        location=places.of_error(error),
    )
