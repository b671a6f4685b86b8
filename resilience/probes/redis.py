"""Can this process use its Redis? Stage by stage, so that the first broken one is the answer.

DNS → TCP → TLS (``rediss``) → AUTH → PING → SELECT → INFO → one key written, read and deleted, with
every right that the cache needs → what will not work for long.
No retries: redis-py's ten turn a wrong password into 4 s of silence. Protocol 2: its replies name
a missing or needless password, which protocol 3 hides in HELLO.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from resilience import conf
from resilience.findings import Fact, Finding, Level
from resilience.probes import env, info, network, outlook, railway, targets, wire
from resilience.probes.base import Deadline, Probe
from resilience.probes.conversation import Conversation
from resilience.tls import policy


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
            found += [probe, *address_of(probe)]
    return found


def address_of(probe: Probe) -> list[Probe]:
    """The probe of the address itself, for one that tells something."""
    if isinstance(probe, Redis) and railway.is_proxy(probe.target.host):
        return [Address(probe.subject)]
    return []


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
class Address(Probe):
    """Whether Railway's public address is used where the private one is at hand."""

    area = "redis"
    live = False

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - it asks nobody
        if conf.detect_hosting().platform == "railway":
            yield railway.detour(self.subject)


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
        line = wire.Wire(target, wire.dial(target, deadline), deadline)
        conversation = Conversation(self.subject, target, line, deadline)
        try:
            conversation.start()
            if target.tls and trusts_anybody(target):
                yield _unverified(self.subject, target)
            yield from conversation.authenticate()
            facts = {"alias": target.origin, **outlook.latency(_pings(conversation))}
            conversation.select()
            known = conversation.inform()
            if known is not None:
                facts.update(known.facts())
            try:
                found = list(_examine(self.subject, target, conversation, known))
            except network.StageFailed as failed:  # how full, which role: it explains much
                raise _explained(failed, known, facts) from None
        finally:
            conversation.close()
        yield from found
        yield from outlook.warnings(self.subject, target, known, facts)
        kind = "Writes and reads" if target.writes else "Reads"
        took = f" in {facts['round_trip_ms']} ms" if "round_trip_ms" in facts else ""
        summary = f"{kind}{took}; {_describe(known, facts)}."
        yield Finding("redis.ok", Level.OK, self.subject, summary, facts=facts)


def _pings(conversation: Conversation) -> list[float]:
    try:
        return conversation.ping()
    except network.StageFailed as failed:
        if failed.finding.id in info.ANSWERS_UNDER:
            raise network.StageFailed(conversation.explained(failed.finding)) from None
        raise


def _examine(
    subject: str, target: targets.Target, conversation: Conversation, known: info.Info | None
) -> Iterator[Finding]:
    """What this server is, and one key on it."""
    if known is not None and known.word("redis_mode") == "sentinel":
        raise network.failed(
            "redis.wrong-service",
            subject,
            f"{target.where} is a Redis Sentinel: it knows where Redis is, and keeps nothing.",
            "Use Redis's own address; or name the Sentinels in SENTINELS, with django-redis's "
            "SentinelClient and SentinelConnectionFactory.",
        )
    if target.cluster:
        conversation.ask_cluster()  # which node has the key, only its own client knows
    else:
        yield from conversation.use_key()


def _explained(
    failed: network.StageFailed, known: info.Info | None, facts: dict[str, Fact]
) -> network.StageFailed:
    finding = failed.finding if known is None else known.explain(failed.finding)
    return network.StageFailed(replace(finding, facts={**facts, **finding.facts}))


def trusts_anybody(target: targets.Target) -> bool:
    # redis-py takes a word, None or a constant of ssl; without the option it verifies.
    return str(target.options.get("ssl_cert_reqs", "required")).lower() in ("none", "0")


def _unverified(subject: str, target: targets.Target) -> Finding:
    """It goes on working, so that nobody's site breaks; an error until somebody answers for it."""
    listed = policy.trust_of("redis", target.host, target.port).insecure is not None
    where = f"{target.host}:{target.port}"
    return Finding(
        "tls.insecure",
        Level.WARNING if listed else Level.ERROR,
        subject,
        "ssl_cert_reqs=none switches verification off: whoever is in between reads the password.",
        "Remove it, and append ?ssl_ca_certs=/path/to/ca.pem where the server has its own CA."
        + ("" if listed else f' Until then list {where} in RESILIENCE["TLS"]["INSECURE"].'),
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


def _describe(known: info.Info | None, facts: dict[str, Fact]) -> str:
    if known is None:
        return "INFO is not allowed for this user"
    most = facts.get("max_memory_mib")
    limit = f" of {most} MiB" if most else " MiB, no limit"
    return (
        f"Redis {facts.get('version', '?')}, {facts.get('used_memory_mib', '?')}{limit}, "
        f"eviction {facts.get('eviction_policy', '?')}"
    )
