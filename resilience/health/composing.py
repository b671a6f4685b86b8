"""From what is remembered of each subject to one snapshot. Reads memory only."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from resilience import conf
from resilience.findings import Finding, Level, Report
from resilience.health.states import Health, Readiness
from resilience.health.subject import Subject, worst
from resilience.probes.runner import link, needs_of
from resilience.probes.silencing import is_silenced


def linked(subjects: Collection[Subject]) -> dict[str, tuple[Finding, ...]]:
    """The findings of each subject, linked to their causes across all; without silenced ones."""
    found = iter(
        link(
            [finding for subject in subjects for finding in subject.findings],
            needs_of(probe for subject in subjects for probe in subject.probes),
        )
    )
    return {
        subject.name: tuple(
            finding for finding in islice(found, len(subject.findings)) if not is_silenced(finding)
        )
        for subject in subjects
    }


def critical_of(subjects: Collection[Subject], wanted: Sequence[str]) -> list[Subject]:
    """Those whose failure takes the app out of service. The word of an area means all of it."""
    return [subject for subject in subjects if any(_covers(word, subject.name) for word in wanted)]


def compose(
    subjects: Collection[Subject],
    settings: conf.Conf,
    *,
    listed: bool,
    times: tuple[float, float],
    background: bool,
) -> Health:
    """One snapshot of all subjects, once they are ``listed``; ``times``: now, and of the boot."""
    findings = linked(subjects)
    critical = critical_of(subjects, settings.CRITICAL)
    problems = [replace(problem, area="conf") for problem in conf.problems()]
    if listed:
        problems += _strangers(subjects, settings.CRITICAL)
    problems = [problem for problem in problems if not is_silenced(problem)]
    everything = (*problems, *(one for each in findings.values() for one in each))
    states = [subject.state(findings[subject.name]) for subject in subjects]
    known = tuple(state for state in states if state is not None)
    report = Report(
        everything,
        conf.detect_hosting(),
        max((state.duration_ms for state in known), default=0.0),
        frozenset((*settings.CRITICAL, *(subject.name for subject in critical))),
    )
    readiness = _readiness(critical, worst(everything), listed=listed)
    return Health(readiness, report, known, times[0], times[1], background)


def _readiness(critical: Sequence[Subject], level: Level, *, listed: bool) -> Readiness:
    if not listed or any(subject.level is None for subject in critical):
        return Readiness.STARTING
    if any(subject.threshold.failing for subject in critical):
        return Readiness.NOT_READY
    return Readiness.DEGRADED if level >= Level.WARNING else Readiness.READY


def _covers(word: str, subject: str) -> bool:
    return word == subject or subject.startswith(f"{word}.")


def _strangers(subjects: Collection[Subject], wanted: Sequence[str]) -> Iterator[Finding]:
    """What settings call critical and nobody asks about: it would never fail."""
    for word in wanted:
        # A project without a database leaves the default alone.
        if not word.startswith("databases.") and not critical_of(subjects, [word]):
            yield Finding(
                "conf.invalid",
                Level.ERROR,
                "settings.RESILIENCE",
                f"RESILIENCE['CRITICAL']: nothing here is called {word!r}, so it can never fail.",
                "Use a subject that checkdeploy shows.",
                area="conf",
            )
