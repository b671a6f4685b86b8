"""What is wrong, the causes first, each with what follows from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from resilience.findings import Fact, Finding, Level, Report
from resilience.health.states import Health, Readiness, SubjectState
from resilience.page import words
from resilience.page.words import Mark, Moment
from resilience.render.text import groups

_READINESS = {
    Readiness.READY: Mark("ok", "Ready"),
    Readiness.DEGRADED: Mark("warn", "Degraded"),
    Readiness.NOT_READY: Mark("bad", "Not ready"),
    Readiness.STARTING: Mark("info", "Starting"),
}
_ADVICE = {
    Readiness.READY: "It takes requests.",
    Readiness.DEGRADED: "It takes requests: nothing critical is down.",
    Readiness.NOT_READY: "It asks for no requests: something critical is down.",
    Readiness.STARTING: "Not every critical subject has answered yet.",
}

_UNFOLDED = 3  # problems that are shown in full whatever they are


@dataclass(frozen=True)
class Line:
    """One finding as the page shows it. ``fix`` tells that ``hint`` is what to do."""

    mark: Mark
    id: str
    subject: str
    summary: str
    hint: str
    fix: bool
    location: str
    facts: tuple[tuple[str, Fact], ...]
    because: str
    skipped: bool


@dataclass(frozen=True)
class Problem:
    """One cause, since when it holds here, and what follows from it.

    ``compact`` is one of many that nobody is called for: one line until it is opened.
    """

    key: str
    line: Line
    since: Moment | None
    so: tuple[Line, ...]
    compact: bool = False


@dataclass(frozen=True)
class Verdict:
    """The whole page in one line; ``kind`` chooses its colour."""

    mark: Mark
    advice: str
    counts: str


def verdict(health: Health) -> Verdict:
    """In the words of ``/readyz``, then how many of what."""
    advice = _ADVICE[health.readiness]
    if health.readiness is Readiness.DEGRADED and _is_failing(health):
        advice = "It takes requests for now: something critical has just begun to fail."
    return Verdict(_READINESS[health.readiness], advice, _counts(health.report))


def _is_failing(health: Health) -> bool:
    """Whether a critical subject fails, though not for long enough to be taken out for it."""
    return any(
        state.level >= Level.ERROR and state.subject in health.report.critical
        for state in health.subjects
    )


def _counts(report: Report) -> str:
    roots = sum(finding.is_root_cause for finding in report.findings)
    following = report.count(Level.ERROR) - roots
    said = []
    if roots:
        said.append(words.counted(roots, "root cause"))
    if following and not roots:  # it follows from a warning
        said.append(words.counted(following, "error"))
    elif following:
        said.append(f"{following} more {'error' if following == 1 else 'errors'} because of it")
        if roots > 1:
            said[-1] = said[-1][:-2] + "them"
    warnings = report.count(Level.WARNING)
    if warnings:
        said.append(words.counted(warnings, "warning"))
    return ", ".join(said) or "Nothing is wrong"


def problems(health: Health) -> list[Problem]:
    """Errors, then warnings, as ``checkdeploy`` orders them; many warnings fold themselves."""
    found = list(_at(health, Level.ERROR, Level.WARNING))
    if len(found) <= _UNFOLDED:
        return found
    return [replace(each, compact=each.line.mark.kind == "warn" and not each.so) for each in found]


def notes(health: Health) -> list[Problem]:
    """What is worth knowing and nothing to mend."""
    return [replace(each, compact=True) for each in _at(health, Level.INFO)]


def _at(health: Health, *levels: Level) -> Iterator[Problem]:
    holding = {
        (finding.id, finding.subject): state
        for state in health.subjects
        for finding in state.findings
    }
    for head, *followers in groups(health.report.findings, *levels):
        yield Problem(
            f"{head.id} {head.subject}",
            line(head),
            _since(holding.get((head.id, head.subject)), health.taken_at),
            tuple(line(each) for each in followers),
        )


def _since(state: SubjectState | None, now: float) -> Moment | None:
    """What is wrong with RESILIENCE itself belongs to no subject that is watched."""
    return words.moment(state.since, now) if state is not None else None


def line(finding: Finding) -> Line:
    """One finding, with the thing that explains it."""
    cause = finding.cause
    return Line(
        words.LEVELS[finding.level],
        finding.id,
        finding.subject,
        finding.summary,
        finding.hint,
        finding.level >= Level.WARNING,
        finding.location or "",
        tuple(finding.facts.items()),
        f"{cause.subject} ({cause.id})" if cause else "",
        finding.skipped,
    )
