"""Can this process use its Redis? Stage by stage, so that the first broken one is the answer.

DNS → TCP → TLS (``rediss``) → AUTH → PING → SELECT → INFO → write, read and delete of one key.
No retries: redis-py's ten turn a wrong password into 4 s of silence. Protocol 2: its replies name
a missing or needless password, which protocol 3 hides in HELLO.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from resilience.findings import Fact, Finding, Level
from resilience.probes import env, network, targets
from resilience.probes.base import Deadline, Probe
from resilience.probes.conversation import Conversation


def probes() -> list[Probe]:
    """One probe for each Redis location of ``CACHES``; two aliases of one server share it."""
    found: dict[tuple[str, str], Probe] = {}
    for location in targets.locations():
        probe = probe_of(location)
        found.setdefault((probe.subject, repr(_identity(probe))), probe)
    return list(found.values())


def probe_of(place: targets.Location | targets.Target) -> Probe:
    """The probe for a location, whatever state its URL is in."""
    if isinstance(place, targets.Target):
        return Redis(place.subject, target=place)
    subject = f"redis.{place.alias}" + (f"[{place.index}]" if place.index else "")
    if env.skipped_for(subject, [place.url, dict(place.options)]) or place.sentinel:
        return Unexamined(subject, location=place)
    try:
        target = place.target()
    except targets.InvalidTargetError as error:
        return Invalid(subject, alias=place.alias, error=error)
    return Redis(target.subject, target=target)


def subjects_of(alias: str) -> tuple[str, ...]:
    """The Redis subjects that a cache alias stands on."""
    return tuple(
        probe_of(location).subject for location in targets.locations() if location.alias == alias
    )


def _identity(probe: Probe) -> object:
    if isinstance(probe, Redis):
        target = probe.target
        return (target.writes, sorted(map(str, target.options.items())))
    return probe.subject


@dataclass(frozen=True)
class Unexamined(Probe):
    """A location that cannot be examined, and why not."""

    area = "redis"
    live = False
    location: targets.Location = field(kw_only=True)

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - it asks nobody
        missing = env.skipped_for(self.subject, [self.location.url, dict(self.location.options)])
        yield missing or Finding(
            "redis.sentinel",
            Level.INFO,
            self.subject,
            "Not examined stage by stage: it is reached through Sentinel. The cache's round trip "
            "covers it.",
            skipped=True,
        )


@dataclass(frozen=True)
class Invalid(Probe):
    """A location whose URL no client can use."""

    area = "redis"
    live = False
    alias: str = field(kw_only=True)
    error: targets.InvalidTargetError = field(kw_only=True)

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - it reads settings only
        yield Finding(
            self.error.id,
            Level.ERROR,
            self.subject,
            self.error.problem,
            self.error.hint,
            {"setting": f"CACHES[{self.alias!r}]['LOCATION']"},
        )


@dataclass(frozen=True)
class Redis(Probe):
    """One Redis server, examined with the credentials and TLS options of its client."""

    area = "redis"
    target: targets.Target = field(kw_only=True)

    def run(self, deadline: Deadline) -> Iterator[Finding]:
        try:
            yield from self._stages(deadline)
        except network.StageFailedError as failed:
            yield failed.finding

    def _stages(self, deadline: Deadline) -> Iterator[Finding]:
        target = self.target
        sock = self._dial(deadline)
        conversation = Conversation(self.subject, target, sock, deadline)
        try:
            conversation.start_tls()
            yield from conversation.authenticate()
            facts: dict[str, Fact] = {"alias": target.origin, **conversation.greet()}
            facts.update(conversation.inform())
            try:
                conversation.use_key()
            except network.StageFailedError as failed:  # how full, which role: it explains much
                explained = replace(failed.finding, facts={**facts, **failed.finding.facts})
                raise network.StageFailedError(explained) from None
        finally:
            conversation.close()
        kind = "Writes and reads" if target.writes else "Reads"
        summary = f"{kind} in {facts['round_trip_ms']} ms; {_describe(facts)}."
        yield Finding("redis.ok", Level.OK, self.subject, summary, facts=facts)

    def _dial(self, deadline: Deadline) -> socket.socket:
        target = self.target
        if target.path:
            return _dial_unix(self.subject, target.path, deadline)
        addresses = network.resolve(self.subject, target.host, target.port, deadline)
        return network.connect(self.subject, addresses, target.where, deadline)


def _dial_unix(subject: str, path: str, deadline: Deadline) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(deadline.stage())
    try:
        sock.connect(path)
    except OSError as error:
        sock.close()
        finding = Finding(
            "tcp.refused",
            Level.ERROR,
            subject,
            f"Nothing listens on the socket {path}: {error.strerror}.",
            "Start Redis with `unixsocket` set to this path, and let this user read it.",
        )
        raise network.StageFailedError(finding) from None
    return sock


def _describe(facts: dict[str, Fact]) -> str:
    if "info" in facts:
        return "INFO is not allowed for this user"
    most = facts.get("max_memory_mib")
    limit = f" of {most} MiB" if most else " MiB, no limit"
    return (
        f"Redis {facts.get('version', '?')}, {facts.get('used_memory_mib', '?')}{limit}, "
        f"eviction {facts.get('eviction_policy', '?')}"
    )
