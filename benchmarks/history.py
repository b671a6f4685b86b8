"""What the history costs: reading it for a page, and one beat of one process.

    python -m benchmarks.history [ROUNDS]

With 50 subjects, 200 live instances and 300 past ones, 90 days of transitions up to the limit and
as many stretches as are kept, on an SQLite file and on a PostgreSQL of its own. The aim for a page
is 100 ms and 12 queries for everything on it. ``python`` is the share that is not the database's:
the same rows again, from memory.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django
from django.conf import settings

from tests.servers import postgres_server

SUBJECTS = 50
LIVE, PAST = 200, 300
DAY = 86400.0


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder, postgres_server(Path(folder)) as server:
        settings.configure(
            SECRET_KEY="only-for-this-benchmark-0123456789-abcdefghijklmnop",  # noqa: S106
            INSTALLED_APPS=["resilience", "resilience.history"],
            DATABASES={
                "default": {
                    "ENGINE": "django.db.backends.sqlite3",
                    "NAME": Path(folder) / "db.sqlite3",
                },
                "postgres": {
                    "ENGINE": "django.db.backends.postgresql",
                    "NAME": server.database,
                    "USER": server.user,
                    "PASSWORD": server.password,
                    "HOST": server.host,
                    "PORT": str(server.port),
                },
            },
            DATABASE_ROUTERS=[Chosen()],
        )
        django.setup()
        (Path(folder) / "db.sqlite3").touch()
        print(
            f"medians of {rounds}; Python {sys.version.split()[0]}, Django {django.__version__}\n"
        )
        for alias in ("default", "postgres"):
            Chosen.alias = alias
            _measure(alias, rounds)


class Chosen:
    """A router: which of the two databases holds the history now."""

    alias = "default"

    def db_for_write(self, *_: Any, **__: Any) -> str:
        return self.alias

    def db_for_read(self, *_: Any, **__: Any) -> str:
        return self.alias


def _measure(alias: str, rounds: int) -> None:
    from django.core.management import call_command  # noqa: PLC0415 - after the settings
    from django.db import connections  # noqa: PLC0415
    from django.test.utils import CaptureQueriesContext  # noqa: PLC0415

    from resilience.history import heartbeat, pace, reading  # noqa: PLC0415

    call_command("migrate", "resilience_history", database=alias, verbosity=0)
    counts = _fill(alias)
    print(f"{connections[alias].display_name}: {counts}")
    with CaptureQueriesContext(connections[alias]) as first:
        found = reading.read()
    with CaptureQueriesContext(connections[alias]) as second:
        reading.read()
    assert len(found.instances) == LIVE + PAST
    assert len(found.spans) == SUBJECTS
    print(
        f"  read()            {_median(reading.read, rounds):7.1f} ms   "
        f"{len(second)} queries, {len(first)} at first"
    )
    asked = sum(float(each["time"]) for each in second) * 1000
    print(f"  of it the database{asked:7.1f} ms")
    for name in ("24h", "7d", "90d"):
        print(f"  spans {name:<4}        {sum(len(each[name]) for each in found.spans.values()):7}")
    heart = heartbeat.Heart("web")
    heart._turn(stopping=False)  # noqa: SLF001 - without the thread and its pauses
    assert heart.problem == "", heart.problem
    cpu = time.process_time()
    took = _median(lambda: heart._turn(stopping=False), rounds)  # noqa: SLF001
    used = (time.process_time() - cpu) / rounds * 1000
    print(f"  a beat            {took:7.1f} ms   {used:.1f} ms of it in this process")
    pace.INTERVAL, before = 0.0, pace.INTERVAL
    took = _median(lambda: heart._turn(stopping=False), rounds)  # noqa: SLF001
    pace.INTERVAL = before
    print(f"  and keeping       {took:7.1f} ms   once per interval, for all processes\n")


def _median(call: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def _fill(alias: str) -> str:
    from resilience.history.models import Instance, Stretch, Transition  # noqa: PLC0415
    from resilience.history.purge import STRETCHES, TRANSITIONS  # noqa: PLC0415

    chance = random.Random(7)  # noqa: S311 - no secret
    now = time.time()
    Instance.objects.using(alias).bulk_create(
        [
            Instance(
                key=uuid.uuid4(),
                replica=f"replica-{number % 25}",
                host=f"host-{number % 25}",
                pid=1000 + number,
                role="web",
                booted_at=now - DAY,
                last_beat=now + 3600 if number < LIVE else now - chance.random() * 6 * DAY,
                commit="d0beb8f5c55b36df7d674d55965a23b8d54ad69b",
                config="0123456789abcdef",
                versions="Python 3.11.7, Django 5.2, resilience 0.1",
                memory_bytes=100_000_000,
                levels={"caches.default": 30} if number % 10 == 0 else {},
            )
            for number in range(LIVE + PAST)
        ],
        batch_size=100,
    )
    for start in range(0, TRANSITIONS, 10_000):
        Transition.objects.using(alias).bulk_create(
            [
                Transition(
                    at=now - 90 * DAY * (1 - (start + number) / TRANSITIONS),
                    subject=f"caches.alias-{number % SUBJECTS}",
                    old=0,
                    new=40,
                    finding="tcp.refused",
                    summary="Nobody listens on redis.internal:6379: connection refused.",
                    replica=f"replica-{number % 25}",
                    pid=1000 + number % LIVE,
                )
                for number in range(10_000)
            ],
            batch_size=1000,
        )
    each = STRETCHES // SUBJECTS
    for subject in range(SUBJECTS):
        edges = sorted(now - 90 * DAY * chance.random() for _ in range(each - 1))
        times = [now - 90 * DAY, *edges, now - 5]
        Stretch.objects.using(alias).bulk_create(
            [
                Stretch(
                    subject=f"caches.alias-{subject}",
                    level=(0, 40)[number % 2],
                    start=times[number],
                    end=times[number + 1],
                )
                for number in range(each)
            ],
            batch_size=500,
        )
    rows = (model.objects.using(alias).count() for model in (Instance, Transition, Stretch))
    return "{} instances, {} transitions, {} stretches".format(*rows)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 21)
