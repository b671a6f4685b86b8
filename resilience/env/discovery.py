"""Which folder a project's ``.env`` files are in: told by the calling file, never by the cwd."""

from __future__ import annotations

from pathlib import Path
from types import FrameType

_MARKERS = ("manage.py", "pyproject.toml")


def file_of(frame: FrameType) -> str:
    """The file whose code runs in this frame: where it is now, not where it was compiled.

    ``<string>`` and the like for code that was typed or given with ``-c``.
    """
    compiled_from = frame.f_code.co_filename
    if compiled_from.startswith("<"):
        return compiled_from
    return str(frame.f_globals.get("__file__") or compiled_from)


def project_root(filename: str) -> Path | None:
    """The nearest folder at or above the file with ``manage.py`` or ``pyproject.toml``.

    Without one the folder of the package, or of the script. None if the file is not there: a
    console, ``-c``, a zipped or a frozen program. (A frozen one has relative names: no folder.)
    """
    start = Path(filename)
    if not start.is_absolute() or not start.exists():
        return None
    for folder in start.parents:
        if any(is_file(folder / marker) for marker in _MARKERS):
            return folder
    in_package = any(is_file(start.parent / f"__init__.{suffix}") for suffix in ("py", "pyc"))
    return start.parent.parent if in_package else start.parent


def is_file(path: Path) -> bool:
    """Whether it is a file, as far as this user can tell."""
    try:
        return path.is_file()
    except OSError:  # in a folder that this user may not enter
        return False
