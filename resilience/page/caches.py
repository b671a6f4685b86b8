"""The caches of this process: who answers, what waits for Redis, what the local store holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils.safestring import SafeString

from resilience import cache
from resilience.page import pictures, words
from resilience.page.words import Mark
from resilience.probes import targets

CHOICES = {"open": "Open", "closed": "Closed", "auto": "Automatic"}
_CIRCUITS = {
    "closed": Mark("ok", "closed"),
    "half-open": Mark("warn", "half-open"),
    "open": Mark("bad", "open"),
}
_MEMORY = Mark("info", "this process only")
_ANSWERING = {
    "closed": Mark("ok", "Redis answers"),
    "half-open": Mark("warn", "asking Redis again"),
    "open": Mark("bad", "this process answers"),
    "memory": _MEMORY,
}


@dataclass(frozen=True)
class Circuit:
    """The breaker of one role."""

    role: str
    mark: Mark
    since: str
    held: bool
    latest: str


@dataclass(frozen=True)
class Cache:
    """One alias of our backend. ``held`` is what an operator chose: open, closed or auto."""

    alias: str
    mark: Mark
    in_memory: bool
    circuits: tuple[Circuit, ...]
    journal: tuple[tuple[str, str], ...]
    waiting: Mark | None
    flushed: str
    l1: SafeString
    l1_said: str
    counters: tuple[tuple[str, str], ...]
    last_error: str
    held: str


def others() -> list[str]:
    """``alias (backend)`` of the other ones, which have no breaker to show."""
    ours = targets.ours()
    return [
        f"{alias} ({config.get('BACKEND', '')})"
        for alias, config in settings.CACHES.items()
        if alias not in ours
    ]


def panels() -> Iterator[Cache]:
    """What ``resilience.cache.status`` says of each, in words. Asks nobody outside."""
    for alias in targets.ours():
        yield _panel(alias, cache.status(alias))


def _panel(alias: str, status: Mapping[str, Any]) -> Cache:
    in_memory = status["state"] == "memory"
    journal, l1 = status["journal"], status["l1"]
    forced = {status[role]["forced"] for role in ("read", "write")}
    return Cache(
        alias=alias,
        mark=_answering(status),
        in_memory=in_memory,
        circuits=() if in_memory else tuple(_circuits(status)),
        journal=(
            ("keys", f"{journal['keys']:,}"),
            ("patterns", f"{journal['patterns']:,}"),
            ("to take out again", f"{journal['again']:,}"),
            ("taken out so far", f"{journal['flushed']:,}"),
        ),
        waiting=_waiting(journal),
        flushed=f"{journal['flushed']:,}" if journal["flushed"] else "",
        l1=_fill(l1),
        l1_said=f"{words.size(l1['bytes'])} of {words.size(l1['max_bytes'])}",
        counters=tuple(_counters(status)),
        last_error=status["last_error"],
        held=(forced.pop() or "auto") if len(forced) == 1 else "",
    )


def _answering(status: Mapping[str, Any]) -> Mark:
    if status["state"] == "closed" and status["write"]["state"] != "closed":
        return Mark("warn", "Redis is read, writes wait here")
    return _ANSWERING[status["state"]]


def _waiting(journal: Mapping[str, int]) -> Mark | None:
    if journal["keys"] + journal["patterns"]:
        return Mark("warn", "writes wait for Redis")
    return Mark("info", "taken out once more soon") if journal["again"] else None


def _circuits(status: Mapping[str, Any]) -> Iterator[Circuit]:
    for role in ("read", "write"):
        of_role = status[role]
        yield Circuit(
            role,
            _CIRCUITS[of_role["state"]],
            words.duration(of_role["since_seconds"]),
            of_role["forced"] is not None,
            words.milliseconds(of_role["latest_ms"]),
        )


def _fill(l1: Mapping[str, int]) -> SafeString:
    share = l1["bytes"] / (l1["max_bytes"] or 1)
    said = f"{share:.0%} of the local store is filled"
    return pictures.bar(share, "info", said)


def _counters(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    l1 = status["l1"]
    yield "entries", f"{l1['entries']:,}"
    asked = l1["hits"] + l1["misses"]
    if asked:
        yield "hits", f"{l1['hits']:,} of {asked:,} ({l1['hits'] / asked:.0%})"
    yield "evictions", f"{l1['evictions']:,}"
    yield "reads answered here", f"{status['fallbacks']:,}"
    for link in status["links"]:
        used = link["ready"] + link["lent"]
        said = f"{used} of {link['max_connections']}"
        if link["lent"]:
            said += f", {link['lent']} in use"
        if link["waiting"]:
            said += f", {link['waiting']} waiting"
        yield "connections", said
