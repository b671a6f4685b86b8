"""What happens to Redis, the network and the processes: one block per fault, healed at its end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from resilience.simulation import proxy as proxies
from tests.soak.crew import OPERATION_TIMEOUT
from tests.soak.scene import Scene
from tests.soak.server import OTHER_PASSWORD, PASSWORD, USER

UNREPLICATED = 1.0  # seconds before its primary's death that a replica may lack
REFUSED = 0.2  # seconds without a network, so that there is something to take back
AUTHENTICATED = 8  # bytes of replies: that to AUTH, and the beginning of the next
LATE = 0.6  # seconds: more than OPERATION_TIMEOUT

FaultBlock = Callable[[Scene], AbstractContextManager[None]]


@contextmanager
def killed(scene: Scene) -> Iterator[None]:
    """And restarted with everything that it had acknowledged."""
    scene.server.kill()
    yield
    scene.server.restart()


@contextmanager
def stopped(scene: Scene) -> Iterator[None]:
    """What it had received it does when it goes on."""
    pid = scene.server.running.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def black_hole(scene: Scene) -> Iterator[None]:
    """What was sent arrives afterwards, unless its connection was reset."""
    with scene.server.network(proxies.BlackHole(late=True)):
        yield


@contextmanager
def partition(scene: Scene) -> Iterator[None]:
    """The same for every second process alone."""
    with scene.server.network(proxies.BlackHole(late=True), scene.server.proxies[::2]):
        yield


@contextmanager
def emptied(scene: Scene) -> Iterator[None]:
    scene.server.kill()
    yield
    scene.server.restart_empty()


@contextmanager
def old_data(scene: Scene) -> Iterator[None]:
    """What it acknowledged after its last snapshot is lost by Redis itself."""
    scene.settled()
    began = time.monotonic()
    scene.server.command("SAVE")
    scene.pause(0.3)
    scene.server.kill()
    scene.lose(began, time.monotonic())
    yield
    scene.server.restart_from_snapshot()


@contextmanager
def promoted(scene: Scene) -> Iterator[None]:
    """A replica takes over, with what had come to it."""
    scene.settled()
    with scene.server.replica() as promote:
        scene.pause(0.1)
        began = time.monotonic() - UNREPLICATED
        scene.server.kill()
        scene.lose(began, time.monotonic())
        yield
        promote()


@contextmanager
def out_of_memory(scene: Scene) -> Iterator[None]:
    scene.server.command("CONFIG", "SET", "maxmemory", "1")
    yield
    scene.server.command("CONFIG", "SET", "maxmemory", "0")


@contextmanager
def misconf(scene: Scene) -> Iterator[None]:
    """Snapshots fail, so Redis takes no writes: there is a directory where the file should be."""
    server = scene.server
    name = f"no-file-{time.monotonic_ns()}"
    (server.data / name).mkdir()
    server.command("CONFIG", "SET", "dbfilename", name)
    server.command("CONFIG", "SET", "save", "3600 1000000")
    server.command("BGSAVE")
    scene.until(lambda: server.command("INFO", "persistence")["rdb_last_bgsave_status"] == "err")
    yield
    server.command("CONFIG", "SET", "save", "")
    server.command("CONFIG", "SET", "dbfilename", "dump.rdb")
    server.command("BGSAVE")
    scene.until(lambda: server.command("INFO", "persistence")["rdb_last_bgsave_status"] == "ok")


@contextmanager
def password(scene: Scene) -> Iterator[None]:
    """Changed, and every connection ended; then changed back."""
    _set_password(scene, OTHER_PASSWORD)
    yield
    _set_password(scene, PASSWORD)


def _set_password(scene: Scene, word: str) -> None:
    scene.server.command("ACL", "SETUSER", USER, "resetpass", f">{word}")
    scene.server.command("CLIENT", "KILL", "USER", USER)


@contextmanager
def no_unlink(scene: Scene) -> Iterator[None]:
    """UNLINK is forbidden, until everything has been taken back without it."""
    scene.server.command("ACL", "SETUSER", USER, "-unlink")
    with scene.server.network(proxies.Refuse()):
        yield
    scene.flushed()
    scene.server.command("ACL", "SETUSER", USER, "+unlink")


@contextmanager
def latency(scene: Scene) -> Iterator[None]:
    """Everything is done, and every answer comes too late."""
    with scene.server.network(proxies.Latency(LATE)):
        yield


@contextmanager
def reset(scene: Scene) -> Iterator[None]:
    with scene.server.network(proxies.Reset()):
        yield


@contextmanager
def truncated(scene: Scene) -> Iterator[None]:
    """Connections end in the middle of their first reply: what they asked for was done."""
    with scene.server.network(proxies.Truncate(after=AUTHENTICATED)):
        yield


@contextmanager
def slow(scene: Scene) -> Iterator[None]:
    """Some answers come in time, some too late: circuits may stay closed."""
    with scene.server.network(proxies.Latency(OPERATION_TIMEOUT, jitter=0.1)):
        yield


@contextmanager
def hiccups(scene: Scene) -> Iterator[None]:
    """It stops for a little longer than an operation may take, again and again."""
    for _ in range(3):
        with stopped(scene):
            scene.pause(1.2 * OPERATION_TIMEOUT)
        scene.pause(0.1)
    yield


@contextmanager
def flapping(scene: Scene) -> Iterator[None]:
    """The network goes again while what it missed is being taken back."""
    for _ in range(3):
        with scene.server.network(proxies.BlackHole(late=True)):
            scene.pause(1.2 * OPERATION_TIMEOUT)
        scene.pause(0.1)
        with scene.server.network(proxies.Reset()):
            scene.pause(0.1)
        scene.pause(0.7)  # the prober comes by
    yield


@contextmanager
def death(scene: Scene) -> Iterator[None]:
    """A process of each crew is killed while Redis is away, and another one begins in its place."""
    with scene.server.network(proxies.Refuse()):
        scene.pause(REFUSED)
        scene.kill_one()
        yield


FAULTS: dict[str, FaultBlock] = {
    "killed": killed,
    "stopped": stopped,
    "black hole": black_hole,
    "emptied": emptied,
    "old data": old_data,
    "promoted": promoted,
    "out of memory": out_of_memory,
    "misconf": misconf,
    "password": password,
    "no unlink": no_unlink,
    "latency": latency,
    "reset": reset,
    "death": death,
}
# These are for the long run and for chance.
MORE_FAULTS: dict[str, FaultBlock] = {
    "partition": partition,
    "truncated": truncated,
    "slow": slow,
    "hiccups": hiccups,
    "flapping": flapping,
}
EVERY_FAULT = FAULTS | MORE_FAULTS
