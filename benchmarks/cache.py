"""What a cache operation costs, side by side with django-redis, Django's Redis backend and LocMem.

    python -m benchmarks.cache [ROUNDS]

Real redis-server on loopback. Contestants take turns in every round; a figure is the median of the
rounds, a ratio the median of the ratios of each round, with its upper 95 % bound (by order
statistics). A value is a small dictionary where nothing else is said.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.cache import caches

from resilience.cache import force, state, status
from resilience.simulation.proxy import (
    Bandwidth,
    BlackHole,
    Fault,
    Garbage,
    Latency,
    Proxy,
    Refuse,
    Reset,
    Silence,
    Trickle,
    Truncate,
)
from tests.servers import redis_server

OURS, THEIRS, DJANGO, LOCMEM = "resilience", "django-redis", "Django Redis", "LocMem"
OTHERS = (THEIRS, DJANGO, LOCMEM)
VALUE = {"name": "Ada", "visits": 3, "tags": ["a", "b"]}
TIMEOUT = 0.1  # seconds, the OPERATION_TIMEOUT under faults
MARGIN = 0.010  # seconds that an operation may take longer
BATCH = 0.001  # seconds of one contestant's turn
CONFIDENCE = 0.95
OPEN_P99 = 50  # microseconds
OPEN_ASYNC = 15
FAULTS: Mapping[str, Fault] = {
    "refused": Refuse(),
    "black hole": BlackHole(),
    "silence": Silence(),
    "latency 1 s": Latency(1.0),
    "trickle": Trickle(),
    "reset": Reset(),
    "cut after 2 bytes": Truncate(2),
    "garbage": Garbage(),
    "8 bytes/s": Bandwidth(8),
}

Operation = Callable[[Any], object]


def main(rounds: int) -> None:
    logging.disable()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        server = stack.enter_context(redis_server(directory=Path(folder)))
        behind = {
            name: stack.enter_context(Proxy(server.host, server.port))
            for name in ("cut", *FAULTS, *(f"{name}, cold" for name in FAULTS))
        }
        _configure(server.url, behind)
        print(f"{rounds} rounds; a ratio is the median, then its upper 95 % bound\n")
        _healthy(rounds)
        _open(rounds, behind["cut"])
        asyncio.run(_async(rounds))
        _faults(behind)
        state.reset()


def _configure(url: Callable[[str], str], behind: Mapping[str, Proxy]) -> None:
    aliases: dict[str, dict[str, Any]] = {
        OURS: {"BACKEND": "resilience.cache.ResilientCache", "LOCATION": url("/0")},
        THEIRS: {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url("/1")},
        DJANGO: {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url("/2")},
        LOCMEM: {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    }
    for name, proxy in behind.items():
        aliases[name] = {
            "BACKEND": "resilience.cache.ResilientCache",
            "LOCATION": f"redis://127.0.0.1:{proxy.port}/3",
            "KEY_PREFIX": name.replace(" ", "-"),
            "OPTIONS": {"RESILIENCE": {"OPERATION_TIMEOUT": TIMEOUT}},
        }
    aliases["default"] = aliases[LOCMEM]
    settings.configure(SECRET_KEY="benchmark", CACHES=aliases)  # noqa: S106 - signs nothing


def _cache(alias: str) -> Any:
    return caches[alias]


# ── healthy ─────────────────────────────────────────────────────────────────────────────────────


def _healthy(rounds: int) -> None:
    """The goal is django-redis: 1.00 at most, 0.8 is the aim."""
    numbers = {f"number-{each}": each for each in range(100)}
    dicts = {f"dict-{each}": {**VALUE, "visits": each} for each in range(100)}
    operations: dict[str, Operation] = {
        "get": lambda cache: cache.get("a-key"),
        "get, no such key": lambda cache: cache.get("none"),
        "set": lambda cache: cache.set("a-key", VALUE),
        "incr": lambda cache: cache.incr("a-number"),
        "get_many(100)": lambda cache: cache.get_many(dicts),
        "get_many(100), integers": lambda cache: cache.get_many(numbers),
        "set_many(100)": lambda cache: cache.set_many(dicts),
    }
    contestants = {alias: _cache(alias) for alias in (OURS, *OTHERS)}
    for cache in contestants.values():
        cache.set("a-key", VALUE)
        cache.set("a-number", 1)
        cache.set_many(dicts)
        cache.set_many(numbers)
        assert cache.get("a-key") == VALUE
        assert len(cache.get_many(dicts)) == len(dicts)
    _title("Redis healthy", "goal: at most 1.00 of django-redis")
    for name, operation in operations.items():
        measured = _interleaved(rounds, contestants, operation)
        _row(name, measured, goal=1.0, over=THEIRS)


# ── in an outage ────────────────────────────────────────────────────────────────────────────────


def _open(rounds: int, proxy: Proxy) -> None:
    """An open circuit with its prober at work, as behind a server that is stuck."""
    cut = _cache("cut")
    assert cut.set("a-key", VALUE)
    assert cut.get("a-key") == VALUE
    proxy.fault = Silence()
    _until(lambda: _open_now("cut"), lambda: (cut.get("a-key"), cut.set("other", VALUE)))
    cut.set("a-key", VALUE)
    operations: dict[str, Operation] = {
        "get": lambda cache: cache.get("a-key"),
        "set": lambda cache: cache.set("a-key", VALUE),
    }
    contestants = {OURS: cut, **{alias: _cache(alias) for alias in OTHERS}}
    _title(
        "Circuit open (the others' Redis is healthy)",
        f"goals: at most 3.00 of LocMem, p99 {OPEN_P99} µs",
    )
    for name, operation in operations.items():
        measured = _interleaved(rounds, contestants, operation)
        _row(name, measured, goal=3.0, over=LOCMEM)
        p99 = _p99(operation, cut)
        print(f"{'':26}{p99:>10.1f} µs p99 {_verdict(p99 <= OPEN_P99)}")
    assert _open_now("cut")


async def _async(rounds: int) -> None:
    """The entry of the local store in the event loop, and what Django does for LocMem."""
    cut, locmem = _cache("cut"), _cache(LOCMEM)
    assert _open_now("cut")
    assert await cut.aget("a-key") == VALUE
    measured: dict[str, list[float]] = {OURS: [], LOCMEM: []}
    for _ in range(rounds):
        measured[OURS].append(await _timed_async(lambda: cut.aget("a-key"), 200))
        measured[LOCMEM].append(await _timed_async(lambda: locmem.aget("a-key"), 10))
    _title("aget of an entry of the local store, circuit open", f"goal: {OPEN_ASYNC} µs")
    _row("aget", measured)
    found = statistics.median(measured[OURS])
    print(f"{'':26}{found:>10.1f} µs {_verdict(found <= OPEN_ASYNC)}")


# ── the worst operation ─────────────────────────────────────────────────────────────────────────


def _faults(behind: Mapping[str, Proxy]) -> None:
    """Every operation meets the fault, as the circuit is held closed: warm connections and none."""
    operations: dict[str, Operation] = {
        "get": lambda cache: cache.get("a-key"),
        "set": lambda cache: cache.set("a-key", VALUE),
        "add": lambda cache: cache.add("b-key", VALUE),
        "incr": lambda cache: cache.incr("a-number"),
        "touch": lambda cache: cache.touch("a-key", 60),
        "has_key": lambda cache: cache.has_key("a-key"),
        "delete": lambda cache: cache.delete("c-key"),
        "get_or_set": lambda cache: cache.get_or_set("d-key", VALUE),
        "incr_version": lambda cache: cache.incr_version("a-key"),
        "get_many": lambda cache: cache.get_many(["a-key", "b-key", "c-key"]),
        "set_many": lambda cache: cache.set_many({"a-key": 1, "b-key": 2}),
        "delete_many": lambda cache: cache.delete_many(["e-key", "f-key"]),
    }
    limit = (TIMEOUT + MARGIN) * 1000
    print(f"\nWorst operation of {len(operations)} under a fault{'':16}goal: {limit:.0f} ms")
    print(f"{'':26}{'connected':>22}{'never connected':>26}")
    for name, fault in FAULTS.items():
        line = f"{name:<26}"
        for alias in (name, f"{name}, cold"):
            cache = _cache(alias)
            force(alias, "closed")
            if alias == name:
                store = partial(cache.set_many, {"a-key": VALUE, "a-number": 1})
                _until(partial(_counts, alias, "ready"), store)
            behind[alias].fault = fault
            worst, which = max(_durations(cache, operations))
            line += f"{worst:>9.1f} ms {which:<13}{_verdict(worst <= limit)}"
            force(alias, "open")
            behind[alias].fault = None  # a dial that hangs would keep the next alias waiting
            _until(partial(_counts, alias, "dialing", 0), partial(time.sleep, 0.01))
        print(line)


def _durations(cache: Any, operations: Mapping[str, Operation]) -> Iterator[tuple[float, str]]:
    for name, operation in operations.items():
        began = time.perf_counter()
        try:
            operation(cache)
        except ValueError:  # incr of what this process does not know
            assert name.startswith("incr")
        yield (time.perf_counter() - began) * 1000, name


# ── measuring ───────────────────────────────────────────────────────────────────────────────────


def _interleaved(
    rounds: int, contestants: Mapping[str, Any], operation: Operation
) -> dict[str, list[float]]:
    """Microseconds per call and round, by contestant; each round begins with another one."""
    calls = {name: _calls(operation, cache) for name, cache in contestants.items()}
    measured: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    with _no_collection():
        for number in range(rounds):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                measured[name].append(_timed(operation, contestants[name], calls[name]))
    return measured


def _calls(operation: Operation, cache: Any) -> int:
    """How many make one turn."""
    _timed(operation, cache, 20)
    return max(1, int(BATCH * 1e6 / _timed(operation, cache, 20)))


def _timed(operation: Operation, cache: Any, calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        operation(cache)
    return (time.perf_counter() - began) / calls * 1e6


async def _timed_async(operation: Callable[[], Awaitable[object]], calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        await operation()
    return (time.perf_counter() - began) / calls * 1e6


def _p99(operation: Operation, cache: Any, calls: int = 20_000) -> float:
    taken = []
    with _no_collection():
        for _ in range(calls):
            began = time.perf_counter()
            operation(cache)
            taken.append((time.perf_counter() - began) * 1e6)
    return statistics.quantiles(taken, n=100)[98]


@contextmanager
def _no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _upper(ratios: Sequence[float]) -> float:
    """The upper 95 % bound of the median: the order statistic that it exceeds once in 20."""
    count, below = len(ratios), 0.0
    for index, ratio in enumerate(sorted(ratios)):
        below += math.comb(count, index) / 2**count
        if below >= CONFIDENCE:
            return ratio
    return max(ratios)


def _counts(alias: str, what: str, count: int = 1) -> bool:
    """Whether the alias's link has so many of these."""
    (link,) = status(alias)["links"]
    return bool(link[what] == count)


