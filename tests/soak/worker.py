"""A process that does steps on its caches and tells what came of them.

    python -m tests.soak.worker

Started by ``crew``. Lines of JSON come in, the first a configuration and each other one a command,
and go out: the answer to a command with its number, or records of steps done under load. Ends with
its input.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import struct
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import django
from django.conf import settings
from django.core.cache import caches

from resilience.cache import connection, journal, state
from resilience.cache.journal import Journal
from tests.soak.doing import Doer
from tests.soak.steps import Record, Step, choose

TELL_EVERY = 0.04  # seconds
TASKS = 3  # at once in an event loop


class Worker:
    """``config``: ``name``, ``slot``, ``caches``, ``families``, ``threads``, ``asynchronous``."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._aliases = list(config["caches"])
        self._doer = Doer(config["name"])
        self._lock = threading.Lock()
        self._records: deque[Record] = deque()
        self._resting = threading.Event()
        self._load: list[threading.Thread] = []
        self._local = threading.local()
        self._failed = ""

    # ── load ────────────────────────────────────────────────────────────────────────────────────

    def load(self, *, seed: int, rate: float) -> None:
        """Begin to do steps of chance, so many per second."""
        self._resting.clear()
        lanes = TASKS if self._config["asynchronous"] else self._config["threads"]
        chances = [random.Random(f"{seed}:{lane}") for lane in range(lanes)]  # noqa: S311
        pause = lanes / rate
        if self._config["asynchronous"]:
            jobs: list[Callable[[], None]] = [lambda: asyncio.run(self._tasks(chances, pause))]
        else:
            jobs = [lambda each=each: self._lane(each, pause) for each in chances]  # type: ignore[misc]
        jobs.append(self._tell)
        self._load = [threading.Thread(target=self._try, args=(job,), daemon=True) for job in jobs]
        for thread in self._load:
            thread.start()

    def rest(self) -> None:
        """End that, after the steps under way; every record has been told then.

        Raises RuntimeError if one of the threads had ended by itself.
        """
        self._resting.set()
        for thread in self._load:
            thread.join()
        self._load = []
        self._tell_now()
        if self._failed:
            raise RuntimeError(self._failed)

    def _try(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception:  # noqa: BLE001 - told at the next rest
            self._failed = traceback.format_exc()

    def _lane(self, chance: random.Random, pause: float) -> None:
        for step in self._steps(chance):
            self._records.append(self._doer.do(step))
            self._resting.wait(self._due(pause))

    async def _tasks(self, chances: list[random.Random], pause: float) -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(TASKS))
        await asyncio.gather(*(self._task(chance, pause) for chance in chances))

    async def _task(self, chance: random.Random, pause: float) -> None:
        for step in self._steps(chance):
            began = time.monotonic()
            self._records.append(await self._doer.ado(step))
            await asyncio.sleep(max(0.0, began + pause - time.monotonic()))

    def _steps(self, chance: random.Random) -> Iterator[Step]:
        while not self._resting.is_set():
            yield choose(chance, self._config["slot"], self._config["families"], self._aliases)

    def _due(self, pause: float) -> float:
        """Seconds until this thread's next step; it does not catch up on much."""
        now = time.monotonic()
        due = max(getattr(self._local, "due", now) + pause, now - 5 * pause)
        self._local.due = due
        return max(0.0, due - now)

    def _tell(self) -> None:
        while not self._resting.wait(TELL_EVERY):
            self._tell_now()

    def _tell_now(self) -> None:
        records = [self._records.popleft() for _ in range(len(self._records))]
        if records:
            self.say(records)

    # ── commands ────────────────────────────────────────────────────────────────────────────────

    def status(self) -> dict[str, Any]:
        return {alias: state.status(alias) for alias in self._aliases}

    def step(self, *, step: list[Any]) -> Record:
        made = Step(*step)
        if self._config["asynchronous"]:
            return asyncio.run(self._doer.ado(made))
        return self._doer.do(made)

    def fill(self, *, keys: list[str]) -> None:
        """Write every key once."""
        self._records.append(self._doer.do(Step("set_many", keys)))
        self._tell_now()

    def sweep(self, *, keys: list[str]) -> None:
        """Read every key once, as load does."""
        for number, key in enumerate(keys):
            alias = self._aliases[number % len(self._aliases)]
            self._records.append(self._doer.do(Step("get", [key], alias=alias)))
        self._tell_now()

    def reset(self) -> None:
        """Forget every value, circuit and mask, as a process that has just begun."""
        state.reset()
        for alias in self._aliases:
            with suppress(AttributeError):
                del caches[alias]

    def say(self, what: Any) -> None:
        line = json.dumps(what) + "\n"
        with self._lock:
            sys.stdout.write(line)
            sys.stdout.flush()

    def serve(self) -> None:
        for line in sys.stdin:
            command = json.loads(line)
            number, name = command.pop("number"), command.pop("command")
            try:
                answer = {"number": number, "answer": getattr(self, name)(**command)}
            except Exception:  # noqa: BLE001 - told to whoever gave the command
                answer = {"number": number, "error": traceback.format_exc()}
            self.say(answer)


def main() -> None:
    config = json.loads(sys.stdin.readline())
    logging.getLogger("resilience").addHandler(logging.NullHandler())
    logging.getLogger("resilience").propagate = False
    if config["close_plainly"]:
        connection.LINGER_NONE = struct.pack("ii", 0, 0)
    Journal.enabled = config["journal"]
    journal.AGAIN_AFTER, journal.LIMIT = config["again_after"], config["limit"]
    settings.configure(SECRET_KEY="soak", CACHES=config["caches"], USE_TZ=True)
    django.setup()
    worker = Worker(config)
    for alias in config["caches"]:
        caches[alias]
    worker.say("ready")
    worker.serve()


if __name__ == "__main__":
    main()
