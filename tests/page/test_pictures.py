"""Numbers as words and pictures: every input has one, and both say the same."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from resilience.findings import Level
from resilience.history.spans import Span
from resilience.page import pictures, words

LEVELS = st.sampled_from(list(Level))
SECONDS = st.floats(0, 1e9, allow_nan=False)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"),
        (7500, "2 h 5 min"), (86400, "1 d"), (356400, "4 d 3 h"),
    ],
)  # fmt: skip
def test_durations(seconds, said):
    assert words.duration(seconds) == said


@given(SECONDS)
def test_a_duration_is_always_two_units_at_most(seconds):
    assert 2 <= len(words.duration(seconds).split()) <= 4


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (16 << 20, "16.0 MiB"),
        (1 << 50, "1024 TiB"),
    ],
)
def test_sizes(count, said):
    assert words.size(count) == said


def test_moments_name_the_day_unless_it_is_today():
    now = 1_795_000_000.0  # 2026-11-18 12:26:40 UTC
    assert words.moment(now - 60, now) == ("2026-11-18T11:05:40Z", "11:05:40 UTC", "1 min ago")
    assert words.moment(now - 86400, now).clock == "2026-11-17 11:06 UTC"
    assert words.moment(now + 5, now).ago == "0 s ago", "the clocks of two machines differ"


def parsed(picture: str) -> ET.Element:
    return ET.fromstring(picture)  # noqa: S314 - our own


@given(st.lists(st.tuples(st.floats(0, 1e7, allow_nan=False), LEVELS), max_size=400))
def test_latency_of_any_runs(runs):
    levels = [level for _, level in runs]
    picture = pictures.latency([took for took, _ in runs], levels)
    if not runs:
        assert "no run yet" in picture
        return
    root = parsed(picture)
    assert root.get("aria-label") == root.findtext("title")
    points = [tuple(map(float, pair.split(","))) for pair in root[1].get("points", "").split()]
    assert 2 <= len(points) <= pictures.COLUMNS
    assert all(0 <= x <= 240 and 0 <= y <= 24 for x, y in points)
    failed = Level.ERROR in levels
    assert bool(root[2].get("d")) == failed == ("none failed" not in picture)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Span], float, float]:
    """Spans that follow each other, and a window that may lie anywhere."""
    edges = sorted(draw(st.lists(SECONDS, min_size=2, max_size=20)))
    levels = st.one_of(st.none(), LEVELS)
    found = [Span(start, end, draw(levels)) for start, end in pairwise(edges)]
    start = draw(st.floats(0, 1e9))
    return found, start, start + draw(st.floats(60, 7776000))


@given(histories())
def test_a_timeline_of_any_history(case):
    found, start, end = case
    root = parsed(pictures.timeline(found, start, end, "the last hour"))
    lines = "".join(path.get("d") or "" for path in root.findall("path"))
    assert sum(map(int, re.findall(r"h(\d+)", lines))) == pictures.COLUMNS * 4
    shown = {path.get("class") for path in root.findall("path")}
    inside = {each.level for each in found if each.end > start and each.start < end}
    worst = max((level for level in inside if level is not None), default=None)
    if worst is not None and worst >= Level.WARNING:
        assert f"ro-bar-{words.LEVELS[worst].kind}" in shown, "a short one is not averaged away"
        assert words.LEVELS[worst].word in (root.get("aria-label") or "")


def test_what_a_timeline_says():
    hour = [Span(0, 1800, None), Span(1800, 3000, Level.OK), Span(3000, 3600, Level.ERROR)]
    said = parsed(pictures.timeline(hour, 0, 3600, "the last hour")).get("aria-label")
    assert said == ("the last hour: ok 33.3 %, error 16.7 % (10 min in 1 spell), unknown 50.0 %")
    always = [Span(0, 3600, Level.OK)]
    assert "ok 100 %" in pictures.timeline(always, 0, 3600, "h")
    nearly = [Span(0, 3599.9, Level.OK), Span(3599.9, 3600, Level.ERROR)]
    assert "ok 99.9 %" in pictures.timeline(nearly, 0, 3600, "h"), "never rounded up to always"


@given(st.floats(-4, 40))
def test_a_bar_is_never_more_than_full_and_empty_only_for_nothing(share):
    root = parsed(pictures.bar(share, "warn", "some"))
    filled = float(root[1].get("width") or 0)
    assert 0 <= filled <= 100
    assert (filled == 0) == (share <= 0)
