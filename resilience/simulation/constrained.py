"""A process as a container platform runs one: no orphan, no root, bounded memory and files.

Everything here changes the calling process for good: it is called between fork and exec, or at the
very start of a process of one's own.
"""

from __future__ import annotations

import os
import pwd
import resource
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass

_SET_PARENT_DEATH_SIGNAL, _SET_DUMPABLE = 1, 4  # <linux/prctl.h>
_NOBODY = "nobody"


@dataclass(frozen=True)
class Constraints:
    """What a platform allows; None leaves a limit as it is.

    ``memory`` are bytes of address space, ``files`` open descriptors. ``uid`` and ``gid`` need
    root; ``powerless`` leaves it root and takes its capabilities away.
    """

    memory: int | None = None
    files: int | None = None
    uid: int | None = None
    gid: int | None = None
    powerless: bool = False

    def apply(self) -> None:
        """Constrain this process and all that it starts. Raises OSError for what is refused."""
        for kind, wanted in (
            (resource.RLIMIT_AS, self.memory),
            (resource.RLIMIT_NOFILE, self.files),
        ):
            if wanted is not None:
                hardest = resource.getrlimit(kind)[1]
                bound = wanted if hardest == resource.RLIM_INFINITY else min(wanted, hardest)
                resource.setrlimit(kind, (bound, bound))
        if self.gid is not None:
            os.setgroups([])
            os.setresgid(self.gid, self.gid, self.gid)
        if self.uid is not None:
            os.setresuid(self.uid, self.uid, self.uid)
            _control(_SET_DUMPABLE, 1)  # else what is in /proc/self would still be root's
        if self.powerless:
            from resilience.simulation import privileges  # noqa: PLC0415 - this file runs alone

            privileges.drop()


def nobody() -> tuple[int, int] | None:
    """Uid and gid of the user that owns nothing; None unless this process may become that user."""
    if os.geteuid() != 0:
        return None
    with suppress(KeyError):
        entry = pwd.getpwnam(_NOBODY)
        return entry.pw_uid, entry.pw_gid
    return None


def die_with(parent: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send this signal when ``parent``, our parent, ends in whatever way.

    Linux only, elsewhere nothing happens. To be called after the last change of user, which takes
    it back. Ends at once where the parent has ended already.
    """
    _control(_SET_PARENT_DEATH_SIGNAL, int(by))
    if os.getppid() != parent:
        os._exit(1)


def _control(option: int, value: int) -> None:
    with suppress(ImportError, OSError, AttributeError):
        import ctypes  # noqa: PLC0415 - where it is missing the process group is all there is

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def bound_to_parent(command: list[str]) -> list[str]:
    """The same command, by way of a small Python that makes it end with us."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - the command is the caller's own
