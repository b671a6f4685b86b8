"""Where this process runs and what it is made of: hosting, variables, components, certificates."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from django.utils.safestring import SafeString

from resilience import env
from resilience.components import Status, components
from resilience.findings import Finding, Level
from resilience.health.states import Health
from resilience.page import pictures, words
from resilience.page.words import Mark, Moment

_LONG = 90  # days of a certificate that fill its bar
_NONE = Mark("none", "")
_STATES = {
    "ready": Mark("ok", "ready"),
    "not-loaded": Mark("none", "not loaded"),
    "loading": Mark("info", "loading"),
    "blocked": Mark("warn", "blocked"),
    "failed": Mark("bad", "failed"),
    "closed": Mark("none", "closed"),
}


@dataclass(frozen=True)
class Process:
    """Which process made this page."""

    instance: str
    pid: int
    booted: Moment
    platform: str
    background: bool


@dataclass(frozen=True)
class Variable:
    """A declared variable: its name and where its value came from. Never the value."""

    mark: Mark
    name: str
    source: str


@dataclass(frozen=True)
class Component:
    """One component, and the names it requires with the state of each."""

    mark: Mark
    name: str
    why: str
    fix: str
    cause: str
    requires: tuple[tuple[str, Mark], ...]


@dataclass(frozen=True)
class Certificate:
    """A TLS server's certificate, as the last examination saw it."""

    mark: Mark
    subject: str
    names: str
    days: int
    said: str
    until: str
    bar: SafeString


def process(health: Health) -> Process:
    """The one that answers now."""
    hosting = health.report.hosting
    booted = words.moment(health.booted_at, health.taken_at)
    return Process(hosting.instance, os.getpid(), booted, hosting.name, health.background)


def hosting(health: Health) -> Iterator[tuple[str, str]]:
    """What was detected, and why: names of signals and limits."""
    found = health.report.hosting
    name = found.name[:1].upper() + found.name[1:]
    yield "Platform", f"{name} (forced by PLATFORM)" if found.forced else name
    yield "Signals", ", ".join(found.signals) or "none"
    yield "Rules", "those of a platform" if found.on_platform else "those of a laptop"
    yield "Instance", found.instance
    if found.processes is not None:
        yield "Web processes", f"{found.processes} (by {found.processes_source})"
    limit = found.memory_limit
    yield "Memory limit", words.size(limit) if limit is not None else "none found"
    if found.in_container:
        yield "Container", "yes"
    if found.ci:
        yield "CI", found.ci


def variables() -> list[Variable]:
    """Every declared variable, those with a problem first."""
    found = [_variable(item) for item in env.declared()]
    return sorted(found, key=lambda each: each.mark.kind != "bad")


def _variable(item: env.Declared) -> Variable:
    if item.problem is not None:
        return Variable(Mark("bad", item.problem.id), item.name, "no source")
    if item.origin is None:
        return Variable(Mark("none", "not set"), item.name, "no source")
    return Variable(_NONE, item.name, item.origin)


def parts(*, on_platform: bool) -> list[Component]:
    """Every component as it is now; one that is blocked on a platform is an error there.

    Builds and imports nothing.
    """
    marks = {**_STATES, "blocked": Mark("bad", "blocked")} if on_platform else _STATES
    specs = components.specs()
    known = {name: components.status(name) for name in specs}
    return [
        _component(status, specs[status.name].requires, known, marks) for status in known.values()
    ]


def _component(
    status: Status,
    required: Sequence[str],
    known: Mapping[str, Status],
    marks: Mapping[str, Mark],
) -> Component:
    return Component(
        mark=marks[status.state],
        name=status.name,
        why=status.why,
        fix=status.fix,
        cause=status.cause,
        requires=tuple(
            (name, marks[known[name].state] if name in known else words.UNKNOWN)
            for name in required
        ),
    )


def certificates(health: Health) -> list[Certificate]:
    """Every TLS server whose certificate was seen, the one that ends first at the top."""
    worst: dict[str, Finding] = {}
    until: dict[str, Finding] = {}
    for finding in health.report.findings:
        if "days_left" not in finding.facts:
            continue
        known = worst.get(finding.subject)
        if known is None or finding.level > known.level:
            worst[finding.subject] = finding
        if "valid_until" in finding.facts:
            until[finding.subject] = finding
    found = [_certificate(finding, until.get(subject)) for subject, finding in worst.items()]
    return sorted(found, key=lambda each: each.days)


def _certificate(finding: Finding, whole: Finding | None) -> Certificate:
    facts = {**(whole.facts if whole else {}), **finding.facts}
    days = int(facts["days_left"])
    mark = words.LEVELS[finding.level]
    kind = "info" if finding.level is Level.INFO else mark.kind
    said = f"{words.counted(days, 'day')} left" if days >= 0 else "expired"
    return Certificate(
        mark=mark,
        subject=finding.subject,
        names=str(facts.get("names", "")),
        days=days,
        said=said,
        until=str(facts.get("valid_until", ""))[:10],
        bar=pictures.bar(days / _LONG, kind, said),
    )
