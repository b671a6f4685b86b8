"""``.env.example`` names every variable that the example project declares, and no value of one."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import ROOT, run

EXAMPLE = ROOT / ".env.example"
DECLARATIONS = frozenset("str secret bool int float list url db ref".split())
LINE = re.compile(r"^#? ?([A-Z][A-Z0-9_]*)=", re.MULTILINE)


def declared_in(folder: Path) -> set[str]:
    """Every name in a written ``env.…("NAME")``, those behind a condition too."""
    return {
        name
        for file in folder.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for name in _names(node)
    }


def _names(node: ast.AST) -> Iterator[str]:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return
    of_env = isinstance(node.func.value, ast.Name) and node.func.value.id == "env"
    if of_env and node.func.attr in DECLARATIONS:
        name = node.args[0]
        assert isinstance(name, ast.Constant), "a name that nobody can read in the source"
        yield str(name.value)


def undocumented(names: set[str], example: str) -> set[str]:
    return names - set(LINE.findall(example))


@pytest.fixture(scope="module")
def names() -> set[str]:
    """As written, and as declared while the project starts and makes its URLs."""
    code = (
        "import json, django\n"
        "from django.urls import get_resolver\n"
        "from resilience import env\n"
        "with env.collecting():\n"
        "    django.setup()\n"
        "    get_resolver().url_patterns\n"
        "print(json.dumps([item.name for item in env.declared()]))\n"
    )
    ended = run(
        *(sys.executable, "-c", code),
        variables={"DJANGO_SETTINGS_MODULE": "opsproject.settings", "RESILIENCE_DOTENV": "off"},
    )
    assert ended.code == 0, ended.err
    running, written = set(json.loads(ended.out)), declared_in(ROOT / "opsproject")
    assert {"SECRET_KEY", "DATABASE_URL"} <= running <= written
    return written


def test_every_declared_name_is_in_the_example(names):
    assert undocumented(names, EXAMPLE.read_text(encoding="utf-8")) == set()


def test_every_declared_name__twin(names, tmp_path):
    text = EXAMPLE.read_text(encoding="utf-8")
    assert undocumented(names, text.replace("HSTS_SECONDS", "HSTS")) == {"HSTS_SECONDS"}
    (tmp_path / "late.py").write_text('def f():\n    return env.ref("SHOP_NEW")\n')
    assert undocumented(declared_in(tmp_path), text) == {"SHOP_NEW"}


def test_a_copy_of_it_sets_nothing_by_itself():
    """Whoever copies it and starts has the defaults, and no key that everybody knows."""
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []
