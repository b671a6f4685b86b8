"""Where a variable's value comes from: precedence kept, provenance remembered.

Values from files are also put into ``os.environ``, because SDKs read it directly, so that what
they see is what settings see. The process environment always wins.
"""

from __future__ import annotations

import os
from io import StringIO
from pathlib import Path

from resilience.env import regular, state
from resilience.env.discovery import is_file
from resilience.env.state import PROCESS, Value
from resilience.errors import BrokenSource

_SECRET_DIRECTORY = "/run/secrets"  # noqa: S105 - Docker's and Compose's mount point, not a secret


def lookup(name: str) -> Value | None:
    """The value of a declared variable and its origin, or None. Raises BrokenSource."""
    if not _can_be_set(name):
        return None
    with state.lock:
        now = state.current()
        state.adopt()
        if not now.loaded:
            now.asked.add(name)
        here = os.environ.get(name)
        ours = now.exported.get(name)
        from_process = here is not None and (ours is None or ours.text != here)
        pointer = os.environ.get(f"{name}_FILE")
        if pointer:
            from_pointer = ours is not None and ours.origin.startswith(f"{name}_FILE")
            pointer_from_process = f"{name}_FILE" not in now.exported
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


def project_root() -> Path | None:
    """The folder that ``load()`` used."""
    return state.current().root


def _can_be_set(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def _export(name: str, value: Value) -> Value:
    state.export(name, value)
    state.publish()
    return value


def _both(name: str) -> BrokenSource:
    return BrokenSource(
        "env.file-and-value",
        name,
        f"{name} and {name}_FILE are both set",
        f"Keep one of them: unset {name} to read the file, or unset {name}_FILE.",
    )


def _read_pointed(name: str, pointer: str) -> Value:
    root = project_root() or Path("/")
    path = root / pointer
    # Somebody may have put the secret itself there: only what leads to a folder is repeated.
    # (Path.is_dir() would raise for a folder that this user may not enter.)
    in_a_folder = os.sep in pointer and path.parent not in {Path("/"), root}
    leads_somewhere = in_a_folder and os.path.isdir(path.parent)  # noqa: PTH112
    if not leads_somewhere and not is_file(path):
        raise _unreadable(name, f"{name}_FILE does not hold the path of a file that is there")
    return Value(_read_secret(name, path, f"{name}_FILE points to"), f"{name}_FILE → {path}")


def _in_secret_directories(name: str) -> Value | None:
    root = project_root() or Path("/")  # never the working directory
    for directory in filter(None, (os.environ.get("CREDENTIALS_DIRECTORY"), _SECRET_DIRECTORY)):
        for filename in (name, name.lower()):
            path = root / directory / filename
            if is_file(path):
                return Value(_read_secret(name, path, f"{name} is the secret file"), str(path))
    return None


def _read_secret(name: str, path: Path, said: str) -> str:
    """Without the one newline that editors and ``echo`` append; a secret may end in others."""
    try:
        text = StringIO(regular.read(path).decode(), newline=None).read()  # CRLF becomes LF
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
