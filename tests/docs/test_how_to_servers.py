"""ASGI and Celery as the how-to pages have them: real servers, workers, outages."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import requests

from resilience.simulation.network import Refused
from resilience.simulation.program import free_port
from resilience.simulation.redis_server import RedisServer
from tests.docs.blocks import is_said, sample
from tests.docs.guides import Guide, following
from tests.waiting import until

ASGI = "docs/how-to/asgi.md"
CELERY = "docs/how-to/celery.md"
PAGES = (ASGI, CELERY)
CACHE = """
import os

CACHES = {
    "default": {
        "BACKEND": "resilience.cache.ResilientCache",
        "LOCATION": os.environ["CACHE_URL"],
    }
}
"""
HEALTH = 'MIDDLEWARE.insert(0, "resilience.middleware.HealthMiddleware")\n'
OPERATION = 0.25  # seconds: OPERATION_TIMEOUT


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """``kill -STOP``, until the block ends."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def get(url: str) -> tuple[str, float]:
    """The body and the seconds it took."""
    began = time.monotonic()
    with requests.Session() as visitor:
        visitor.trust_env = False
        text = visitor.get(url, timeout=10).text
    return text, time.monotonic() - began


def test_asgi(shop, tmp_path, throwaway):
    port = str(free_port())
    here = {"8000": port}
    variables = {"PORT": port, "CACHE_URL": f"redis://127.0.0.1:{throwaway.port}/0"}
    with following(ASGI, shop, tmp_path / "project", here=here, variables=variables) as guide:
        guide.append("shop/settings.py", CACHE + HEALTH)
        guide.follow(*guide.of("python"))
        (serving,) = guide.of("sh")
        guide.stay(serving.text.strip(), port)
        site = f"http://127.0.0.1:{port}"
        assert [get(f"{site}/visits/")[0] for _ in range(2)] == ["1\n", "2\n"]
        with frozen(throwaway.pid):
            (shown,) = guide.of("console")
            guide.follow(shown)
            ((_, printed),) = sample(shown)
            counts = printed.split()[::2]
            assert counts == ["3", "4", "5", "6", "7", "8"], "the page counts on from two"
            later = [get(f"{site}/visits/") for _ in range(3)]
            assert [text for text, _ in later] == ["9\n", "10\n", "11\n"]
            assert min(took for _, took in later) < OPERATION, "nobody waits any more"
            assert get(f"{site}/livez")[0] == "ok\n"


def processes(guide: Guide) -> int:
    """How many have reported."""
    with closing(sqlite3.connect(guide.folder / "db.sqlite3")) as database:
        (count,) = database.execute("SELECT count(*) FROM resilience_history_instance").fetchone()
    return int(count)


def logs(log: Path, sentence: str) -> bool:
    """Whether it says so within a time that is enough here."""
    return until(lambda: is_said(sentence, log.read_text()), 20)


# One task each second, so that beat has something to do.
SCHEDULE = """
INSTALLED_APPS += ["orders", "resilience.history"]
CELERY_BEAT_MAX_LOOP_INTERVAL = 1
CELERY_BEAT_SCHEDULE = {"invoices": {"task": "orders.tasks.send_invoices", "schedule": 1.0}}
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RedisServer]:
    folder = tmp_path / "broker"
    folder.mkdir()
    with RedisServer(folder) as server:
        yield server


def test_celery(shop, tmp_path, broker):
    """The cache is away from the start, the broker from the middle on, with retries that wait."""
    with Refused() as port:
        variables = {
            "CELERY_BROKER_URL": f"redis://127.0.0.1:{broker.port}/0",
            "CACHE_URL": f"redis://127.0.0.1:{port.port}/0",
        }
        with following(CELERY, shop, tmp_path / "project", variables=variables) as guide:
            guide.append("shop/settings.py", CACHE + SCHEDULE)
            guide.append("orders/__init__.py", "")
            guide.follow(*guide.of("python"))
            starting, asking = guide.of("sh")
            worker, beat = map(guide.stay, starting.text.splitlines())
            (said,) = guide.of("text")
            assert logs(worker, said.text.strip()), worker.read_text()[-3000:]
            assert logs(worker, "cache default: write falls back: …"), worker.read_text()[-3000:]
            assert until(lambda: processes(guide) >= 3, 20), worker.read_text() + beat.read_text()
            guide.follow(*guide.of("console"), asking)
            assert processes(guide) == 3, "two of the worker's pool and beat"
            broker.stop()
            assert logs(beat, "Couldn't apply scheduled task"), beat.read_text()[-3000:]
            assert logs(worker, "Unrecoverable error: AttributeError(…)"), worker.read_text()
            assert until(lambda: guide.has_ended(worker), 10), "it goes on without its broker"
            again = guide.stay(starting.text.splitlines()[0])
            assert logs(again, "consumer: Cannot connect to redis://…"), again.read_text()
