"""What is known of this process as JSON: the report of ``checkdeploy --format json``, and more.

Every subject comes with its history in this process.
"""

from __future__ import annotations

import json
from typing import Any

from resilience.health.states import Health, SubjectState
from resilience.render import json as report_json

SCHEMA = 1
"""Raised when a key changes its meaning or goes; new keys may come without."""


def render(word: str, health: Health | None) -> str:
    """One JSON object. Without ``health`` it holds the word and nothing else."""
    document: dict[str, Any] = {"status": word}
    if health is not None:
        document |= {
            "schema": SCHEMA,
            "taken_at": round(health.taken_at, 3),
            "booted_at": round(health.booted_at, 3),
            "background": health.background,
            "subjects": [_subject(state) for state in health.subjects],
            "report": report_json.document(health.report),
        }
    return json.dumps(document, indent=2 if health else None) + "\n"


def _subject(state: SubjectState) -> dict[str, Any]:
    """Times are unix seconds; the findings stand in the report, under the same subject."""
    return {
        "subject": state.subject,
        "area": state.area,
        "level": str(state.level),
        "since": round(state.since, 3),
        "checked_at": round(state.checked_at, 3),
        "duration_ms": state.duration_ms,
        "running_since": state.running_since,
        "last_ok": state.last_ok,
        "last_failure": state.last_failure,
    }
