"""Closes objects within bounds, whatever they do, and finds the ends of a process to do it at."""

from __future__ import annotations

import asyncio
import atexit
import inspect
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from resilience import redact
from resilience.components.building import find
from resilience.components.spec import Spec

CLOSE_ONE = 2.0  # seconds for one object
CLOSE_ALL = 5.0  # seconds for all of a process; platforms kill after 10 s or more

logger = logging.getLogger("resilience.components")


def close_all(objects: Iterable[tuple[Spec, object]]) -> None:
    """Close these in their order, each within CLOSE_ONE and all of them within CLOSE_ALL."""
    ends = time.monotonic() + CLOSE_ALL
    for spec, made in objects:
        close(spec, made, min(CLOSE_ONE, max(0.0, ends - time.monotonic())))


def close(spec: Spec, made: object, seconds: float) -> bool:
    """Close one object as its CLOSE says, for at most ``seconds``. False if that did not work.

    In a thread of its own, which is left behind if it hangs. What goes wrong is a log line: the
    process ends anyway.
    """
    if not spec.close:
        return True
    ended: list[str] = []

    def work() -> None:
        try:
            _call(spec, made)
        except BaseException as error:  # noqa: BLE001 - SystemExit in a thread is an error as well
            ended.append(redact.exception(error))
        else:
            ended.append("")

    thread = threading.Thread(target=work, name=f"resilience-close-{spec.name}", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no thread left, or Python 3.12.0 and 3.12.1, which start none at exit
        work()
    else:
        thread.join(seconds)
    said = ended[0] if ended else f"it did not end within {seconds:.1f} s"
    if said:
        logger.warning("component %s was not closed: %s", spec.name, said)
    return not said


def at_the_end(close_all: Callable[[], object]) -> None:
    """Have ``close_all`` called when this process ends, or stops being a Celery worker.

    Celery is only looked for where it has been imported already: in a worker it always has.
    """
    atexit.register(close_all)
    if "celery" not in sys.modules:
        return

    def stop(**_: Any) -> None:
        close_all()

    signals = import_module("celery.signals")
    for name in ("worker_process_shutdown", "worker_shutdown"):
        getattr(signals, name).connect(stop, weak=False, dispatch_uid=f"resilience.{name}")


def _call(spec: Spec, made: object) -> None:
    by_path = "." in spec.close
    result = find(spec.close)(made) if by_path else getattr(made, spec.close)()
    if inspect.isawaitable(result):
        asyncio.run(_awaited(result))


async def _awaited(result: Any) -> None:
    await result
