"""Where do we run, which signals say so, and does this app keep the rules of that place?"""

from __future__ import annotations

from collections.abc import Iterator

from resilience import conf
from resilience.findings import Fact, Finding, Level
from resilience.hosting import Hosting as Detected
from resilience.probes import (
    hosting_edge,
    hosting_files,
    hosting_network,
    hosting_process,
    hosting_server,
)
from resilience.probes.base import Deadline, Probe
from resilience.probes.surroundings import SUBJECT, Rule, here

_MIB = 1 << 20

STATIC: tuple[Rule, ...] = (
    *hosting_edge.RULES,
    *hosting_files.STATIC,
    *hosting_server.STATIC,
    *hosting_network.RULES,
)
LIVE: tuple[Rule, ...] = (*hosting_files.LIVE, *hosting_server.LIVE, *hosting_process.RULES)


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
        if hosting.commit:
            facts["commit"] = hosting.commit
        yield Finding("hosting.ok", Level.OK, self.subject, _sentence(hosting), facts=facts)
        yield from _all(STATIC, asked_for=self.asked_for)


class Running(Probe):
    """What only a process in its final place can see: files, servers, the container's limits."""

    area = "hosting"

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - local files only
        found = list(_all(LIVE, asked_for=self.asked_for))
        yield from found
        if not any(finding.level >= Level.WARNING for finding in found):
            yield Finding(
                "hosting.ok",
                Level.OK,
                self.subject,
                "Its folders take files, and nothing is short of memory or processor time.",
            )


def probes() -> list[Probe]:
    return [Hosting(SUBJECT), Running("container")]


def _all(rules: tuple[Rule, ...], *, asked_for: bool) -> Iterator[Finding]:
    around = here(asked_for=asked_for)
    for rule in rules:
        yield from rule(around)


def _sentence(hosting: Detected) -> str:
    because = f" (because of {', '.join(hosting.signals)})" if hosting.signals else ""
    rules = "platform rules apply" if hosting.on_platform else "laptop rules apply"
    where = f"In {hosting.name}" if hosting.kind == "container" else f"On {hosting.name}"
    return f"{where}{because}: {rules}."
