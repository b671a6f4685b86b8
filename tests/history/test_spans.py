"""Stretches to spans: held against looking at every moment by itself."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, strategies as st

from resilience.findings import Level
from resilience.history.spans import Piece, Span, apart, timeline

OK, WARNING, ERROR = Level.OK, Level.WARNING, Level.ERROR


def at(pieces: list[Piece], moment: float) -> Level | None:
    return max((level for start, end, level in pieces if start <= moment < end), default=None)


@st.composite
def some_pieces(draw: st.DrawFn) -> list[Piece]:
    found = draw(
        st.lists(
            st.tuples(st.integers(0, 40), st.integers(0, 12), st.sampled_from([OK, WARNING, ERROR]))
        )
    )
    return sorted((float(start), float(start + long), level) for start, long, level in found)


@given(some_pieces(), st.integers(0, 30), st.integers(1, 30))
def test_every_moment_is_in_one_span_with_the_worst_level(pieces, start, long):
    spans = timeline(apart(pieces), start, start + long)
    assert spans[0].start == start
    assert spans[-1].end == start + long
    for one, other in pairwise(spans):
        assert one.end == other.start
        assert one.level is not other.level
    for moment in range(start, start + long):
        (span,) = [each for each in spans if each.start <= moment + 0.5 < each.end]
        assert span.level is at(pieces, moment + 0.5)


def test_what_nobody_reported_is_unknown():
    pieces = [(10.0, 20.0, OK), (20.0, 25.0, ERROR), (40.0, 50.0, OK)]
    assert timeline(pieces, 0.0, 60.0) == (
        Span(0.0, 10.0, None),
        Span(10.0, 20.0, OK),
        Span(20.0, 25.0, ERROR),
        Span(25.0, 40.0, None),
        Span(40.0, 50.0, OK),
        Span(50.0, 60.0, None),
    )
    assert timeline([], 0.0, 60.0) == (Span(0.0, 60.0, None),)
