"""Where do we run, and which signals say so?"""

from __future__ import annotations

from collections.abc import Iterator

from resilience import conf
from resilience.findings import Fact, Finding, Level
from resilience.hosting import Hosting as Detected
from resilience.probes.base import Deadline, Probe

_MIB = 1 << 20


class Hosting(Probe):
    """The detected platform. It decides which rules apply, never security or timing."""

    area = "hosting"
    live = False

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - it reads memory only
        hosting = conf.detect_hosting()
        facts: dict[str, Fact] = {
            "platform": hosting.platform,
            "signals": ", ".join(hosting.signals) or "none",
            "instance": hosting.instance,
        }
        if hosting.processes is not None:
            facts["processes"] = hosting.processes
        if hosting.memory_limit is not None:
            facts["memory_limit_mib"] = hosting.memory_limit // _MIB
        if hosting.ci:
            facts["ci"] = hosting.ci
        yield Finding("hosting.ok", Level.OK, self.subject, _sentence(hosting), facts=facts)


def probes() -> list[Probe]:
    return [Hosting("hosting")]


def _sentence(hosting: Detected) -> str:
    because = f" (because of {', '.join(hosting.signals)})" if hosting.signals else ""
    rules = "platform rules apply" if hosting.on_platform else "laptop rules apply"
    where = f"In {hosting.name}" if hosting.kind == "container" else f"On {hosting.name}"
    return f"{where}{because}: {rules}."
