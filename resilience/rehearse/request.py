"""What is to be rehearsed: one project, as the command found it."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from resilience import redact
from resilience.env import discovery, dotenv

LANGSMITH = "langsmith"
FAKED = ("LANGSMITH_API_KEY", "OPENAI_API_KEY")
_HANDOVER = "RESILIENCE_ENV_SIGNATURES"  # what tells a child which values are files'
_PROXIES = re.compile(r"(https?|all|ftp)_proxy", re.IGNORECASE)
_DEBUG = re.compile(r"(\w+_)?DEBUG")
_OFF = {"1": "0", "true": "false", "yes": "no", "on": "off", "t": "f", "y": "n"}
_SKIPPED = frozenset("node_modules site-packages dist-packages __pycache__ tests".split())
_MOST_FILES = 2000
_LARGEST = 1_000_000  # bytes


@dataclass(frozen=True)
class Request:
    """``environ`` are the caller's variables and the values of its ``.env`` files: secrets.

    ``root`` is the project's folder, ``hidden`` the names of files that a platform would not have,
    ``folder`` the one that the director makes for all that the run writes, ``mentioned`` the words
    among secret variables and "langsmith" that stand in the project's own source, ``switched`` the
    variables that ``deployed()`` has changed.
    """

    root: str
    settings: str
    environ: Mapping[str, str]
    hidden: tuple[str, ...]
    folder: str
    platform: str
    scenarios: tuple[str, ...]
    paths: tuple[str, ...]
    duration: float
    mentioned: tuple[str, ...]
    switched: tuple[str, ...] = ()

    @property
    def uses_langsmith(self) -> bool:
        return LANGSMITH in self.mentioned

    def __repr__(self) -> str:
        return f"<Request for {self.root}>"

    def to_json(self) -> dict[str, Any]:
        """For a pipe, never for a file."""
        return asdict(self)

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> Request:
        known = dict(told)
        for name in ("hidden", "scenarios", "paths", "mentioned", "switched"):
            known[name] = tuple(known[name])
        return cls(**known)


def environment(root: Path, environ: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The variables as a platform would inject them, and the names of the files they came from.

    What the caller has in the environment wins over files, as it does everywhere. Proxies lead out
    of the rehearsal and are left out.
    """
    chosen = environ.get("RESILIENCE_ENV", "")
    special = [f".env.{chosen}"] if re.fullmatch(r"[\w.-]+", chosen) else []
    names = (".env.local", *special, ".env")
    made = {
        name: value
        for name, value in environ.items()
        if not (name.startswith(_HANDOVER) or _PROXIES.fullmatch(name))
    }
    for name in names:
        entries, _ = dotenv.read(root / name)
        for key, entry in entries.items():
            made.setdefault(key, entry.value)
    return made, names


def deployed(
    made: Mapping[str, str], environ: Mapping[str, str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The same with every DEBUG off that a file, and not ``environ``, has on; and their names.

    A developer's file has it on for this machine: nobody takes that line to a platform.
    """
    off = {
        name: _off(value)
        for name, value in made.items()
        if _DEBUG.fullmatch(name) and name not in environ and value.lower() in _OFF
    }
    return {**made, **off}, tuple(off)


def _off(value: str) -> str:
    """The opposite in the same spelling: whoever reads it may know only one."""
    word = _OFF[value.lower()]
    return word.title() if value.istitle() else word.upper() if value.isupper() else word


def root_of(settings: str, cwd: Path) -> Path:
    """The project's folder: that of the settings module, found without importing it."""
    file = cwd.joinpath(*settings.split("."))
    for each in (file.with_suffix(".py"), file / "__init__.py"):
        if discovery.is_file(each):
            return discovery.project_root(str(each)) or cwd
    return cwd


def mentioned(root: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The names of secrets, and "langsmith", that the project's own Python source has in it."""
    wanted = {name: name.encode() for name in (*environ, *FAKED) if redact.is_secret_name(name)}
    wanted[LANGSMITH] = LANGSMITH.encode()
    found: set[str] = set()
    for file in itertools.islice(_sources(root), _MOST_FILES):
        with contextlib.suppress(OSError):
            if file.stat().st_size < _LARGEST:
                source = file.read_bytes()
                found |= {name for name, word in wanted.items() if word in source}
                if LANGSMITH.encode() in source.lower():
                    found.add(LANGSMITH)
    return tuple(name for name in wanted if name in found)


def _sources(root: Path) -> Iterator[Path]:
    passed: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        here = Path(folder)
        if (real := os.path.realpath(folder)) in passed:  # a link that leads in a circle
            folders.clear()
            continue
        passed.add(real)
        folders[:] = [
            name
            for name in folders
            if name not in _SKIPPED
            and not name.startswith(".")
            and not (here / name / "pyvenv.cfg").exists()
            and not (here == root and name == "resilience")
        ]
        yield from (here / name for name in files if name.endswith(".py"))
