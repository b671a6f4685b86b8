"""Are all processes there, and are they the same?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from django.db import Error as DatabaseError

from resilience import conf, redact
from resilience.findings import Fact, Finding, Level
from resilience.history import connection, heartbeat
from resilience.history.reading import InstanceRow, processes, usual
from resilience.probes.base import Deadline, Probe

DEPLOY = 600.0
"""Seconds for which processes may differ: a deploy replaces them one after the other."""

NEWS = 600.0
"""Seconds for which a process that vanished is a finding."""

_SHOWN = 3


def probes() -> list[Probe]:
    """One, which stands on the database of the history."""
    using = connection.alias()
    return [Instances("instances", (f"databases.{using}",), using=using)]


@dataclass(frozen=True)
class Instances(Probe):
    """Reads the table with a connection of its own."""

    area = "instances"
    using: str = field(kw_only=True)

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - bounded by itself
        try:
            with connection.own(self.using), connection.bounded(self.using):
                missing = connection.is_missing(self.using)
                rows, now = ((), 0.0) if missing else processes(self.using)
        except DatabaseError as error:
            yield self._silent(f"The instances cannot be read: {redact.exception(error)}")
            return
        if missing:
            yield self._silent(heartbeat.MISSING)
            return
        yield from self.judge(rows, now)

    def judge(self, rows: Sequence[InstanceRow], now: float) -> Iterator[Finding]:
        """What these processes are, wherever they were read; ``now`` is on the rows' clock."""
        live = [row for row in rows if row.state == "live"]
        web = [row for row in live if row.role == "web"]
        found = [*self._gone(rows, web, now), *self._skew(web, now)]
        yield from found
        if not live:
            quiet = (
                heartbeat.OFF
                if not conf.get().BACKGROUND
                else "No process reports now: each does from its first request on."
            )
            yield self._silent(quiet)
        elif all(finding.level < Level.WARNING for finding in found):
            yield self._fine(live)

    def _gone(
        self, rows: Sequence[InstanceRow], web: Sequence[InstanceRow], now: float
    ) -> Iterator[Finding]:
        """Not those of another commit than the live ones: a deploy has replaced them."""
        commits = {row.commit for row in web}
        gone = [
            row
            for row in rows
            if row.state == "gone"
            and now - row.last_beat <= NEWS
            and (not web or row.role != "web" or row.commit in commits)
        ]
        if not gone:
            return
        names = [f"{row.role} pid {row.pid} on {row.replica}" for row in gone]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        facts: dict[str, Fact] = {
            "gone": len(gone),
            "silent_s": round(now - gone[0].last_beat),
        }
        if gone[0].memory_bytes:
            facts["last_memory_mib"] = round(gone[0].memory_bytes / 2**20)
        yield Finding(
            "instances.gone",
            Level.WARNING,
            self.subject,
            f"{_processes(len(gone))} vanished without a goodbye: "
            f"{', '.join(names[:_SHOWN])}{more}.",
            "Look in the platform's log for what ended it: out of memory, a failed health check, "
            f"SIGKILL. This finding goes after {NEWS / 60:.0f} minutes.",
            facts,
        )

    def _skew(self, web: Sequence[InstanceRow], now: float) -> Iterator[Finding]:
        for name, word in (("commit", "commit"), ("config", "configuration")):
            values = {getattr(row, name) for row in web}
            if len(values) < 2:  # noqa: PLR2004 - two of anything are a difference
                continue
            most = usual(web, name)
            others = [row for row in web if getattr(row, name) != most]
            # Since when there is more than one: the one that came last.
            began = max(
                min(row.booted_at for row in web if getattr(row, name) == value) for value in values
            )
            lasting = now - began > DEPLOY
            yield Finding(
                "instances.skew",
                Level.WARNING if lasting else Level.INFO,
                self.subject,
                f"{len(others)} of {len(web)} live web processes differ in {word}"
                f"{'' if lasting else '; a deploy may be under way'}: "
                f"{', '.join(f'pid {row.pid} on {row.replica}' for row in others[:_SHOWN])}"
                f"{' and more' if len(others) > _SHOWN else ''}.",
                f"Restart or redeploy those that run the wrong {word}.",
                {
                    "differ_in": word,
                    **({"usual": most[:40] or "unknown"} if name == "commit" else {}),
                    **({"other": others[0].commit[:40] or "unknown"} if name == "commit" else {}),
                    "since_s": round(now - began),
                },
            )

    def _fine(self, live: Sequence[InstanceRow]) -> Finding:
        replicas = len({row.replica for row in live})
        roles = sorted({row.role for row in live})
        return Finding(
            "instances.ok",
            Level.OK,
            self.subject,
            f"{_processes(len(live))} on {replicas} {'replica' if replicas == 1 else 'replicas'} "
            f"{'reports' if len(live) == 1 else 'report'}: {', '.join(roles)}.",
            facts={"processes": len(live), "replicas": replicas},
        )

    def _silent(self, why: str) -> Finding:
        return Finding("instances.silent", Level.INFO, self.subject, why, skipped=True)


def _processes(count: int) -> str:
    return f"{count} {'process' if count == 1 else 'processes'}"
