"""Reads ``docs/how-to/adopt.md`` as its reader does: files are changed, commands are run.

A fenced block is for the file that the last line before it names in backticks: put in front if
that line says "line 1", else behind. A ``console`` block holds commands behind ``$`` and what they
print; a line ``…`` stands for any lines.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from resilience.simulation.program import free_port
from tests.processes import ROOT, run

PAGE = ROOT / "docs" / "how-to" / "adopt.md"
_PORT = "8000"  # as the page has it; here a free one
_ANY = "[any-lines]"


@dataclass(frozen=True)
class Edit:
    """A block that belongs into a file."""

    file: str
    text: str
    first: bool

    def apply(self, project: Path) -> None:
        path = project / self.file
        old = path.read_text() if path.exists() else ""
        path.write_text(f"{self.text}\n{old}" if self.first else f"{old}\n{self.text}")


@dataclass(frozen=True)
class Command:
    """One command and what the page says that it prints, both streams."""

    words: str
    prints: str


@dataclass(frozen=True)
class Step:
    """One section of the page."""

    title: str
    edits: tuple[Edit, ...]
    commands: tuple[Command, ...]
    order: tuple[Edit | Command, ...] = field(repr=False)


def steps(page: str) -> list[Step]:
    """The sections of a page that have blocks, in order; the first is what comes before them."""
    found = []
    for section in re.split(r"^## ", page, flags=re.MULTILINE):
        order = list(_parts(section.splitlines(keepends=True)))
        edits = tuple(part for part in order if isinstance(part, Edit))
        commands = tuple(part for part in order if isinstance(part, Command))
        if order:
            found.append(Step(section.partition("\n")[0], edits, commands, tuple(order)))
    return found


def _parts(lines: list[str]) -> Iterator[Edit | Command]:
    before, kind, block = "", "", ""
    for line in lines:
        if not kind and line.startswith("```"):
            kind, block = line[3:].strip(), ""
        elif kind and line.startswith("```"):
            yield from _commands(block) if kind == "console" else [_edit(before, block)]
            kind = ""
        elif kind:
            block += line
        elif line.strip():
            before = line


def _edit(before: str, block: str) -> Edit:
    files = re.findall(r"`([\w./]*\.\w+)`", before)
    assert files, f"no file is named right before\n{block}but only: {before}"
    return Edit(files[0], block, first="ine 1 " in before)


def _commands(block: str) -> Iterator[Command]:
    for words, prints in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
        yield Command(words, prints)


def normalised(text: str) -> str:
    """Without numbers, which are this machine's, and without the line ends that they shift."""
    text = re.sub(r"\d+(\.\d+)*", "N", text)
    text = re.sub(r"\bN (error|warning|cause)s?\b", r"N \1", text)
    return " ".join(text.split())


def agrees(said: str, printed: str) -> bool:
    """Whether a command printed what the page says; ``…`` alone on a line is any lines."""
    words = normalised(re.sub(r"^…$", _ANY, said, flags=re.MULTILINE)).split()
    pattern = "".join(r"(?:\S+ )*" if word == _ANY else re.escape(f"{word} ") for word in words)
    return (
        re.fullmatch(pattern, "".join(f"{word} " for word in normalised(printed).split()))
        is not None
    )


class Reader:
    """Somebody who follows the page in a project, with one Python and these variables."""

    def __init__(self, project: Path, python: str, variables: Mapping[str, str]) -> None:
        self.project = project
        self._python = python
        self._variables = variables
        self._port = free_port()
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def follow(self, step: Step) -> list[str]:
        """Do everything of a step; what did not come out as the page says."""
        problems = []
        for part in step.order:
            if isinstance(part, Edit):
                part.apply(self.project)
                continue
            printed = self.do(part.words)
            if not agrees(part.prints, printed):
                problems.append(f"$ {part.words}\n--- page\n{part.prints}--- printed\n{printed}")
        self._held.close()
        return problems

    def do(self, words: str) -> str:
        """Run one command of the page, and return what it prints."""
        program, *arguments = shlex.split(words)
        if program == "curl":
            return self._get(arguments[0].replace(f":{_PORT}/", f":{self._port}/"))
        assert program == "python", f"the page starts {program}"
        if arguments[-1] == "&":
            assert arguments[1:-1] == ["runserver", _PORT]
            self._serve()
            return ""
        ended = run(self._python, *arguments, cwd=self.project, variables=dict(self._variables))
        assert "Traceback" not in ended.err, ended.err
        # The page shows the exit status in the last line, where there is a report.
        shown = re.search(r"\(exit (\d)\)\s*\Z", ended.out)
        assert ended.code == (int(shown[1]) if shown else 0), ended.out + ended.err
        return ended.out + ended.err

    def _serve(self) -> None:
        command = [self._python, "manage.py", "runserver", "--noreload", str(self._port)]
        quiet = subprocess.DEVNULL
        server = subprocess.Popen(
            command, cwd=self.project, env=dict(self._variables), stdout=quiet, stderr=quiet
        )
        self._held.callback(server.wait, 10)
        self._held.callback(server.terminate)

    def _get(self, url: str) -> str:
        until = time.monotonic() + 20
        while True:
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own
                    return str(answer.read().decode())
            except urllib.error.HTTPError as error:
                said = error.read().decode()
                if time.monotonic() > until or "starting" not in said:
                    return said
            except OSError:  # it does not listen yet
                assert time.monotonic() < until, f"{url} never answered"
            time.sleep(0.1)
