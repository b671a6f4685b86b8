"""Whoever is interrupted leaves nothing behind: no process, no port, no file."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.processes import ROOT
from tests.rehearse import naive

LIMIT = 60.0
GONE_WITHIN = 15.0


def children_of(root: int) -> set[int]:
    """Every descendant of a process, as the machine sees them."""
    parents: dict[int, int] = {}
    for entry in filter(str.isdigit, (each.name for each in Path("/proc").iterdir())):
        with suppress(OSError, IndexError):
            stat = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            if stat[0] not in "ZX":
                parents[int(entry)] = int(stat[1])
    found: set[int] = set()
    wave = {root}
    while wave:
        wave = {pid for pid, parent in parents.items() if parent in wave} - found
        found |= wave
    return found


def lives(pid: int) -> bool:
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def ports_of(pids: set[int]) -> set[int]:
    """The TCP ports of this machine's own network that these processes listen on."""
    inodes = set()
    for pid in pids:
        with suppress(OSError):
            for each in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    inodes.add(str(each.readlink()))
    found = set()
    for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == "0A" and f"socket:[{words[9]}]" in inodes:
            found.add(int(words[1].partition(":")[2], 16))
    return found


def until(done, limit: float) -> bool:
    ends = time.monotonic() + limit
    while time.monotonic() < ends:
        if done():
            return True
        time.sleep(0.01)
    return False


class Rehearsal:
    """A rehearsal under way, its messages in a file."""

    def __init__(self, folder: Path, scenario: str, namespace: str) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.temporary.chmod(0o755)
        self.log = folder / "log"
        project = naive.write(folder / "project", naive.MENDED)
        command = (sys.executable, "-m", "resilience", "rehearse", "--scenario", scenario)
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--duration", "30"],
                cwd=project,
                env={
                    **kept,
                    **naive.VARIABLES,
                    "PYTHONPATH": str(ROOT),
                    "TMPDIR": str(self.temporary),
                    "RESILIENCE_REHEARSAL_NAMESPACE": namespace,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                # Started behind a shell's "&" it would inherit that SIGINT is ignored.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
            )

    def serves(self) -> bool:
        """Whether redis-server and the project's own server run."""
        assert self.process.poll() is None, self.log.read_text()
        names = set()
        for pid in children_of(self.process.pid):
            with suppress(OSError):
                names.add(Path(f"/proc/{pid}/cmdline").read_bytes())
        running = {
            word for line in names for word in ("redis-server", "gunicorn") if word.encode() in line
        }
        return running == {"redis-server", "gunicorn"}


@pytest.fixture
def rehearsing(tmp_path) -> Iterator[list[Rehearsal]]:
    started: list[Rehearsal] = []
    yield started
    for each in started:
        for pid in (each.process.pid, *children_of(each.process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        each.process.wait()


@pytest.mark.parametrize(
    ("by", "namespace", "code"),
    [
        (signal.SIGINT, "on", 130),
        (signal.SIGTERM, "on", 143),
        (signal.SIGKILL, "on", -9),
        (signal.SIGINT, "off", 130),
        (signal.SIGKILL, "off", -9),
    ],
)
def test_nothing_is_left_behind(tmp_path, rehearsing, by, namespace, code):
    tmp_path.chmod(0o755)
    rehearsal = Rehearsal(tmp_path, "healthy", namespace)
    rehearsing.append(rehearsal)
    assert until(rehearsal.serves, LIMIT), rehearsal.log.read_text()
    pids = children_of(rehearsal.process.pid)
    ports = ports_of(pids)
    assert len(pids) >= 3
    assert list(rehearsal.temporary.iterdir()), "there is something to clean up"
    assert namespace == "on" or len(ports) >= 5, "the proxy, Redis, three fakes"

    rehearsal.process.send_signal(by)
    assert rehearsal.process.wait(GONE_WITHIN) == code, rehearsal.log.read_text()
    assert until(lambda: not any(map(lives, pids)), GONE_WITHIN), [p for p in pids if lives(p)]
    assert until(lambda: not list(rehearsal.temporary.iterdir()), 5.0)
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 1).close()
    project = tmp_path / "project"
    assert {each.name for each in project.iterdir()} == {".env", "manage.py", "shop"}
    assert not list(project.rglob("__pycache__"))
    assert "Traceback" not in rehearsal.log.read_text()


@pytest.mark.parametrize("moment", ["director", "folder", "first words"])
def test_a_kill_at_the_very_start_leaves_no_folder(tmp_path, rehearsing, moment):
    """Nobody but the director makes it, and the kernel tells the director."""
    tmp_path.chmod(0o755)
    rehearsal = Rehearsal(tmp_path, "healthy", "on")
    rehearsing.append(rehearsal)
    begun = {
        "director": lambda: children_of(rehearsal.process.pid),
        "folder": lambda: list(rehearsal.temporary.iterdir()),
        "first words": lambda: rehearsal.log.stat().st_size,
    }[moment]
    assert until(begun, LIMIT), rehearsal.log.read_text()
    pids = children_of(rehearsal.process.pid)
    assert pids
    rehearsal.process.send_signal(signal.SIGKILL)
    assert rehearsal.process.wait(GONE_WITHIN) == -9
    assert until(lambda: not any(map(lives, pids)), GONE_WITHIN), [p for p in pids if lives(p)]
    assert not list(rehearsal.temporary.iterdir())
