"""Everything that the page shows, as plain data. What it costs is memory and some local files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from django.utils.safestring import SafeString, mark_safe

from resilience.findings import Level
from resilience.health.states import Health
from resilience.page import (
    caches as stores,
    pictures,
    problems as wrong,
    subjects,
    surroundings,
    words,
)
from resilience.page.caches import Cache
from resilience.page.fleet import Fleet
from resilience.render import json


@dataclass(frozen=True)
class Notice:
    """What an action just did; ``kind`` as in a Mark."""

    kind: str
    text: str


@dataclass(frozen=True)
class Operating:
    """What somebody who may operate gets: where the buttons lead, and the token of the forms."""

    check: str
    force: str
    csrf: str


@dataclass(frozen=True)
class Page:
    """One Health, told. ``windows`` are the choices of the timelines, none without a history."""

    made: str
    verdict: wrong.Verdict
    process: surroundings.Process
    problems: Sequence[wrong.Problem]
    notes: Sequence[wrong.Problem]
    rows: Sequence[subjects.Row]
    windows: Sequence[tuple[str, str]]
    fleet: Fleet
    caches: Sequence[Cache]
    other_caches: str
    certificates: Sequence[surroundings.Certificate]
    components: Sequence[surroundings.Component]
    variables: Sequence[surroundings.Variable]
    hosting: Sequence[tuple[str, str]]
    diagnostics: SafeString
    notices: Sequence[Notice] = ()
    operating: Operating | None = None
    legend: Sequence[tuple[SafeString, str]] = field(default_factory=pictures.legend)
    choices: dict[str, str] = field(default_factory=lambda: dict(stores.CHOICES))


def build(
    health: Health,
    known: Fleet,
    notices: Sequence[Notice] = (),
    operating: Operating | None = None,
) -> Page:
    """``known`` is what there is to say of other processes. Asks neither network nor database."""
    made = words.moment(health.taken_at, health.taken_at)
    return Page(
        made=made.clock,
        verdict=wrong.verdict(health),
        process=surroundings.process(health),
        problems=wrong.problems(health),
        notes=wrong.notes(health),
        rows=list(subjects.rows(health, known.spans)),
        windows=[
            (window, name)
            for window, (name, _) in subjects.WINDOWS.items()
            if known.spans is not None
        ],
        fleet=known,
        caches=list(stores.panels()),
        other_caches=", ".join(stores.others()),
        certificates=surroundings.certificates(health),
        components=surroundings.parts(on_platform=health.report.hosting.on_platform),
        variables=surroundings.variables(),
        hosting=list(surroundings.hosting(health)),
        diagnostics=_verbatim(json.render(health.report)),
        notices=notices,
        operating=operating,
    )


def is_without_database(health: Health) -> bool:
    """Whether the default database is known to be down."""
    return any(
        state.subject == "databases.default" and state.level >= Level.ERROR
        for state in health.subjects
    )


def _verbatim(text: str) -> SafeString:
    """Inside a textarea only these two end the text or begin something else."""
    return mark_safe(text.replace("&", "&amp;").replace("<", "&lt;"))  # noqa: S308 - just escaped
