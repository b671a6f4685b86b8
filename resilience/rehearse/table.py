"""The outcome for people: injected fault → observed effect → named diagnosis, row by row."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from resilience.findings import Finding, Level, Report
from resilience.render import summary as markdown, text

_HEAD = ("scenario", "injected fault", "observed effect", "named diagnosis")
_WIDTHS = (17, 15, 18, 22)  # with glyph and gaps 80 columns
_GAP = "  "


def render(report: Report, **style: Any) -> str:
    """The table, then everything that is not fine, then the verdict."""
    verdict = text.render(report, **style).rpartition("\n")[2]
    rest = replace(report, findings=tuple(f for f in report.findings if f.level > Level.OK))
    problems = text.render(rest, **style).rpartition("\n")[0].strip("\n") if rest.findings else ""
    rows = "\n".join(_rows(report.findings, unicode=style.get("unicode", True)))
    return "\n\n".join(filter(None, [rows, problems, verdict]))


def summary(report: Report, *, most: int, command: str = "") -> str:
    """The same as Markdown, for a step of GitHub Actions; at most so many bytes."""
    rows = ((glyph, *cells) for glyph, cells in _played(report.findings))
    problems = markdown.rows(report, Level.ERROR, Level.WARNING, Level.INFO)
    lines = [
        *markdown.head(report, command),
        *markdown.table(("", *_HEAD), rows),
        "",
        *markdown.table(markdown.HEAD, problems),
    ]
    return markdown.bounded(lines, most)


def _rows(findings: Sequence[Finding], *, unicode: bool) -> Iterator[str]:
    yield from _row(_HEAD, " ")
    yield from _row(tuple("─" * width if unicode else "-" * width for width in _WIDTHS), " ")
    for glyph, cells in _played(findings):
        yield from _row(cells, glyph if unicode else {"✗": "x", "✓": "+"}[glyph])


def _played(findings: Sequence[Finding]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each scenario once, with a glyph: ✗ if anything of it failed."""
    seen: set[str] = set()
    for finding in findings:
        facts = finding.facts
        if "fault" not in facts or finding.subject in seen:
            continue
        seen.add(finding.subject)
        name = finding.subject.partition(".")[2]
        effect, named = str(facts["effect"]), str(facts["named"]).replace(", ", " ")
        cells = (name, str(facts["fault"]), effect, named or "-")
        yield "✗" if finding.level >= Level.ERROR else "✓", cells


def _row(cells: tuple[str, ...], glyph: str) -> Iterator[str]:
    wrapped = [
        textwrap.wrap(cell, width, break_on_hyphens=False) or [""]
        for cell, width in zip(cells, _WIDTHS, strict=True)
    ]
    for number in range(max(map(len, wrapped))):
        words = [lines[number] if number < len(lines) else "" for lines in wrapped]
        line = _GAP.join(f"{word:{width}}" for word, width in zip(words, _WIDTHS, strict=True))
        yield f"{glyph if number == 0 else ' '} {line}".rstrip()
