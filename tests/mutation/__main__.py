"""Mutation testing: how many small faults in a module do its own tests notice?

    python -m tests.mutation [--jobs N] [MODULE …]

Prints every mutant that its tests let pass, and a table. Ends with 1 if a module is below 90 %.
"""
# ruff: noqa: T201 - a script that prints figures

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.mutation.mutants import mutants
from tests.mutation.runner import PASSED, Mutated, Run, prepare, run_all
from tests.mutation.targets import HARMLESS, MODULES, Target, is_harmless

ENOUGH = 90.0  # percent
WITHOUT = 180.0  # seconds at most that the tests of a file take as it is
COLUMNS = ("mutants", "killed", "timeout", "survived", "harmless")


def main() -> int:
    given = _arguments()
    prepare()
    table = {}
    for name in given.modules or MODULES:
        table[name] = Counter[str]()
        for target in MODULES[name]:
            table[name] += judge(target, given.jobs)
    print(f"\n{'':10}" + "".join(f"{column:>10}" for column in COLUMNS) + "     score")
    for name, counted in table.items():
        figures = "".join(f"{counted[column]:>10}" for column in COLUMNS)
        print(f"{name:10}{figures}{score(counted):>8.1f} %")
    return int(any(score(counted) < ENOUGH for counted in table.values()))


def judge(target: Target, jobs: int) -> Counter[str]:
    """What became of the mutants of a file; those that survive are printed."""
    path = Path(target.path)
    source = path.read_text()
    whole = partial(Run, Mutated(path, source), target.tests, WITHOUT)
    ((_, plain),) = run_all([whole], 1)
    if plain.code != PASSED:
        sys.exit(f"the tests of {path} must pass for the file as it is:\n{plain.said}")
    every = mutants(source)
    left = [mutant for mutant in every if not is_harmless(target.path, mutant)]
    most = 10 + 3 * plain.seconds  # a shared machine
    runs: list[Callable[[], Run]] = [
        partial(Run, Mutated(path, mutant.source), target.tests, most) for mutant in left
    ]
    counted = Counter(mutants=len(left), harmless=len(every) - len(left))
    for done, (number, outcome) in enumerate(run_all(runs, jobs), 1):
        if outcome.code == PASSED:
            counted["survived"] += 1
            print(f"\n{path}:{left[number].line}\n{left[number].diff}", flush=True)
        else:
            counted["timeout" if outcome.code is None else "killed"] += 1
        if done % 20 == 0 or done == len(left):
            print(f"{path}: {done} of {len(left)}", file=sys.stderr, flush=True)
    return counted


def score(counted: Counter[str]) -> float:
    """Percent of the mutants that did not survive."""
    return 100 * (1 - counted["survived"] / counted["mutants"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/mutate")
    parser.add_argument("modules", metavar="MODULE", nargs="*", help=" ".join(MODULES))
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="at once (2)")
    given = parser.parse_args()
    if unknown := set(given.modules) - set(MODULES):
        parser.error(f"no module {', '.join(sorted(unknown))}; there are {', '.join(MODULES)}")
    for each in HARMLESS:
        if not any(map(each.makes, mutants(Path(each.path).read_text()))):
            parser.error(f"no mutant of {each.path} any more, in targets.py: {each.after}")
    return given


if __name__ == "__main__":
    sys.exit(main())
