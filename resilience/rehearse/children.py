"""Processes of the project on a stage: its server, and commands that end by themselves."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from resilience.rehearse.answers import Answer
from resilience.rehearse.child import VARIABLE
from resilience.rehearse.stage import Stage
from resilience.simulation.program import HOST

_POLL = 0.05
_STOP_WITHIN = 3.0  # seconds, then SIGKILL
_ANSWER_WITHIN = 3.0  # seconds for one try of the first answer
_TAIL = 2000  # characters of a log


def command(stage: Stage, name: str, *words: str, seconds: float) -> Answer:
    """Run a program that answers, in the child's environment; after ``seconds`` it is killed."""
    log, waited = stage.folder / f"{name}.log", None
    with log.open("wb") as output:
        process = _start(stage, name, words, output, serves=False)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            waited = seconds
        finally:
            _end(process)
    return Answer.read(stage.answer(name), process.returncode, waited)


class Server:
    """The project's WSGI or ASGI server from entering the block until leaving it.

    ``boot_ms`` is the time until its first answer, None if there was none within ``limit`` seconds
    or the process ended.
    """

    def __init__(self, stage: Stage, *, limit: float) -> None:
        self._stage = stage
        self._limit = limit
        self._process: subprocess.Popen[bytes] | None = None
        self._log = stage.folder / "server.log"
        self.boot_ms: float | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            words = _words(self._stage)
            self._process = _start(self._stage, "server", words, log, serves=True)
        began = time.monotonic()
        try:
            while time.monotonic() - began < self._limit and self._process.poll() is None:
                if self._answers():
                    self.boot_ms = round((time.monotonic() - began) * 1000)
                    break
                time.sleep(_POLL)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    @property
    def has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    @property
    def tail(self) -> str:
        """The end of what it wrote: it may hold anything."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-_TAIL:]

    def _answers(self) -> bool:
        """Whether it answers at all: a path that is nobody's, with no work behind it."""
        line = http.client.HTTPConnection(HOST, self._stage.port, timeout=_ANSWER_WITHIN)
        with suppress(OSError, http.client.HTTPException):
            line.request("GET", "/livez", headers=edge(self._stage))
            line.getresponse().read()
            return True
        line.close()
        return False

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_WITHIN)
            _end(process)


def edge(stage: Stage) -> dict[str, str]:
    """The headers that a platform's edge adds to every request."""
    name, value = stage.survey.header
    return {"Host": stage.survey.host, name: value}


def _words(stage: Stage) -> tuple[str, ...]:
    """The command line of the first server that is there."""
    survey, port = stage.survey, str(stage.port)
    if survey.wsgi and "gunicorn" in survey.servers and not survey.asgi:
        module, _, name = survey.wsgi.rpartition(".")
        words = ["gunicorn", f"{module}:{name}", "--bind", f"{HOST}:{port}"]
        if not (Path(stage.request.root) / "gunicorn.conf.py").exists():
            words += ["--threads", "4"]
        return tuple(words)
    if survey.asgi and "uvicorn" in survey.servers:
        module, _, name = survey.asgi.rpartition(".")
        return ("uvicorn", f"{module}:{name}", "--host", HOST, "--port", port)
    return ("django", "runserver", "--noreload", f"{HOST}:{port}")


def _start(
    stage: Stage, name: str, words: tuple[str, ...], output: BinaryIO, *, serves: bool
) -> subprocess.Popen[bytes]:
    orders = stage.orders(name, serves=serves)
    return subprocess.Popen(  # noqa: S603 - the words are ours
        [sys.executable, "-m", "resilience.rehearse.child", *words],
        cwd=stage.request.root,
        env={**stage.environ, VARIABLE: str(orders)},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        process_group=0,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill it with its group, and wait."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
