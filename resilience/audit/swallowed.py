"""``except ImportError: X = Mock()``: a package that is missing, and an app that runs without.

A stand-in is what takes the place of the missing thing and pretends: something that calls itself a
mock, fake, stub or dummy (also when it is imported, but no module by its name alone); a class,
function or lambda; an object of a class of this file; a ``SimpleNamespace``. None is: another
import, a name or object of another import, a constant such as None or False, an exception class,
and a class or function that only raises. After a constant (``HAS_LLM = False``) the branches that
test it are looked at too, for what calls itself a mock.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

from resilience.audit.known import says_mock
from resilience.audit.names import Function, Names
from resilience.audit.sightings import Place, Sighting

_IMPORT_ERRORS = frozenset(("ImportError", "ModuleNotFoundError"))
_CATCHING = _IMPORT_ERRORS | {"Exception", "BaseException"}
_IMPORTERS = ("importlib.import_module", "__import__", "django.utils.module_loading.import_string")
_OBJECTS = frozenset(("types.SimpleNamespace", "type"))
_MOCK_MODULES = ("unittest.mock", "mock")
_NO_MOCKS = ("dummy_thread", "_dummy_thread", "multiprocessing.dummy")

MOCK = "mock"
"""The ``words`` of a stand-in that calls itself one."""


def swallowed(path: str, tree: ast.Module, names: Names) -> list[Sighting]:
    """Every stand-in for a failed import, with the line of its ``except``."""
    found: dict[Place, Sighting] = {}
    for node in names.nodes:
        if not isinstance(node, ast.Try) or not _imports(node.body, names):
            continue
        for handler in node.handlers:
            if not _catches(handler.type, names) or _raises(handler.body):
                continue
            stand_ins = [
                *_in(handler.body, names),
                *_behind_flags(handler, tree, names),
                *_before(node, handler, tree, names),
            ]
            for one in stand_ins[:1]:
                cause = Place(path, handler.lineno)
                found[cause] = Sighting(
                    "audit.swallowed-import",
                    one.name,
                    cause,
                    Place(path, one.line),
                    words=MOCK if one.is_mock else "",
                    bound=one.bound,
                    is_wide=not _caught(handler.type, names) <= _IMPORT_ERRORS,
                )
    return list(found.values())


class StandIn(NamedTuple):
    """``bound`` is the name that the file gives it, ``""`` where that is not plain."""

    line: int
    name: str
    is_mock: bool
    bound: str


def _imports(body: list[ast.stmt], names: Names) -> bool:
    return any(
        (isinstance(node, ast.Import | ast.ImportFrom) and not getattr(node, "is_lazy", False))
        or (isinstance(node, ast.Call) and names.dotted(node.func) in _IMPORTERS)
        for statement in body
        if not isinstance(statement, Function | ast.ClassDef)
        for node in ast.walk(statement)
    )


def _catches(caught: ast.expr | None, names: Names) -> bool:
    return not _CATCHING.isdisjoint(_caught(caught, names))


def _caught(caught: ast.expr | None, names: Names) -> set[str]:
    if caught is None:
        return {"BaseException"}
    every = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return {names.dotted(one).removeprefix("builtins.") for one in every}


def _raises(body: list[ast.stmt]) -> bool:
    """Whether a block ends by raising, or by leaving the program."""
    last = body[-1]
    if isinstance(last, ast.Raise):
        return True
    call = last.value if isinstance(last, ast.Expr) else None
    return isinstance(call, ast.Call) and ast.unparse(call.func) in ("sys.exit", "exit", "quit")


def _in(body: list[ast.stmt], names: Names) -> Iterator[StandIn]:
    """The stand-ins that a block binds: mocks first, the module that they come from last."""
    every = [found for statement in body for found in _of(statement, names)]
    yield from sorted(every, key=lambda one: (not one.is_mock, one.name in _MOCK_MODULES))


def _of(node: ast.AST, names: Names) -> Iterator[StandIn]:
    if isinstance(node, ast.ClassDef | Function):
        if says_mock(node.name) or not _is_honest(node, names):
            yield StandIn(node.lineno, node.name, says_mock(node.name), node.name)
    elif isinstance(node, ast.Import | ast.ImportFrom):
        for whole, bound in _imported(node):
            if _is_mock(whole):
                yield StandIn(node.lineno, whole, bound=bound, is_mock=True)
    elif isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr | ast.Return):
        name = _stand_in(node.value, names) if node.value is not None else ""
        if name:
            yield StandIn(node.lineno, name, says_mock(name), _bound(node))
    else:
        for child in _inside(node, names):
            yield from _of(child, names)


def _bound(node: ast.Assign | ast.AnnAssign | ast.NamedExpr | ast.Return) -> str:
    if isinstance(node, ast.Return):
        return ""
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    return target.id if isinstance(target, ast.Name) else ""


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    """What comes out of modules, and the modules of mocks: no other module is one by its name."""
    module = f"{node.module}." if isinstance(node, ast.ImportFrom) and node.module else ""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom) or alias.name in _MOCK_MODULES:
            yield f"{module}{alias.name}", alias.asname or alias.name


def _is_mock(name: str) -> bool:
    """Python's old ``dummy_thread`` is the real thing without threads, and no mock."""
    return name in _MOCK_MODULES or (says_mock(name) and not name.startswith(_NO_MOCKS))


