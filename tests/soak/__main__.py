"""The long run: many operations of several processes through many outages.

    python -m tests.soak [--operations N] [--processes P] [--seed S] [--plain-close] [--no-journal]

Prints its seed and figures, progress on standard error. Ends with 1 if an overwritten value was
read, the contract was broken, or what a black hole had swallowed was delivered after it. With
--plain-close, connections that timed out are closed as every other: then it ends with 1 if nothing
was delivered late. With --no-journal it ends with 1 if nothing came back.
"""
# ruff: noqa: T201 - a script that prints figures

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.soak.crew import STYLES, Crew
from tests.soak.faults import EVERY_FAULT
from tests.soak.judge import Break, say
from tests.soak.scene import Scene
from tests.soak.server import Server
from tests.soak.watch import Watch

PER_OUTAGE = 9_000  # operations
RATES = (60, 1_000, 2_000)  # operations per second and process, if there is time for so many
HEALTHY, AWAY = (0.2, 0.8), (0.4, 1.6)  # seconds
SETTLE_EVERY = 6  # outages; between those that settle themselves
SWEEPS = 0.3  # of the other rounds end with every process reading every key
SWALLOWED = ("black hole", "partition", "flapping")  # what is sent then must never arrive
SHOWN = 5  # breaks of one round


def main() -> int:
    given = _arguments()
    seed = time.time_ns() % (1 << 32) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    began = time.monotonic()
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder,
        Server(Path(folder)) as server,
        Watch(server) as watch,
    ):
        styles = [STYLES[place % len(STYLES)] for place in range(given.processes)]
        crew = Crew(
            server,
            Path(folder),
            styles,
            journal=not given.no_journal,
            close_plainly=given.plain_close,
        )
        try:
            outages = _run(Scene(server, [crew]), watch, seed, given.operations)
        finally:
            crew.end()
    _report(crew, watch, outages, time.monotonic() - began)
    late = sum(watch.late[name] for name in SWALLOWED)
    if given.plain_close:
        return int(not late)
    if given.no_journal:
        return int(not crew.judge.resurrected)
    return int(bool(crew.judge.broken or late))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/soak", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--operations", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--plain-close", action="store_true")
    parser.add_argument("--no-journal", action="store_true")
    return parser.parse_args()


def _run(scene: Scene, watch: Watch, seed: int, operations: int) -> Counter[str]:
    """One outage after the other; how many of each fault."""
    chance = random.Random(seed)  # noqa: S311 - the same run again for the same seed
    outages: Counter[str] = Counter()
    wanted = max(len(EVERY_FAULT), operations // PER_OUTAGE)
    (crew,) = scene.crews
    for number, name in enumerate(_faults(chance), start=1):
        began = time.monotonic()
        scene.load(chance.randrange(1 << 32), chance.choice(RATES))
        scene.pause(chance.uniform(*HEALTHY))
        watch.fault = name
        with EVERY_FAULT[name](scene):
            scene.pause(chance.uniform(*AWAY))
        scene.recovered()
        outages[name] += 1
        is_last = number >= wanted and crew.judge.operations >= operations
        settles = is_last or number % SETTLE_EVERY == 0
        if settles:
            scene.settled()
        # Who has read every key knows nothing old any more that the next outage could bring up.
        (broken,) = scene.rest(sweeps=settles or chance.random() < SWEEPS)
        _progress(number, name, crew, broken, time.monotonic() - began)
        if is_last:
            return outages
    raise AssertionError("there is always another fault")


def _faults(chance: random.Random) -> Iterator[str]:
    """Every fault once in some order, and again."""
    while True:
        yield from chance.sample(list(EVERY_FAULT), len(EVERY_FAULT))


def _progress(number: int, name: str, crew: Crew, broken: list[Break], seconds: float) -> None:
    judge = crew.judge
    print(
        f"{number:4} {name:<14}{seconds:5.1f} s {judge.operations:>9} operations  "
        f"slowest {judge.slowest[0]:.3f} s  {judge.broken or ''}",
        file=sys.stderr,
        flush=True,
    )
    if broken and crew.journal:
        print(say(broken[:SHOWN]), file=sys.stderr, flush=True)


def _report(crew: Crew, watch: Watch, outages: Counter[str], seconds: float) -> None:
    judge = crew.judge
    slowest, what = judge.slowest
    each = ", ".join(f"{name} {count}" for name, count in sorted(outages.items()))
    late = ", ".join(f"{name} {count}" for name, count in sorted(watch.late.items()) if count)
    print(
        f"operations          {judge.operations} of {len(crew.processes)} processes "
        f"in {seconds:.0f} s\n"
        f"outages             {outages.total()}: {each}\n"
        f"resurrected keys    {len(judge.resurrected)}\n"
        f"breaks              {judge.broken or 0}\n"
        f"lost by Redis       {len(judge.lost)} values came back with old data or a replica\n"
        f"left by the dead    {len(judge.left)} values, overwritten by processes that were killed\n"
        f"slowest operation   {slowest:.3f} s, {what}\n"
        f"UNLINKs             {watch.unlinks}\n"
        f"SETs that came late {late or 0}"
    )


if __name__ == "__main__":
    sys.exit(main())
