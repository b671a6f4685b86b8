"""``application/health+json``: draft-inadarei-api-health-check-06, which never became an RFC."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from resilience.findings import Level
from resilience.health.states import Health, SubjectState

PASS, WARN, FAIL = "pass", "warn", "fail"

_WORDS = {"ready": PASS, "degraded": WARN}
_TYPES = {"caches": "datastore", "databases": "datastore", "redis": "datastore"}


def render(word: str, health: Health | None) -> str:
    """One JSON object; ``status`` is ``pass``, ``warn`` or ``fail``, the last for every 503.

    Without ``health`` it holds nothing else. The draft lets ``warn`` come with 2xx alone.
    """
    document: dict[str, Any] = {"status": _WORDS.get(word, FAIL)}
    if health is not None:
        document["notes"] = [word]
        document["checks"] = {_key(state): [_check(state)] for state in health.subjects}
    return json.dumps(document, indent=2 if health else None) + "\n"


def _key(state: SubjectState) -> str:
    """``component:measurement``; neither part may hold a colon."""
    return f"{state.subject.replace(':', '%3A')}:responseTime"


def _check(state: SubjectState) -> dict[str, Any]:
    check: dict[str, Any] = {
        "componentId": state.subject,
        "componentType": _TYPES.get(state.subject.partition(".")[0], "component"),
        "observedValue": state.duration_ms,
        "observedUnit": "ms",
        "status": _status(state.level),
        "time": datetime.fromtimestamp(state.checked_at, UTC).isoformat(timespec="milliseconds"),
    }
    if check["status"] != PASS:  # the draft wants no output beside pass
        worst = max(state.findings, key=lambda finding: finding.level)
        check["output"] = worst.summary
        check["finding"] = worst.id
        if worst.cause:
            check["cause"] = worst.cause.subject
    return check


def _status(level: Level) -> str:
    if level >= Level.ERROR:
        return FAIL
    return WARN if level >= Level.WARNING else PASS
