"""Redis returns to a process that has written many keys without it.

    python -m benchmarks.journal [ROUNDS]

A real Redis is stopped (SIGSTOP) while this process overwrites 99 000 keys, and continued. In
another thread Django answers requests for a view with ten reads and a write, one after the other
with 5 ms between: their time while the journal is emptied, in ratio to that before the outage.
"""

from __future__ import annotations

import logging
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import RequestFactory
from django.urls import path

from tests.servers import redis_server

READS = 10
MIDDLEWARE = [
    f"django.{name}Middleware"
    for name in (
        "middleware.security.Security",
        "middleware.common.Common",
        "middleware.csrf.CsrfView",
        "middleware.clickjacking.XFrameOptions",
    )
]
PAUSE = 0.005  # seconds between requests
HEALTHY = 6.0  # seconds
BATCH = 500
FIRST, EMPTY, RATIO = 1.0, 10.0, 1.2  # goals: s, s, of the healthy p99


def view(request: HttpRequest) -> HttpResponse:
    from django.core.cache import cache  # noqa: PLC0415 - configured by now

    values = [cache.get(f"read-{number}") for number in range(READS)]
    cache.set("written", request.path)
    return JsonResponse({"values": values})


urlpatterns = [path("", view)]


def main(keys: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder, redis_server(directory=Path(folder)) as redis:
        backend = "resilience.cache.ResilientCache"
        options = {"RESILIENCE": {"L1_MAX_BYTES": 2**28}}
        default = {"BACKEND": backend, "LOCATION": redis.url(), "OPTIONS": options}
        settings.configure(
            SECRET_KEY="benchmark",  # noqa: S106
            CACHES={"default": default},
            ROOT_URLCONF=__name__,
            ALLOWED_HOSTS=["*"],
            MIDDLEWARE=MIDDLEWARE,
        )
        django.setup()
        logging.getLogger("resilience").setLevel(logging.CRITICAL)
        found = [play(redis.pid, keys) for _ in range(rounds)]
    first, empty, healthy, flushing = zip(*found, strict=True)
    ratios = [after.p99 / before.p99 for before, after in zip(healthy, flushing, strict=True)]
    print(f"journal of {keys} keys; medians of {rounds} rounds, the ratio's in each round")
    show("first read from Redis after its return", statistics.median(first), FIRST, " s")
    show("journal empty after", statistics.median(empty), EMPTY, " s")
    for when, times in (("healthy", healthy), ("meanwhile", flushing)):
        p50, p99 = (statistics.median(getattr(each, p) for each in times) for p in ("p50", "p99"))
        print(f"a request, {when:29s} {p50:.2f} ms, p99 {p99:.2f} ms")
    show("p99 meanwhile / p99 healthy", statistics.median(ratios), RATIO, "")


def play(pid: int, keys: int) -> tuple[float, float, Requests, Requests]:
    """One outage; seconds to the first read and to the end, the requests before and after it."""
    from django.core.cache import cache  # noqa: PLC0415 - configured by now

    from resilience.cache import status  # noqa: PLC0415

    names = [f"key-{number}" for number in range(keys)]
    for start in range(0, keys, BATCH):
        cache.set_many(dict.fromkeys(names[start : start + BATCH], "old"), None)
    cache.set_many({f"read-{number}": number for number in range(READS)}, None)
    cache.set("beacon", "in Redis", None)
    with Requests() as healthy:
        time.sleep(HEALTHY)

    os.kill(pid, signal.SIGSTOP)
    try:
        while status()["state"] == "closed" or status()["write"]["state"] == "closed":
            cache.get("beacon")
            cache.set(names[0], "new", None)
        for start in range(0, keys, BATCH):
            cache.set_many(dict.fromkeys(names[start : start + BATCH], "new"), None)
        assert status()["journal"]["keys"] >= keys
    finally:
        os.kill(pid, signal.SIGCONT)

    back = time.monotonic()
    wait(lambda: status()["state"] == "closed" and cache.get("beacon") == "in Redis")
    first = time.monotonic() - back
    wait(lambda: status()["write"]["state"] == "closed")
    with Requests() as flushing:
        wait(lambda: status()["journal"]["keys"] == 0)
    empty = time.monotonic() - back
    assert all(cache.get(name) is None for name in names[:: max(1, keys // 100)])
    wait(lambda: status()["journal"]["again"] == 0)
    return first, empty, healthy, flushing


class Requests:
    """Made in a thread for as long as the block runs; times in ms."""

    def __init__(self) -> None:
        self._handler: Any = WSGIHandler()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.times: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def p50(self) -> float:
        return statistics.median(self.times)

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.times, n=100)[-1]

    def _run(self) -> None:
        while not self._over.wait(PAUSE):
            began = time.perf_counter()
            response = self._handler(RequestFactory().get("/").environ, lambda *_: None)
            assert response.status_code == HTTPStatus.OK
            response.close()
            self.times.append((time.perf_counter() - began) * 1000)


def wait(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.01)


def show(what: str, found: float, goal: float, unit: str) -> None:
    reached = "ok" if found <= goal else "MISSED"
    print(f"{what:40s} {found:.2f}{unit}   goal: at most {goal:g}{unit}  {reached}")


if __name__ == "__main__":
    main(99_000, int(sys.argv[1]) if len(sys.argv) > 1 else 5)
