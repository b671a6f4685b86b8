"""The other processes and what happened before: what ``resilience.history`` keeps, if installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from django.apps import apps
from django.db import Error, connection, transaction

from resilience import redact
from resilience.history.spans import Span
from resilience.page import words
from resilience.page.words import Mark, Moment

if TYPE_CHECKING:
    from resilience.history.reading import History, InstanceRow, TransitionRow

APP = "resilience.history"
_STATES = {
    "live": Mark("ok", "live"),
    "stale": Mark("warn", "stale"),
    "gone": Mark("bad", "gone"),
    "stopped": Mark("none", "stopped"),
}
_URGENCY = ("gone", "stale", "live", "stopped")
_SHOWN = 12  # rows before the rest is folded away
_ABSENT = (
    'This process only. Add "resilience.history" to INSTALLED_APPS and run migrate: then every '
    "process is here, and 90 days."
)
_NOTHING = "This process only: no process has written to the history yet."
_NOT_ASKED = "This process only: this page asks no database."
_UNREACHABLE = "Database unreachable; this process only."


@dataclass(frozen=True)
class Instance:
    """One process that reports, or did."""

    mark: Mark
    replica: str
    where: str
    role: str
    booted: Moment
    beat: Moment
    commit: str
    config: str
    versions: str
    memory: str
    this: bool
    differs: tuple[str, ...]


@dataclass(frozen=True)
class Transition:
    """One change of one subject in one process."""

    when: Moment
    subject: str
    old: Mark
    new: Mark
    id: str
    summary: str
    process: str


@dataclass(frozen=True)
class Fleet:
    """``spans`` is None where only this process is known; ``said`` tells why, or what is wrong.

    ``versions`` are those of all processes, empty if they differ.
    """

    said: str
    spans: Mapping[str, Mapping[str, tuple[Span, ...]]] | None = None
    summary: str = ""
    versions: str = ""
    instances: tuple[Instance, ...] = ()
    more_instances: tuple[Instance, ...] = ()
    transitions: tuple[Transition, ...] = ()
    more_transitions: tuple[Transition, ...] = ()


def read(now: float) -> Fleet:
    """Ask the database, in a few queries. Raises nothing: a database that fails is told of."""
    if not apps.is_installed(APP):
        return Fleet(_ABSENT)
    try:
        if connection.in_atomic_block:  # a failed query must not take the rest of the page along
            with transaction.atomic():
                history = _ask(now)
        else:
            history = _ask(now)
    except Error as error:
        return Fleet(f"This process only: the history cannot be read ({redact.exception(error)}).")
    return _told(history, now)


def not_asked(*, unreachable: bool) -> Fleet:
    """For the page that works without a database."""
    return Fleet(_UNREACHABLE if unreachable else _NOT_ASKED)


def _ask(now: float) -> History:
    found: History = import_module(f"{APP}.reading").read(now)
    return found


def _told(history: History, now: float) -> Fleet:
    if not history.instances and not history.spans:
        return Fleet(history.problem or _NOTHING)
    instances = [_instance(row, now) for row in sorted(history.instances, key=_order)]
    # What is gone, stale or different comes first, and is never folded away.
    urgent = sum(row.state in ("gone", "stale") or bool(row.differs) for row in history.instances)
    shown = max(_SHOWN, urgent + 1)
    transitions = [_transition(row, now) for row in history.transitions]
    return Fleet(
        history.problem,
        history.spans,
        _summary(history.instances),
        _versions(history.instances),
        tuple(instances[:shown]),
        tuple(instances[shown:]),
        tuple(transitions[:_SHOWN]),
        tuple(transitions[_SHOWN:]),
    )


def _order(row: InstanceRow) -> tuple[int, bool, bool, str, int]:
    urgency = _URGENCY.index(row.state) if row.state in _URGENCY else len(_URGENCY)
    if row.differs:
        urgency = min(urgency, 1)
    return urgency, not row.differs, not row.this, row.replica, row.pid


def _summary(rows: tuple[InstanceRow, ...]) -> str:
    """``9 live, 1 gone, 1 with another commit``."""
    said = [
        f"{count} {state}"
        for state in ("live", "stale", "gone", "stopped")
        if (count := sum(row.state == state for row in rows))
    ]
    said += [
        f"{sum(what in row.differs for row in rows)} with another {what}"
        for what in sorted({what for row in rows for what in row.differs})
    ]
    return ", ".join(said) or "no process has reported yet"


def _versions(rows: tuple[InstanceRow, ...]) -> str:
    found = {row.versions for row in rows}
    return found.pop() if len(found) == 1 else ""


def _instance(row: InstanceRow, now: float) -> Instance:
    return Instance(
        mark=_STATES.get(row.state, words.UNKNOWN),
        replica=row.replica,
        where=f"{row.host}:{row.pid}" if row.host != row.replica else f"pid {row.pid}",
        role=row.role,
        booted=words.moment(row.booted_at, now),
        beat=words.moment(row.last_beat, now),
        commit=row.commit[:10],
        config=row.config[:8],
        versions=row.versions,
        memory="" if row.memory_bytes is None else words.size(row.memory_bytes),
        this=row.this,
        differs=row.differs,
    )


def _transition(row: TransitionRow, now: float) -> Transition:
    return Transition(
        words.moment(row.at, now),
        row.subject,
        words.UNKNOWN if row.old is None else words.LEVELS[row.old],
        words.LEVELS[row.new],
        row.finding,
        row.summary,
        f"{row.replica} pid {row.pid}",
    )
