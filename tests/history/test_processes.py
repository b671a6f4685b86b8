"""Real processes: forked, killed, stopped, under gunicorn and Celery."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from resilience.history import pace, reading
from resilience.history.models import Instance
from tests.processes import ROOT
from tests.servers import free_port, redis_server

INTERVAL = 0.8  # seconds between two beats, here


@pytest.fixture(autouse=True)
def faster(monkeypatch) -> None:
    monkeypatch.setattr(pace, "INTERVAL", INTERVAL)


def spelled(config: dict[str, Any]) -> str:
    keys = ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT")
    return json.dumps({key: str(config[key]) for key in keys if key in config})


@contextmanager
def running(*arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A process of this project; whatever it was told, it has ended afterwards."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        **variables,
    }
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.terminate()
            process.wait(5)
        process.kill()
        process.communicate()


def lines_of(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    found = [process.stdout.readline() for _ in range(count)]
    assert all(found), process.communicate()[1]
    return found


def states() -> dict[int, str]:
    return {row.pid: row.state for row in reading.read().instances}


def wait_for(true: Callable[[], object], seconds: float = 10.0) -> float:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, states()
        time.sleep(0.02)
    return time.monotonic() - began


def once(true: Callable[[Sequence[reading.InstanceRow]], bool]) -> reading.History:
    """The first history for which this is so."""
    found = [reading.read()]

    def look() -> bool:
        found[0] = reading.read()
        return true(found[0].instances)

    wait_for(look, 20)
    return found[0]


def test_ten_processes_one_killed_one_of_another_commit(database):
    """Exactly that is shown, within two heartbeats; the parent of the fork is none of them."""
    commits = ["aaaa"] * 9 + ["bbbb"]
    arguments = ("-m", "tests.history.worker", spelled(database), str(INTERVAL), *commits)
    with running(*arguments) as parent:
        pids = {int(pid): commit for pid, commit in map(str.split, lines_of(parent, 10))}
        try:
            found = once(lambda rows: [row.state for row in rows].count("live") == 10).instances
            assert {row.pid: row.commit for row in found} == pids
            assert parent.pid not in pids
            other = next(pid for pid, commit in pids.items() if commit == "bbbb")
            assert {row.pid: row.differs for row in found if row.differs} == {other: ("commit",)}
            assert len({row.config for row in found}) == 1, "equal processes agree"
            victim = next(pid for pid, commit in pids.items() if commit == "aaaa")
            os.kill(victim, signal.SIGKILL)
            seen = once(lambda rows: any(row.pid == victim and row.state != "live" for row in rows))
            silent = seen.now - next(row.last_beat for row in seen.instances if row.pid == victim)
            assert pace.stale_after() <= silent < pace.stale_after() + 1.0, "two heartbeats"
            # On a machine that has no time for the others, they are late as well.
            wait_for(lambda: [pid for pid in pids if states()[pid] != "live"] == [victim])
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        left = set(pids) - {victim}
        wait_for(lambda: all(states()[pid] == "stopped" for pid in left))
        wait_for(lambda: states()[victim] == "gone")


def test_before_the_first_request_there_is_nothing(sqlite_file):
    """And a process that was asked to send nothing never does."""
    with running("-m", "tests.history.worker", spelled(sqlite_file), "0.1", QUIET="1") as quiet:
        lines_of(quiet, 1)
        code = (
            "import sys; from tests.history import worker; worker.configure(sys.argv[1])\n"
            "import threading; print([one.name for one in threading.enumerate()])\n"
        )
        with running("-c", code, spelled(sqlite_file)) as idle:
            assert lines_of(idle, 1) == ["['MainThread']\n"]
            assert idle.wait(10) == 0
        time.sleep(0.3)
        assert Instance.objects.count() == 0
    with running("-m", "tests.history.worker", spelled(sqlite_file), "0.1") as speaking:
        lines_of(speaking, 1)
        wait_for(lambda: Instance.objects.count() == 1)  # the twin
        out, err = speaking.communicate(timeout=10)
        assert (out, err, speaking.returncode) == ("", "", 0)
    assert list(states().values()) == ["stopped"], "an end of standard input is an end in peace"


GUNICORN = """
import json, os
from tests.history import worker
worker.configure(os.environ["DATABASE"])
from resilience.history import pace
pace.INTERVAL = 0.3
from django.core.handlers.wsgi import WSGIHandler
application = WSGIHandler()
"""


def test_gunicorns_workers_say_goodbye(sqlite_file, tmp_path):
    (tmp_path / "site_wsgi.py").write_text(GUNICORN)
    port = free_port()
    arguments = ["-m", "gunicorn", "site_wsgi", "-b", f"127.0.0.1:{port}", "-w", "2"]
    paths = f"{tmp_path}:{ROOT}"
    variables = {"DATABASE": spelled(sqlite_file), "PYTHONPATH": paths}
    with running(*arguments, "--preload", "--no-control-socket", **variables) as server:
        get_until(port, lambda: list(states().values()).count("live") == 2)
        assert server.pid not in states()
        server.terminate()
        assert server.wait(10) == 0
    assert list(states().values()) == ["stopped"] * 2


def get_until(port: int, true: Callable[[], bool]) -> None:
    """One request after the other: whichever worker takes it."""
    import urllib.request

    def ask() -> bool:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).read()
        return true()

    wait_for(ask)


CELERY = """
import os
from celery import Celery
app = Celery("jobs", broker=os.environ["BROKER"])
app.conf.worker_hijack_root_logger = False
from tests.history import worker
worker.configure(os.environ["DATABASE"])
from resilience.history import pace
pace.INTERVAL = 0.3
"""


@pytest.mark.parametrize(("pool", "processes"), [("solo", 1), ("prefork", 2)])
def test_a_celery_worker_beats_from_its_start(pool, processes, sqlite_file, tmp_path):
    (tmp_path / "jobs.py").write_text(CELERY)
    arguments = ["-m", "celery", "-A", "jobs", "worker", "-P", pool, "-c", "2", "-l", "info"]
    paths = f"{tmp_path}:{ROOT}"
    variables = {"DATABASE": spelled(sqlite_file), "PYTHONPATH": paths}
    with (  # a broker in memory would hold up the end of each worker for seconds
        redis_server(directory=tmp_path) as broker,
        running(
            *(*arguments, "--without-mingle", "--without-gossip"), BROKER=broker.url(), **variables
        ) as worker,
    ):
        wait_for(lambda: list(states().values()).count("live") == processes)
        assert worker.stderr is not None
        while not worker.stderr.readline().rstrip().endswith("ready."):
            assert worker.poll() is None
        rows = reading.read().instances
        assert {row.role for row in rows} == {"celery-worker"}
        assert (worker.pid in {row.pid for row in rows}) is (pool != "prefork"), "no fork after it"
        worker.terminate()
        assert worker.wait(10) == 0
    assert list(states().values()) == ["stopped"] * processes


def test_the_test_client_is_no_request(sqlite_file, tmp_path):
    """In a project's own tests nothing beats: their database may vanish at any moment."""
    code = (
        "import sys; from tests.history import worker; worker.configure(sys.argv[1])\n"
        "from django.test.utils import setup_test_environment; from django.test import Client\n"
        "{}\n"
        "assert Client().get('/').status_code == 200\n"
        "from resilience.history import heartbeat; print(heartbeat._heart is not None)\n"
    )
    said = []
    for line in ("setup_test_environment()", ""):
        with running("-c", code.format(line), spelled(sqlite_file)) as tests:
            said += lines_of(tests, 1)
    assert said == ["False\n", "True\n"], "the second is the twin"
    assert Path(sqlite_file["NAME"]).exists()
