"""Starts the director, listens to it, and leaves nothing behind, however it ends."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import resilience
from resilience import redact
from resilience.errors import UsageError
from resilience.findings import Finding, Level
from resilience.rehearse import request as requests
from resilience.rehearse.platforms import PLATFORMS
from resilience.rehearse.request import Request

_STOP_WITHIN = 12.0  # seconds for the director to take everything down
_TERMINATED = 128 + signal.SIGTERM


def request_for(  # noqa: PLR0913 - each by keyword, each from one option
    settings: str,
    *,
    platform: str,
    scenarios: tuple[str, ...],
    paths: tuple[str, ...],
    duration: float,
    cwd: Path,
    folder: Path,
) -> Request:
    """The request for the project of this process."""
    root = requests.root_of(settings, cwd)
    environ, hidden = requests.environment(root, os.environ)
    switched: tuple[str, ...] = ()
    if PLATFORMS[platform].bounded:
        environ, switched = requests.deployed(environ, os.environ)
    ours = Path(resilience.__file__).parent.parent
    if "site-packages" not in ours.parts and "dist-packages" not in ours.parts:
        known = environ.get("PYTHONPATH", "")
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, [known, str(ours)]))
    return Request(
        root=str(root),
        settings=settings,
        environ=environ,
        hidden=hidden,
        folder=str(folder),
        platform=platform,
        scenarios=scenarios,
        paths=paths,
        duration=duration,
        mentioned=requests.mentioned(root, environ),
        switched=switched,
    )


@contextlib.contextmanager
def workshop() -> Iterator[Path]:
    """A folder that the director makes, once it knows when we end, and that is gone afterwards.

    Raises FileNotFoundError where no folder takes temporary files.
    """
    folder = Path(tempfile.gettempdir()) / f"rehearse-{secrets.token_hex(8)}"
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def play(request: Request, progress: Callable[[str], None]) -> list[Finding]:
    """Have it played, and return what was found.

    SIGTERM and SIGHUP end it as SIGINT does: everything is taken down first. Raises UsageError
    where the director itself fails.
    """
    found: list[Finding] = []
    problem = ""
    for name, value in request.environ.items():
        if redact.is_secret_name(name):
            redact.register(value)
    with _terminable(), _director(request) as lines:
        for line in lines:
            told: dict[str, Any] = json.loads(line)
            if "progress" in told:
                progress(told["progress"])
            elif "finding" in told:
                found.append(_finding(told["finding"]))
            else:
                problem = str(told["problem"])
    if problem or not found:
        raise UsageError(f"The rehearsal stopped: {problem or 'its process ended'}.")
    return found


def _finding(told: dict[str, Any]) -> Finding:
    return Finding(told.pop("id"), Level(told.pop("level")), **told)


@contextlib.contextmanager
def _director(request: Request) -> Iterator[Iterator[str]]:
    """The lines of a director, which is asked to end with the block, then killed."""
    environ = {**os.environ, "PYTHONPATH": request.environ.get("PYTHONPATH", "")}
    process = subprocess.Popen(  # noqa: S603 - the words are ours
        [sys.executable, "-m", "resilience.rehearse.director", str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environ,
        cwd=request.root,
        process_group=0,  # a terminal's Ctrl-C is ours to pass on
    )
    assert process.stdin is not None  # noqa: S101 - narrows the type
    assert process.stdout is not None  # noqa: S101
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(request.to_json()).encode())
            process.stdin.close()
        yield (line.decode() for line in process.stdout)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind this process as Ctrl-C does; in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ended(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - signal's
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(_TERMINATED)

    before = {each: signal.signal(each, ended) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
