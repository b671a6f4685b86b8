"""The history, for a page: three queries, all of them bounded."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from resilience.findings import Level
from resilience.history import connection, heartbeat, keeping, pace, purge
from resilience.history.clock import DatabaseNow
from resilience.history.models import Instance, Stretch, Transition
from resilience.history.spans import Piece, Span, apart, timeline

__all__ = ["History", "InstanceRow", "Span", "TransitionRow", "read"]

WINDOWS: Mapping[str, float] = MappingProxyType(
    {"24h": purge.DAY, "7d": 7 * purge.DAY, "90d": purge.DAYS * purge.DAY}
)
INSTANCES = 500
TRANSITIONS = 100
"""Rows of a page, the newest."""


@dataclass(frozen=True)
class InstanceRow:
    """One process. Times are unix seconds.

    ``state`` is ``live``; ``stale`` with two beats missing; ``gone`` with four; ``stopped`` if it
    said goodbye. ``this`` is the process that answers. ``differs`` names in what a live web process
    is not like the others: ``commit``, ``configuration``.
    """

    replica: str
    host: str
    pid: int
    role: str
    booted_at: float
    last_beat: float
    state: str
    commit: str
    config: str
    versions: str
    memory_bytes: int | None
    this: bool
    differs: tuple[str, ...] = ()


@dataclass(frozen=True)
class TransitionRow:
    """One process saw one subject change its level. ``at`` is unix seconds."""

    at: float
    subject: str
    old: Level | None
    new: Level
    finding: str
    summary: str
    replica: str
    pid: int


@dataclass(frozen=True)
class History:
    """``spans``: subject → ``24h`` | ``7d`` | ``90d`` → spans without a hole.

    ``problem`` says why this may not be everything. ``now`` is when it was read. All times are on
    the database's clock, moved by as much as this host's differs.
    """

    instances: tuple[InstanceRow, ...] = ()
    spans: Mapping[str, Mapping[str, tuple[Span, ...]]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    transitions: tuple[TransitionRow, ...] = ()
    problem: str = ""
    now: float = 0.0


_there: set[str] = set()  # databases whose tables have been seen


def read(now: float | None = None) -> History:
    """Everything a page shows. ``now`` (unix seconds, on the database's clock) is for tests.

    Three queries on the connection of this thread, and one more until the tables have been seen.
    Raises nothing but django.db.Error.
    """
    using = connection.alias()
    # Asked, not tried: on PostgreSQL a failed query would end the transaction of the request.
    if using not in _there:
        if connection.is_missing(using):
            return History(problem=heartbeat.MISSING, now=now or time.time())
        _there.add(using)
    rows = _instances(using)
    theirs: float = now if now is not None else rows[0].now if rows else time.time()
    shift = 0.0 if now is not None else time.time() - theirs
    return History(
        _rows(rows, theirs, shift),
        _spans(using, _now_levels(rows, theirs), theirs, shift),
        _transitions(using, shift),
        heartbeat.problem(),
        theirs + shift,
    )


def reset() -> None:
    """Forget which databases have the tables (tests)."""
    _there.clear()


def processes(using: str) -> tuple[tuple[InstanceRow, ...], float]:
    """The processes alone, and the database's time: one query. Raises django.db.Error."""
    rows = _instances(using)
    now: float = rows[0].now if rows else 0.0
    return _rows(rows, now, 0.0), now


def _instances(using: str) -> list[Any]:
    """With ``now``, the database's time."""
    rows = Instance.objects.using(using).annotate(now=DatabaseNow())
    return list(rows.order_by("-last_beat", "pk")[:INSTANCES])


def _rows(rows: Iterable[Any], now: float, shift: float) -> tuple[InstanceRow, ...]:
    this = heartbeat.key()
    found = [
        InstanceRow(
            replica=row.replica,
            host=row.host,
            pid=row.pid,
            role=row.role,
            booted_at=row.booted_at + shift,
            last_beat=row.last_beat + shift,
            state=_state(row, now),
            commit=row.commit,
            config=row.config,
            versions=row.versions,
            memory_bytes=row.memory_bytes,
            this=row.key == this,
        )
        for row in rows
    ]
    web = [each for each in found if _is_compared(each)]
    commit, config = usual(web, "commit"), usual(web, "config")
    return tuple(
        replace(each, differs=_differences(each, commit, config)) if _is_compared(each) else each
        for each in found
    )


def _state(row: Any, now: float) -> str:
    if row.stopped:
        return "stopped"
    silent = now - row.last_beat
    if silent <= pace.stale_after():
        return "live"
    return "stale" if silent <= pace.gone_after() else "gone"


def _is_compared(row: InstanceRow) -> bool:
    return row.state == "live" and row.role == "web"


def usual(rows: Iterable[InstanceRow], name: str) -> str:
    """The commit or configuration of most; of two as common the one that booted last."""
    counted: dict[str, tuple[int, float]] = {}
    for row in rows:
        value = getattr(row, name)
        count, latest = counted.get(value, (0, 0.0))
        counted[value] = (count + 1, max(latest, row.booted_at))
    return max(counted, key=lambda value: counted[value], default="")


def _differences(row: InstanceRow, commit: str, config: str) -> tuple[str, ...]:
    named = (("commit", row.commit, commit), ("configuration", row.config, config))
    return tuple(name for name, value, most in named if value != most)


def _now_levels(rows: Iterable[Any], now: float) -> dict[str, int] | None:
    """What the live processes say is not OK; None without a live one."""
    live = [row.levels for row in rows if _state(row, now) == "live"]
    return keeping.merged(live) if live else None


def _spans(
    using: str, levels: Mapping[str, int] | None, now: float, shift: float
) -> Mapping[str, Mapping[str, tuple[Span, ...]]]:
    longest = max(WINDOWS.values())
    stretches = (
        Stretch.objects.using(using)
        .filter(end__gte=now - longest)
        .order_by("-end", "-pk")
        .values_list("subject", "level", "start", "end")[: purge.STRETCHES + purge.BATCH]
    )
    pieces: dict[str, list[Piece]] = {}
    for subject, level, start, end in stretches:
        pieces.setdefault(subject, []).append((start + shift, end + shift, known_level(level)))
    now += shift
    found: dict[str, Mapping[str, tuple[Span, ...]]] = {}
    for subject, each in sorted(pieces.items()):
        each.reverse()
        if levels is not None:
            _up_to(now, each, known_level(levels.get(subject, Level.OK)))
        disjoint = apart(each)
        windows = {name: timeline(disjoint, now - long, now) for name, long in WINDOWS.items()}
        found[subject] = MappingProxyType(windows)
    return MappingProxyType(found)


def _up_to(now: float, pieces: list[Piece], level: Level) -> None:
    """What the live processes say at this moment, for the seconds since somebody last looked."""
    end = pieces[-1][1]
    if now - keeping.gap() <= end < now:
        pieces.append((end, now, level))


def _transitions(using: str, shift: float) -> tuple[TransitionRow, ...]:
    rows = Transition.objects.using(using).order_by("-at", "-id")[:TRANSITIONS]
    return tuple(
        TransitionRow(
            at=row.at + shift,
            subject=row.subject,
            old=None if row.old is None else known_level(row.old),
            new=known_level(row.new),
            finding=row.finding,
            summary=row.summary,
            replica=row.replica,
            pid=row.pid,
        )
        for row in rows
    )


_LEVELS = {int(level): level for level in Level}


def known_level(number: int) -> Level:
    """A newer version may know more levels: the nearest below that this one knows."""
    found = _LEVELS.get(number)
    return found if found is not None else max(each for each in Level if each <= max(number, 0))
