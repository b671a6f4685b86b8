"""The tutorial, followed to the letter: its files are written, its commands run and compared."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import django
import pytest

from resilience.simulation.program import free_port
from tests.docs.blocks import Block, agrees, parse, sample
from tests.processes import ROOT
from tests.waiting import until

PAGE = ROOT / "docs" / "tutorial.md"
MAILER = "✗ error   deploy mail.E001\n…\nFAIL: 1 error, 0 warnings, 8 ok in 0.1 s (exit 1)\n"
SECOND_TERMINAL = "<!-- second terminal -->"
_KEPT = ("HOME", "LANG", "LC_ALL", "TMPDIR", "COVERAGE_PROCESS_START")
_FILE = re.compile(r"# ([\w/.]+), (at the end|the whole file)\n")


class Reader:
    """Somebody who follows a page in an empty folder, with ports that are free here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {"6379": str(free_port()), "8000": str(free_port())}
        self.servers: list[subprocess.Popen[bytes]] = []
        self.wrong: list[str] = []
        commands = folder.parent / f"{folder.name}-bin"
        commands.mkdir()
        (commands / "python").symlink_to(sys.executable)
        self.variables = {name: os.environ[name] for name in _KEPT if name in os.environ} | {
            "PATH": f"{commands}:{os.environ['PATH']}",
            "PYTHONPATH": f"{ROOT}:{os.pathsep.join(sys.path)}",
        }

    def follow(self, block: Block, *, stays: bool = False) -> None:
        """Write the file, or type the commands, that a block shows."""
        if block.excuse:
            return
        if block.language == "python":
            self._write(self._here(block.text))
        elif stays:
            self._start(sample(block)[0][0])
        else:
            for command, shown in sample(block):
                printed = self._type(command)
                if not agrees(self._here(shown), printed):
                    self.wrong.append(f"{block}: $ {command}\n{printed}")

    def end(self) -> None:
        """As the page says; whatever it forgot to stop ends as well."""
        for server in self.servers:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        stop = ["redis-cli", "-p", self.ports["6379"], "shutdown", "nosave"]
        subprocess.run(stop, capture_output=True, check=False)

    def _here(self, text: str) -> str:
        for shown, here in self.ports.items():
            text = re.sub(rf"\b{shown}\b", here, text)
        return text

    def _write(self, text: str) -> None:
        found = _FILE.match(text)
        assert found is not None, f"which file? {text}"
        path = self.folder / found[1]
        old = path.read_text() if found[2] == "at the end" else ""
        path.write_text(old + text[found.end() :])

    def _type(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", self._here(command)],
            cwd=self.folder,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=30,
            check=False,
        )
        if command.startswith("redis-server"):
            self._wait_for("6379")
            return ""  # its own first words are no part of a lesson
        return done.stdout.decode()

    def _start(self, command: str) -> None:
        words = self._here(command).split()
        words += [self.ports["8000"], "--noreload"]
        self.servers.append(
            subprocess.Popen(
                words,
                cwd=self.folder,
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        self._wait_for("8000")

    def _wait_for(self, port: str) -> None:
        def listens() -> bool:
            with socket.socket() as trying:
                return trying.connect_ex(("127.0.0.1", int(self.ports[port]))) == 0

        assert until(listens, 20), f"nobody came to port {port}"


@contextmanager
def reader(folder: Path) -> Iterator[Reader]:
    reading = Reader(folder)
    try:
        yield reading
    finally:
        reading.end()


def blocks_of(text: str) -> list[tuple[Block, bool]]:
    """Every block to follow, and whether it is for the second terminal."""
    lines = text.splitlines()
    found = []
    for block in parse(text, "docs/tutorial.md"):
        before = [line for line in lines[: block.line - 1] if line.strip()]
        found.append((block, bool(before) and before[-1].strip() == SECOND_TERMINAL))
    return found


def followed(text: str, folder: Path) -> list[str]:
    """What differs from the page: the command, and what it printed instead."""
    with reader(folder) as reading:
        for block, stays in blocks_of(text):
            reading.follow(block, stays=stays)
            if reading.wrong:  # what comes after it would be wrong as well
                break
        return reading.wrong


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    empty = tmp_path / "project"
    empty.mkdir()
    return empty


def test_the_tutorial_does_what_it_says(folder):
    text = PAGE.read_text(encoding="utf-8")
    if django.VERSION >= (6, 1):  # as the page says
        text = re.sub(r"(?<=manage\.py checkdeploy\n)i.*?(?=```)", MAILER, text, flags=re.DOTALL)
    assert followed(text, folder) == []
    assert (folder / "shop" / "settings.py").read_text().count("resilience.") == 2


@pytest.mark.parametrize(
    ("shown", "instead"),
    [
        ("$ python manage.py migrate --verbosity 0", "$ python manage.py migrates"),
        ("PASS: 0 errors", "PASS: 0 problems"),
        ('"resilience"]', '"resiliense"]'),
    ],
)
def test_a_page_that_is_wrong_is_found__twin(shown, instead, folder):
    first, lesson, *_ = PAGE.read_text(encoding="utf-8").split("\n## ")
    broken = f"{first}\n## {lesson}".replace(shown, instead, 1)
    assert broken != f"{first}\n## {lesson}"
    assert followed(broken, folder) != []
