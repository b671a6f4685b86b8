"""A report as workflow commands of GitHub Actions: annotations, then the text in a group.

GitHub shows at most 10 annotations of each kind per step, and drops the others without a word:
the tenth here counts what is left. docs.github.com/actions, "Workflow commands".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from resilience.findings import Finding, Level, Report
from resilience.render import text

MOST = 10
_KINDS = {Level.ERROR: "error", Level.WARNING: "warning", Level.INFO: "notice"}
_DATA = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_PROPERTY = _DATA | str.maketrans({":": "%3A", ",": "%2C"})
_LOCATION = re.compile(r"(.+):(\d+)")


def render(report: Report, *, verbosity: int = 1, unicode: bool = True) -> str:
    """The commands and the text, its last line being the verdict."""
    lines = [line for level in _KINDS for line in _annotations(report, level)]
    whole = text.render(report, verbosity=verbosity, unicode=unicode)
    # What others said must not become a command: no text can hold its own hash.
    token = hashlib.sha256(whole.encode(errors="backslashreplace")).hexdigest()
    lines += ["::group::Report", f"::stop-commands::{token}", whole, f"::{token}::", "::endgroup::"]
    return "\n".join([*lines, whole.splitlines()[-1]])


def _annotations(report: Report, level: Level) -> Iterator[str]:
    found = [finding for finding in report.findings if finding.level is level]
    # Causes first: they are not what may be cut off.
    found.sort(key=lambda finding: finding.cause is not None)
    shown = found if len(found) <= MOST else found[: MOST - 1]
    for finding in shown:
        yield _annotation(finding)
    rest = found[len(shown) :]
    if rest:
        names = ", ".join(f"{finding.subject} {finding.id}" for finding in rest)
        yield _command(_KINDS[level], f"And {len(rest)} more: {names}", title="More findings")


def _annotation(finding: Finding) -> str:
    said = [finding.summary]
    if finding.hint:
        said.append(f"Fix: {finding.hint}")
    if finding.cause:
        said.append(f"Because of {finding.cause.subject} ({finding.cause.id}).")
    place = _LOCATION.fullmatch(finding.location or "")
    where = {"file": place[1], "line": place[2]} if place else {}
    return _command(
        _KINDS[finding.level],
        "\n".join(said),
        **where,
        title=f"{finding.subject} {finding.id}",
    )


def _command(kind: str, said: str, **properties: str) -> str:
    given = ",".join(f"{name}={value.translate(_PROPERTY)}" for name, value in properties.items())
    return f"::{kind} {given}::{said.translate(_DATA)}"
