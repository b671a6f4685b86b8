"""Watches an import from inside: the environment, threads, and whatever leaves the process.

Used by the child process alone: what is patched here stays patched. Little is imported, of the
standard library too: whatever is loaded here is not seen being loaded.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from types import FrameType, FunctionType
from typing import Any

from resilience.audit import hosts

_IN_FUNCTION = 0x1  # CO_OPTIMIZED: what the bodies of modules and classes lack
_STANDARD = f"{threading.__file__.rpartition(os.sep)[0]}{os.sep}"
_SITES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
# Between the environment and whoever reads it. Both are "<frozen …>" in a usual Python.
_BETWEEN = (
    f"{__file__.rpartition(os.sep)[0]}{os.sep}",
    f"{_STANDARD}os.py",
    f"{_STANDARD}_collections_abc.py",
)
_MOST_FRAMES = 300
_NETWORK = frozenset(
    "socket.connect socket.getaddrinfo socket.gethostbyname socket.gethostbyaddr "
    "socket.getnameinfo socket.sendto socket.sendmsg socket.bind".split()
)
_PROGRAMS = frozenset(
    "subprocess.Popen os.exec os.posix_spawn os.spawn os.system pty.spawn".split()
)
_THREADS = ("_thread.start_new_thread", "_thread.start_joinable_thread")
_LOGS = ("/dev/log", "/run/systemd", "/var/run/syslog")  # where logging goes, on this machine
_LONGEST_PAUSE = 0.01  # s, between tries to reach what is refused
_AF_UNIX = 1
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000

Body = tuple[str, int, str]


class Recorder:
    """What happened so far, each thing once, in order."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._known: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._quiet = threading.local()
        self.has_refused = False

    def forget(self) -> None:
        self.events, self._known, self.has_refused = [], {}, False

    def note(self, kind: str, name: str, *, is_set: bool | None = None) -> None:
        """Add what the calling frames do. Reads by the standard library itself are its own."""
        if getattr(self._quiet, "on", False):
            return
        self._quiet.on = True  # nothing done here is the project's
        try:
            self._note(kind, name, is_set)
        finally:
            self._quiet.on = False

    def _note(self, kind: str, name: str, is_set: bool | None) -> None:  # noqa: FBT001
        came = frames(sys._getframe(2))  # noqa: SLF001 - who reads is the whole point
        if kind == "read" and came and is_standard(came[0].f_code.co_filename):
            return
        reader = next((one for one in came if not is_standard(one.f_code.co_filename)), None)
        bodies = bodies_of(came)
        if not bodies:  # in a thread: who started it?
            thread = threading._active.get(threading.get_ident())  # type: ignore[attr-defined]  # noqa: SLF001
            bodies = getattr(thread, "resilience_bodies", [])
        if reader is not None:
            at = (reader.f_code.co_filename, reader.f_lineno or 1)
        elif bodies:
            at = bodies[0][:2]
        else:
            return
        key = (kind, name, is_set, at, tuple(bodies[:3]))
        if key in self._known:
            self._known[key]["count"] += 1
            return
        event = {
            "kind": kind,
            "name": name,
            "set": is_set,
            "at": at,
            "bodies": bodies,
            "cache": cache_among(came),
            "loaded": is_loaded(),
            "count": 1,
        }
        self._known[key] = event
        self.events.append(event)

    def silently(self, function: Any, *arguments: Any) -> Any:
        """A call whose reads are not the project's."""
        before, self._quiet.on = getattr(self._quiet, "on", False), True
        try:
            return function(*arguments)
        finally:
            self._quiet.on = before


def is_standard(filename: str) -> bool:
    return filename.startswith(_STANDARD) and not any(site in filename for site in _SITES)


def is_own(filename: str) -> bool:
    """Whether a file belongs to the project, or to this package."""
    return not is_standard(filename) and not any(site in filename for site in _SITES)


def frames(frame: FrameType | None) -> list[FrameType]:
    """From the inside out, without generated and frozen code and what only passes reads on."""
    found: list[FrameType] = []
    while frame is not None and len(found) < _MOST_FRAMES:
        if not frame.f_code.co_filename.startswith(("<", *_BETWEEN)):
            found.append(frame)
        frame = frame.f_back
    return found


def bodies_of(came: list[FrameType]) -> list[Body]:
    """The lines of module and class bodies among these frames, from the inside out."""
    return [
        (frame.f_code.co_filename, frame.f_lineno or 1, str(frame.f_globals.get("__name__", "")))
        for frame in came
        if not frame.f_code.co_flags & _IN_FUNCTION and not is_standard(frame.f_code.co_filename)
    ]


def cache_among(came: list[FrameType]) -> str:
    """The cached function that these frames are inside of, below the first module body."""
    for frame in came:
        if not frame.f_code.co_flags & _IN_FUNCTION:
            return ""
        name = frame.f_code.co_name
        held = frame.f_globals.get(name)
        # A proxy is not asked: it would be built.
        if hasattr(held if type(held) is FunctionType else type(held), "cache_clear"):
            return f"{frame.f_globals.get('__name__')}.{name}"
    return ""


