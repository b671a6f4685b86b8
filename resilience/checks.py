"""Our static findings among Django's system checks, under ``resilience.<id>``. No network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core import checks

from resilience import conf
from resilience.findings import Finding, Level
from resilience.probes import areas, limits, middleware, sessions, silencing
from resilience.probes.base import Deadline

_STATIC_AREAS = ("env", "cache", "redis", "tls", "langsmith", "components")


@checks.register("resilience")
def check_conf(**_: Any) -> list[checks.CheckMessage]:
    """``RESILIENCE`` itself, in every ``manage.py check``."""
    return [_message(finding) for finding in conf.problems()]


@checks.register("resilience", deploy=True)
def check_static(**_: Any) -> list[checks.CheckMessage]:
    """What settings and environment alone tell, in ``check --deploy``.

    Not in the plain check: that one runs before ``migrate`` and would stop it.
    """
    day = silencing.today()
    return [
        _message(finding)
        for finding in _static()
        if finding.level >= Level.WARNING and silencing.by_date(finding, day) is None
    ]


def _static() -> Iterator[Finding]:
    deadline = Deadline(1.0)
    yield from silencing.problems()
    for probe in [*areas.probes_of(_STATIC_AREAS, "build"), *sessions.probes()]:
        yield from probe.run(deadline)
    yield from middleware.found()
    yield from limits.found()  # the rest of the area deploy are these checks themselves


def _message(finding: Finding) -> checks.CheckMessage:
    level = {Level.WARNING: checks.WARNING, Level.ERROR: checks.ERROR}[finding.level]
    return checks.CheckMessage(
        level, finding.summary, finding.hint, finding.subject, f"resilience.{finding.id}"
    )
