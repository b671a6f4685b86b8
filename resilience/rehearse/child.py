"""``python -m resilience.rehearse.child PROGRAM ARG…``: the project on the stage, in this process.

What is to be done comes as a file that RESILIENCE_REHEARSAL names; it holds no secret. The order
matters: other files and bounds first, then eyes closed, then the project.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback
from importlib import import_module
from typing import Any

from resilience.management import output
from resilience.rehearse import guard, substitutes
from resilience.rehearse.answers import Voice
from resilience.simulation import ca_store, resolver
from resilience.simulation.constrained import Constraints, die_with
from resilience.simulation.mounts import View

VARIABLE = "RESILIENCE_REHEARSAL"


def main(arguments: list[str]) -> None:
    """Run a module as ``python -m`` would, or the survey.

    A server ends as the project likes. What has to answer ends with its answer: no ``atexit``
    handler and no thread of the project's holds it.
    """
    with open(os.environ.pop(VARIABLE), encoding="utf-8") as file:  # noqa: PTH123
        orders: dict[str, Any] = json.load(file)
    events = os.open(orders["events"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    if orders["view"] is not None:
        View(**orders["view"]).enter()
    Constraints(**orders["constraints"]).apply()
    die_with(orders["parent"])
    note, voice = guard.notes(events), Voice(orders["answer"])
    substitutes.install(orders, note, voice.step)
    if orders["hangs"]:
        resolver.hang()
    absent: tuple[str, ...] = ()
    if orders["blind"]:
        absent = ca_store.paths()
        ca_store.empty()
    guard.Guard(orders, note, absent).watch()
    program, *rest = arguments
    if program == "gunicorn":
        rest += _without_control_socket()
    sys.argv = [program, *rest]
    if orders["serves"]:
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        output.leave(_answered(program, voice))


def _answered(program: str, voice: Voice) -> int:
    """Run what says something and ends; its exit status."""
    ours: Any = output
    ours.write = voice.report
    voice.watch_exit()
    try:
        if program == "survey":
            from resilience.rehearse import survey  # noqa: PLC0415 - imports Django

            voice.say(survey.taken())
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
            voice.say("")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    except BaseException:  # noqa: BLE001 - whatever the project raises
        traceback.print_exc()
        return 1
    return 0


def _without_control_socket() -> list[str]:
    """It would be a file in the user's home."""
    config: Any = import_module("gunicorn.config")
    known = any(each.name == "control_socket_disable" for each in config.KNOWN_SETTINGS)
    return ["--no-control-socket"] if known else []


if __name__ == "__main__":
    main(sys.argv[1:])
