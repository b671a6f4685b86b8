"""Numbers as inline SVG, each with the sentence that says the same. Pure functions.

No picture needs its colours: what is worse is also taller. Nothing here uses a ``style`` attribute,
which the page's policy would refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from statistics import median

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from resilience.findings import Level
from resilience.history.spans import Span
from resilience.page import words

COLUMNS = 60  # of a picture: as many as still can be told apart in 120 pixels
_STEP, _HEIGHT = 4, 24  # the units of a picture, which is stretched to its place
# What a level looks like without colour: how much of the height it fills.
_FILL = {None: 2, Level.OK: 8, Level.INFO: 12, Level.WARNING: 17, Level.ERROR: _HEIGHT}


def latency(times: Sequence[float], levels: Sequence[Level]) -> SafeString:
    """A line of how long each run took (ms), oldest first, with a bar below each that failed."""
    if not times:
        return format_html('<span class="ro-quiet">{}</span>', "no run yet")
    cuts = list(pairwise(_cuts(len(times))))
    tallest = [max(times[start:end]) for start, end in cuts]
    top = max(tallest) or 1.0
    left = (COLUMNS - len(cuts)) * _STEP + _STEP // 2  # the latest run is always at the right edge
    line = " ".join(
        f"{left + index * _STEP},{_HEIGHT - 3 - each / top * 18:.1f}"
        for index, each in enumerate(tallest)
    )
    bad = "".join(
        f"M{left + index * _STEP - 2} {_HEIGHT}h4v-4h-4z"
        for index, (start, end) in enumerate(cuts)
        if max(levels[start:end]) >= Level.ERROR
    )
    if len(cuts) == 1:
        line = f"{left - _STEP},{line.partition(',')[2]} {line}"
    return _svg(
        "ro-latency",
        _said_of(times, levels),
        format_html(
            '<polyline class="ro-line" points="{}"></polyline>'
            '<path class="ro-fill-bad" d="{}"></path>',
            line,
            bad,
        ),
    )


def _cuts(count: int) -> list[int]:
    """Where the columns end, counted from the end: none changes its runs before it is full."""
    size = -(-count // COLUMNS)
    return [0, *range(count % size or size, count + 1, size)]


def _said_of(times: Sequence[float], levels: Sequence[Level]) -> str:
    failed = sum(map(levels.count, (level for level in Level if level >= Level.ERROR)))
    said = f"{words.counted(len(times), 'run')}: latest {words.milliseconds(times[-1])}"
    if len(times) > 1:
        said += f", median {words.milliseconds(median(times))}"
        said += f", slowest {words.milliseconds(max(times))}"
    return f"{said}, {failed or 'none'} failed"


def timeline(spans: Sequence[Span], start: float, end: float, name: str) -> SafeString:
    """Which level when, from ``start`` to ``end``, each column the worst of its time."""
    inside = [
        Span(max(each.start, start), min(each.end, end), each.level)
        for each in spans
        if each.end > start and each.start < end
    ]
    levels = _columns(inside, start, end)
    return _svg("ro-timeline", f"{name}: {_shares(inside, end - start)}", _bars(levels))


def _columns(inside: Iterable[Span], start: float, end: float) -> list[Level | None]:
    width = (end - start) / COLUMNS or 1.0
    levels: list[Level | None] = [None] * COLUMNS
    for each in inside:
        if each.level is None:
            continue
        first = int((each.start - start) / width)
        last = int((each.end - start) / width - 1e-9)
        for index in range(first, min(max(first, last), COLUMNS - 1) + 1):
            known = levels[index]
            levels[index] = each.level if known is None else max(known, each.level)
    return levels


def _bars(levels: Sequence[Level | None]) -> SafeString:
    """One thick dashed line for each level: a dash is a bar of one column."""
    lines: dict[Level | None, str] = {}
    at = 0
    for level, run in groupby(levels):
        width = len(list(run)) * _STEP
        lines[level] = f"{lines.get(level, '')}M{at} {_HEIGHT - _FILL[level] / 2:g}h{width}"
        at += width
    return format_html_join(
        "",
        '<path class="ro-bar-{}" stroke-width="{}" d="{}"></path>',
        ((_kind(level), _FILL[level], line) for level, line in lines.items()),
    )


def _kind(level: Level | None) -> str:
    return words.UNKNOWN.kind if level is None else words.LEVELS[level].kind


def _shares(inside: Sequence[Span], whole: float) -> str:
    """``ok 97.2 %, error 2.8 % (40 min in 2 spells)``, the worst last."""
    spent: dict[Level | None, float] = {}
    for each in inside:
        spent[each.level] = spent.get(each.level, 0.0) + each.end - each.start
    spent.pop(None, None)
    unknown = max(0.0, whole - sum(spent.values()))
    said = []
    for level, seconds in sorted(spent.items(), key=lambda item: item[0] or 0):
        share = f"{words.LEVELS[level or Level.OK].word} {_percent(seconds / whole)}"
        if (level or 0) >= Level.WARNING:
            share += f" ({words.duration(seconds)} in {_spells(inside, level)})"
        said.append(share)
    if unknown / whole >= 0.001:  # noqa: PLR2004 - what rounding leaves
        said.append(f"unknown {_percent(unknown / whole)}")
    return ", ".join(said) or "unknown"


def _percent(share: float) -> str:
    # 99.97 % is not "always": only what is whole is said to be.
    return "100 %" if share >= 1 - 1e-9 else f"{min(share * 100, 99.9):.1f} %"


def _spells(inside: Sequence[Span], level: Level | None) -> str:
    before, count = None, 0
    for each in inside:
        count += each.level is level and before is not level
        before = each.level
    return words.counted(count, "spell")


def legend() -> list[tuple[SafeString, str]]:
    """One bar of each height, and what it means."""
    return [
        (
            format_html(
                '<svg aria-hidden="true" focusable="false" viewBox="0 0 12 {}"><path '
                'class="ro-fill-{}" d="M0 {}h12v-{}h-12z"></path></svg>',
                _HEIGHT,
                _kind(level),
                _HEIGHT,
                tall,
            ),
            words.UNKNOWN.word if level is None else words.LEVELS[level].word,
        )
        for level, tall in _FILL.items()
    ]


def bar(share: float, kind: str, said: str) -> SafeString:
    """A bar that is filled by ``share`` (0 to 1)."""
    filled = max(1.0, min(1.0, share) * 100) if share > 0 else 0.0
    return format_html(
        '<svg class="ro-bar" role="img" aria-label="{}" viewBox="0 0 100 8" '
        'preserveAspectRatio="none"><rect class="ro-track" width="100" height="8"></rect>'
        '<rect class="ro-fill-{}" width="{}" height="8"></rect></svg>',
        said,
        kind,
        f"{filled:.1f}",
    )


def _svg(name: str, said: str, inside: SafeString) -> SafeString:
    return format_html(
        '<svg class="{}" role="img" aria-label="{}" viewBox="0 0 {} {}" '
        'preserveAspectRatio="none"><title>{}</title>{}</svg>',
        name,
        said,
        COLUMNS * _STEP,
        _HEIGHT,
        said,
        inside,
    )