def is_loaded() -> bool:
    """Whether ``env.load()`` has run in this process."""
    state = sys.modules.get("resilience.env.state")
    return state is not None and state.current().loaded


def watch_environment(recorder: Recorder) -> None:
    """Patch the class of ``os.environ``: whoever holds it already is seen too."""
    kind: Any = type(os.environ)
    get, put, each, default = kind.__getitem__, kind.__setitem__, kind.__iter__, kind.setdefault

    def __getitem__(self: Any, key: Any) -> Any:  # noqa: N807
        try:
            value = get(self, key)
        except KeyError:
            recorder.note("read", os.fsdecode(key), is_set=False)
            raise
        recorder.note("read", os.fsdecode(key), is_set=True)
        return value

    def __setitem__(self: Any, key: Any, value: Any) -> None:  # noqa: N807
        put(self, key, value)
        recorder.note("write", os.fsdecode(key))

    def __iter__(self: Any) -> Any:  # noqa: N807
        recorder.note("read", "*", is_set=True)
        return each(self)

    def setdefault(self: Any, key: Any, value: Any) -> Any:
        before = recorder.silently(self.__contains__, key)
        found = recorder.silently(default, self, key, value)
        if not before:
            recorder.note("write", os.fsdecode(key))
        return found

    kind.__getitem__, kind.__setitem__ = __getitem__, __setitem__
    kind.__iter__, kind.setdefault = __iter__, setdefault


def watch_threads(recorder: Recorder) -> None:
    """Patch ``Thread.start``: a thread remembers which import started it."""
    start = threading.Thread.start

    def started(self: threading.Thread) -> None:
        recorder.note("thread", f"{type(self).__module__}.{type(self).__qualname__}")
        self.resilience_bodies = bodies_of(frames(sys._getframe(1)))  # type: ignore[attr-defined]  # noqa: SLF001
        start(self)

    threading.Thread.start = started  # type: ignore[method-assign]


def watch_pauses(recorder: Recorder) -> None:
    """Patch ``time.sleep``: clients wait before they try a refused connection again and again."""
    sleep = time.sleep

    def shorter(seconds: Any, /) -> None:
        sleep(min(seconds, _LONGEST_PAUSE) if recorder.has_refused else seconds)

    time.sleep = shorter


def watch_acts(recorder: Recorder, *, isolated: bool) -> None:
    """Note and refuse what would reach another machine; ``isolated`` lets other programs run."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _NETWORK:
            _refuse_network(recorder, event, arguments)
        elif event in _THREADS:
            caller = sys._getframe(1).f_code.co_filename  # noqa: SLF001
            if caller != threading.__file__:  # else Thread.start has noted it
                recorder.note("thread", event)
        elif event in _PROGRAMS and not isolated:
            raise PermissionError(errno.EPERM, "no other program may run while imports are traced")

    sys.addaudithook(hook)


def _refuse_network(recorder: Recorder, event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.bind"):
        sock, address = arguments[0], arguments[1]
        if address is None:  # sendmsg of a connected socket: its connect was refused
            return
        if int(sock.family) == _AF_UNIX:
            path = os.fsdecode(address) if isinstance(address, str | bytes) else ""
            if event == "socket.bind" or path.startswith(_LOGS):
                return
            name = f"unix:{hosts.path(path)}"
        else:
            host, port = (*address, "", "")[:2] if isinstance(address, tuple) else (address, "")
            if event == "socket.bind" and host in ("127.0.0.1", "::1", "localhost") and not port:
                return  # urllib3 asks so whether there is IPv6
            name = hosts.shown(host, port)
        recorder.note("network", f"{event.removeprefix('socket.')} {name}")
        recorder.has_refused = True
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
    host, port = (*arguments, None)[:2] if event == "socket.getaddrinfo" else (arguments[0], None)
    shown = host.decode(errors="replace") if isinstance(host, bytes) else str(host or "")
    if _is_number(shown):
        return  # nobody is asked about an address
    name = f"{event.removeprefix('socket.')} {hosts.shown(shown, port or None)}"
    recorder.note("network", name)
    recorder.has_refused = True
    raise sys.modules["_socket"].gaierror(-3, "no name is resolved while imports are traced")


def _is_number(host: str) -> bool:
    module = sys.modules["_socket"]
    for family in (module.AF_INET, module.AF_INET6):
        try:
            module.inet_pton(family, host.partition("%")[0])
        except OSError:
            continue
        return True
    return not host


def isolate() -> bool:
    """Enter a network namespace of one's own that leads nowhere. False where that is refused."""
    try:
        import ctypes  # noqa: PLC0415 - where it is missing the hook still holds

        unshare = ctypes.CDLL(None).unshare
    except (ImportError, OSError, AttributeError):
        return False
    user, group = os.getuid(), os.getgid()
    if unshare(_NEW_NETWORK) == 0:
        return True
    if unshare(_NEW_USER | _NEW_NETWORK) != 0:
        return False
    for name, line in (("setgroups", "deny"), ("uid_map", user), ("gid_map", group)):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(line if isinstance(line, str) else f"{line} {line} 1")
    return True
