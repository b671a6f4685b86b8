"""Places in source code: ``file:line``, the user's own code before anybody else's."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from pathlib import Path

_LIBRARY = f"{Path(os.__file__).parent}{os.sep}"
_OURS = f"{Path(__file__).parent}{os.sep}"
_FRAMES = 30  # a RecursionError has a thousand


def shorten(filename: str) -> str:
    """A path relative to the working directory where it lies below it."""
    try:
        return str(Path(filename).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return filename


def of_error(error: BaseException) -> str | None:
    """Where in the user's own code an exception came from; None if it never passed there."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{shorten(error.filename)}:{error.lineno or 1}"
    return of_frames(traceback.extract_tb(error.__traceback__))


def of_frames(frames: Sequence[traceback.FrameSummary]) -> str | None:
    """The innermost frame that is the user's own code; None without any."""
    for frame in reversed(frames):
        if _is_own(frame.filename):
            return f"{shorten(frame.filename)}:{frame.lineno}"
    return None


def trace(error: BaseException) -> str:
    """The way an exception came, innermost first: no source line and no variable."""
    frames = traceback.extract_tb(error.__traceback__, limit=-_FRAMES)
    return " < ".join(f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames[::-1])


def _is_own(filename: str) -> bool:
    return (
        not filename.startswith(("<", _LIBRARY, _OURS))
        and "site-packages" not in filename
        and "dist-packages" not in filename
    )
