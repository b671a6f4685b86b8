"""What the endpoints cost, and how long they take while everything else fails.

    python -m benchmarks.health [SECONDS]

/livez at 200 requests/s under gunicorn, 2 workers of 4 threads, first as they are, then with slow
requests that leave one thread in each worker free. Redis refuses and the database swallows every
packet. A view that does nothing is asked as often at the same time, so that a busy machine slows
both.

/readyz: 10 000 requests as fast as they are answered, while a critical probe hangs for 60 s.
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.handlers.base import BaseHandler
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings
from django.urls import path

from resilience.simulation.network import BlackHole, Refused
from tests.endpoints.site import Site, ask, serving
from tests.processes import ROOT
from tests.servers import redis_server

RATE = 200  # requests per second and path
CLIENTS = 8  # connections per path
GOAL_MS = 5.0
STORM = 10_000
WORKERS = ("--workers", "2")
SLOW = 3  # even if one worker has them all, one of its 4 threads is free
ROUNDS, BATCH = 41, 400
OURS = "resilience.middleware.HealthMiddleware"
CACHE = "resilience.cache.ResilientCache"
PATHS = ("/livez", "/plain/")
HEADERS = {"host": "shop.example", "x_forwarded_proto": "https"}  # which only /plain/ needs


def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _livez(Path(folder), seconds)
        _storm(Path(folder))
    _middleware()
    _livecheck()


# ── /livez ──────────────────────────────────────────────────────────────────────────────────────


def _livez(folder: Path, seconds: float) -> None:
    print(f"/livez: {RATE} requests/s for {seconds:g} s, gunicorn 2 × 4, Redis and database down\n")
    print(f"{'':<28}{'sent':>7}{'failed':>8}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
    with Refused() as refused, BlackHole() as hole:
        down = {
            "DATABASES": {"default": _database(hole.address)},
            "CACHES": {
                "default": {
                    "BACKEND": CACHE,
                    "LOCATION": f"redis://127.0.0.1:{refused.address[1]}/0",
                }
            },
            "ROOT_URLCONF": "benchmarks.health",
        }
        with serving(folder, "gthread", *WORKERS, **down) as site:
            _measure(site, seconds, "all threads free")
            with _busy(site):
                _measure(site, seconds, f"{SLOW} threads busy")


def _database(address: tuple[str, int]) -> Mapping[str, Any]:
    engine = "django.db.backends.postgresql"
    return {"ENGINE": engine, "NAME": "shop", "HOST": address[0], "PORT": address[1]}


def _measure(site: Site, seconds: float, title: str) -> None:
    """Both paths at once, each by a process of its own."""
    clients = [
        subprocess.Popen(  # noqa: S603 - this module
            [
                sys.executable,
                "-m",
                "benchmarks.health",
                "load",
                str(site.port),
                where,
                f"{seconds}",
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        for where in PATHS
    ]
    for where, client in zip(PATHS, clients, strict=True):
        output, _ = client.communicate(timeout=seconds + 60)
        samples = [(status, taken * 1000) for status, taken in json.loads(output)]
        taken = sorted(milliseconds for _, milliseconds in samples)
        failed = sum(status != http.client.OK for status, _ in samples)
        p99 = taken[len(taken) * 99 // 100]
        missed = where == "/livez" and (failed > 0 or p99 >= GOAL_MS)
        print(
            f"{where:<9}{title:<19}{len(taken):>7}{failed:>8}{statistics.median(taken):>9.2f}"
            f"{p99:>9.2f}{taken[-1]:>9.2f}{'  MISSED' if missed else ''}"
        )


def load(port: int, where: str, seconds: float) -> None:
    """Ask at a fixed rate, whatever the answers take; print status and seconds of each."""
    samples: list[tuple[int, float]] = []
    began = time.monotonic() + 0.1

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        for turn in range(int(seconds * RATE / CLIENTS)):
            at = began + (turn * CLIENTS + number) / RATE
            time.sleep(max(0.0, at - time.monotonic()))
            answer = ask(connection, where, **HEADERS)
            samples.append((answer.status, answer.seconds))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    json.dump(samples, sys.stdout)


@contextmanager
def _busy(site: Site) -> Iterator[None]:
    """Requests that each hold a thread of the server until the block ends."""
    over = threading.Event()

    def hold() -> None:
        while not over.is_set():
            site.ask("/slow/", **HEADERS)

    threads = [threading.Thread(target=hold, daemon=True) for _ in range(SLOW)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    yield
    over.set()
    for thread in threads:
        thread.join(5)


# ── /readyz ─────────────────────────────────────────────────────────────────────────────────────


def _storm(folder: Path) -> None:
    print(f"\n/readyz: {STORM} requests by {CLIENTS} connections while a critical probe hangs\n")
    print(
        f"{'':<10}{'req/s':>7}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}{'5xx':>7}{'runs':>6}"
        f"{'periods':>9}{'hung':>6}{'redis connections':>19}"
    )
    with redis_server(directory=folder) as redis:
        site_settings = {
            "CACHES": {
                "default": {"BACKEND": CACHE, "LOCATION": redis.url()},
                "hanging": {"BACKEND": "site_parts.Hanging"},
                "counting": {"BACKEND": "site_parts.Counting"},
            },
            "RESILIENCE": {"CRITICAL": ["caches.hanging"]},
        }
        for server in ("sync", "gthread", "uvicorn"):
            with serving(folder, server, **site_settings) as site:
                while site.ask().body == "starting\n":
                    time.sleep(0.1)
                before = redis.command("INFO", "stats")["total_connections_received"]
                began, runs = time.monotonic(), site.inside()["runs"]["counting"]
                taken = sorted(_ask_all(site))
                seconds = time.monotonic() - began
                inside = site.inside()
                after = redis.command("INFO", "stats")["total_connections_received"]
                hung = inside["threads"].count("resilience-health-caches.hanging")
                print(
                    f"{server:<10}{STORM / seconds:>7.0f}{statistics.median(taken) * 1000:>9.2f}"
                    f"{taken[len(taken) * 99 // 100] * 1000:>9.2f}{taken[-1] * 1000:>9.2f}"
                    f"{len(taken):>7}{inside['runs']['counting'] - runs:>6}{seconds / 10:>9.1f}"
                    f"{hung:>6}{after - before - 1:>19}"
                )


def _ask_all(site: Site) -> list[float]:
    taken: list[float] = []

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)
        for _ in range(STORM // CLIENTS):
            answer = ask(connection)
            assert answer.body == "not-ready\n", answer
            taken.append(answer.seconds)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


# ── every other request ─────────────────────────────────────────────────────────────────────────

DJANGO = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]


def _middleware() -> None:
    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["localhost"], SECRET_KEY="x" * 50)
    django.setup()
    handlers = {name: _handler(placed) for name, placed in (("without", []), ("with", [OURS]))}
    took: dict[str, list[float]] = {name: [] for name in handlers}
    for turn in range(ROUNDS):
        order = list(handlers.items())
        for name, handler in order if turn % 2 else reversed(order):
            took[name].append(_batch(handler.get_response))
    without, with_ = (statistics.median(took[name]) for name in ("without", "with"))
    ratio = statistics.median(b / a for a, b in zip(took["without"], took["with"], strict=True))
    print("\na view that does nothing, behind four of Django's middlewares\n")
    print(f"without HealthMiddleware   {without * 1e6:7.1f} µs")
    print(f"with it placed first       {with_ * 1e6:7.1f} µs")
    print(f"ratio, median of pairs     {ratio:7.3f}")


def _handler(placed: list[str]) -> BaseHandler:
    with override_settings(MIDDLEWARE=[*placed, *DJANGO]):
        handler = BaseHandler()
        handler.load_middleware()
    return handler


def _batch(respond: Callable[[HttpRequest], Any]) -> float:
    requests = [RequestFactory().get("/plain/", HTTP_HOST="localhost") for _ in range(BATCH)]
    began = time.perf_counter()
    for request in requests:
        respond(request)
    return (time.perf_counter() - began) / BATCH


def _livecheck() -> None:
    command = [sys.executable, "-m", "resilience.livecheck", "http://127.0.0.1:1/"]
    took = []
    for _ in range(11):
        began = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=False, stderr=subprocess.DEVNULL)  # noqa: S603
        took.append((time.perf_counter() - began) * 1000)
    print(f"\npython -m resilience.livecheck: {statistics.median(took):.0f} ms (aim: 150 ms)")


# ── the site of /livez ──────────────────────────────────────────────────────────────────────────


def plain(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 - a view
    return HttpResponse("ok\n", "text/plain")


def slow(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 - a view
    time.sleep(1)
    return HttpResponse("ok\n", "text/plain")


urlpatterns = [path("plain/", plain), path("slow/", slow)]


if __name__ == "__main__":
    if sys.argv[1:2] == ["load"]:
        load(int(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)
