"""A network and a process table of one's own, where the system allows them (Linux).

In the namespace only the loopback interface exists: every other address is unreachable, for any
language and library, and the ports of 127.0.0.1 are not those of the machine. When its first
process ends the kernel ends all others.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import struct
from contextlib import suppress

_NEW_USER, _NEW_PROCESSES, _NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1  # <linux/sockios.h>, <linux/if.h>


def works() -> bool:
    """Whether ``enter()`` would succeed, tried by a process that ends.

    Some systems allow the namespace and take away the rights that it needs to be of use.
    """
    pid = os.fork()
    if pid == 0:
        code = 1
        with suppress(OSError):
            enter()
            with socket.create_server(("127.0.0.1", 0)) as server:
                socket.create_connection(server.getsockname(), 1).close()
            code = 0
        os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


def enter() -> None:
    """Leave the machine's network and process table. Raises OSError where that is refused.

    The next child is the first process of the new table, and all others end with it.
    """
    user, group = os.getuid(), os.getgid()
    if _unshare(_NEW_NETWORK | _NEW_PROCESSES) != 0:
        if _unshare(_NEW_USER | _NEW_NETWORK | _NEW_PROCESSES) != 0:
            raise OSError(errno.EPERM, "this system allows no namespaces")
        map_user(user, group)
    _raise_loopback()


def map_user(user: int, group: int) -> None:
    """In a new user namespace, be who one was outside. Raises OSError."""
    for name, line in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(line)


def fork_within() -> int:
    """Fork the first process of the new table; it gets SIGTERM when this one ends."""
    pid = os.fork()
    if pid == 0:
        import ctypes  # noqa: PLC0415 - it was there when the namespace was entered

        ctypes.CDLL(None).prctl(1, int(signal.SIGTERM), 0, 0, 0)
    return pid


def _unshare(flags: int) -> int:
    try:
        import ctypes  # noqa: PLC0415 - where it is missing nothing is isolated

        return int(ctypes.CDLL(None).unshare(flags))
    except (ImportError, OSError, AttributeError):
        return -1


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH22x", b"lo", 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(sock, _GET_FLAGS, request), 16)
        fcntl.ioctl(sock, _SET_FLAGS, struct.pack("16sH22x", b"lo", flags | _UP))
