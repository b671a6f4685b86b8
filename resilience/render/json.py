"""A report as JSON, for scripts and for sharing: the same bytes on every interface."""

from __future__ import annotations

import json
from typing import Any

from resilience.findings import Finding, Report

SCHEMA = 1
"""Raised when a key changes its meaning or goes; new keys may come without."""


def render(report: Report) -> str:
    """One JSON object, indented, in ASCII, without a trailing newline."""
    return json.dumps(document(report), indent=2)


def document(report: Report) -> dict[str, Any]:
    """The same as plain data."""
    hosting = report.hosting
    return {
        "schema": SCHEMA,
        "verdict": report.verdict,
        "exit_code": report.exit_code,
        "duration_ms": report.duration_ms,
        "hosting": {
            "platform": hosting.platform,
            "kind": hosting.kind,
            "on_platform": hosting.on_platform,
            "forced": hosting.forced,
            "signals": list(hosting.signals),
            "instance": hosting.instance,
            "processes": hosting.processes,
            "memory_limit_bytes": hosting.memory_limit,
            "ci": hosting.ci,
            "commit": hosting.commit,
        },
        "findings": [_finding(finding) for finding in report.findings],
        "silenced": [_finding(finding) for finding in report.silenced],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    cause = finding.cause
    return {
        "id": finding.id,
        "level": str(finding.level),
        "area": finding.area,
        "subject": finding.subject,
        "summary": finding.summary,
        "hint": finding.hint,
        "facts": dict(finding.facts),
        "location": finding.location,
        "cause": {"id": cause.id, "subject": cause.subject} if cause else None,
        "skipped": finding.skipped,
        "duration_ms": finding.duration_ms,
        "docs": f"checkdeploy --explain {finding.id}",
    }
