"""Processes on one database, each driven over a pipe, and the judge of what they read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from resilience.cache.journal import AGAIN_AFTER, LIMIT
from tests.soak.judge import Break, Judge
from tests.soak.process import Process
from tests.soak.server import Server
from tests.soak.steps import OWN, STRICT, Record, Step, keys_of

OPERATION_TIMEOUT = 0.25  # seconds
MAX_STALE = 1.0  # seconds, small so that it ends within an outage


class Style(NamedTuple):
    """How a process uses its caches; with two aliases on one store it uses both alike."""

    asynchronous: bool = False
    threads: int = 1
    aliases: Sequence[str] = ("default",)


# Place by place; beyond, from the beginning again.
STYLES = (
    Style(threads=2, aliases=("default", "second")),
    Style(asynchronous=True),
    Style(),
    Style(threads=3),
    Style(asynchronous=True, aliases=("default", "second")),
)


class Crew:
    """So many processes, each by a way of its own to the server.

    ``journal`` False is the twin: nothing is journaled. ``close_plainly`` is the other one: a
    connection that timed out is closed as every other. ``again_after`` are the seconds until the
    second UNLINKs, ``limit`` is how many keys a journal keeps one by one.
    """

    def __init__(
        self,
        server: Server,
        directory: Path,
        styles: Sequence[Style] = STYLES[:4],
        *,
        database: int = 0,
        journal: bool = True,
        close_plainly: bool = False,
        again_after: float = AGAIN_AFTER,
        limit: int = LIMIT,
    ) -> None:
        self.journal = journal
        self.families = keys_of(len(styles))
        self.keys = [key for family in self.families.values() for key in family]
        self.judge = Judge(MAX_STALE, self.keys)
        self._given = {
            "journal": journal,
            "close_plainly": close_plainly,
            "again_after": again_after,
            "limit": limit,
        }
        self._directory, self._database = directory, database
        self._server, self._styles = server, list(styles)
        self.proxies = [server.proxy() for _ in styles]
        self._lives = [0] * len(styles)
        self._load: tuple[int, float] | None = None
        self.processes = [self._begin(slot) for slot in range(len(styles))]
        try:
            for process in self.processes:
                process.ready()
        except RuntimeError:
            self.end()
            raise

    def end(self) -> None:
        for process in self.processes:
            process.end()

    def _begin(self, slot: int) -> Process:
        style, name = self._styles[slot], f"{self._database}.{slot}.{self._lives[slot]}"
        config = {
            "name": name,
            "slot": slot,
            "families": self.families,
            **self._given,
            "asynchronous": style.asynchronous,
            "threads": style.threads,
            "caches": {
                alias: _cache(self._server.url(self.proxies[slot], self._database))
                for alias in style.aliases
            },
        }
        return Process(config, self._directory / f"{name}.log")

    # ── under load ──────────────────────────────────────────────────────────────────────────────

    def load(self, seed: int, rate: float) -> None:
        """Write every key that stays, then begin with steps of chance, so many per second each."""
        for slot, process in enumerate(self.processes):
            shared = ("all", "pattern") if slot == 0 else ()
            families = [*(f"{family}.{slot}" for family in OWN), *shared]
            process.ask("fill", keys=[key for name in families for key in self.families[name]])
        self._load = seed, rate
        self._all("load", seed=seed, rate=rate)

    def rest(self, *, sweeps: bool = True) -> list[Break]:
        """End that and read every key, if wanted; what was forbidden since the last time."""
        self._load = None
        self._all("rest")
        if sweeps:
            self.sweep()
        return self.judged()

    def sweep(self) -> None:
        """Have every process read every key that holds a value of somebody's."""
        counted = {*self.families["count"], *self.families["lock"]}
        self._all("sweep", keys=[key for key in self.keys if key not in counted])

    def judged(self) -> list[Break]:
        """What was forbidden, when nothing is under way."""
        for process in self.processes:
            self.judge.take(process.name, process.taken())
        return self.judge.judge()

    def kill(self, slot: int) -> None:
        """End a process in the middle of what it does, and begin another one in its place."""
        old = self.processes[slot]
        old.kill()
        self.judge.take(old.name, old.taken())
        self.judge.die(old.name)
        self._lives[slot] += 1
        self.processes[slot] = self._begin(slot)
        self.processes[slot].ready()
        if self._load is not None:
            seed, rate = self._load
            self.processes[slot].ask("load", seed=seed + self._lives[slot], rate=rate)

    # ── step by step ────────────────────────────────────────────────────────────────────────────

    def do(self, slot: int, step: Step) -> Record:
        return self.done(slot, self.begin(slot, step))

    def begin(self, slot: int, step: Step) -> int:
        """Have a step begun; give the number to done()."""
        return self.processes[slot].tell("step", step=step)

    def done(self, slot: int, number: int) -> Record:
        process = self.processes[slot]
        record = Record(*process.wait(number))
        self.judge.take(process.name, [record])
        return record

    # ── how they do ─────────────────────────────────────────────────────────────────────────────

    def status(self) -> list[dict[str, Any]]:
        """Of every alias of every process."""
        return [each for found in self._all("status") for each in found.values()]

    def recovered(self) -> bool:
        """Whether every circuit is closed."""
        return all(
            each[role]["state"] == "closed" for each in self.status() for role in ("read", "write")
        )

    def empty(self, *, again: bool = True) -> bool:
        """Whether every journal is; ``again``: the second UNLINKs are done, too."""
        kinds = ("keys", "patterns", "again") if again else ("keys", "patterns")
        return not any(each["journal"].get(kind) for each in self.status() for kind in kinds)

    def reset(self) -> None:
        """Begin anew, as new processes on an empty Redis."""
        self._all("reset")
        self.judged()
        self.judge = Judge(MAX_STALE, self.keys)

    def _all(self, command: str, **given: Any) -> list[Any]:
        told = [(process, process.tell(command, **given)) for process in self.processes]
        return [process.wait(number) for process, number in told]


def _cache(location: str) -> dict[str, Any]:
    resilience = {
        "OPERATION_TIMEOUT": OPERATION_TIMEOUT,
        "BULK_TIMEOUT": 2 * OPERATION_TIMEOUT,
        "CONNECT_TIMEOUT": 0.5,
        "MAX_STALE": MAX_STALE,
        "STRICT": [STRICT],
    }
    return {
        "BACKEND": "resilience.cache.ResilientCache",
        "LOCATION": location,
        "KEY_PREFIX": "soak",
        "OPTIONS": {"RESILIENCE": resilience},
    }
