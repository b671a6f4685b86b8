"""A report as Markdown for the summary of a step of GitHub Actions: the verdict, then tables.

GitHub takes 1 MiB for each step, and nothing at all of a step that has more: what does not fit is
counted. Whatever others said is text here: no mark-up, no HTML, no link, no mention.
docs.github.com/actions, "Workflow commands", "Adding a job summary".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from resilience.findings import Finding, Level, Report
from resilience.render import text

HEAD = ("level", "finding", "subject", "message", "fix")
_LONGEST = 1000  # characters of a cell: one text must not take the room of all others
# As character references, which are never structure (CommonMark 0.31, 2.5).
_ESCAPED = str.maketrans({char: f"&#{ord(char)};" for char in "&<>|`*_[]{}\\~#!:@$^"})


def render(report: Report, *, most: int, command: str = "") -> str:
    """The verdict, then every finding, causes first; at most so many bytes, or nothing."""
    return bounded([*head(report, command), *table(HEAD, rows(report))], most)


def head(report: Report, command: str) -> list[str]:
    """The lines of the heading."""
    verdict = text.render(report).rpartition("\n")[2]
    return ["### " + ": ".join(filter(None, [cell(command), cell(verdict)])), ""]


def rows(report: Report, *levels: Level) -> Iterator[Sequence[str]]:
    """A row for each finding of these levels, all if there are none, and what is silenced."""
    shown = levels or (Level.ERROR, Level.WARNING, Level.INFO, Level.OK)
    for group in text.groups(report.findings, *sorted(Level, reverse=True)):
        for finding in group:
            if finding.level in shown:
                yield _row(finding, f"{finding.level}{', skipped' * finding.skipped}")
    for finding in report.silenced:
        yield _row(finding, f"silenced until {finding.facts['until']}")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table; none without a row."""
    body = [_line(map(cell, row)) for row in rows]
    return [_line(head), _line(["---"] * len(head)), *body] if body else []


def cell(words: str) -> str:
    """A text as what stands in a cell or a heading."""
    line = " ".join(words.split())
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST - 1]}…"
    return line.translate(_ESCAPED).replace("www.", "www&#46;")


def bounded(lines: Sequence[str], most: int) -> str:
    """As many lines as fit into so many bytes, and a last one that counts the others."""
    sizes = [len(line.encode()) + 1 for line in lines]
    if sum(sizes) <= most:
        return "".join(f"{line}\n" for line in lines)
    kept, room = 0, most - len(_more(len(lines)).encode())
    while kept < len(lines) and sizes[kept] <= room:
        room -= sizes[kept]
        kept += 1
    shown = "".join(f"{line}\n" for line in lines[:kept])
    return f"{shown}{_more(len(lines) - kept)}" if kept else ""


def _more(lines: int) -> str:
    return f"\nAnd {lines} more lines, which do not fit here: the log of this step has them.\n"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _row(finding: Finding, level: str) -> Sequence[str]:
    said = [finding.summary]
    if finding.location:
        said.append(f"At {finding.location}.")
    if finding.cause:
        said.append(f"Because of {finding.cause.subject} ({finding.cause.id}).")
    if "reason" in finding.facts and level.startswith("silenced"):
        said.append(f"Reason: {finding.facts['reason']}")
    return level, finding.id, finding.subject, " ".join(said), finding.hint