def _open_now(alias: str) -> bool:
    found = status(alias)
    return "closed" not in (found["read"]["state"], found["write"]["state"])


def _until(happened: Callable[[], bool], try_again: Callable[[], object]) -> None:
    give_up = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < give_up, "the state to measure did not come"
        try_again()


# ── printing ────────────────────────────────────────────────────────────────────────────────────


def _title(text: str, goal: str) -> None:
    print(f"\n{text:<60}{goal}")
    print(f"{'':26}{'resilience':>13}" + "".join(f"{'/ ' + each:>18}" for each in OTHERS))


def _row(
    name: str, measured: Mapping[str, Sequence[float]], goal: float = 0.0, over: str = ""
) -> None:
    line = f"{name:<26}{statistics.median(measured[OURS]):>10.1f} µs"
    verdict = ""
    for other in OTHERS:
        if other not in measured:
            line += f"{'':>18}"
            continue
        ratios = [
            ours / theirs for ours, theirs in zip(measured[OURS], measured[other], strict=True)
        ]
        upper = _upper(ratios)
        line += f"{statistics.median(ratios):>10.3f} ≤{upper:>6.3f}"
        if other == over:
            verdict = _verdict(upper <= goal)
    print(f"{line}  {verdict}")


def _verdict(holds: bool) -> str:  # noqa: FBT001 - the one thing it says
    return "ok" if holds else "MISSED"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 201)
