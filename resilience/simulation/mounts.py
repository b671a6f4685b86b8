"""Other files at well-known places, for this process and what it starts alone (Linux).

A mount namespace: whatever language a library is written in, it sees them. The machine does not,
and nothing is left when the last process of the namespace ends.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from resilience.simulation import isolation, privileges

_NEW_FILES, _NEW_USER = 0x00020000, 0x10000000
_NO_SET_UID, _NO_DEVICES, _BIND, _DEEP, _PRIVATE = 2, 4, 4096, 16384, 1 << 18
_FOLDER = b"mode=755,size=64k"


@dataclass(frozen=True)
class View:
    """What is to be seen. Paths that do not exist are passed over.

    ``opened``     folders that every user can reach: of a closed folder above them, which only its
                   owner may enter, nothing but them is left
    ``emptied``    folders with nothing in them, and files that are there no more
    ``replaced``   file or folder → what is seen in its place
    """

    opened: tuple[str, ...] = ()
    emptied: tuple[str, ...] = ()
    replaced: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def enter(self) -> None:
        """From now on, for the life of this process. Raises OSError where that is refused.

        The process must have one thread. It has no more rights afterwards than before.
        """
        here = Path.cwd()
        gained = _unshare()
        _mount(None, "/", _DEEP | _PRIVATE)
        _open(self.opened)
        # All are looked up before the first is covered: some lie within others.
        held = [(target, os.open(source, os.O_PATH)) for target, source in self.replaced.items()]
        for path in dict.fromkeys(map(os.path.realpath, self.emptied)):
            if Path(path).is_dir():
                _mount("tmpfs", path, _NO_SET_UID | _NO_DEVICES, b"tmpfs", _FOLDER)
            elif Path(path).exists():
                _mount("/dev/null", path, _BIND)
        for target, handle in held:
            if Path(target).exists():
                _mount(f"/proc/self/fd/{handle}", target, _BIND | _DEEP)
            os.close(handle)
        os.chdir(here)
        if gained:
            privileges.drop()

    def works(self) -> bool:
        """Whether ``enter()`` would succeed, tried by a process that ends."""
        pid = os.fork()
        if pid == 0:
            code = 1
            with suppress(OSError, AttributeError):
                self.enter()
                code = 0
            os._exit(code)
        return os.waitpid(pid, 0)[1] == 0


def closed(path: str) -> str:
    """The topmost folder above a path that only its owner may pass, links followed; or nothing."""
    with suppress(FileNotFoundError, NotADirectoryError):
        parents = reversed(Path(path).resolve(strict=True).parents)
        return next((str(each) for each in parents if not each.stat().st_mode & stat.S_IXOTH), "")
    return ""


def is_readable(path: str) -> bool:
    """Whether everybody may read it, once it is reached; what is not there counts."""
    with suppress(FileNotFoundError, NotADirectoryError):
        mode = Path(path).stat().st_mode
        wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
        return mode & wanted == wanted
    return True


def _unshare() -> bool:
    """Have mounts of one's own; whether that took a new user namespace, with new rights."""
    import ctypes  # noqa: PLC0415 - where it is missing there are no namespaces either

    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0 and libc.unshare(_NEW_FILES) == 0:
        return False
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_NEW_USER | _NEW_FILES) != 0:
        raise OSError(ctypes.get_errno(), "this system allows no mounts of one's own")
    isolation.map_user(user, group)
    return True


def _open(paths: Iterable[str]) -> None:
    wanted = {path: os.path.realpath(path) for path in paths if os.path.exists(path)}  # noqa: PTH110
    hiding = {real: closed(real) for real in wanted.values()}
    kept = {real: os.open(real, os.O_PATH) for real in sorted(hiding) if hiding[real]}
    mask = os.umask(0o022)
    for folder in sorted(set(filter(None, hiding.values()))):
        _mount("tmpfs", folder, _NO_SET_UID | _NO_DEVICES, b"tmpfs", b"mode=755")
    for real, handle in kept.items():
        if not os.path.lexists(real):  # else it lies in one that is here already
            target = Path(real)
            if stat.S_ISDIR(os.fstat(handle).st_mode):
                target.mkdir(parents=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.touch()
            _mount(f"/proc/self/fd/{handle}", real, _BIND | _DEEP)
        os.close(handle)
    for path, real in wanted.items():
        if not os.path.lexists(path):  # it went by a link, which is covered
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).symlink_to(real)
    os.umask(mask)


def _mount(
    source: str | None,
    target: str,
    flags: int,
    kind: bytes | None = None,
    data: bytes | None = None,
) -> None:
    import ctypes  # noqa: PLC0415 - as above

    libc = ctypes.CDLL(None, use_errno=True)
    what = None if source is None else os.fsencode(source)
    if libc.mount(what, os.fsencode(target), kind, ctypes.c_ulong(flags), data) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)
