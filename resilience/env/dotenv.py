"""One ``.env`` file, read strictly: every line is understood or named, and ``$`` is literal.

The dialect (quotes, escapes, ``export``, comments, multi-line values) is python-dotenv's own
parser. Its variable expansion is not used: it turns the password ``ab${cd}ef`` into ``abef``.
"""

from __future__ import annotations

import os
import re
import stat
from io import StringIO
from typing import TYPE_CHECKING, NamedTuple

from resilience.env import regular
from resilience.errors import BrokenSource

if TYPE_CHECKING:
    from pathlib import Path

# As every shell and orchestrator takes them. A line of a private key can have "=" in it too.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class Entry(NamedTuple):
    """A value and the 1-based line on which its name stands."""

    value: str
    line: int


def read(path: Path) -> tuple[dict[str, Entry], list[BrokenSource]]:
    """The variables of a file and what is wrong with it; an absent file is empty and fine.

    A later line wins over an earlier one. A broken line is left out and reported by its number, and
    where it begins with a name, by that and the column of its value.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            # A FIFO or a device would make us wait for ever.
            return {}, [
                _unreadable(path, "is no regular file", "Replace it with one, or remove it.")
            ]
        # utf-8-sig: an editor's BOM would otherwise become part of the first name.
        content = regular.read(path).decode("utf-8-sig")
    except FileNotFoundError:
        return {}, []
    except UnicodeDecodeError as error:
        return {}, [_unreadable(path, f"is not UTF-8 (byte {error.start})", "Save it as UTF-8.")]
    except OSError as error:
        return {}, [_unreadable(path, *_why(path, error))]
    from dotenv.parser import parse_stream  # noqa: PLC0415 - paid for only where there is a file

    found: dict[str, Entry] = {}
    broken: list[BrokenSource] = []
    # newline=None: CRLF becomes LF, also inside a value of several lines.
    for binding in parse_stream(StringIO(content, newline=None)):
        # The parser counts a binding from the blank and comment lines before it.
        skipped = len(binding.original.string) - len(binding.original.string.lstrip())
        line = binding.original.line + binding.original.string[:skipped].count("\n")
        named = binding.key is not None and _NAME.fullmatch(binding.key)
        if named and binding.value is not None and not binding.error:
            found[named[0]] = Entry(binding.value, line)
        elif binding.error or binding.key is not None:
            text = binding.original.string
            broken.append(_malformed(path, line, text[text.rfind("\n", 0, skipped) + 1 :]))
    return found, broken


def _malformed(path: Path, line: int, text: str) -> BrokenSource:
    # A line of a key that lost its quotes may look like a name, but is assigned nothing.
    named = re.match(r"\s*(?:export\s+)?([A-Z_][A-Z0-9_]{0,59})[ \t]*=[ \t]*(?=[^=\s])", text)
    where = f": column {named.end() + 1}, {named[1]}" if named else ""
    return BrokenSource(
        "env.dotenv-syntax",
        path.name,
        f"Line {line} of {path.name} is not of the form NAME=value{where}",
        "Write NAME=value; put quotes around a value with spaces, quotes or several lines.",
        location=f"{path}:{line}",
    )


def _unreadable(path: Path, problem: str, hint: str) -> BrokenSource:
    return BrokenSource(
        "env.dotenv-unreadable", path.name, f"{path.name} {problem}", hint, location=f"{path}:1"
    )


def _why(path: Path, error: OSError) -> tuple[str, str]:
    if isinstance(error, IsADirectoryError):
        return (
            "is a directory, not a file",
            "Remove it. A container runtime makes one when the file it should mount is missing.",
        )
    if isinstance(error, PermissionError):
        try:
            status = path.stat()
        except OSError:
            return "is in a directory this user may not enter", f"chmod the folder {path.parent}."
        mode = stat.S_IMODE(status.st_mode)
        return (
            f"may not be read by uid {os.geteuid()} (owner uid {status.st_uid}, mode {mode:04o})",
            f"chown {os.geteuid()} {path}, or run as uid {status.st_uid}.",
        )
    return f"cannot be read: {error.strerror}", "Make it a readable file, or remove it."
