"""The commands in blocks of shell: do the shell and the commands themselves understand them?"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management import CommandError, get_commands, load_command_class

from resilience import catalogue
from tests.processes import ROOT

# Nothing here knows what these would do.
_ELSEWHERE = frozenset({"docker", "kubectl", "railway"})
_ENDS = frozenset("| || && ; & < > >> ( )".split())


def unread(text: str) -> str:
    """What bash does not understand; empty if it understands all of it."""
    bash = ["bash", "-n"]
    done = subprocess.run(bash, input=text, capture_output=True, text=True, check=False)
    return done.stderr.strip()


def misused(text: str) -> Iterator[str]:
    """What our scripts and management commands, Django's too, would refuse. Raises ValueError."""
    for words in _commands(text):
        for script in (word for word in words if word.startswith("scripts/")):
            if not Path(ROOT, script).is_file():
                yield f"there is no {script}"
        for name, arguments in _management(words):
            problem = _refused(name, arguments)
            if problem:
                yield f"{name}: {problem}"


def elsewhere(text: str) -> Iterator[str]:
    """What only a platform or a daemon could do; such a block needs an excuse."""
    for words in _commands(text):
        programs = [word for word in words if "=" not in word][:1]
        yield from (f"nothing here runs {word}" for word in programs if word in _ELSEWHERE)


def _commands(text: str) -> Iterator[list[str]]:
    """The words of each simple command."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        try:
            for word in lexer:
                if word in _ENDS:
                    yield words
                    words = []
                else:
                    words.append(word)
        except ValueError:  # a quotation of several lines; bash has read it
            return
        yield words


def _management(words: list[str]) -> Iterator[tuple[str, list[str]]]:
    """``manage.py NAME …``, ``python -m resilience NAME …`` or ``scripts/run NAME …``."""
    for at, word in enumerate(words):
        doctor = word == "resilience" and words[at - 1 : at] == ["-m"]
        if word.endswith(("manage.py", "scripts/run")) or doctor:
            rest = words[at + 1 :]
            if rest:
                yield rest[0], rest[1:]


def _refused(name: str, arguments: list[str]) -> str:
    app = get_commands().get(name)
    if app is None:
        return "there is no such command"
    parser: Any = load_command_class(app, name).create_parser("manage.py", name)
    parser.called_from_command_line = False  # an error is raised, and ends no process
    try:
        options = parser.parse_args(arguments)
    except CommandError as error:
        return str(error)
    explained = getattr(options, "explain", None)
    if explained and explained not in catalogue.entries():
        return f"there is no finding {explained}"
    return ""
