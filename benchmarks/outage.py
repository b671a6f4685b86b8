"""A site under load while its Redis stops, dies and comes back: ResilientCache and django-redis.

    python -m benchmarks.outage [SECONDS]

A view with ten cache reads under gunicorn, 2 workers of 4 threads, and 8 clients that ask as fast
as they are answered. django-redis has IGNORE_EXCEPTIONS and timeouts of 2 s. SECONDS is the length
of a phase; a request belongs to the phase that its middle lies in. "log" are the most log lines of
one process, "back" is how long after Redis's return the last worker read a new value from it.

    clients ── http ──► gunicorn ── redis ──────────────────► redis-server (stopped, killed, …)
    2 processes         2 workers └─ in the second part by ──► Proxy (black hole)
"""

from __future__ import annotations

import http.client
import json
import os
import pickle
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from resilience.simulation.proxy import BlackHole, Proxy
from tests.gunicorns import django_gunicorn
from tests.processes import ROOT
from tests.servers import RedisServer, redis_server

WORKERS, THREADS = 2, 4
CLIENTS, CONNECTIONS = 2, 4  # processes, and threads in each
READS = 10
BACK, BACK_FROM_BLACK_HOLE = 1.0, 3.5  # seconds, goals
LOG_LINES = 2  # per process and change of state, goal
WARM_UP = 2.0  # seconds of load that are not counted
START_WITHIN = 20.0  # seconds
OK, SERVER_ERROR = 200, 500
HEALTHY = "healthy"  # the first phase of a part, which the others are compared with

BACKENDS: Mapping[str, Mapping[str, Any]] = {
    "resilience": {"BACKEND": "resilience.cache.ResilientCache"},
    "django-redis": {
        "BACKEND": "django_redis.cache.RedisCache",
        "OPTIONS": {
            "IGNORE_EXCEPTIONS": True,
            "SOCKET_TIMEOUT": 2,
            "SOCKET_CONNECT_TIMEOUT": 2,
        },
    },
}

SETTINGS = """
SECRET_KEY = "benchmark"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "site_urls"
CACHES = {{"default": {cache!r}}}
LOGGING = {{
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {{"line": {{"format": "%(process)d %(created)f %(name)s %(message)s"}}}},
    "handlers": {{
        "file": {{"class": "logging.FileHandler", "filename": "site.log", "formatter": "line"}},
    }},
    "root": {{"handlers": ["file"], "level": "INFO"}},
}}
"""

URLS = f"""
import os
from django.core.cache import cache
from django.http import HttpResponse
from django.urls import path

def view(request):
    for number in range({READS - 1}):
        cache.get(f"key-{{number}}")
    return HttpResponse(f"{{os.getpid()}} {{cache.get('beacon')}}")

urlpatterns = [path("", view)]
"""

GUNICORN = f"""
workers, threads, worker_class = {WORKERS}, {THREADS}, "gthread"
graceful_timeout = 1
control_socket_disable = True
"""


class Sample(NamedTuple):
    """One request; times are of the monotonic clock, which all processes share."""

    began: float
    ended: float
    status: int  # 0: no answer at all
    pid: int
    beacon: str


@dataclass
class Phase:
    """What was so between two times; with a ``beacon``, Redis came back as it began."""

    name: str
    began: float
    ended: float = 0.0
    beacon: int = 0
    goal: float = 0.0


