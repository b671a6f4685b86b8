"""Which faults are made, and that the runner tells those that tests notice from the others."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from resilience.probes import base
from tests.mutation.mutants import mutants
from tests.mutation.targets import HARMLESS, MODULES
from tests.processes import run


def made(source: str) -> set[str]:
    return {mutant.after.strip() for mutant in mutants(source)}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 5", {"x = 6"}),
        ("x = not y", {"x = y"}),
        ("x = a + b", {"x = (a - b)"}),
        ("x = a and b or c", {"x = ((a and b) and c)", "x = (a or b) or c"}),
        ("x = a < b is c", {"x = (a <= b is c)", "x = (a < b is not c)"}),
        ("x = 'grün' + y", {"x = 'XX' + y", "x = ('grün' - y)"}),
        ("x = f'{a}: {not b}'", {"x = (f'{a}XX{not b}')", "x = (f'{a}: {b}')"}),
        ("x = f(a, b=c)", {"x = (f(a))"}),
        ("x = [y for y in z if a]", {"x = ([y for y in z])", "x = [y for y in z if (not a)]"}),
        ("if a: b = c", {"if (not a): b = c"}),
        ("def f():\n    return a", {"return None"}),
        ("x.y = z", {"pass"}),
        ("for x in y: break", {"for x in y: continue"}),
        ("x = r'^a(?!b)|c'", {"x = 'XX'", "x = '^a|c'"}),
        ("x = 'one|two'", {"x = 'XX'", "x = 'one'", "x = 'two'"}),
    ],
)  # fmt: skip
def test_every_fault_that_is_made(source, expected):
    assert made(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        "x: Literal['a', 1]",
        "'''A docstring.'''",
        "def f(x: 'int') -> 'str': ...",
        "class A:\n    __slots__ = ('a', 'b')",
        "if TYPE_CHECKING:\n    x = 5",
        "assert x == 5",
        "State = Literal['open', 'closed']",
    ],
)
def test_every_fault__twin__what_means_nothing_has_none(source):
    assert made(source) == set()


def test_a_mutant_is_the_source_but_for_its_lines():
    source = "a = b\nx = (\n    'grün'\n    + y\n)\nc = d\n"
    found = next(mutant for mutant in mutants(source) if "-" in mutant.after)
    assert found.source == "a = b\nx = (\n    ('grün' - y)\n)\nc = d\n"
    assert (found.line, found.diff) == (3, "-    'grün'\n-    + y\n+    ('grün' - y)")


RUNS = """
import json, sys
from functools import partial
from pathlib import Path
from tests.mutation.runner import Mutated, Run, prepare, run_all
prepare()
path, (whole, broken, endless) = Path("resilience/probes/base.py"), json.loads(sys.argv[1])
given = [(whole, 60), (broken, 60), (endless, 2)]
tests = ["tests/probes/test_base.py"]
runs = [partial(Run, Mutated(path, source), tests, seconds) for source, seconds in given]
print(json.dumps({number: outcome.code for number, outcome in run_all(runs, 3)}))
"""


def test_a_fault_fails_the_tests_of_its_file_and_an_endless_one_is_ended():
    source = Path(base.__file__).read_text()
    sources = [
        source,
        source.replace("max(0.0, ", "max(0.1, "),
        source.replace("return max(0.0, ", "while True: pass\n        return max(0.0, "),
    ]
    assert len(set(sources)) == 3
    done = run(sys.executable, "-c", RUNS, json.dumps(sources), variables={})
    assert done.code == 0, done.err
    assert json.loads(done.out) == {"0": 0, "1": 1, "2": None}


def test_every_target_is_there():
    targets = [target for each in MODULES.values() for target in each]
    for path in [path for target in targets for path in (target.path, *target.tests)]:
        assert Path(path).is_file()
    assert {each.path for each in HARMLESS} <= {target.path for target in targets}
    assert all(each.why for each in HARMLESS)
