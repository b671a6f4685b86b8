"""Imports go down or stay in their layer, in no circle, and nothing but tests imports simulation.

A module is looked up by its longest name in ``LAYERS``; one that has no place there fails. What a
package's ``__init__`` implies (``import a.b`` runs ``a`` first) is no edge: only written imports
count, those inside functions too.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import resilience

ROOT = Path(resilience.__file__).parent
LAYERS = (
    ("words", "errors places redact findings silence hosting boot chance env"),
    ("trust", "tls"),
    ("mechanisms", "cache components audit"),
    ("knowledge", "conf catalogue probes health"),
    (
        "interfaces",
        (
            "apps checks middleware endpoints page admin models livecheck render management "
            "history rehearse __main__"
        ),
    ),
)
PLACES = {
    f"resilience.{name}": number
    for number, (_, names) in enumerate(LAYERS)
    for name in names.split()
}
STRANGERS = frozenset(f"resilience.{name}" for name in LAYERS[2][1].split())
SIMULATION = "resilience.simulation"
MAY_SIMULATE = frozenset({"resilience.rehearse", SIMULATION})
# Safe in <project>/__init__.py: none of these, and nothing that imports them.
DJANGO = frozenset({"django", "django_redis", "environ"})


@dataclass(frozen=True)
class Import:
    """One written import: of what, on which line, and when it happens if at all."""

    target: str
    line: int
    runs: bool  # False below `if TYPE_CHECKING`
    late: bool  # inside a function


FOR_TYPES = ("TYPE_CHECKING", "typing.TYPE_CHECKING")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
Walk = Iterator[tuple[ast.stmt, bool, bool]]


def walk(node: ast.AST, runs: bool = True, late: bool = False) -> Walk:
    """Every import statement below a node, whether it ever runs, and whether in a function."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node, runs, late
    hidden = node.body if isinstance(node, ast.If) and ast.unparse(node.test) in FOR_TYPES else []
    for child in ast.iter_child_nodes(node):
        yield from walk(child, runs and child not in hidden, late or isinstance(node, FUNCTIONS))


def targets(statement: ast.stmt, package: str, modules: Collection[str]) -> Iterator[str]:
    """The absolute names of what a statement imports: of a module where it is one."""
    if isinstance(statement, ast.Import):
        yield from (alias.name for alias in statement.names)
    elif isinstance(statement, ast.ImportFrom):
        base = statement.module or ""
        if statement.level:
            above = package.split(".")[: len(package.split(".")) - statement.level + 1]
            base = ".".join([*above, *filter(None, [base])])
        for alias in statement.names:
            inner = f"{base}.{alias.name}"
            yield inner if inner in modules else base


def modules_of(root: Path) -> dict[str, list[Import]]:
    """Every module below ``root`` (the folder of the package ``resilience``) and its imports."""
    files = {}
    for file in sorted(root.rglob("*.py")):
        parts = ["resilience", *file.relative_to(root).with_suffix("").parts]
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        files[name] = (file, name if is_package else name.rpartition(".")[0])
    return {
        name: [
            Import(target, statement.lineno, runs, late)
            for statement, runs, late in walk(ast.parse(file.read_text(encoding="utf-8")))
            for target in targets(statement, package, files)
        ]
        for name, (file, package) in files.items()
    }


def unit_of(module: str) -> str:
    """The file or package directly below ``resilience`` that a module belongs to."""
    return ".".join(module.split(".")[:2])


def broken_rules(root: Path) -> list[str]:
    """One sentence for every import that the design forbids and every module without a place."""
    modules = modules_of(root)
    return [
        *(f"{name} has no place in LAYERS" for name in modules if not _is_placed(name)),
        *_directions(modules),
        *_cycles(modules),
        *_django_in_words(modules),
    ]


def _is_placed(module: str) -> bool:
    return module == "resilience" or unit_of(module) in {*PLACES, SIMULATION}


def _directions(modules: dict[str, list[Import]]) -> Iterator[str]:
    for name, imports in modules.items():
        here = unit_of(name)
        for each in imports:
            there, where = unit_of(each.target), f"{name}:{each.line}"
            if not there.startswith("resilience"):
                continue
            if name == "resilience":
                yield f"{where} imports {each.target}, and the package itself imports nothing"
            elif SIMULATION in (here, there):
                if there == SIMULATION and here not in MAY_SIMULATE:
                    yield f"{where} imports {each.target}, as only tests and rehearse may"
                elif here == SIMULATION and there != SIMULATION:
                    yield f"{where} imports {each.target}, and simulation imports nothing of ours"
            elif PLACES.get(there, 0) > PLACES.get(here, len(LAYERS)):
                yield f"{where} imports {each.target} from a layer above"
            elif here != there and {here, there} <= STRANGERS:
                yield f"{where} imports {each.target}, a mechanism beside it"


