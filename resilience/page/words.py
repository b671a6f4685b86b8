"""Levels, times and sizes as the page says them: a word and a shape, never colour alone."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import NamedTuple

from django.utils.html import format_html
from django.utils.safestring import SafeString

from resilience.findings import Level

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_KIB = 1024


class Mark(NamedTuple):
    """One state. ``kind`` names its colour and its shape in the page's style: ok … none."""

    kind: str
    word: str

    @property
    def html(self) -> SafeString:
        """The shape and the word. A screen reader gets the word alone."""
        return _drawn(self)


@cache
def _drawn(mark: Mark) -> SafeString:
    return format_html(
        '<span class="ro-mark ro-{0}"><svg class="ro-shape" aria-hidden="true" focusable="false">'
        '<use href="#ro-{0}"></use></svg>{1}</span>',
        mark.kind,
        mark.word,
    )


LEVELS = {
    Level.OK: Mark("ok", "ok"),
    Level.INFO: Mark("info", "info"),
    Level.WARNING: Mark("warn", "warning"),
    Level.ERROR: Mark("bad", "error"),
}
UNKNOWN = Mark("none", "unknown")


class Moment(NamedTuple):
    """A point in time: for machines, for people, and how long before the page was made."""

    iso: str
    clock: str
    ago: str

    @property
    def html(self) -> SafeString:
        """How long ago; the exact time is the tip, and what a machine reads."""
        # Digits and units alone: nothing to escape, and there are hundreds of them on a page.
        return SafeString(f'<time datetime="{self.iso}" title="{self.clock}">{self.ago}</time>')


def moment(at: float, now: float) -> Moment:
    """``at`` and ``now`` are unix seconds."""
    when = datetime.fromtimestamp(at, UTC)
    same_day = datetime.fromtimestamp(now, UTC).date() == when.date()
    shown = f"{when:%H:%M:%S} UTC" if same_day else f"{when:%Y-%m-%d %H:%M} UTC"
    return Moment(f"{when:%Y-%m-%dT%H:%M:%SZ}", shown, f"{duration(max(0.0, now - at))} ago")


def duration(seconds: float) -> str:
    """The two largest units that matter: ``12 s``, ``3 min``, ``2 h 5 min``, ``4 d 3 h``."""
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f} min"
    big, small, size, names = _HOUR, _MINUTE, seconds, ("h", "min")
    if seconds >= _DAY:
        big, small, names = _DAY, _HOUR, ("d", "h")
    rest = size % big // small
    return f"{size // big:.0f} {names[0]}" + (f" {rest:.0f} {names[1]}" if rest else "")


def milliseconds(value: float) -> str:
    """``0.3 ms``, ``12 ms``, ``1.2 s``."""
    if value >= 1000:  # noqa: PLR2004 - a second
        return f"{value / 1000:.1f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"  # noqa: PLR2004 - two digits


def size(count: int) -> str:
    """Bytes as ``640 B``, ``1.5 MiB``."""
    value, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < _KIB or unit == "TiB":
            break
        value /= _KIB
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"  # noqa: PLR2004


def counted(number: int, noun: str) -> str:
    """``1 key``, ``2 keys``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
