"""One scenario's figures as findings: passed, or one for each criterion that it breaks."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from resilience.findings import Fact, Finding, Level
from resilience.rehearse import remedies
from resilience.rehearse.diagnosis import Diagnosis, Said
from resilience.rehearse.load import LIMIT, Measured
from resilience.rehearse.scenario import Scenario
from resilience.rehearse.survey import Survey

AREA = "rehearse"
_FEW = 3
_NO_FAULT = (
    "Nothing is broken in this scenario: look for what the page itself waits for, and repeat it if "
    "the machine was busy with something else."
)
_FIRST = "It is so without any fault, too: mend what the scenario healthy shows first."
_EXCEPTION = re.compile(r"[\w.]+(?:Error|Exception|Exit|Missing\w*)\b")


@dataclass(frozen=True)
class Played:
    """What one scenario has shown."""

    scenario: Scenario
    boot_ms: float | None
    boot_limit: float
    measured: Measured
    diagnosis: Diagnosis
    page: str = ""
    errors: tuple[dict[str, Any], ...] = ()
    missing: str = ""
    tail: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Standard:
    """What the healthy project is like: all others are compared with it."""

    survey: Survey
    known: frozenset[tuple[str, str]] = frozenset()
    audit: tuple[Said, ...] = field(default=())
    measured: Measured = field(default_factory=Measured)


def subject(scenario: Scenario) -> str:
    return f"{AREA}.{scenario.name}"


def judge(played: Played, standard: Standard) -> list[Finding]:
    """``rehearse.ok``, or what is wrong, the worst first."""
    found = [*_boot(played, standard), *_requests(played, standard), *_names(played, standard)]
    if found:
        return found
    said = f"{played.scenario.fault} → {effect(played)}"
    if played.scenario.expects:
        said += f" → {named(played, standard)}"
    return [
        Finding(
            "rehearse.ok",
            Level.OK,
            subject(played.scenario),
            f"{said}.",
            facts=facts(played, standard),
            area=AREA,
            duration_ms=round(played.seconds * 1000),
        )
    ]


def effect(played: Played) -> str:
    """What the project did, in a few words."""
    if played.boot_ms is None:
        return "did not boot"
    measured = played.measured
    failed = f"{measured.failed} failed" if measured.failed else "none failed"
    slow = f", {measured.slow} over {LIMIT:.0f} s" if measured.slow else ""
    return (
        f"booted in {played.boot_ms / 1000:.1f} s, {measured.requests} requests, {failed}{slow}, "
        f"p99 {measured.percentile(0.99):.0f} ms"
    )


def named(played: Played, standard: Standard) -> str:
    """The expected ids that were found; else what was found in their place."""
    new = _new(played, standard)
    right = [each.id for each in new if each.id in played.scenario.expects]
    return ", ".join(dict.fromkeys(right)) or "not named"


def facts(played: Played, standard: Standard) -> dict[str, Fact]:
    """The figures. Milliseconds where the key says so."""
    measured = played.measured
    made: dict[str, Fact] = {
        "fault": played.scenario.fault,
        "effect": effect(played),
        "named": named(played, standard) if played.scenario.expects else "",
        "boot_ms": -1 if played.boot_ms is None else played.boot_ms,
        "requests": measured.requests,
        "failed": measured.failed,
        "over_limit": measured.slow,
        "p50_ms": round(measured.percentile(0.5), 1),
        "p99_ms": round(measured.percentile(0.99), 1),
        "max_ms": round(measured.percentile(1.0), 1),
    }
    if played.page:
        made["status_page"] = played.page
    if played.missing:
        made["missing"] = played.missing
    if played.boot_ms is None and played.tail:
        made["log"] = _last_line(played.tail)
    return made


# ── the criteria ────────────────────────────────────────────────────────────────────────────────


def _boot(played: Played, standard: Standard) -> list[Finding]:
    if played.boot_ms is not None:
        return []
    refused = played.scenario.may_refuse(standard.survey)
    if refused and named(played, standard) != "not named":
        return []
    said = [
        f"{each.location or each.subject} ({each.id}): {each.hint}"
        for each in played.diagnosis.roots()
        if each.level == "error"
    ]
    hint = played.diagnosis.hint or remedies.of_requests(
        played.scenario, standard.survey, standard.audit, played.errors
    )
    if not played.scenario.expects and said:
        hint = " ".join(said[:_FEW])
    return [
        _failed(
            "rehearse.no-boot",
            played,
            standard,
            f"{played.scenario.fault} → the app did not answer within {played.boot_limit:.0f} s",
            hint,
        )
    ]


def _requests(played: Played, standard: Standard) -> list[Finding]:
    measured, found, healthy = played.measured, [], standard.measured
    hint = remedies.of_requests(played.scenario, standard.survey, standard.audit, played.errors)
    errors = {each["name"]: each["at"] for each in played.errors}
    raised = "".join(
        f"; {name.rpartition('.')[2]}" + (f" at {at}" if at else "")
        for name, at in list(errors.items())[:_FEW]
    )
    if measured.failed:
        found.append(
            _failed(
                "rehearse.server-errors",
                played,
                standard,
                f"{played.scenario.fault} → {measured.failed} of {measured.requests} requests "
                f"failed{raised}",
                _FIRST if healthy.failed else hint,
            )
        )
    if measured.slow:
        found.append(
            _failed(
                "rehearse.slow-requests",
                played,
                standard,
                f"{played.scenario.fault} → {measured.slow} of {measured.requests} requests took "
                f"more than {LIMIT:.0f} s",
                _FIRST if healthy.slow else hint if played.scenario.expects else _NO_FAULT,
            )
        )
    return found


def _names(played: Played, standard: Standard) -> list[Finding]:
    scenario, diagnosis = played.scenario, played.diagnosis
    problem = diagnosis.problem
    if not problem and scenario.expects:
        new = _new(played, standard)
        others = [
            each.id
            for each in new
            if each.level == "error" and each.id not in (*scenario.expects, *scenario.along)
        ]
        if not any(each.id in scenario.expects for each in new):
            instead = ", ".join(dict.fromkeys(each.id for each in new)) or "nothing new"
            problem = f"checkdeploy did not name it and says {instead}"
        elif others:
            problem = f"checkdeploy named it, and also {', '.join(dict.fromkeys(others))}"
    if not problem:
        return []
    hint = diagnosis.hint or (
        "Run checkdeploy by hand under this fault; if it is right there, report this."
    )
    if played.missing and not diagnosis.hint:
        hint = remedies.of_secrets(standard.audit, played.missing)
    said = f"{scenario.fault} → {effect(played)} → {problem}"
    return [_failed("rehearse.not-named", played, standard, said, hint)]


def _failed(id: str, played: Played, standard: Standard, said: str, hint: str) -> Finding:
    return Finding(
        id,
        Level.ERROR,
        subject(played.scenario),
        f"{said}.",
        hint,
        facts(played, standard),
        area=AREA,
        duration_ms=round(played.seconds * 1000),
    )


def _new(played: Played, standard: Standard) -> list[Said]:
    """Root causes that the healthy project does not have."""
    return [each for each in played.diagnosis.roots() if each.key not in standard.known]


def _last_line(text: str) -> str:
    """The last line that names an exception, else the last one."""
    lines = [line for line in text.splitlines() if line.strip()]
    named = [line for line in lines if _EXCEPTION.match(line)]
    return next(reversed(named or lines), "")[:200]


def of_standing(diagnosis: Diagnosis) -> list[Finding]:
    """What checkdeploy says without any fault: the deploy would fail for it."""
    errors = [each for each in diagnosis.roots() if each.level == "error"]
    if not errors:
        return []
    names = ", ".join(dict.fromkeys(f"{each.id} ({each.subject})" for each in errors))
    return [
        Finding(
            "rehearse.not-ready",
            Level.WARNING,
            f"{AREA}.healthy",
            f"Without any fault checkdeploy finds {names}.",
            f"{errors[0].hint} Then the next: manage.py checkdeploy shows all.",
            area=AREA,
        )
    ]
