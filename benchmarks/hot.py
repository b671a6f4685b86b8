"""What a hot read costs beside django-redis and LocMem, and how soon another's write is seen.

    python -m benchmarks.hot [ROUNDS]

Real redis-server on loopback; figures and ratios as in ``benchmarks.cache``. The writes come from a
process of their own, 1 000 in a second, each with the time at which it was acknowledged; what reads
them here is otherwise idle.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.cache import caches

from benchmarks.cache import (
    LOCMEM,
    OURS,
    THEIRS,
    Operation,
    _interleaved,
    _row,
    _timed_async,
    _title,
    _until,
    _verdict,
)
from resilience.cache import state, status
from tests.servers import redis_server

FLAT = {"name": "Ada", "visits": 3, "price": 12.5}
DEEP = {"name": "Ada", "visits": 3, "tags": ["a", "b"]}
OF_LOCMEM = 0.6
OF_THEIRS = 0.1  # get_many(100)
ASYNC = 15  # microseconds
SEEN = 5  # milliseconds, p99
WRITES = 2000

WRITER = """
import sys, time
import redis
client = redis.Redis(port=int(sys.argv[1]))
begin = time.monotonic()
for number in range(1, int(sys.argv[2]) + 1):
    client.set(":1:seen", number)
    print(number, time.monotonic(), flush=True)
    time.sleep(max(0.0, begin + number / 1000 - time.monotonic()))
"""


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder, redis_server(directory=Path(folder)) as server:
        settings.configure(
            SECRET_KEY="benchmark",  # noqa: S106 - signs nothing
            CACHES={
                OURS: {
                    "BACKEND": "resilience.cache.HotCache",
                    "LOCATION": server.url("/0"),
                    "OPTIONS": {"RESILIENCE": {"HOT": ["*"]}},
                },
                THEIRS: {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url("/1")},
                LOCMEM: {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
                "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
            },
        )
        print(f"{rounds} rounds; a ratio is the median, then its upper 95 % bound")
        for name, value in (("flat", FLAT), ("with a list", DEEP)):
            _reads(rounds, name, value)
        asyncio.run(_async(rounds))
        _seen(server.port)
        state.reset()


def _reads(rounds: int, name: str, value: dict[str, Any]) -> None:
    many = {f"{name}-{each}": {**value, "visits": each} for each in range(100)}
    contestants = {alias: caches[alias] for alias in (OURS, THEIRS, LOCMEM)}
    for cache in contestants.values():
        cache.set("a-key", value)
        cache.set_many(many)
    hot = contestants[OURS]
    _until(lambda: _is_hot(hot, ["a-key", *many]), lambda: hot.get_many(["a-key", *many]))
    _title(f"Hot, a small dictionary, {name}", "")
    operations: dict[str, tuple[Operation, float, str]] = {
        "get": (lambda cache: cache.get("a-key"), OF_LOCMEM, LOCMEM),
        "get_many(100)": (lambda cache: cache.get_many(many), OF_THEIRS, THEIRS),
    }
    for title, (operation, goal, over) in operations.items():
        _row(title, _interleaved(rounds, contestants, operation), goal=goal, over=over)
    assert _is_hot(hot, ["a-key", *many])


def _is_hot(cache: Any, keys: list[str]) -> bool:
    names = [cache.make_key(key) for key in keys]
    return None not in cache._answers.read_hot_many(names)  # noqa: SLF001 - nobody else can tell


async def _async(rounds: int) -> None:
    cache = caches[OURS]
    cache.get("a-key")
    taken = [await _timed_async(lambda: cache.aget("a-key"), 200) for _ in range(rounds)]
    found = statistics.median(taken)
    print(f"\n{'aget of a hot key':<26}{found:>10.1f} µs  goal {ASYNC} {_verdict(found <= ASYNC)}")


def _seen(port: int) -> None:
    """From the acknowledgement to the first read that is not older."""
    cache = caches[OURS]
    cache.set("seen", 0)
    late: list[float] = []
    command = [sys.executable, "-c", WRITER, str(port), str(WRITES)]
    seen: list[tuple[int, float]] = [(0, 0.0)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:  # noqa: S603 - our own
        while writer.poll() is None:
            value = cache.get("seen")
            if value != seen[-1][0]:
                seen.append((value, time.monotonic()))
            time.sleep(0.0001)
        assert writer.stdout is not None
        acknowledged = dict(map(_pair, writer.stdout.read().splitlines()))
    at = iter(seen)
    value, moment = next(at)
    for number in range(1, WRITES + 1):
        while value < number:
            value, moment = next(at)
        late.append((moment - acknowledged[number]) * 1000)
    p99 = statistics.quantiles(late, n=100)[98]
    print(
        f"{'another process writes':<26}{statistics.median(late):>10.2f} ms until it is seen, p99 "
        f"{p99:.2f}, worst {max(late):.2f}  goal {SEEN} {_verdict(p99 <= SEEN)}"
    )
    counts = status(OURS)["hot"]
    assert counts["invalidations"] >= WRITES / 2, counts


def _pair(line: str) -> tuple[int, float]:
    number, moment = line.split()
    return int(number), float(moment)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 101)
