"""What ``/readyz?verbose`` tells in JSON, read as what a stranger may have written."""

from __future__ import annotations

import re
from typing import Any

COMMIT = re.compile(r"[0-9a-fA-F]{7,64}")


def commit_of(document: dict[str, Any]) -> str:
    """As ``checkdeploy --format json`` says it, within the report of ``/readyz?verbose``."""
    place: Any = document
    for key in ("report", "hosting", "commit"):
        place = place.get(key) if isinstance(place, dict) else None
    found = document.get("commit") or place
    return found.lower() if isinstance(found, str) and COMMIT.fullmatch(found) else ""


def same(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def roots(document: dict[str, Any]) -> list[str]:
    """Id and subject of the errors and warnings there that nothing else explains."""
    report = document.get("report")
    findings = report.get("findings") if isinstance(report, dict) else None
    worst = [
        " ".join(word for key in ("subject", "id") if isinstance(word := each.get(key), str))
        for level in ("error", "warning")
        for each in (findings if isinstance(findings, list) else ())
        if isinstance(each, dict) and each.get("level") == level and not each.get("cause")
    ]
    return worst[:5]


def shown(location: str) -> str:
    """Where a redirect leads, without its parameters: they may be a session, or a code for one."""
    return re.split(r"[?#]", location, maxsplit=1)[0]


def because(roots: list[str]) -> str:
    return f" ({', '.join(roots)})" if roots else ""
