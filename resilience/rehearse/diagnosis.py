"""What the project's own doctor says on a stage: checkdeploy, and the status page."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from resilience.rehearse.children import command, edge
from resilience.rehearse.stage import Stage
from resilience.simulation.program import HOST

_DEADLINE = 8.0  # seconds for checkdeploy
_STARTS_WITHIN = 20.0  # seconds more, for a machine that is busy
_ASK_WITHIN = 3.0  # seconds for the status page
_PORT = re.compile(r"(127\.0\.0\.1|localhost|::1)\]?:\d+")


@dataclass(frozen=True)
class Said:
    """One finding of checkdeploy: what it is, and what it is about."""

    id: str
    level: str
    subject: str
    summary: str
    hint: str
    location: str
    is_root: bool

    @property
    def key(self) -> tuple[str, str]:
        """The same in every run: ports are the stage's own."""
        return self.id, _PORT.sub("stage", self.subject)


@dataclass(frozen=True)
class Diagnosis:
    """All of it; ``problem`` if there is no report, and ``hint`` what to do about that."""

    said: tuple[Said, ...] = ()
    problem: str = ""
    hint: str = ""

    def roots(self) -> list[Said]:
        """Errors and warnings that nothing else explains."""
        return [each for each in self.said if each.is_root and each.level in ("error", "warning")]


def checkdeploy(stage: Stage, *areas: str) -> Diagnosis:
    """Run it in the child's environment."""
    words = ("--format", "json", "--deadline", f"{_DEADLINE:.0f}")
    answer = command(
        stage,
        "checkdeploy",
        "resilience",
        "checkdeploy",
        *areas,
        *words,
        seconds=_DEADLINE + _STARTS_WITHIN,
    )
    if not answer.said:
        return Diagnosis(problem=f"checkdeploy {answer.problem}", hint=answer.hint)
    return Diagnosis(tuple(map(_said, json.loads(answer.said)["findings"])))


def _said(finding: Mapping[str, Any]) -> Said:
    return Said(
        finding["id"],
        finding["level"],
        finding["subject"],
        finding["summary"],
        finding["hint"],
        finding["location"] or "",
        finding["cause"] is None,
    )


def status_page(stage: Stage, ids: tuple[str, ...]) -> str:
    """What ``/livez`` and ``/readyz`` say, and whether one of these ids is among it."""
    if not stage.survey.health:
        return "HealthMiddleware is not installed"
    live, _ = _get(stage, "/livez")
    ready, _ = _get(stage, "/readyz")
    _, text = _get(stage, "/readyz?verbose", Authorization=f"Bearer {stage.token}")
    named = [each for each in ids if each in text]
    said = f", names {', '.join(named)}" if named else ""
    return f"livez {live or 'silent'}, readyz {ready or 'silent'}{said}"


def _get(stage: Stage, path: str, **headers: str) -> tuple[int, str]:
    line = http.client.HTTPConnection(HOST, stage.port, timeout=_ASK_WITHIN)
    with suppress(OSError, http.client.HTTPException):
        accept = {"Accept": "application/json"}
        line.request("GET", path, headers={**edge(stage), **accept, **headers})
        answer = line.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    line.close()
    return 0, ""
