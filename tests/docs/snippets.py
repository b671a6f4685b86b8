"""What a Python block of the docs shows: settings, a part of them, or code of an app."""

from __future__ import annotations

import ast
import json
import re
import sys
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

from tests.docs.blocks import Block
from tests.processes import ROOT, run

# What the blocks ask of the environment; a real project has these on its platform.
VARIABLES = {
    "SECRET_KEY": "docs-only-" + "0123456789abcdefghijklmnopqrstuvwxyz" * 2,
    "REDIS_URL": "redis://localhost:6379/0",
    "DATABASE_URL": "sqlite:///db.sqlite3",
    "STATUS_TOKEN": "docs-only-0123456789abcdef",
    "ALLOWED_HOSTS": "shop.example",
    "OPENAI_API_KEY": "docs-only",
    "LANGSMITH_API_KEY": "docs-only",
}
_OURS = "resilience.cache.ResilientCache"
# An entry of the catalogue is one terminal page at most: it leaves out what settings.py has anyway.
TERSE = "docs/findings.md"
_DOTTED = r"resilience(\.\w+)+"


def settings_in(block: Block) -> str:
    """Source of the settings that a block shows, a part made whole; empty if it shows none."""
    source = _whole(block.text)
    tree = ast.parse(source)
    named = [target.id for node in tree.body for target in _targets(node)]
    if not any(name.isupper() for name in named):
        return ""
    if "COMPONENTS" in named:  # components.py of an app
        source += '\nRESILIENCE = {"COMPONENTS": COMPONENTS}\n'
    return f"from resilience import env\n{source}" if block.page == TERSE else source


def _whole(text: str) -> str:
    """An entry of a dictionary, ``"KEY": …``, in the setting where it belongs."""
    try:
        entry = ast.parse("{" + text + "}", mode="eval").body
    except SyntaxError:
        return text
    if not isinstance(entry, ast.Dict) or not isinstance(entry.keys[0], ast.Constant):
        return text
    key = str(entry.keys[0].value)
    if not key.isupper():
        return f'RESILIENCE = {{"COMPONENTS": {{{text}}}}}\n'
    if key == "RESILIENCE":
        text = f'"OPTIONS": {{{text}}}'
    return f'CACHES = {{"default": {{"BACKEND": "{_OURS}", {text}}}}}\n'


def _targets(node: ast.stmt) -> list[ast.Name]:
    found = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AugAssign | ast.AnnAssign):
        found = [node.target]
    return [each for target in found for each in ast.walk(target) if isinstance(each, ast.Name)]


def load(sources: list[str]) -> list[str]:
    """Each as the settings of a new project, in a process of its own: what is wrong, else empty."""
    ended = run(
        *(sys.executable, "-c", _CHILD, json.dumps(sources)),
        cwd=ROOT,
        variables=VARIABLES | {"PYTHONPATH": str(ROOT)},
    )
    assert ended.code == 0, ended.err
    found: list[str] = json.loads(ended.out.rpartition("\n")[2])
    return found


_CHILD = "from tests.docs.settings_child import main; main()"


def problems(text: str) -> list[str]:
    """What a block of Python names and nobody has. Raises SyntaxError; ``await`` may be outside."""
    tree = ast.parse(_whole(text))
    compile(tree, "block", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and _is_known(node.module or ""):
            module = f"{node.module}"
            wrong += [_missing(f"{module}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Import):
            wrong += [_missing(alias.name) for alias in node.names if _is_known(alias.name)]
        elif isinstance(node, ast.Constant) and re.fullmatch(_DOTTED, str(node.value)):
            wrong.append(_missing(str(node.value)))
    return [each for each in wrong if each]


def _is_known(module: str) -> bool:
    return module.partition(".")[0] in ("django", "resilience")


def _missing(path: str) -> str:
    """Empty if this is a module, or a name at the top of one. Nothing but packages is imported."""
    module, _, name = path.rpartition(".")
    return "" if name in _names(module) or _spec(path) else f"there is no {path}"


def _spec(path: str) -> ModuleSpec | None:
    try:
        return find_spec(path)
    except ImportError:  # what should be the package is a module, or is not there
        return None


@cache
def _names(module: str) -> frozenset[str]:
    spec = _spec(module) if module else None
    if spec is None or not spec.origin:
        return frozenset()
    found: set[str] = set()
    for node in ast.walk(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            found |= {target.id for target in _targets(node)}
            if "__all__" in found and isinstance(node.value, ast.List):  # names of a __getattr__
                constants = (each for each in node.value.elts if isinstance(each, ast.Constant))
                found |= {str(each.value) for each in constants}
    return frozenset(found)
