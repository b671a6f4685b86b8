"""Where a variable's value comes from: files read once, precedence kept, provenance remembered.

Values from files are also put into ``os.environ``, because SDKs read it directly, so that what
they see is what settings see. The process environment always wins.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from resilience.env import dotenv
from resilience.env.collect import is_collecting
from resilience.errors import BrokenSource

PROCESS = "environment"
_ROOT_MARKERS = ("manage.py", "pyproject.toml")
_SECRET_DIRECTORY = "/run/secrets"  # noqa: S105 - Docker's and Compose's mount point, not a secret


class Value(NamedTuple):
    """A text and where it was found: ``environment``, ``FILE:LINE`` or a path."""

    text: str
    origin: str


@dataclass
class _State:
    root: Path | None = None
    loaded: bool = False
    late: bool = False
    files: list[str] = field(default_factory=list)
    # What we put into os.environ: name -> the text and where it came from.
    exported: dict[str, Value] = field(default_factory=dict)
    problems: list[BrokenSource] = field(default_factory=list)


class Snapshot(NamedTuple):
    """What ``load()`` did, for reports: no value in it."""

    root: Path | None
    loaded: bool
    late: bool
    files: tuple[str, ...]
    exported: tuple[str, ...]
    problems: tuple[BrokenSource, ...]


_lock = threading.RLock()
_state = _State()


def load(
    root: str | os.PathLike[str] | None = None,
    *,
    after: str | None = None,
) -> None:
    """Read the project's ``.env`` files into the environment, once per process.

    ``root`` is the folder of the files; by default the nearest folder at or above the calling
    file that holds ``manage.py`` or ``pyproject.toml``. Never the working directory, never above
    that root. Absent files are fine. ``after`` names the settings file that has been read already:
    the project is the one that it belongs to, and its files come too late.

    Raises BrokenSource for a file that exists and cannot be read or understood (the app would run
    on defaults without knowing), except under :func:`resilience.env.collecting`, which reports it.
    """
    with _lock:
        if _state.loaded:
            return
        caller = after or sys._getframe(1).f_code.co_filename  # noqa: SLF001 - whose project?
        _state.loaded, _state.late = True, after is not None
        _state.root = Path(root).absolute() if root is not None else _project_root(caller)
        if _state.root is not None:
            _read_files(_state.root)
        if _state.problems and not is_collecting():
            problem = _state.problems[0]
            reset()  # nothing half-loaded stays, and a second call reads the corrected files
            raise problem


def lookup(name: str) -> Value | None:
    """The value of a declared variable and its origin, or None. Raises BrokenSource."""
    with _lock:
        here = os.environ.get(name)
        ours = _state.exported.get(name)
        from_process = here is not None and (ours is None or ours.text != here)
        pointer = os.environ.get(f"{name}_FILE")
        if pointer:
            from_pointer = ours is not None and ours.origin.startswith(f"{name}_FILE")
            pointer_from_process = f"{name}_FILE" not in _state.exported
            if here is not None and not from_pointer and from_process == pointer_from_process:
                raise _both(name)
            if not from_process:
                return _export(name, _read_pointed(name, pointer))
        if from_process and here is not None:
            return Value(here, PROCESS)
        found = _in_secret_directories(name)
        if found is not None:
            return _export(name, found)
        return ours


def snapshot() -> Snapshot:
    """What was loaded, by name and place only."""
    with _lock:
        return Snapshot(
            _state.root,
            _state.loaded,
            _state.late,
            tuple(_state.files),
            tuple(_state.exported),
            tuple(_state.problems),
        )


def reset() -> None:
    """Take back what was put into ``os.environ`` and forget everything (tests, reloads)."""
    global _state  # noqa: PLW0603 - the one process-wide state of this mechanism
    with _lock:
        for name, value in _state.exported.items():
            if os.environ.get(name) == value.text:
                del os.environ[name]
        _state = _State()


def project_root() -> Path | None:
    """The folder that ``load()`` used."""
    return _state.root


def _project_root(filename: str) -> Path | None:
    start = Path(filename).absolute()
    if not start.exists():  # a console, -c, or a zipped program
        return None
    for folder in start.parents:
        if any((folder / marker).is_file() for marker in _ROOT_MARKERS):
            return folder
    return start.parent.parent if (start.parent / "__init__.py").is_file() else start.parent


def _read_files(root: Path) -> None:
    chosen = os.environ.get("RESILIENCE_ENV")
    names = [".env.local", *([f".env.{chosen}"] if chosen else []), ".env"]
    for name in names:
        path = root / name
        entries, problems = dotenv.read(path)
        _state.problems.extend(problems)
        if _is_file(path):
            _state.files.append(name)
        for key, entry in entries.items():
            if key in os.environ:  # the process, or a file of higher precedence
                continue
            try:
                _export(key, Value(entry.value, f"{name}:{entry.line}"))
            except (ValueError, OSError):  # a NUL byte, or = in the name
                _state.problems.append(
                    BrokenSource(
                        "env.dotenv-syntax",
                        name,
                        f"Line {entry.line} of {name} holds what no variable can",
                        "A name holds no = and a value no NUL byte: correct the line.",
                        location=f"{path}:{entry.line}",
                    )
                )


def _export(name: str, value: Value) -> Value:
    os.environ[name] = value.text
    _state.exported[name] = value
    return value


def _both(name: str) -> BrokenSource:
    return BrokenSource(
        "env.file-and-value",
        name,
        f"{name} and {name}_FILE are both set",
        f"Keep one of them: unset {name} to read the file, or unset {name}_FILE.",
    )


def _read_pointed(name: str, pointer: str) -> Value:
    path = (_state.root or Path("/")) / pointer
    # Somebody may have put the secret itself there: only what leads to a folder is repeated.
    # (Path.is_dir() would raise for a folder that this user may not enter.)
    leads_somewhere = path.parent != Path("/") and os.sep in pointer and os.path.isdir(path.parent)  # noqa: PTH112
    if not leads_somewhere and not _is_file(path):
        raise _unreadable(name, f"{name}_FILE does not hold the path of a file that is there")
    return Value(_read_secret(name, path, f"{name}_FILE points to"), f"{name}_FILE → {path}")


def _in_secret_directories(name: str) -> Value | None:
    for directory in filter(None, (os.environ.get("CREDENTIALS_DIRECTORY"), _SECRET_DIRECTORY)):
        for filename in (name, name.lower()):
            path = Path(directory) / filename
            if _is_file(path):
                return Value(_read_secret(name, path, f"{name} is the secret file"), str(path))
    return None


def _read_secret(name: str, path: Path, said: str) -> str:
    """Without the one newline that editors and ``echo`` append; a secret may end in others."""
    try:
        if not path.is_file() and path.exists() and not path.is_dir():
            raise OSError(errno.EINVAL, "not a regular file")  # noqa: TRY301 - as below
        text = path.read_text(encoding="utf-8")
        if "\0" in text:
            raise ValueError  # noqa: TRY301 - no more text than what is not UTF-8
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise _unreadable(name, f"{said} {path}, which cannot be read: {reason}") from None
    return text.removesuffix("\n").removesuffix("\r")


def _unreadable(name: str, problem: str) -> BrokenSource:
    return BrokenSource(
        "env.file-missing",
        name,
        problem,
        f"Mount the secret there, readable by uid {os.geteuid()}, or correct the variable.",
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # in a folder that this user may not enter
        return False
