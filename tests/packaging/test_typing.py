"""Type checkers read the installed wheel: every public name has a type, and a mistake is found.

pyright comes with a Node of its own (280 MB), so ``scripts/test-types`` fetches it; mypy is here.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.packaging import built
from tests.packaging.surface import python
from tests.processes import Ended, run

USER = Path(__file__).with_name("typed_user.py")
PYRIGHT = os.environ.get("BASEDPYRIGHT", "")
needs_pyright = pytest.mark.skipif(not PYRIGHT, reason="run it by scripts/test-types")
# Its base is django-redis's, which ships no types.
UNTYPED = {"resilience.cache.signing.SignedPickleSerializer"}

WRONG = """
from resilience import env
from resilience.cache import force
from resilience.components import components

HOSTS: str = env.list("ALLOWED_HOSTS")
force("default", "closd")
components["llm.chat", "llm.embed"]
env.integer("WORKERS")
"""
WRONG_LINES = {6, 7, 8, 9}


def names_of(source: str) -> set[str]:
    """The dotted names that a module imports or reads off modules that it imports."""
    tree = ast.parse(source)
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            known |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    read = {
        f"{known[node.value.id]}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in known
    }
    return {*known.values(), *read}


def home(module: str, name: str) -> str:
    """Where a public name is defined, if its module only hands it on."""
    source = built.installed() / Path(*module.split(".")[1:])
    file = source / "__init__.py" if source.is_dir() else source.with_suffix(".py")
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("resilience"):
            for each in node.names:
                if name == (each.asname or each.name):
                    return f"{node.module}.{each.name}"
    return f"{module}.{name}"


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of that one module, and of one with mistakes; nothing of ours is beside them."""
    folder = tmp_path_factory.mktemp("user")
    shutil.copy(USER, folder / "user.py")
    (folder / "wrong.py").write_text(WRONG)
    (folder / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    return folder


@pytest.fixture(scope="module")
def mypy(user: Path) -> Ended:
    """What it says of both, once: it reads Django and redis-py each time."""
    options = ("--strict", "--python-executable", built.python(), "--config-file=", "-v")
    files = ("user.py", "wrong.py")
    return run(sys.executable, "-m", "mypy", *options, *files, cwd=user, variables={}, limit=240)


def pyright(folder: Path, *arguments: str) -> dict[str, Any]:
    here = Path(built.python()).parent
    path = {"PATH": f"{here}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": str(here.parent)}
    command = (PYRIGHT, "--outputjson", *arguments)
    return run(*command, cwd=folder, variables=path, limit=240).report


@pytest.fixture(scope="module")
def strict(user: Path) -> set[tuple[str, int]]:
    """File and line of whatever pyright has to say of both."""
    told = pyright(user, "user.py", "wrong.py")
    assert told["summary"]["filesAnalyzed"] == 2
    return {
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1)
        for each in told["generalDiagnostics"]
    }


def test_the_module_uses_every_public_name():
    public = {f"{each.module}.{each.name}" for each in python()}
    source = USER.read_text(encoding="utf-8")
    assert public - names_of(source) == set()
    assert public - names_of(source.replace("env.float(", "env.int(")) == {"resilience.env.float"}


def test_mypy_is_strict_and_finds_nothing(mypy):
    assert f"{built.installed()}/env/declare.py" in mypy.err, "it has read the wheel"
    assert mypy.out.rstrip().endswith("in 1 file (checked 2 source files)")
    assert [line for line in mypy.out.splitlines() if line.startswith("user.py")] == []


def test_mypy__twin__finds_each_mistake(mypy):
    told = [line.partition(": error: ")[0] for line in mypy.out.splitlines() if ": error: " in line]
    assert told == [f"wrong.py:{number}" for number in sorted(WRONG_LINES)]


@needs_pyright
def test_pyright_is_strict_and_finds_nothing(strict):
    assert {line for name, line in strict if name == "user.py"} == set()


@needs_pyright
def test_pyright__twin__finds_each_mistake(strict):
    assert {line for name, line in strict if name == "wrong.py"} == WRONG_LINES


@needs_pyright
def test_every_public_name_has_a_whole_type(user, capsys):
    """``--verifytypes`` counts private modules too; here are the names that are pinned."""
    found = pyright(user, "--ignoreexternal", "--verifytypes", "resilience")["typeCompleteness"]
    assert found["pyTypedPath"] == str(built.installed() / "py.typed")
    places = {home(each.module, each.name) for each in python()}
    symbols = [
        each
        for each in found["symbols"]
        if any(each["name"] == place or each["name"].startswith(f"{place}.") for place in places)
    ]
    bad = {
        each["name"]: [told["message"] for told in each["diagnostics"]]
        for each in symbols
        if not each["isTypeKnown"] or each["isTypeAmbiguous"]
    }
    with capsys.disabled():
        share = 1 - len(bad) / len(symbols)
        sys.stdout.write(
            f"\n{share:.1%} of {len(symbols)} public symbols have a whole type; "
            f"{found['completenessScore']:.1%} of all {len(found['symbols'])}\n"
        )
    assert len(symbols) > len(places)
    assert set(bad) == UNTYPED, json.dumps(bad, indent=1)
