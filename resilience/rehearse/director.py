"""``python -m resilience.rehearse.director PARENT``: plays the scenarios, in a process of its own.

The request comes as JSON on standard input, with the project's secrets; findings and progress leave
as JSON lines on standard output. Where the system allows it, this process has a network and a
process table of its own, so that what it starts reaches nothing else and ends with it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from resilience.audit import descendants
from resilience.rehearse.play import Run
from resilience.rehearse.request import Request
from resilience.simulation import isolation
from resilience.simulation.constrained import die_with

_STOP_WITHIN = 8.0  # seconds for everything to be taken down
_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
TERMINATED = 128 + signal.SIGTERM
_ENV = "RESILIENCE_REHEARSAL_NAMESPACE"  # "off": do without, for systems where it misbehaves


def main(parent: int) -> NoReturn:
    """Play what is asked for, and end with 0 whatever came of it; 143 when terminated."""
    die_with(parent, signal.SIGTERM)
    for number in _ENDS:
        signal.signal(number, _terminated)
    request = Request.of_json(json.load(sys.stdin))
    isolated = os.environ.get(_ENV) != "off" and isolation.works()
    if not isolated:
        descendants.keep()
        code = _play(request, isolated=False)
        descendants.end(os.getpid())
        os._exit(code)
    isolation.enter()
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)  # from here on there is one to pass it on to
    pid = isolation.fork_within()
    if pid == 0:
        os._exit(_play(request, isolated=True))
    os._exit(_wait(pid))


def _play(request: Request, *, isolated: bool) -> int:
    """All of it, in a folder that is there from its first step to its last."""
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDS)
        folder = Path(request.folder)
        folder.mkdir()
        folder.chmod(0o755)  # others may pass
        Run(request, _tell, isolated=isolated).play()
    except SystemExit:
        return TERMINATED
    except BaseException as error:  # noqa: BLE001 - whoever asked must hear of it
        _tell({"problem": f"{type(error).__name__}: {error}"})
        return 1
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
        shutil.rmtree(request.folder, ignore_errors=True)
        with suppress(OSError):
            sys.stdout.flush()
    return 0


def _wait(pid: int) -> int:
    """For the first process of the namespace; passes on that it shall end."""
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDS)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except SystemExit:
        os.kill(pid, signal.SIGTERM)
    ends = time.monotonic() + _STOP_WITHIN
    while time.monotonic() < ends:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return TERMINATED
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return TERMINATED


def _terminated(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - signal's
    """Unwind every block, once."""
    for each in _ENDS:
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit(TERMINATED)


def _tell(told: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