def _cycles(modules: dict[str, list[Import]]) -> Iterator[str]:
    graph = {
        name: {each.target for each in imports if each.runs and each.target in modules}
        for name, imports in modules.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"a circle: {' <- '.join(error.args[1])}"


def _django_in_words(modules: dict[str, list[Import]]) -> Iterator[str]:
    for name, imports in modules.items():
        if PLACES.get(unit_of(name)) == 0:
            for each in imports:
                if each.runs and not each.late and each.target.partition(".")[0] in DJANGO:
                    yield f"{name}:{each.line} imports {each.target} before Django is configured"


# ── this package ────────────────────────────────────────────────────────────────────────────────


def test_no_import_breaks_the_rule():
    assert broken_rules(ROOT) == []


def test_every_import_of_the_package_was_seen():
    """The rule would hold for a tree that is read wrongly, too."""
    seen = {
        (name, each.target)
        for name, imports in modules_of(ROOT).items()
        for each in imports
        if each.target.startswith("resilience.")
    }
    assert ("resilience.probes.runner", "resilience.probes.base") in seen
    assert ("resilience.env", "resilience.env.declare") in seen
    assert ("resilience.findings", "resilience.hosting") in seen  # below TYPE_CHECKING
    assert ("resilience.apps", "resilience.checks") in seen  # inside a function
    assert ("resilience.simulation.network", "resilience.simulation.listener") in seen


def test_the_package_itself_imports_nothing():
    assert modules_of(ROOT)["resilience"] == []


def test_words_bring_no_django_and_nothing_of_the_network():
    """What the source says, said by the interpreter."""
    words = [name for name in modules_of(ROOT) if PLACES.get(unit_of(name)) == 0]
    foreign = sorted(DJANGO | {"redis", "ssl", "asyncio"})
    code = f"import sys, {', '.join(words)}\nprint(sorted(set(sys.modules) & set({foreign})))"
    assert _python(code) == "[]"


def test_words__twin__django_is_noticed_by_the_interpreter():
    code = "import sys, django\nprint(sorted(set(sys.modules) & {'django'}))"
    assert _python(code) == "['django']"


def _python(code: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True, text=True, check=True
    )
    return ended.stdout.strip()


# ── the same rule on trees that break it ────────────────────────────────────────────────────────

GOOD = {
    "__init__.py": '"""Nothing."""',
    "errors.py": "import os",
    "env/__init__.py": "from resilience.env.casts import to_int",
    "env/casts.py": "from resilience import errors\ndef to_db():\n    import environ, django",
    "tls/__init__.py": "from ..errors import Oops",
    "cache/__init__.py": "",
    "audit/__init__.py": "import resilience.tls",
    "conf.py": "from resilience import cache, env\nimport django",
    "probes/__init__.py": "",
    "probes/base.py": "from typing import TYPE_CHECKING\n"
    "if TYPE_CHECKING:\n    from resilience.probes.runner import run\nelse:\n    run = None",
    "probes/runner.py": "from . import base\nfrom resilience import conf",
    "checks.py": "from resilience.probes.runner import run",
    "rehearse/__init__.py": "from resilience.simulation import network",
    "simulation/__init__.py": "",
    "simulation/network.py": "from resilience.simulation import listener",
    "simulation/listener.py": "import socket",
}


def tree(root: Path, **changed: str) -> Path:
    """``GOOD`` with some files written anew; a double underscore in a name is a slash."""
    for path, source in {**GOOD, **{_path(name): text for name, text in changed.items()}}.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source, encoding="utf-8")
    return root


def _path(name: str) -> str:
    return name.replace("__", "/") + ".py"


def test_a_tree_that_keeps_the_rule(tmp_path):
    assert broken_rules(tree(tmp_path)) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"errors": "from resilience import conf"}, "from a layer above"),
        ({"errors": "import resilience.probes.base"}, "from a layer above"),
        ({"errors": "def late():\n    from resilience.checks import x"}, "from a layer above"),
        (
            {"errors": "import typing\nif typing.TYPE_CHECKING:\n    from . import conf"},
            "from a layer above",
        ),
        ({"probes__base": "from .. import checks"}, "from a layer above"),
        ({"cache__core": "from resilience.audit import scan"}, "a mechanism beside it"),
        ({"probes__base": "from resilience.probes.runner import run"}, "a circle"),
        ({"probes__base": "def late():\n    from .runner import run"}, "a circle"),
        (
            {"probes__base": "try:\n    from . import runner\nexcept ImportError:\n    pass"},
            "a circle",
        ),
        ({"env__casts": "from resilience.env import to_int"}, "a circle"),
        ({"conf": "from resilience.simulation.network import X"}, "as only tests and rehearse may"),
        ({"simulation__listener": "from resilience import errors"}, "nothing of ours"),
        ({"errors": "import django.conf"}, "before Django is configured"),
        ({"env__casts": "if True:\n    from environ import Env"}, "before Django is configured"),
        ({"novel": "import os"}, "resilience.novel has no place"),
        ({"novel__inside": "import os"}, "resilience.novel.inside has no place"),
    ],
)
def test_a_tree_that_breaks_it__twin(tmp_path, changed, said):
    broken = broken_rules(tree(tmp_path, **changed))
    assert any(said in sentence for sentence in broken), broken


def test_the_package_itself_imports_nothing__twin(tmp_path):
    root = tree(tmp_path)
    (root / "__init__.py").write_text("from resilience import errors")
    assert any("the package itself imports nothing" in each for each in broken_rules(root))
