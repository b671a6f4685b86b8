"""What a child says to who started it: in a file, because standard output is the project's.

The project may print there, close it, or give it to somebody else. A line is JSON: the step that
it came to, the place where it ends itself, and what it has to say, once.
"""

from __future__ import annotations

import json
import os
import signal
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from resilience import places

IMPORTING, IMPORTED = "while its settings were imported", "after its settings were imported"
_NOT_YET = "before its settings were imported"


class Voice:
    """In the child. It opens the file anew for each line: the project may close what is open."""

    def __init__(self, path: str) -> None:
        self._path = path

    def step(self, step: str) -> None:
        self._write(step=step)

    def say(self, said: str) -> None:
        self._write(said=said)

    def report(self, words: str, out: object, code: int) -> int:  # noqa: ARG002 - as output.write
        """Takes the place of what writes a report to standard output."""
        self.say(words)
        return code

    def watch_exit(self) -> None:
        """Have ``os._exit()`` tell who calls it: nothing else will."""
        leave, own = os._exit, os.getpid()

        def left(status: int) -> NoReturn:
            if os.getpid() == own:
                self._write(place=places.of_frames(traceback.extract_stack()) or "")
            leave(status)

        os._exit = left

    def _write(self, **line: str) -> None:
        with open(self._path, "a", encoding="utf-8") as file:  # noqa: PTH123 - late, see above
            file.write(json.dumps(line) + "\n")


@dataclass(frozen=True)
class Answer:
    """What is known of a child that has ended, or was ended after ``waited`` seconds.

    ``code`` is its exit status, ``said`` None if it did not come to say anything, ``step`` how far
    it came, ``place`` where in the user's own code it ended itself.
    """

    code: int
    said: str | None = None
    waited: float | None = None
    step: str = _NOT_YET
    place: str = ""

    @classmethod
    def read(cls, file: Path, code: int, waited: float | None) -> Answer:
        """From the file that a Voice has written, as far as it came."""
        known: dict[str, str] = {}
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                known |= json.loads(line)
            except ValueError:  # killed while it wrote
                break
        return cls(code, waited=waited, **known)

    @property
    def problem(self) -> str:
        """Why nothing was said, as the rest of a sentence; empty if something was."""
        if self.said is not None:
            return ""
        if self.waited is not None:
            return f"hung {self.step}, and was ended after {self.waited:.0f} s"
        if self.code < 0:
            return f"was ended by {_signal(-self.code)} {self.step}"
        place = f" at {self.place}," if self.place else ""
        return f"ended by itself with status {self.code}{place} {self.step}"

    @property
    def hint(self) -> str:
        """What to do about the problem; empty without any."""
        if self.said is not None:
            return ""
        if self.step == IMPORTED:
            return "Run that command by hand in this environment; if it ends there too, report it."
        if self.waited is not None:
            return "Find what waits there, and move it into the function that needs it."
        return (
            f"Find what ends the process{f' at {self.place}' * bool(self.place)}: os._exit(), a "
            "signal, a C library that crashes. What is imported must not end its process."
        )


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
