"""Somebody who follows a page: writes its files, types its commands, compares what is printed.

A Python block is for the file that its first line names (``# shop/settings.py, at the end``), or
else the line before it (``Line 1 of `shop/__init__.py`:``). A command that stays (``… &``) is ended
when the reader leaves.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.docs.blocks import Block, agrees, sample
from tests.processes import ROOT
from tests.waiting import until

PATIENCE = 30.0  # seconds for a command, and for a server to listen
_KEPT = ("HOME", "LANG", "LC_ALL", "TMPDIR", "COVERAGE_PROCESS_START")
_FIRST_LINE = re.compile(r"# ([\w/.]+), (at the end|the whole file)\n")
_LINE_BEFORE = re.compile(r"`([\w./]*\.\w+)`")


class Reader:
    """Follows blocks in a folder.

    ``here`` says what stands here in the place of a text of the page: a port that is free, a path.
    ``python`` is the program behind the word; the source tree can be imported unless it has the
    wheel. ``wrong`` collects what came out differently, ``followed`` what was done.
    """

    def __init__(
        self,
        folder: Path,
        *,
        here: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> None:
        self.folder = folder
        self.wrong: list[str] = []
        self.followed: list[Block] = []
        self.variables = {name: os.environ[name] for name in _KEPT if name in os.environ} | {
            "PATH": f"{Path(python).parent}:{os.environ['PATH']}",
            **(variables or {}),
        }
        if python == sys.executable:
            self.variables["PYTHONPATH"] = str(ROOT)
        self._here = dict(here or {})
        self._staying: dict[Path, subprocess.Popen[bytes]] = {}  # by its log

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def follow(self, *blocks: Block) -> None:
        """Do what each block says, one after the other."""
        for block in blocks:
            if block.excuse or block.language not in ("python", "sh", "console"):
                continue
            self.followed.append(block)
            if block.language == "console":
                self._try(block)
            elif block.language == "python" or _LINE_BEFORE.search(block.before):
                self.write(block)
            else:
                self._run(block)

    def write(self, block: Block) -> None:
        """The block into its file: behind what is there, unless the page says otherwise."""
        text = self.translated(block.text)
        comment = _FIRST_LINE.match(text)
        named = [comment[1]] if comment else _LINE_BEFORE.findall(block.before)
        assert named, f"{block}: no file is named right before it, only: {block.before}"
        path = self.folder / named[0]
        path.parent.mkdir(exist_ok=True)
        old = path.read_text() if path.exists() else ""
        if comment and comment[2] == "the whole file":
            old = ""
        text = text[comment.end() :] if comment else text
        in_front = "ine 1 of" in block.before
        path.write_text(f"{text}\n{old}" if in_front else f"{old}\n{text}".lstrip())

    def type(self, command: str) -> str:
        """Run one command in a shell; both of its streams, and its exit status if that is amiss."""
        done = subprocess.run(
            ["bash", "-c", self.translated(command)],
            cwd=self.folder,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
        )
        printed = done.stdout.decode()
        if command.startswith("redis-server"):
            self.wait_for(self.translated(command.split()[2]))
            return ""  # its own first words are no part of a lesson
        # A report shows its exit status in the last line; whatever shows none has to end with 0.
        shown = re.search(r"\(exit (\d)\)\s*\Z", printed)
        agreed = done.returncode == (int(shown[1]) if shown else 0)
        return printed if agreed else f"{printed}\n(ended with {done.returncode})\n"

    def stay(self, command: str, port: str = "") -> Path:
        """Start a server, wait until it listens, and return the file that has what it prints.

        The port is the one of ``runserver``, if none is given.
        """
        if "runserver" in command:
            port = port or command.rsplit(maxsplit=1)[-1]
            command += " --noreload"
        log = self.folder.parent / f"{self.folder.name}-{len(self._staying)}.log"
        with log.open("wb") as output:
            self._staying[log] = subprocess.Popen(
                ["bash", "-c", f"exec {self.translated(command)}"],
                cwd=self.folder,
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        if port:
            self.wait_for(self.translated(port), log)
        return log

    def has_ended(self, log: Path) -> bool:
        """Whether the server of this log has."""
        return self._staying[log].poll() is not None

    def wait_for(self, port: str, log: Path | None = None) -> None:
        """Until somebody listens there."""

        def listens() -> bool:
            with socket.socket() as trying:
                return trying.connect_ex(("127.0.0.1", int(port))) == 0

        said = "" if listens() or until(listens, PATIENCE) else log.read_text() if log else "?"
        assert not said, f"nobody came to port {port}:\n{said}"

    def translated(self, text: str) -> str:
        """The text of a page as it has to be here."""
        for shown, here in self._here.items():
            literal = here.replace("\\", r"\\")
            text = re.sub(rf"(?<![\w.]){re.escape(shown)}(?!\w)", literal, text)
        return text

    def end(self) -> None:
        """Servers are asked to stop, all at once; whatever they forgot ends as well."""
        for server in self._staying.values():
            server.terminate()
        for server in self._staying.values():
            with suppress(subprocess.TimeoutExpired):
                server.wait(3)
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        self._staying.clear()

    def _run(self, block: Block) -> None:
        """``export NAME=VALUE`` holds for what comes later; other lines are run and end with 0."""
        for line in self.translated(block.text).splitlines():
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").partition("=")
                self.variables[name] = value
            elif re.search(r"\((exit|ended with) [1-9]\d*\)\s*\Z", printed := self.type(line)):
                self.wrong.append(f"{block}: {line}\n{printed}")

    def _try(self, block: Block) -> None:
        for command, shown in sample(block):
            if command.endswith(" &"):
                self.stay(command.removesuffix(" &"))
                continue
            printed = self.type(command)
            if not agrees(self.translated(shown), printed):
                self.wrong.append(
                    f"{block}: $ {command}\n--- page\n{shown}\n--- printed\n{printed}"
                )


def consoles(blocks: Iterable[Block]) -> list[Block]:
    """Those that somebody has to follow."""
    return [block for block in blocks if block.language == "console" and not block.excuse]
