"""A program that is started, waited for, and ended: the base of every real server here."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "127.0.0.1"
START_WITHIN = 10.0  # seconds
STOP_WITHIN = 5.0  # seconds, then the next harder signal
POLL = 0.02  # seconds
PORTS = 5  # ports tried before a start counts as failed


@contextmanager
def running(
    command: list[str],
    *,
    log: Path,
    ends: tuple[signal.Signals, ...] = (signal.SIGTERM,),
    **options: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server with its output in a file; end it by the first signal it obeys, or SIGKILL."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the command is the caller's own
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options
        )
    try:
        yield process
    finally:
        for end in (*ends, signal.SIGKILL):
            process.send_signal(end)  # to a process that is gone, Popen sends nothing
            process.send_signal(signal.SIGCONT)  # a test may have left it stopped
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_WITHIN)
                break


def until(seconds: float) -> Iterator[None]:
    """Come round every POLL until the time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(POLL)


def free_port() -> int:
    with socket.create_server((HOST, 0)) as unused:
        port: int = unused.getsockname()[1]
    return port


def userinfo(username: str | None, password: str | None) -> str:
    if username is None and password is None:
        return ""
    secret = "" if password is None else ":" + quote(password, safe="")
    return quote(username or "", safe="") + secret + "@"


def not_started(what: str, log: Path) -> RuntimeError:
    tail = log.read_text(errors="replace").strip()[-2000:]
    return RuntimeError(f"{what} did not start; the end of its log:\n{tail}")
