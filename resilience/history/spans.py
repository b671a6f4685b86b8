"""Stretches to spans without a hole: pure functions."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter

from resilience.findings import Level


@dataclass(frozen=True, slots=True)
class Span:
    """From ``start`` to ``end`` (unix seconds) the worst process had ``level``.

    None: unknown, no process reported.
    """

    start: float
    end: float
    level: Level | None


Piece = tuple[float, float, Level]
"""Start, end and level of one stretch."""


def timeline(pieces: Sequence[Piece], start: float, end: float) -> tuple[Span, ...]:
    """What held from ``start`` to ``end``, every moment in exactly one span; neighbours differ.

    ``pieces`` are in order and :func:`apart`.
    """
    spans: list[Span] = []
    since, level = start, None  # of the span that is not complete
    cursor = start
    for begins, ends, new in pieces[bisect_right(pieces, start, key=_END) :]:
        if begins >= end:
            break
        if begins > cursor and level is not None:  # nobody reported in between
            spans.append(Span(since, cursor, level))
            since, level = cursor, None
        if new is not level:
            if (began := max(begins, start)) > since:
                spans.append(Span(since, began, level))
            since, level = began, new
        cursor = min(ends, end)
    if cursor < end and level is not None:
        spans.append(Span(since, cursor, level))
        since, level = cursor, None
    if end > since:
        spans.append(Span(since, end, level))
    return tuple(spans)


def apart(pieces: Sequence[Piece]) -> Sequence[Piece]:
    """In order, and cut where two overlap, where the worse one holds.

    Only two keepers at the same moment make an overlap.
    """
    if all(one[1] <= other[0] for one, other in pairwise(pieces)):
        return pieces
    edges = sorted(
        (time, sign, level)
        for start, end, level in pieces
        if start < end
        for time, sign, level in ((start, 1, level), (end, -1, level))
    )
    found: list[Piece] = []
    open_: Counter[Level] = Counter()
    before = float("-inf")
    for time, sign, level in edges:
        worst = max((each for each, count in open_.items() if count), default=None)
        if worst is not None and time > before:
            found.append((before, time, worst))
        open_[level] += sign
        before = time
    return found


_END = itemgetter(1)
