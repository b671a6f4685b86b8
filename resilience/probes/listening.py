"""The web servers of this container and the ports that they listen on, from ``/proc``.

Only processes that this user may look into are seen, and none on other systems than Linux.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePath
from typing import NamedTuple

SERVERS = ("gunicorn", "uvicorn", "daphne", "hypercorn", "granian", "uwsgi", "waitress-serve")

_MOST_PROCESSES = 500
_GRANDCHILD = 2
_PARENT = 1  # of /proc/<pid>/stat behind the command's name
_LISTEN = "0A"  # TCP_LISTEN, as /proc/net/tcp writes it
_PYTHON = re.compile(r"python[\d.]*")
_SOCKET = re.compile(r"socket:\[(\d+)\]")


class Server(NamedTuple):
    """A process that is a web server, with its arguments and listening addresses."""

    pid: int
    name: str
    arguments: tuple[str, ...]
    listening: tuple[tuple[str, int], ...]


def servers(root: Path = Path("/")) -> list[Server]:
    """Every web server that listens somewhere, the lowest process id first."""
    sockets = dict(_sockets(root))
    found = []
    for pid in _pids(root)[:_MOST_PROCESSES]:
        arguments = arguments_of(pid, root)
        name = _server_name(arguments)
        if not name:
            continue
        listening = {sockets[inode] for inode in _inodes(root, pid) if inode in sockets}
        if listening:
            found.append(Server(pid, name, arguments, tuple(sorted(listening))))
    return found


def main_servers(root: Path = Path("/")) -> list[Server]:
    """Those that this container was started for: process 1, or its child or grandchild.

    So a shell, an init or ``uv run`` may stand between; what somebody starts in a shell of his own
    lies deeper.
    """
    return [each for each in servers(root) if _generation(root, each.pid) <= _GRANDCHILD]


def addresses(root: Path = Path("/")) -> set[tuple[str, int]]:
    """Every address and port on which anything listens in this network, seen or not by whom."""
    return {address for _, address in _sockets(root)}


def is_alone(root: Path = Path("/")) -> bool:
    """Whether nothing runs here but this process, those that started it and those it started."""
    try:
        own = int((root / "proc/self").readlink().name)
    except (OSError, ValueError):
        return False
    before = _ancestors(root, own)
    return all(pid in before or own in _ancestors(root, pid) for pid in _pids(root))


def arguments_of(pid: int, root: Path = Path("/")) -> tuple[str, ...]:
    """The command line of a process, empty if it cannot be read."""
    try:
        raw = (root / f"proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(part.decode(errors="replace") for part in raw.split(b"\0") if part)


def _server_name(arguments: tuple[str, ...]) -> str:
    """``gunicorn …``, ``python …/gunicorn …``, ``python -m gunicorn …``; it may rename itself."""
    first, *others = arguments or ("",)
    words = first.split(":")[0].split()
    if _PYTHON.fullmatch(PurePath(first).name):
        others = _behind_options(others)
    words += others[:2]
    for word in words[:4]:
        name = PurePath(word).name
        if name in SERVERS:
            return name
    if "runserver" in arguments[:4]:
        return "runserver"
    return ""


def _behind_options(words: list[str]) -> list[str]:
    """A program and its arguments: ``-u -X dev`` and ``-m`` before it are the interpreter's."""
    while words and words[0].startswith("-"):
        words = words[2 if words[0] in ("-X", "-W") else 1 :]
    return words


def _pids(root: Path) -> list[int]:
    try:
        return sorted(int(each.name) for each in (root / "proc").iterdir() if each.name.isdigit())
    except OSError:
        return []


def _generation(root: Path, pid: int) -> int:
    """How many steps up process 1 is; more than enough if it cannot be told."""
    for steps in range(_GRANDCHILD + 1):
        if pid == 1:
            return steps
        pid = _parent(root, pid)
    return _GRANDCHILD + 1


def _ancestors(root: Path, pid: int) -> set[int]:
    """With itself."""
    found: set[int] = set()
    while pid and pid not in found:
        found.add(pid)
        pid = _parent(root, pid)
    return found


def _parent(root: Path, pid: int) -> int:
    """0 if it has none in here, or it cannot be told."""
    try:
        stat = (root / f"proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(stat.rpartition(")")[2].split()[_PARENT])
    except (OSError, ValueError, IndexError):
        return 0


def _inodes(root: Path, pid: int) -> Iterator[int]:
    try:
        links = list((root / f"proc/{pid}/fd").iterdir())
    except OSError:  # gone, or another user's
        return
    for link in links:
        with suppress(OSError):  # closed meanwhile
            found = _SOCKET.fullmatch(str(link.readlink()))
            if found:
                yield int(found[1])


def _sockets(root: Path) -> Iterator[tuple[int, tuple[str, int]]]:
    """Inode → address and port of each listening TCP socket (proc_pid_net(5))."""
    for name in ("tcp", "tcp6"):
        try:
            lines = (root / "proc/net" / name).read_text(encoding="ascii").splitlines()[1:]
        except (OSError, UnicodeDecodeError):
            continue
        for line in lines:
            fields = line.split()
            if len(fields) > 9 and fields[3] == _LISTEN:  # noqa: PLR2004 - the inode is field 9
                with suppress(ValueError, struct.error):  # no kernel's own /proc
                    yield int(fields[9]), _address(fields[1])


def _address(written: str) -> tuple[str, int]:
    """``0100007F:1F90`` → 127.0.0.1 and 8080: words of 32 bits in the machine's own order."""
    digits, _, port = written.partition(":")
    words = struct.unpack(f">{len(digits) // 8}I", bytes.fromhex(digits))
    packed = struct.pack(f"={len(words)}I", *words)
    return str(ipaddress.ip_address(packed)), int(port, 16)
