"""What the kernel lets this process do, taken away for good (Linux)."""

from __future__ import annotations

import os
import struct

_NO_NEW_PRIVILEGES = 38  # <linux/prctl.h>
_VERSION_3 = 0x20080522  # <linux/capability.h>


def drop() -> None:
    """No capability any more, and none by exec: root is then a user like others, of its own files.

    Raises OSError where that is refused.
    """
    import ctypes  # noqa: PLC0415 - few need it

    libc = ctypes.CDLL(None, use_errno=True)
    none = bytes(24)  # effective, permitted and inheritable, twice 32 bits of each
    header = struct.pack("Ii", _VERSION_3, 0)
    for done in (libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), libc.capset(header, none)):
        if done != 0:
            raise OSError(ctypes.get_errno(), "capabilities cannot be dropped")


def may_become(uid: int, gid: int) -> bool:
    """Whether this process may change its user, tried by a process that ends.

    A user namespace may know no other user, and a container may run without CAP_SETUID.
    """
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0
