"""One examination of this deployment: what every command, page and endpoint asks for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from django.conf import settings

from resilience import conf
from resilience.findings import Finding, Level, Report
from resilience.probes import runner
from resilience.probes.base import Deadline, Probe


def examine(
    probes: Sequence[Probe],
    deadline: Deadline,
    *,
    stage: str = "run",
    fail_level: Level = Level.ERROR,
    progress: Callable[[list[str]], None] | None = None,
) -> Report:
    """Run the probes and report, with the problems of ``RESILIENCE`` itself first.

    What ``SILENCED_SYSTEM_CHECKS`` names is left out, as it is in Django's own checks.
    """
    began = time.monotonic()
    critical = frozenset(conf.get().CRITICAL)
    found = (
        *(replace(problem, area="conf") for problem in conf.problems()),
        *runner.run(probes, deadline, critical=critical, progress=progress),
    )
    silenced = {str(name) for name in settings.SILENCED_SYSTEM_CHECKS}
    return Report(
        tuple(
            _at_stage(finding, stage)
            for finding in found
            if f"resilience.{finding.id}" not in silenced
        ),
        conf.detect_hosting(),
        round((time.monotonic() - began) * 1000, 1),
        critical,
        fail_level,
    )


def _at_stage(finding: Finding, stage: str) -> Finding:
    """While an image is built, the variables of the running app are not there yet."""
    if stage == "build" and finding.id == "env.missing" and finding.level is Level.ERROR:
        return replace(finding, level=Level.WARNING)
    return finding
