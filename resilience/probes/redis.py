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
    """One probe for each Redis location of ``CACHES``; two aliases of one database share it.

    Of several databases on one server the first explains the others.
    """
    found: list[Probe] = []
    first: dict[str, str] = {}
    for location in targets.locations():
        probe = probe_of(location)
        if isinstance(probe, Redis):
            known = first.setdefault(probe.target.where, probe.subject)
            if known != probe.subject:
                probe = replace(probe, needs=(known,))
        if probe not in found:
            found.append(probe)
    return found


def probe_of(place: targets.Location | targets.Target) -> Probe:
    """The probe for a location, whatever state its URL is in."""
    if isinstance(place, targets.Target):
        return Redis(place.subject, target=place)
    subject = f"redis.{place.alias}" + (f"[{place.index}]" if place.index else "")
    known = env.skipped_for(subject, [place.url, dict(place.options)])
    if known is None and place.sentinel:
        known = _behind_sentinel(subject)
    if known is None:
        try:
            target = place.target()
        except targets.InvalidTarget as invalid:
            known = _invalid(subject, place.alias, invalid)
        else:
            return Redis(target.subject, target=target)
    return Known(subject, finding=known)


def subjects_of(alias: str) -> tuple[str, ...]:
    """The Redis subjects that a cache alias stands on."""
    return tuple(
        probe_of(location).subject for location in targets.locations() if location.alias == alias
    )


def unusable_of(alias: str) -> tuple[str, ...]:
    """Those of them whose URL no client can use."""
    probes = [probe_of(location) for location in targets.locations() if location.alias == alias]
    return tuple(
        probe.subject
        for probe in probes
        if isinstance(probe, Known) and probe.finding.level is Level.ERROR
    )


@dataclass(frozen=True)
class Known(Probe):
    """A location of which settings alone say what there is to say."""

    area = "redis"
    live = False
    finding: Finding = field(kw_only=True)

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - it asks nobody
        yield self.finding


@dataclass(frozen=True)
class Redis(Probe):
    """One Redis server, examined with the credentials and TLS options of its client."""

    area = "redis"
    target: targets.Target = field(kw_only=True)

    def run(self, deadline: Deadline) -> Iterator[Finding]:
        try:
            yield from self._stages(deadline)
        except network.StageFailed as failed:
            yield failed.finding

    def _stages(self, deadline: Deadline) -> Iterator[Finding]:
        target = self.target
        sock = self._dial(deadline)
        conversation = Conversation(self.subject, target, sock, deadline)
        try:
            conversation.start_tls()
            if target.tls and trusts_anybody(target):
                yield _unverified(self.subject)
            yield from conversation.authenticate()
            facts: dict[str, Fact] = {"alias": target.origin, **conversation.greet()}
            facts.update(conversation.inform())
            try:
                conversation.use_key()
            except network.StageFailed as failed:  # how full, which role: it explains much
                explained = replace(failed.finding, facts={**facts, **failed.finding.facts})
                raise network.StageFailed(explained) from None
        finally:
            conversation.close()
        kind = "Writes and reads" if target.writes else "Reads"
        summary = f"{kind} in {facts['round_trip_ms']} ms; {_describe(facts)}."
        yield Finding("redis.ok", Level.OK, self.subject, summary, facts=facts)

    def _dial(self, deadline: Deadline) -> socket.socket:
        target = self.target
        if target.path:
            return network.connect_unix(self.subject, target.path, deadline)
        addresses = network.resolve(self.subject, target.host, target.port, deadline)
        return network.connect(self.subject, addresses, target.where, deadline)


def trusts_anybody(target: targets.Target) -> bool:
    # redis-py takes a word, None or a constant of ssl; without the option it verifies.
    return str(target.options.get("ssl_cert_reqs", "required")).lower() in ("none", "0")


def _unverified(subject: str) -> Finding:
    return Finding(
        "tls.insecure",
        Level.WARNING,
        subject,
        "ssl_cert_reqs=none switches verification off: whoever is in between reads the password.",
        "Remove it, and append ?ssl_ca_certs=/path/to/ca.pem where the server has its own CA.",
    )


def _invalid(subject: str, alias: str, invalid: targets.InvalidTarget) -> Finding:
    setting = f"CACHES[{alias!r}]['LOCATION']"
    return Finding(
        invalid.id, Level.ERROR, subject, invalid.problem, invalid.hint, {"setting": setting}
    )


def _behind_sentinel(subject: str) -> Finding:
    return Finding(
        "redis.sentinel",
        Level.INFO,
        subject,
        "Not examined stage by stage: it is reached through Sentinel. The cache's round trip "
        "covers it.",
        skipped=True,
    )


def _describe(facts: dict[str, Fact]) -> str:
    if "info" in facts:
        return "INFO is not allowed for this user"
    most = facts.get("max_memory_mib")
    limit = f" of {most} MiB" if most else " MiB, no limit"
    return (
        f"Redis {facts.get('version', '?')}, {facts.get('used_memory_mib', '?')}{limit}, "
        f"eviction {facts.get('eviction_policy', '?')}"
    )
