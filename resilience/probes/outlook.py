"""What works today and will not for long: warnings about a Redis that answers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from resilience import conf
from resilience.findings import Fact, Finding, Level
from resilience.probes import aliases, targets
from resilience.probes.info import Info

SLOW_MS = 25.0  # half of the round trips; a page of twenty reads waits half a second
VERY_SLOW_MS = 125.0  # one in ten; half of the OPERATION_TIMEOUT after which a cache falls back
CROWDED = 0.8  # of maxclients


def latency(took: Sequence[float]) -> dict[str, Fact]:
    """Milliseconds of some round trips as facts: fastest, median, 90th percentile, slowest."""
    if not took:
        return {}
    ranked = sorted(took)

    def percentile(share: float) -> float:  # nearest rank
        return ranked[math.ceil(share * len(ranked)) - 1]

    return {
        "round_trip_min_ms": ranked[0],
        "round_trip_ms": percentile(0.5),
        "round_trip_p90_ms": percentile(0.9),
        "round_trip_max_ms": ranked[-1],
        "round_trips": len(ranked),
    }


def warnings(
    subject: str, target: targets.Target, known: Info | None, facts: dict[str, Fact]
) -> Iterator[Finding]:
    """``facts`` are those of the report so far, with :func:`latency` among them."""
    if known is not None:
        yield from _replica(subject, target, known)
        yield from _saving(subject, known)
        yield from _clients(subject, target, known)
        yield from _eviction(subject, known)
    yield from _slow(subject, facts)


def _replica(subject: str, target: targets.Target, known: Info) -> Iterator[Finding]:
    if not known.is_replica:
        return
    if target.writes:
        yield Finding(
            "redis.readonly",
            Level.WARNING,
            subject,
            "This is a replica that takes writes: nobody else sees them, and the next "
            "synchronisation with its primary deletes them.",
            f"Use the primary, {known.primary}; then CONFIG SET replica-read-only yes here.",
        )
    elif known.word("master_link_status") == "down":
        down = known.number("master_link_down_since_seconds")
        since = "" if down is None else f" for {down} s"
        yield Finding(
            "redis.master-down",
            Level.WARNING,
            subject,
            f"This replica has been without its primary {known.primary}{since}: what is read here "
            "is old.",
            "Bring the primary back, or take this replica out of LOCATION.",
        )


def _saving(subject: str, known: Info) -> Iterator[Finding]:
    """It cannot save, and was told to take writes nevertheless (else SET would have failed)."""
    if known.word("rdb_last_bgsave_status") != "err":
        return
    yield Finding(
        "redis.misconf",
        Level.WARNING,
        subject,
        "Redis could not save its last snapshot: a restart loses what came after the one before.",
        "Free or enlarge the server's disk and check its permissions, then BGSAVE. For a pure "
        'cache switch snapshots off: CONFIG SET save "".',
    )


def _clients(subject: str, target: targets.Target, known: Info) -> Iterator[Finding]:
    most, now = known.number("maxclients"), known.number("connected_clients")
    if not most or now is None:
        return
    hosting = conf.detect_hosting()
    processes, each = hosting.processes or 1, _connections(target.where)
    facts: dict[str, Fact] = {"clients": now, "max_clients": most}
    if each:
        facts |= {"processes": processes, "connections_per_process": each}
    if now >= CROWDED * most:
        said = f"{now} of {most} connections are taken"
    elif each * processes > most:
        said = (
            f"{processes} processes may open {each} connections each, and the server takes {most}"
        )
    else:
        return
    yield Finding(
        "redis.max-clients",
        Level.WARNING,
        subject,
        f"{said}: whoever comes after them is refused.",
        "Bound the pools (MAX_CONNECTIONS or max_connections, x processes x replicas), look for "
        f"leaks with CLIENT LIST, or raise maxclients: CONFIG SET maxclients {_roomier(most, now)}",
        facts,
    )


def _roomier(most: int, now: int) -> int:
    return 2 * max(most, now)


def _connections(where: str) -> int:
    """How many connections one process may open to a server, where its options say so."""
    total = 0
    for location in targets.locations():
        try:
            target = location.target()
        except targets.InvalidTarget:  # its own probe says so
            continue
        if target.where != where:
            continue
        options = aliases.options_of(location.alias)
        own = target.options.get("max_connections") if options is None else options.max_connections
        total += int(own or 0)
    return total


def _eviction(subject: str, known: Info) -> Iterator[Finding]:
    if known.word("maxmemory_policy") != "noeviction":
        return
    facts = known.facts()
    used, most = facts.get("used_memory_mib", 0), facts.get("max_memory_mib", 0)
    if most:
        yield Finding(
            "redis.eviction",
            Level.WARNING,
            subject,
            f"Redis evicts nothing: at {most} MiB every write will be refused ({used} MiB now).",
            "If this is a pure cache: CONFIG SET maxmemory-policy allkeys-lru. Where it also "
            "holds a queue or sessions, give the cache a server of its own.",
        )
    elif conf.detect_hosting().on_platform:
        yield Finding(
            "redis.eviction",
            Level.INFO,
            subject,
            f"Redis has no maxmemory: it grows ({used} MiB now) until its container has no memory "
            "left and is ended.",
            "For a pure cache set maxmemory below the container's memory, and maxmemory-policy "
            "allkeys-lru.",
        )


def _slow(subject: str, facts: dict[str, Fact]) -> Iterator[Finding]:
    names = ("round_trip_min_ms", "round_trip_ms", "round_trip_p90_ms")
    least, half, most = (facts.get(name) for name in names)
    if not isinstance(least, float) or not isinstance(half, float) or not isinstance(most, float):
        return
    # The way is as long as the fastest says; a process that has just started is busy itself.
    if least < SLOW_MS and most < VERY_SLOW_MS:
        return
    yield Finding(
        "redis.slow",
        Level.WARNING,
        subject,
        f"A round trip takes {half} ms, one in ten {most} ms or more: "
        + (
            "every read of a page waits that long."
            if least >= SLOW_MS
            else "a cache gives up on Redis after 250 ms."
        ),
        "Run the app in Redis's own region and network; else look for what holds Redis up: "
        "SLOWLOG GET 10, redis-cli --latency on its host.",
    )
