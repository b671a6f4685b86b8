"""A report for people: root causes first, each with what follows from it, then the rest.

At most ``WIDTH`` columns, words only broken when they alone are longer.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from resilience.findings import Finding, Level, Report

WIDTH = 80

_COLOURS = {
    Level.OK: "\x1b[32m",
    Level.INFO: "\x1b[36m",
    Level.WARNING: "\x1b[33m",
    Level.ERROR: "\x1b[31;1m",
}
_RESET = "\x1b[0m"
_GLYPHS = {Level.OK: "✓", Level.INFO: "i", Level.WARNING: "!", Level.ERROR: "✗"}
_ASCII = {Level.OK: "+", Level.INFO: "i", Level.WARNING: "!", Level.ERROR: "x"}
_REPLACEMENTS = str.maketrans({"→": "->", "…": "...", "·": "-", "—": "-"})


def render(
    report: Report, *, verbosity: int = 1, colour: bool = False, unicode: bool = True
) -> str:
    """The whole report, the last line being the verdict. ``verbosity`` 2 adds every fact."""
    style = _Style(colour, unicode, verbosity)
    blocks = (*_blocks(report.findings, style), *_silenced(report, style))
    return "\n\n".join([*blocks, _verdict(report, style)])


class _Style:
    def __init__(self, colour: bool, unicode: bool, verbosity: int) -> None:  # noqa: FBT001
        self._colour = colour
        self._unicode = unicode
        self.verbose = verbosity >= 2  # noqa: PLR2004 - Django's own scale

    def paint(self, level: Level, text: str) -> str:
        return f"{_COLOURS[level]}{text}{_RESET}" if self._colour else text

    def wrap(self, text: str, indent: int, hang: int) -> list[str]:
        """The lines of ``text``, the first indented by ``indent``, the others by ``hang``."""
        return textwrap.wrap(
            text if self._unicode else text.translate(_REPLACEMENTS),
            WIDTH,
            initial_indent=" " * indent,
            subsequent_indent=" " * hang,
            break_long_words=False,
            break_on_hyphens=False,
        )

    def item(self, level: Level, text: str, indent: int, hang: int) -> list[str]:
        """As ``wrap``, behind the glyph of ``level``."""
        glyph = self.glyph(level)
        first, *others = self.wrap(f"{glyph} {text}", indent, hang)
        return [first.replace(glyph, self.paint(level, glyph), 1), *others]

    def glyph(self, level: Level) -> str:
        return (_GLYPHS if self._unicode else _ASCII)[level]

    def facts(self, finding: Finding) -> list[str]:
        if not self.verbose:
            return []
        rows = [*finding.facts.items(), ("duration_ms", finding.duration_ms)]
        return [line for key, fact in rows for line in self.wrap(f"{key} = {fact}", 8, 12)]


def _blocks(findings: tuple[Finding, ...], style: _Style) -> Iterator[str]:
    for head, *followers in groups(findings, Level.ERROR, Level.WARNING, Level.INFO):
        lines = _problem(head, style)
        for follower in followers:
            lines += _consequence(follower, style)
        yield "\n".join(lines)
    fine = [finding for group in groups(findings, Level.OK) for finding in group]
    if fine:
        yield "\n".join(line for finding in fine for line in _fine(finding, style))


def _silenced(report: Report, style: _Style) -> Iterator[str]:
    lines = [line for finding in report.silenced for line in _held_back(finding, style)]
    if lines and style.verbose:
        yield "\n".join(lines)


def groups(findings: tuple[Finding, ...], *levels: Level) -> Iterator[list[Finding]]:
    """Each finding that stands for itself, with what follows from it behind it.

    Those whose worst has the first of ``levels``, then the next: what follows from a warning may
    be an error, and no error stands behind a warning.
    """
    roots = {_key(finding): finding for finding in reversed(findings) if not finding.cause}
    found: dict[int, list[Finding]] = {}
    for finding in findings:
        # The cause may be outside this report, if only some areas were asked for.
        head = roots.get(_key(_root(finding)), finding) if finding.cause else finding
        group = found.setdefault(id(head), [head])
        if head is not finding:
            group.append(finding)
    for level in levels:
        yield from (group for group in found.values() if max(map(_level, group)) is level)


def _level(finding: Finding) -> Level:
    return finding.level


def _root(finding: Finding) -> Finding:
    while finding.cause:
        finding = finding.cause
    return finding


def _key(finding: Finding) -> tuple[str, str]:
    return finding.id, finding.subject


def _problem(finding: Finding, style: _Style) -> list[str]:
    level, identifier = finding.level, finding.id
    head = style.wrap(f"{style.glyph(level)} {level!s:7} {finding.subject}", 0, 10)
    if len(head[-1]) + 2 + len(identifier) > WIDTH:
        head.append("")
    gap = " " * (WIDTH - len(head[-1]) - len(identifier))
    lines = [style.paint(level, line) for line in head]
    lines[-1] += gap + identifier
    if finding.location:
        lines += style.wrap(f"at  {finding.location}", 4, 8)
    lines += style.wrap(finding.summary, 4, 4)
    if finding.hint:
        fix = level >= Level.WARNING
        lines += style.wrap(f"fix: {finding.hint}" if fix else finding.hint, 4, 9 if fix else 4)
    return lines + style.facts(finding)


def _consequence(finding: Finding, style: _Style) -> list[str]:
    what = "skipped" if finding.skipped else finding.id
    text = f"so: {finding.subject} ({what}) {finding.summary}"
    return style.item(finding.level, text, 6, 12) + style.facts(finding)


def _fine(finding: Finding, style: _Style) -> list[str]:
    text = f"{finding.subject}  {finding.summary}"
    return style.item(Level.OK, text, 0, 6) + style.facts(finding)


def _held_back(finding: Finding, style: _Style) -> list[str]:
    facts = finding.facts
    text = f"silenced until {facts['until']}: {finding.subject} ({finding.id}) {finding.summary}"
    return style.item(Level.INFO, f"{text} Reason: {facts['reason']}", 0, 6)


def _verdict(report: Report, style: _Style) -> str:
    level = Level.ERROR if report.exit_code else Level.OK
    roots = sum(finding.is_root_cause for finding in report.findings)
    errors = report.count(Level.ERROR)
    said = f"{errors} error{'' if errors == 1 else 's'}"
    if errors > roots > 0:  # none: it follows from a warning
        said += f" with {roots} root cause{'' if roots == 1 else 's'}"
    warnings = report.count(Level.WARNING)
    said += f", {warnings} warning{'' if warnings == 1 else 's'}, {report.count(Level.OK)} ok"
    seconds = report.duration_ms / 1000
    if not report.findings:
        said = "there was nothing to examine"
    verdict = style.paint(level, report.verdict.upper())
    return f"{verdict}: {said} in {seconds:.1f} s (exit {report.exit_code})"
