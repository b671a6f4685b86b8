"""The traced import itself: ``main()`` of a process of its own, which ends with it.

It reads one JSON object on standard input, and writes two JSON lines per import: that it begins;
and what was read, set, connected to and started, from which line, and whether the import worked.
A last line says if there was no time for all.
Names and places only, never a value.

The process itself imports nothing of the project's; it ends what is left behind. In a fork of it
the project's package and settings are imported first, as at every real start, then each module in a
fork of that. Nothing gets out: the network namespace is empty where the system allows one, and
an audit hook refuses connections, name servers, and (without that namespace) other programs.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from types import FrameType, FunctionType, TracebackType
from typing import Any, NoReturn

from resilience.audit import descendants
from resilience.audit.watch import (
    Recorder,
    frames,
    is_own,
    is_standard,
    isolate,
    watch_acts,
    watch_environment,
    watch_pauses,
    watch_threads,
)

_LONGEST_IMPORT = 20.0  # s
_FAIR = 0.25  # of all the time: what an import has had when it is said not to end
_NAMING = (ImportError, NameError, AttributeError, SyntaxError)  # they quote names, not values
_HIGHEST = 65536  # descriptors
_SHORTEST = 4  # characters of a value that is masked
_PRETENDING = ("mock", "fake", "stub", "dummy")


class Session:
    """The imports of one request, and the pipe to whoever asked."""

    def __init__(self, request: dict[str, Any], out: int) -> None:
        self._request = request
        self._out = out
        self._pipe = _identity(out)
        self._ends = time.monotonic() + request["seconds"]
        self._began = 0.0
        self._recorder = Recorder()
        self._module = ""
        self._before: set[str] = set()
        self._collecting: Any = None
        self._adopted = tuple(request["adopted"])
        self._isolated = request["isolate"] and isolate()

    def run(self) -> None:
        """The start of the project in this process, then each module in a fork."""
        sys.path[:] = self._request["path"]
        if self._request["start"]:
            # A variable that is missing here is the environment's finding, not the end of ours.
            self._collecting = import_module("resilience.env").collecting()
            self._collecting.__enter__()
        watch_environment(self._recorder)
        watch_threads(self._recorder)
        watch_acts(self._recorder, isolated=self._isolated)
        watch_pauses(self._recorder)
        signal.signal(signal.SIGALRM, self._on_alarm)
        self._set_alarm()
        if self._request["start"]:
            self._send({"begins": self._request["start"][-1]})
        self._say(self._start())
        self._before = set(sys.modules)
        there = self._there()
        for name in (name for name in self._request["modules"] if name not in there):
            if time.monotonic() >= self._ends:
                self._send({"late": True})
                return
            pid = os.fork()
            if pid == 0:
                self._recorder.forget()
                self._module = name
                self._send({"begins": name})
                self._set_alarm()
                self._say(self._import(name))
                os._exit(0)
            os.waitpid(pid, 0)

    def _start(self) -> BaseException | None:
        for name in self._request["start"]:
            error = self._import(name)
            if error is not None:
                return error
        return self._set_up() if self._request["setup"] else None

    def _set_up(self) -> BaseException | None:
        try:
            import_module("django").setup()
        except BaseException as error:  # noqa: BLE001 - as below
            return error
        return None

    def _import(self, name: str) -> BaseException | None:
        try:
            import_module(name)
        except BaseException as error:  # noqa: BLE001 - a module may raise anything, SystemExit too
            return error
        return None

    def _set_alarm(self) -> None:
        self._began = time.monotonic()
        left = min(self._ends - self._began, _LONGEST_IMPORT)
        signal.setitimer(signal.ITIMER_REAL, max(0.1, left))

    def _on_alarm(self, _: int, frame: FrameType | None) -> NoReturn:
        fair = min(_FAIR * self._request["seconds"], _LONGEST_IMPORT - 1)
        if self._module and time.monotonic() - self._began < fair:
            os._exit(0)  # it was the last one, and is not to blame for the others
        places = [
            (each.f_code.co_filename, each.f_lineno or 1)
            for each in frames(frame)
            if not is_standard(each.f_code.co_filename)
        ]
        self._write({"type": "", "text": "", "frames": places})
        os._exit(0)

    def _say(self, error: BaseException | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._write(None if error is None else described(error))

    def _write(self, failed: dict[str, Any] | None) -> None:
        self._send(
            {
                "module": self._module,
                "failed": failed,
                "events": self._recorder.events,
                "files": self._own_files(),
                "held": self._held(),
                "isolated": self._isolated,
                "lazy": len(getattr(sys, "lazy_modules", ())),  # PEP 810
                "there": [] if self._module else self._there(),
            }
        )

    def _send(self, answer: dict[str, Any]) -> None:
        data = memoryview(f"{json.dumps(answer)}\n".encode())
        while data:
            if _identity(self._out) != self._pipe:
                os._exit(1)  # closed by a module, and perhaps a file of the user's by now
            data = data[os.write(self._out, data) :]

    def _there(self) -> list[str]:
        """What was asked for and is imported, by the start or by ourselves."""
        return [name for name in self._request["modules"] if name in sys.modules]

    def _own_files(self) -> dict[str, str]:
        """The new modules that are nobody's package, with their files."""
        new = [name for name in list(sys.modules) if name not in self._before]
        files: dict[str, Any] = {
            name: _attributes(sys.modules.get(name)).get("__file__") for name in new
        }
        return {
            name: file
            for name, file in files.items()
            if _is_a(file, str) and (is_own(file) or file.startswith(self._adopted))
        }

    def _held(self) -> list[tuple[str, str, str]]:
        """File, name and class of what module globals and class attributes hold of clients.

        Of the module itself also what may stand in for a failed import.
        """
        found: list[tuple[str, str, str]] = []
        for name, file in self._own_files().items():
            # Classes may answer for themselves: what one module holds is not worth the report.
            with contextlib.suppress(Exception):
                found += [(file, key, kind) for key, kind in self._held_by(name)]
        return found

    def _held_by(self, name: str) -> Iterator[tuple[str, str]]:
        own = _attributes(sys.modules[name])
        for scope in _scopes(own, name):
            for key, value in scope.items():
                module, kind = _kind(type(value))
                if module.partition(".")[0] in self._request["packages"]:
                    yield str(key), kind
        if self._module in ("", name):
            yield from _pretenders(own, name)


