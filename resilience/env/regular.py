"""Reading a file that somebody named: what waits for a writer or has no end is none."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

LARGEST = 16 * 1024 * 1024  # bytes; a bundle of every authority there is has 1 % of it
_CHUNK = 1024 * 1024
# A kernel's log has the mode of a regular file and waits for its next line.
_AT_ONCE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def read(path: str | os.PathLike[str]) -> bytes:
    """The content of a regular file of at most 16 MiB, without ever waiting.

    Raises OSError for anything else (a directory, a FIFO, a device) and for what cannot be read,
    ValueError for a path that no file can have.
    """
    mode = Path(path).stat().st_mode  # before it is opened: to open some devices is to use them
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file")
    handle = os.open(path, _AT_ONCE)
    try:
        content = bytearray()
        while part := os.read(handle, _CHUNK):
            content += part
            if len(content) > LARGEST:
                raise OSError(errno.EFBIG, f"larger than {LARGEST // _CHUNK} MiB")
    finally:
        os.close(handle)
    return bytes(content)
