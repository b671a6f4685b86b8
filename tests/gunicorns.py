"""A real gunicorn for the tests: on a free port, with TLS or without, ended by its context."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.processes import ROOT, serve
from tests.servers import HOST, free_port

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
    port = free_port()
    tls = (
        ["--certfile", str(certificate[0]), "--keyfile", str(certificate[1])] if certificate else []
    )
    log = folder / f"gunicorn-{port}.log"
    command = [
        *(sys.executable, "-m", "gunicorn", application, "-b", f"{HOST}:{port}"),
        *("--threads", "4", "-c", os.devnull, "--no-control-socket", *tls),
    ]
    path = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{folder}:{ROOT}"}
    with serve(command, log=log, cwd=folder, env={**path, **(variables or {})}) as server:
        ends = time.monotonic() + START_WITHIN
        while not is_listening(port):
            if server.poll() is not None or time.monotonic() > ends:
                raise RuntimeError(f"gunicorn did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)  # asked every 5 ms, the first handshake now and then waits for 2 s
        yield port


@contextmanager
def django_gunicorn(folder: Path, variables: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """Serve a folder's project as its ``gunicorn.conf.py`` says; gives port and process id.

    The port takes connections at once: the socket is made here.
    """
    with socket.create_server((HOST, 0)) as door:
        call = "django.core.wsgi:get_wsgi_application()"
        command = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{door.fileno()}", call]
        log, passed = folder / "gunicorn.log", [door.fileno()]
        with serve(command, log=log, cwd=folder, env=variables, pass_fds=passed) as server:
            yield door.getsockname()[1], server.pid


def is_listening(port: int) -> bool:
    """Whether something takes connections there."""
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex((HOST, port)) == 0