def main(seconds: float) -> None:
    print(
        f"{WORKERS} workers × {THREADS} threads, {READS} reads per request, {seconds:g} s a phase"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, backend in BACKENDS.items():
            print(
                f"\n{name:<14}{'req/s':>8}{'/ healthy':>11}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}"
                f"{'5xx':>5}{'lost':>6}{'log':>5}{'back':>9}"
            )
            home = Path(tempfile.mkdtemp(dir=folder))
            _report(*_measure(home, backend, seconds, _redis_fails))
            home = Path(tempfile.mkdtemp(dir=folder))
            _report(*_measure(home, backend, seconds, _network_fails))


# ── what happens ────────────────────────────────────────────────────────────────────────────────

Script = Callable[[RedisServer, Proxy, Path, float], Iterator[Phase]]


def _redis_fails(server: RedisServer, _: Proxy, home: Path, seconds: float) -> Iterator[Phase]:
    yield from _phase(HEALTHY, seconds)
    os.kill(server.pid, signal.SIGSTOP)
    yield from _phase("stopped", seconds)
    began = time.monotonic()
    os.kill(server.pid, signal.SIGCONT)
    _fill(server, 2)
    yield from _phase("continued", seconds, began=began, beacon=2, goal=BACK)
    os.kill(server.pid, signal.SIGKILL)
    yield from _phase("killed", seconds)
    with redis_server(directory=home, port=server.port) as again:
        began = time.monotonic()
        _fill(again, 3)
        yield from _phase("restarted", seconds, began=began, beacon=3, goal=BACK)


def _network_fails(server: RedisServer, proxy: Proxy, _: Path, seconds: float) -> Iterator[Phase]:
    yield from _phase(f"{HEALTHY}, proxy", seconds)
    proxy.fault = BlackHole()
    yield from _phase("black hole", seconds)
    _fill(server, 2)
    began = time.monotonic()
    proxy.fault = None
    yield from _phase("healed", seconds, began=began, beacon=2, goal=BACK_FROM_BLACK_HOLE)


def _phase(name: str, seconds: float, *, began: float = 0.0, **more: Any) -> Iterator[Phase]:
    phase = Phase(name, began or time.monotonic(), **more)
    time.sleep(seconds)
    phase.ended = time.monotonic()
    yield phase


def _fill(server: RedisServer, beacon: int) -> None:
    """The keys that the view reads, as django-redis would write them."""
    value = pickle.dumps({"name": "Ada", "visits": 3, "tags": ["a", "b"]})
    pairs = [part for number in range(READS - 1) for part in (f":1:key-{number}", value)]
    server.command("MSET", *pairs, ":1:beacon", beacon)


# ── site and clients ────────────────────────────────────────────────────────────────────────────


def _measure(
    home: Path, backend: Mapping[str, Any], seconds: float, script: Script
) -> tuple[list[Phase], list[Sample], list[tuple[int, float]]]:
    """The phases, the requests, and the log's lines as process and time."""
    with ExitStack() as stack:
        server = stack.enter_context(redis_server(directory=home))
        proxy = stack.enter_context(Proxy(server.host, server.port))
        _fill(server, 1)
        port = server.port if script is _redis_fails else proxy.port
        cache = {**backend, "LOCATION": f"redis://127.0.0.1:{port}/0"}
        site = stack.enter_context(_site(home, cache))
        clients = [stack.enter_context(_client(site)) for _ in range(CLIENTS)]
        time.sleep(WARM_UP)
        phases = list(script(server, proxy, home, seconds))
        outputs = [client.communicate(timeout=60)[0] for client in clients]
    samples = [Sample(*fields) for output in outputs for fields in json.loads(output)]
    lines = []
    for line in (home / "site.log").read_text().splitlines():
        pid, created, *_ = [*line.split(" ", 2), ""]
        with suppress(ValueError):  # the further lines of a traceback
            lines.append((int(pid), float(created) - time.time() + time.monotonic()))
    return phases, samples, lines


@contextmanager
def _site(home: Path, cache: Mapping[str, Any]) -> Iterator[int]:
    """Gunicorn on a port that the kernel chose, until the block ends."""
    (home / "site_settings.py").write_text(SETTINGS.format(cache=dict(cache)))
    (home / "site_urls.py").write_text(URLS)
    (home / "gunicorn.conf.py").write_text(GUNICORN)
    variables = {**os.environ, "DJANGO_SETTINGS_MODULE": "site_settings"}
    variables["PYTHONPATH"] = os.pathsep.join([str(home), str(ROOT)])
    with django_gunicorn(home, variables) as (port, _):
        assert _get(http.client.HTTPConnection("127.0.0.1", port, START_WITHIN)).status == OK
        yield port


@contextmanager
def _client(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ``load()``; it ends and prints its samples when its input ends."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "benchmarks.outage", "load", str(port)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def load(port: int) -> None:
    """Ask until the standard input ends, then print what happened."""
    samples: list[Sample] = []
    over = threading.Event()
    threads = [
        threading.Thread(target=_ask, args=(port, samples, over), daemon=True)
        for _ in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join(50 / CONNECTIONS)
    json.dump(samples, sys.stdout)


def _ask(port: int, samples: list[Sample], over: threading.Event) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=45)
    while not over.is_set():
        began = time.monotonic()
        sample = _get(connection)
        samples.append(sample._replace(began=began, ended=time.monotonic()))


def _get(connection: http.client.HTTPConnection) -> Sample:
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        words = [*response.read().decode(errors="replace").split(), "", ""]
        ours = response.status == OK  # else it is a page about an error
        return Sample(0, 0, response.status, int(words[0]) if ours else 0, words[1] if ours else "")
    except (OSError, http.client.HTTPException):
        connection.close()
        return Sample(0, 0, 0, 0, "")


# ── what it was like ────────────────────────────────────────────────────────────────────────────


def _report(phases: list[Phase], samples: list[Sample], lines: list[tuple[int, float]]) -> None:
    healthy = 0.0
    pids = {sample.pid for sample in samples if sample.pid}
    for phase in phases:
        during = [
            each for each in samples if phase.began <= (each.began + each.ended) / 2 < phase.ended
        ]
        taken = sorted((each.ended - each.began) * 1000 for each in during) or [0.0]
        rate = sum(each.status == OK for each in during) / (phase.ended - phase.began)
        healthy = rate if phase.name.startswith(HEALTHY) else healthy
        said = [pid for pid, at in lines if phase.began <= at < phase.ended]
        most = max((said.count(pid) for pid in said), default=0)
        broken = sum(each.status >= SERVER_ERROR for each in during)
        lost = sum(each.status == 0 for each in during)
        print(
            f"{phase.name:<14}{rate:>8.0f}{rate / healthy:>11.2f}"
            f"{statistics.median(taken):>9.1f}{taken[len(taken) * 99 // 100]:>9.1f}"
            f"{taken[-1]:>9.1f}"
            f"{broken:>5}{lost:>6}{most:>5}{_back(phase, samples, pids):>9}",
            "  MISSED" if _misses(phase, samples, pids, rate / healthy, broken, most) else "",
        )


def _misses(  # noqa: PLR0913, PLR0917 - one figure each
    phase: Phase,
    samples: list[Sample],
    pids: set[int],
    ratio: float,
    broken: int,
    most: int,
) -> bool:
    late = phase.beacon > 0 and _seconds(phase, samples, pids) > phase.goal
    slow = not phase.beacon and ratio < 1
    return late or slow or broken > 0 or most > LOG_LINES


def _back(phase: Phase, samples: list[Sample], pids: set[int]) -> str:
    return f"{_seconds(phase, samples, pids):.2f} s" if phase.beacon else ""


def _seconds(phase: Phase, samples: list[Sample], pids: set[int]) -> float:
    """Until the last worker read the new value; infinite if one never did."""
    new = [each for each in samples if each.beacon == str(phase.beacon)]
    firsts = [min((each.ended for each in new if each.pid == pid), default=1e9) for pid in pids]
    last = max(firsts, default=1e9) - phase.began
    return last if last < phase.ended else float("inf")


if __name__ == "__main__":
    if sys.argv[1:2] == ["load"]:
        load(int(sys.argv[2]))
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 8.0)
