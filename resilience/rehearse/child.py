"""``python -m resilience.rehearse.child PROGRAM ARG…``: the project on the stage, in this process.

What is to be done comes as a file that RESILIENCE_REHEARSAL names; it holds no secret. The order
matters: other files and bounds first, then eyes closed, then the project.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from importlib import import_module
from typing import Any

from resilience.rehearse import guard, substitutes
from resilience.simulation import ca_store, resolver
from resilience.simulation.constrained import Constraints, die_with
from resilience.simulation.mounts import View

VARIABLE = "RESILIENCE_REHEARSAL"


def main(arguments: list[str]) -> None:
    """Run a module as ``python -m`` would, or the survey."""
    with open(os.environ.pop(VARIABLE), encoding="utf-8") as file:  # noqa: PTH123
        orders: dict[str, Any] = json.load(file)
    events = os.open(orders["events"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    if orders["view"] is not None:
        View(**orders["view"]).enter()
    Constraints(**orders["constraints"]).apply()
    die_with(orders["parent"])
    note = guard.notes(events)
    substitutes.install(orders, note)
    if orders["hangs"]:
        resolver.hang()
    absent: tuple[str, ...] = ()
    if orders["blind"]:
        absent = ca_store.paths()
        ca_store.empty()
    guard.Guard(orders, note, absent).watch()
    program, *rest = arguments
    if program == "survey":
        from resilience.rehearse import survey  # noqa: PLC0415 - imports Django

        survey.main()
        return
    if program == "gunicorn":
        rest += _without_control_socket()
    sys.argv = [program, *rest]
    runpy.run_module(program, run_name="__main__", alter_sys=True)


def _without_control_socket() -> list[str]:
    """It would be a file in the user's home."""
    config: Any = import_module("gunicorn.config")
    known = any(each.name == "control_socket_disable" for each in config.KNOWN_SETTINGS)
    return ["--no-control-socket"] if known else []


if __name__ == "__main__":
    main(sys.argv[1:])
