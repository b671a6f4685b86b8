"""Every subject as one row: its state, how long it takes, and how it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from django.utils.safestring import SafeString

from resilience.findings import Finding, Level
from resilience.health.states import HUNG, Health, SubjectState
from resilience.history.spans import Span
from resilience.page import pictures, words
from resilience.page.problems import Line, line
from resilience.page.words import Mark, Moment

WINDOWS = {"24h": ("24 hours", 86400.0), "7d": ("7 days", 604800.0), "90d": ("90 days", 7776000.0)}


@dataclass(frozen=True)
class Row:
    """One subject. ``bars`` are its timelines by window; ``running`` is said of a hung probe."""

    subject: str
    area: str
    critical: bool
    mark: Mark
    since: Moment
    checked: Moment
    latest: str
    latency: SafeString
    bars: tuple[tuple[str, SafeString], ...]
    running: str
    last_ok: Moment | None
    last_failure: Moment | None
    lines: tuple[Line, ...]


def rows(
    health: Health, spans: Mapping[str, Mapping[str, tuple[Span, ...]]] | None
) -> Iterator[Row]:
    """In the order of the report, so that a subject is where it was. ``spans``: see history."""
    for state in health.subjects:
        yield _row(state, health, None if spans is None else spans.get(state.subject, {}))


def _row(state: SubjectState, health: Health, spans: Mapping[str, tuple[Span, ...]] | None) -> Row:
    now = health.taken_at
    findings = sorted(state.findings, key=_gravity, reverse=True)
    running = state.running(now)
    return Row(
        subject=state.subject,
        area=state.area,
        critical=state.subject in health.report.critical,
        mark=words.LEVELS[state.level],
        since=words.moment(state.since, now),
        checked=words.moment(state.checked_at, now),
        latest=words.milliseconds(state.duration_ms),
        latency=pictures.latency(
            [each.duration_ms for each in state.samples], [each.level for each in state.samples]
        ),
        bars=tuple(_bars(state, now, spans)),
        running=f"running for {words.duration(running)}" if running > HUNG else "",
        last_ok=_moment(state.last_ok, now),
        last_failure=_moment(state.last_failure, now),
        lines=tuple(line(finding) for finding in findings),
    )


def _moment(at: float | None, now: float) -> Moment | None:
    return words.moment(at, now) if at is not None else None


def _gravity(finding: Finding) -> Level:
    return finding.level


def _bars(
    state: SubjectState, now: float, spans: Mapping[str, tuple[Span, ...]] | None
) -> Iterator[tuple[str, SafeString]]:
    if spans is None:
        start = state.samples[0].at if state.samples else state.since
        # A first minute that fills the whole width would look like an hour.
        start = min(start, now - 60)
        name = f"the last {words.duration(now - start)}"
        yield "process", pictures.timeline(_of_samples(state, now), start, now, name)
        return
    for window, (name, seconds) in WINDOWS.items():
        found = spans.get(window, ())
        yield window, pictures.timeline(found, now - seconds, now, f"the last {name}")


def _of_samples(state: SubjectState, now: float) -> list[Span]:
    """What a run found holds until the next one ends."""
    if not state.samples:
        return []
    last = state.samples[-1]
    return [
        *(Span(here.at, there.at, here.level) for here, there in pairwise(state.samples)),
        Span(last.at, max(now, last.at), last.level),
    ]
