"""A real gunicorn for the tests: on a free port, with TLS or without, ended by its context."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.processes import ROOT

START_WITHIN = 15.0  # seconds


@contextmanager
def gunicorn(
    folder: Path,
    application: str,
    *,
    certificate: tuple[Path, Path] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Iterator[int]:
    """Serve ``module:name`` of a folder with one worker of four threads; gives its port.

    ``certificate`` is a chain and a key. Raises RuntimeError with its log if it does not start.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tls = (
        ["--certfile", str(certificate[0]), "--keyfile", str(certificate[1])] if certificate else []
    )
    log = folder / f"gunicorn-{port}.log"
    with log.open("wb") as out:
        child = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", application, "-b", f"127.0.0.1:{port}"),
                *("--threads", "4", "-c", os.devnull, "--no-control-socket", *tls),
            ],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{folder}:{ROOT}", **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        until = time.monotonic() + START_WITHIN
        while not _listens(port):
            if child.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"gunicorn did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield port
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0