def _attributes(module: Any) -> dict[str, Any]:
    """Without asking the module itself: some import what they are asked for."""
    try:
        return dict(object.__getattribute__(module, "__dict__"))
    except Exception:  # noqa: BLE001 - anything may stand in sys.modules
        return {}


def _is_a(value: Any, *kinds: type) -> bool:
    """As isinstance, which asks the ``__class__`` of a proxy: that builds what it stands for."""
    return issubclass(type(value), kinds)


def _kind(value: Any) -> tuple[str, str]:
    """The module of a class or function, and its dotted name."""
    try:
        module, name = value.__module__, value.__qualname__
    except Exception:  # noqa: BLE001 - a metaclass may answer for its classes
        return "", ""
    return (module, f"{module}.{name}") if type(module) is str else ("", "")


def _pretenders(own: dict[str, Any], name: str) -> Iterator[tuple[str, str]]:
    """Names of a module for its own classes, functions and objects, and for mocks."""
    for key, value in own.items():
        itself = _is_a(value, type, FunctionType)
        module, kind = _kind(value if itself else type(value))
        if module == name or any(word in kind.lower() for word in _PRETENDING):
            yield str(key), kind


def _scopes(own: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """What a module holds, then what each class of it does."""
    yield own
    for value in own.values():
        if _is_a(value, type) and _kind(value)[0] == name:
            yield _attributes(value)


def described(error: BaseException) -> dict[str, Any]:
    """An exception by class and places; its message only where it quotes names, and masked."""
    text = str(error) if isinstance(error, _NAMING) else ""
    if isinstance(error, SyntaxError):
        text = str(error.msg or "")  # str() adds the name of the file
    for value in list(os.environ._data.values()):  # type: ignore[attr-defined]  # noqa: SLF001 - unseen
        shown = os.fsdecode(value)
        if len(shown) >= _SHORTEST:
            text = text.replace(shown, "***")
    places, trace = [], error.__traceback__
    while isinstance(trace, TracebackType):
        filename = trace.tb_frame.f_code.co_filename
        if not filename.startswith(("<", __file__)) and not is_standard(filename):
            places.append((filename, trace.tb_lineno or 1))
        trace = trace.tb_next
    named = error.filename if isinstance(error, SyntaxError) else None
    # Whoever parses a text names it as he likes: by what is in it, for example.
    if isinstance(error, SyntaxError) and type(named) is str and os.path.isfile(named):  # noqa: PTH113
        places.append((named, error.lineno or 1))
    return {"type": type(error).__name__, "text": text, "frames": places[::-1]}


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _out_of_the_way(descriptor: int) -> int:
    """A copy with a high number: modules that close descriptors close the low ones."""
    highest = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    highest = _HIGHEST if highest == resource.RLIM_INFINITY else min(highest, _HIGHEST)
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, max(3, highest - 16))


def main() -> None:
    """Keep a process that imports, and end all that it leaves behind."""
    request = json.load(sys.stdin)
    out = _out_of_the_way(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # what the modules print is not the answer, and may hold anything
        os.dup2(nowhere, stream)
    descendants.keep()
    pid = os.fork()
    if pid == 0:
        sys.argv[:] = ["auditimports"]
        Session(request, out).run()
        os._exit(0)
    os.close(out)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    descendants.end(os.getpid())
    os._exit(0)
