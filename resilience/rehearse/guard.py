"""In a child: what is no part of the stage cannot be reached, and is listed; ``.env`` is not there.

An audit hook, which sees what Python does. What C libraries do by themselves is stopped by the
network namespace, where there is one; without it other programs are refused, too.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from resilience.audit import hosts

_ASKS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
_SENDS = ("socket.connect", "socket.sendto", "socket.sendmsg")
_PROGRAMS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn")
_LOOPBACK = ("127.0.0.1", "::1", "localhost", "")
_AF_UNIX = 1
_LISTENS = "0A"  # proc(5)


class Guard:
    """``orders``: ``ports`` that may be reached, whether ``isolated``, ``root`` and ``hidden``.

    With ``asks`` names go on to libc, which has a name server of the stage.
    ``absent`` are more paths that are not there, with all below them.
    """

    def __init__(
        self, orders: Mapping[str, Any], note: Callable[..., None], absent: tuple[str, ...] = ()
    ) -> None:
        self._ports = frozenset(orders["ports"])
        self._isolated = orders["isolated"]
        self._passes_names = orders["asks"]
        self._folder = orders["folder"]
        self._root = orders["root"]
        self._hidden = frozenset(orders["hidden"])
        self._absent = absent
        self._note = note

    def watch(self) -> None:
        """From now on, for the life of the process."""
        for name in ("stat", "lstat", "access"):
            setattr(os, name, self._blind(getattr(os, name), answer=name == "access"))
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "os.listdir", "os.scandir"):
            if self._is_hidden(arguments[0]):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), arguments[0])
        elif event in _SENDS:
            self._sends(arguments[0], arguments[1])
        elif event in _ASKS:
            self._asks(arguments[0])
        elif event in _PROGRAMS and not self._isolated:
            self._note("denied", name=f"program {os.path.basename(str(arguments[0]))}")  # noqa: PTH119
            raise PermissionError(errno.EPERM, "no other program runs in this rehearsal")

    def _sends(self, sock: Any, address: Any) -> None:
        if address is None:  # sendmsg of a connected socket
            return
        if int(sock.family) == _AF_UNIX:
            path = os.fsdecode(address) if isinstance(address, str | bytes) else ""
            if path.startswith((self._folder, "\0")) or not path:
                return
            shown = f"unix:{hosts.path(path)}"
        else:
            host, port = (*address, "", "")[:2] if isinstance(address, tuple) else (address, "")
            if str(host) in _LOOPBACK and self._is_ours(port):
                return
            shown = hosts.shown(host, port)
        self._note("denied", name=shown)
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    def _is_ours(self, port: Any) -> bool:
        """Whether it is a port of the stage, or (seen in the namespace only) of the project."""
        return port in self._ports or (self._isolated and is_held(port))

    def _asks(self, host: Any) -> None:
        from resilience.simulation import resolver  # noqa: PLC0415 - socket is there by now

        if resolver.is_name(host) and not self._passes_names:
            self._note("denied", name=hosts.shown(host))
            import socket  # noqa: PLC0415 - as above

            raise socket.gaierror(socket.EAI_NONAME, "no name is resolved in this rehearsal")

    # ── files ───────────────────────────────────────────────────────────────────────────────────

    def _blind(self, real: Callable[..., Any], *, answer: bool) -> Callable[..., Any]:
        """``os.stat`` and its like, for which a hidden file is not there."""

        def looked(path: Any, *arguments: Any, **options: Any) -> Any:
            if self._is_hidden(path):
                if answer:
                    return False
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            return real(path, *arguments, **options)

        return looked

    def _is_hidden(self, path: Any) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        text = os.fsdecode(path)
        if self._absent and text.startswith("/") and self._is_absent(text):
            return True
        if text.rpartition("/")[2] not in self._hidden:
            return False
        return os.path.abspath(text).startswith(f"{self._root}{os.sep}")  # noqa: PTH100 - no I/O

    def _is_absent(self, path: str) -> bool:
        return any(path == each or path.startswith(f"{each}{os.sep}") for each in self._absent)


def is_held(port: object) -> bool:
    """Whether somebody of this network namespace listens on a TCP port or has a UDP port."""
    wanted = f":{port:04X}" if isinstance(port, int) else ""
    for table, states in (("tcp", _LISTENS), ("tcp6", _LISTENS), ("udp", ""), ("udp6", "")):
        with suppress(OSError), open(f"/proc/self/net/{table}", encoding="ascii") as file:  # noqa: PTH123
            for line in file:
                words = line.split()
                if wanted and words[1].endswith(wanted) and words[3].endswith(states):
                    return True
    return False


def notes(descriptor: int) -> Callable[..., None]:
    """What writes an event as one JSON line, each once per process."""
    seen: set[str] = set()

    def note(kind: str, **facts: object) -> None:
        line = json.dumps({"kind": kind, **facts})
        if line not in seen:
            seen.add(line)
            os.write(descriptor, f"{line}\n".encode())

    return note
