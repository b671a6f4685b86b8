"""``env.load()``: the project's ``.env`` files into the environment, once per process."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

from resilience.env import casts, discovery, dotenv, early, state
from resilience.env.collect import is_collecting
from resilience.env.discovery import is_file
from resilience.env.state import PROCESS, Value
from resilience.errors import BrokenSource

_SWITCH = "RESILIENCE_DOTENV"
_CHOICE = "RESILIENCE_ENV"


class Snapshot(NamedTuple):
    """What ``load()`` did, for reports: no value in it.

    ``files`` are the names of the files that were there, ``tried`` of those that were looked for,
    both in ``root``; ``exported`` the variables that came from files; ``early`` those of them that
    somebody had asked for before; ``imported`` the frameworks that were imported before.
    """

    root: Path | None
    loaded: bool
    late: bool
    files: tuple[str, ...]
    exported: tuple[str, ...]
    problems: tuple[BrokenSource, ...]
    tried: tuple[str, ...] = ()
    early: tuple[str, ...] = ()
    imported: tuple[early.Early, ...] = ()


def load(
    root: str | os.PathLike[str] | None = None,
    *,
    after: str | None = None,
) -> None:
    """Read the project's ``.env`` files into the environment, once per process.

    ``root`` is the folder of the files; by default the nearest folder at or above the calling
    file that holds ``manage.py`` or ``pyproject.toml``. Never the working directory, never above
    that root. Absent files are fine, and with ``RESILIENCE_DOTENV=off`` in the process environment
    none is read. ``after`` names the settings file that has been read already: the project is the
    one that it belongs to, and its files come too late.

    Raises BrokenSource for a file that exists and cannot be read or understood (the app would run
    on defaults without knowing), except under :func:`resilience.env.collecting`, which reports it.
    """
    with state.lock:
        now = state.current()
        if now.loaded:
            return
        caller = after or discovery.file_of(sys._getframe(1))  # noqa: SLF001 - whose project?
        try:
            now.root = Path(root).absolute() if root is not None else discovery.project_root(caller)
            now.loaded, now.late = True, after is not None
            _load(now)
        except BaseException:
            state.reset()  # else it would count as loaded
            raise
        if now.problems and not is_collecting():
            state.reset()  # nothing half-loaded stays, and a second call reads the corrected files
            raise now.problems[0]


def snapshot() -> Snapshot:
    """What was loaded, by name and place only."""
    with state.lock:
        now = state.current()
        return Snapshot(
            now.root,
            now.loaded,
            now.late,
            tuple(now.files),
            tuple(now.exported),
            tuple(now.problems),
            tuple(now.tried),
            now.early,
            now.imported,
        )


def _load(now: state.State) -> None:
    state.disown()
    if now.root is not None and _is_switched_on():
        _read_files(now.root)
    now.early = tuple(
        name
        for name, value in now.exported.items()
        if name in now.asked and value.origin.startswith(".env")
    )
    if now.files:
        now.imported = early.imported(now.root)
    state.publish()


def _is_switched_on() -> bool:
    try:
        return casts.to_bool(os.environ.get(_SWITCH) or "on")
    except casts.Refused as refused:
        state.current().problems.append(
            BrokenSource(
                "env.invalid",
                _SWITCH,
                f"{_SWITCH} (from {PROCESS}) {refused}",
                f"Set {_SWITCH}=off to leave .env files alone, or unset it.",
            )
        )
        return False


def _chosen() -> str | None:
    """What RESILIENCE_ENV adds to the name of a file: a word, no path to another folder."""
    chosen = os.environ.get(_CHOICE)
    if not chosen or re.fullmatch(r"[\w.-]+", chosen):
        return chosen
    state.current().problems.append(
        BrokenSource(
            "env.invalid",
            _CHOICE,
            f"{_CHOICE} (from {PROCESS}) must be one word of letters, digits, _, . and -",
            f"Set {_CHOICE}=staging to read .env.staging, or unset it.",
        )
    )
    return None


def _read_files(root: Path) -> None:
    now = state.current()
    chosen = _chosen()
    read: set[str] = set()  # one that is too long for os.environ is not there
    now.tried += [".env.local", *([f".env.{chosen}"] if chosen else []), ".env"]
    for name in now.tried:
        path = root / name
        entries, problems = dotenv.read(path)
        now.problems.extend(problems)
        if is_file(path):
            now.files.append(name)
        for key, entry in entries.items():
            if key in os.environ or key in read:  # the process, or a file of higher precedence
                continue
            try:
                state.export(key, Value(entry.value, f"{name}:{entry.line}"))
                read.add(key)
            except (ValueError, OSError):  # a NUL byte
                now.problems.append(
                    BrokenSource(
                        "env.dotenv-syntax",
                        name,
                        f"Line {entry.line} of {name} holds what no variable can",
                        "A value holds no NUL byte: correct the line.",
                        location=f"{path}:{entry.line}",
                    )
                )
