"""One examination of this deployment: what every command, page and endpoint asks for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from resilience import conf
from resilience.findings import Finding, Level, Report
from resilience.probes import env, runner, silencing
from resilience.probes.base import Deadline, Probe


def examine(  # noqa: PLR0913 - each by keyword, each from one option
    probes: Sequence[Probe],
    deadline: Deadline,
    *,
    stage: str = "run",
    fail_level: Level = Level.ERROR,
    app: bool = True,
    progress: Callable[[list[str]], None] | None = None,
) -> Report:
    """Run the probes and report, with the problems of ``RESILIENCE`` itself first.

    ``app`` False examines something that is not this app's, so its environment does not matter.
    What ``SILENCED_SYSTEM_CHECKS`` names is left out, as it is in Django's own checks; what
    ``RESILIENCE["SILENCE"]`` names stands apart.
    """
    began = time.monotonic()
    critical = frozenset(conf.get().CRITICAL)
    # An app that lacks a variable does not start, whatever else was asked about.
    unasked = env.errors() if app and not any(probe.area == "env" for probe in probes) else []
    found = (
        *(replace(problem, area="conf") for problem in conf.problems()),
        *silencing.problems(),
        *unasked,
        *runner.run(probes, deadline, critical=critical, progress=progress),
    )
    counted, silenced = silencing.split(
        tuple(_at_stage(each, stage) for each in found if not silencing.in_django(each))
    )
    return Report(
        counted,
        conf.detect_hosting(),
        round((time.monotonic() - began) * 1000, 1),
        critical,
        fail_level,
        silenced,
    )


def _at_stage(finding: Finding, stage: str) -> Finding:
    """While an image is built, the variables of the running app are not there yet."""
    of_variables = finding.id in ("env.missing", "components.blocked")
    if stage == "build" and of_variables and finding.level is Level.ERROR:
        return replace(finding, level=Level.WARNING)
    return finding
