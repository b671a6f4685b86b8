"""Ends every process that a traced import has left behind, those in sessions of their own too.

Linux only: elsewhere nothing is found, and only the process group is ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
_STEP = 0.01  # s


def keep() -> None:
    """Let descendants whose parent ends become children of this process, not of init."""
    try:
        import ctypes  # noqa: PLC0415 - where it is missing the process group is all there is

        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        return


def end(process: int, seconds: float = 2.0) -> bool:
    """Kill what ``process`` has started, directly or not, and not itself. Whether all has ended.

    What it has started meanwhile is killed too. Children of this process are waited for.
    """
    ends = time.monotonic() + seconds
    while alive := _below(process):
        if time.monotonic() > ends:
            return False
        for each in alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(each, signal.SIGKILL)
        time.sleep(_STEP)
        if process == os.getpid():
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
    return True


def _below(process: int) -> list[int]:
    """The descendants that still run."""
    children: dict[int, list[int]] = {}
    ended = set()
    with contextlib.suppress(OSError):
        for entry in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - names
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:  # noqa: PTH123
                    state, parent = file.read().rpartition(b")")[2].split()[:2]
            except (OSError, ValueError):  # it has just ended
                continue
            children.setdefault(int(parent), []).append(int(entry))
            if state in (b"Z", b"X"):
                ended.add(int(entry))
    found = [process]
    for each in found:
        found += children.get(each, [])
    return [each for each in found[1:] if each not in ended]
