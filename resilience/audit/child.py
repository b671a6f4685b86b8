"""The traced import itself: ``main()`` of a process of its own, which ends with it.

It reads one JSON object on standard input, and writes one JSON line per import: what was read, set,
connected to and started, from which line, and whether the import worked. Names and places only,
never a value.

The project's package and settings are imported first, as at every real start, then each module in a
fork of its own. Nothing gets out: the network namespace is empty where the system allows one, and
an audit hook refuses connections, name servers, and (without that namespace) other programs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from importlib import import_module
from types import FrameType, TracebackType
from typing import Any, NoReturn

from resilience.audit.watch import (
    Recorder,
    frames,
    is_own,
    is_standard,
    isolate,
    watch_acts,
    watch_environment,
    watch_threads,
)

_LONGEST_IMPORT = 20.0  # s
_NAMING = (ImportError, NameError, AttributeError, SyntaxError)  # they quote names, not values
_SHORTEST = 4  # characters of a value that is masked


class Session:
    """The imports of one request, and the pipe to whoever asked."""

    def __init__(self, request: dict[str, Any], out: int) -> None:
        self._request = request
        self._out = out
        self._ends = time.monotonic() + request["seconds"]
        self._recorder = Recorder()
        self._module = ""
        self._before: set[str] = set()
        self._collecting: Any = None
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
        signal.signal(signal.SIGALRM, self._on_alarm)
        self._set_alarm()
        self._say(self._start())
        self._before = set(sys.modules)
        modules = [name for name in self._request["modules"] if name not in sys.modules]
        for name in modules:
            pid = os.fork()
            if pid == 0:
                self._recorder.forget()
                self._module = name
                self._set_alarm()
                self._say(self._import(name))
                os._exit(0)
            os.waitpid(pid, 0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)  # programs that the imports have left running

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
        left = min(self._ends - time.monotonic(), _LONGEST_IMPORT)
        signal.setitimer(signal.ITIMER_REAL, max(0.1, left))

    def _on_alarm(self, _: int, frame: FrameType | None) -> NoReturn:
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
        line = json.dumps(
            {
                "module": self._module,
                "failed": failed,
                "events": self._recorder.events,
                "files": self._own_files(),
                "held": self._held(),
                "isolated": self._isolated,
                "lazy": len(getattr(sys, "lazy_modules", ())),  # PEP 810
            }
        )
        data = memoryview(f"{line}\n".encode())
        while data:
            data = data[os.write(self._out, data) :]

    def _own_files(self) -> dict[str, str]:
        """The new modules that are nobody's package, with their files."""
        return {
            name: file
            for name, module in list(sys.modules.items())
            if name not in self._before
            and isinstance(file := _attributes(module).get("__file__"), str)
            and is_own(file)
        }

    def _held(self) -> list[tuple[str, str, str]]:
        """File, name and class of what module globals and class attributes hold of clients."""
        packages = self._request["packages"]
        found: list[tuple[str, str, str]] = []
        for name, file in self._own_files().items():
            for scope in _scopes(sys.modules[name], name):
                for key, value in scope.items():
                    kind = type(value)
                    module = str(getattr(kind, "__module__", ""))
                    if module.partition(".")[0] in packages:
                        found.append((file, str(key), f"{module}.{kind.__qualname__}"))
        return found


def _attributes(module: Any) -> dict[str, Any]:
    """Without asking the module itself: some import what they are asked for."""
    return dict(getattr(module, "__dict__", ()))


def _scopes(module: Any, name: str) -> list[dict[str, Any]]:
    own = _attributes(module)
    classes = [value for value in own.values() if isinstance(value, type)]
    return [own, *(dict(vars(one)) for one in classes if one.__module__ == name)]


def described(error: BaseException) -> dict[str, Any]:
    """An exception by class and places; its message only where it quotes names, and masked."""
    text = str(error) if isinstance(error, _NAMING) else ""
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
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno or 1))
    return {"type": type(error).__name__, "text": text, "frames": places[::-1]}


def main() -> None:
    request = json.load(sys.stdin)
    out = os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # what the modules print is not the answer, and may hold anything
        os.dup2(nowhere, stream)
    sys.argv[:] = ["auditimports"]
    Session(request, out).run()
    os._exit(0)