def _inside(node: ast.AST, names: Names) -> Iterator[ast.AST]:
    """The parts of a node, without handlers that have a turn of their own."""
    is_import = isinstance(node, ast.Try) and _imports(node.body, names)
    if not isinstance(node, ast.Lambda):
        for child in ast.iter_child_nodes(node):
            if not (is_import and isinstance(child, ast.ExceptHandler)):
                yield child


def _is_honest(node: Function | ast.ClassDef, names: Names) -> bool:
    """An exception class, or something that only says what is missing."""
    if isinstance(node, Function):
        return _raises(node.body)
    if any(names.dotted(base).endswith(("Error", "Exception", "Warning")) for base in node.bases):
        return True
    methods = [inner for inner in node.body if isinstance(inner, Function)]
    return bool(methods) and all(_raises(method.body) for method in methods)


def _stand_in(value: ast.expr, names: Names) -> str:
    """What a value is called, if it is a stand-in; else ``""``."""
    if isinstance(value, ast.IfExp):
        return _stand_in(value.body, names) or _stand_in(value.orelse, names)
    if isinstance(value, ast.Lambda):
        return "a lambda"
    name = names.dotted(value.func if isinstance(value, ast.Call) else value)
    if not name or (says_mock(name) and name.isupper()):  # USE_MOCK is a flag
        return ""
    if says_mock(name):
        return name
    if isinstance(value, ast.Call):  # what a function of the file returns may be the real thing
        here: Function | ast.ClassDef | None = names.classes.get(name)
    else:
        here = names.classes.get(name) or names.functions.get(name)
    if here is not None and not _is_honest(here, names):
        return name
    return name if isinstance(value, ast.Call) and name in _OBJECTS else ""


def _behind_flags(handler: ast.ExceptHandler, tree: ast.Module, names: Names) -> Iterator[StandIn]:
    """Mocks in the branches of the file that test what the handler set to a constant."""
    flags = {
        target.id
        for node in ast.walk(handler)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree) if flags else ():
        if isinstance(node, ast.If | ast.IfExp) and flags & _mentioned(node.test):
            blocks: list[ast.AST] = []
            for block in (node.body, node.orelse):
                blocks += block if isinstance(block, list) else [_as_value(block)]
            for inner in blocks:
                yield from (found for found in _of(inner, names) if found.is_mock)


def _as_value(value: ast.expr) -> ast.Return:
    return ast.copy_location(ast.Return(value), value)


def _mentioned(test: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}


def _before(
    node: ast.Try, handler: ast.ExceptHandler, tree: ast.Module, names: Names
) -> Iterator[StandIn]:
    """A stand-in bound above the ``try``, which a handler that does nothing leaves in place."""
    if not all(isinstance(one, ast.Pass | ast.Expr) for one in handler.body):
        return
    imported = {
        alias.asname or alias.name
        for one in node.body
        if isinstance(one, ast.ImportFrom | ast.Import)
        for alias in one.names
    }
    for statement in tree.body:
        if statement.lineno >= node.lineno:
            return
        if isinstance(statement, ast.ClassDef | ast.FunctionDef):
            bound = {statement.name}
        elif isinstance(statement, ast.Assign):
            bound = {each.id for each in statement.targets if isinstance(each, ast.Name)}
        else:
            continue
        if bound & imported:
            yield from _of(statement, names)
