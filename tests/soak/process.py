"""A process of ``worker`` at the other end of a pipe."""

from __future__ import annotations

import itertools
import json
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.processes import ROOT
from tests.soak.steps import Record

ANSWERS_WITHIN = 20.0  # seconds, also for a process that is just being started


class Process:
    """One process of ``worker``. Its records pile up until ``taken()``."""

    def __init__(self, config: dict[str, Any], log: Path) -> None:
        self.name: str = config["name"]
        self._numbers = itertools.count()
        self._records: list[Record] = []
        self._answers: queue.Queue[Any] = queue.Queue()
        command = [sys.executable, "-m", "tests.soak.worker"]
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._log = log
        self._say(config)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def ready(self) -> None:
        """Wait until it has begun."""
        self._next()

    def ask(self, command: str, **given: Any) -> Any:
        return self.wait(self.tell(command, **given))

    def tell(self, command: str, **given: Any) -> int:
        """Give a command, and do not wait for its answer."""
        number = next(self._numbers)
        self._say({"number": number, "command": command, **given})
        return number

    def wait(self, number: int) -> Any:
        """The answer to a command. Raises RuntimeError with its words if it failed."""
        said = self._next()
        assert said["number"] == number
        if "error" in said:
            raise RuntimeError(said["error"])
        return said["answer"]

    def taken(self) -> list[Record]:
        """What it told since the last time."""
        taken, self._records = self._records, []
        return taken

    def kill(self) -> None:
        """SIGKILL; what it had told by then is there afterwards."""
        self._process.kill()
        self._ended()

    def end(self) -> None:
        """Let it end by itself."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(ANSWERS_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._ended()

    def _say(self, what: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def _ended(self) -> None:
        self._process.wait()
        self._listener.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()

    def _next(self) -> Any:
        try:
            said = self._answers.get(timeout=ANSWERS_WITHIN)
        except queue.Empty:
            said = None
        if said is None:
            tail = self._log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"process {self.name} does not answer; it said:\n{tail}")
        return said

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with suppress(ValueError):  # killed in the middle of a line
                said = json.loads(line)
                if isinstance(said, list):
                    self._records += [Record(*each) for each in said]
                else:
                    self._answers.put(said)
        self._answers.put(None)
