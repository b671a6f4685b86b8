"""Which statement of a file a line belongs to, so that source and trace name the same one."""

from __future__ import annotations

import ast
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from resilience.audit.reading import UNREADABLE, parse
from resilience.audit.sightings import Place


def statement(place: Place) -> Place:
    """The first line of the innermost statement around a place; the place itself if unreadable."""
    starts = _starts(place.file)
    position = bisect_right(starts, (place.line, float("inf"))) - 1
    return Place(place.file, starts[position][1]) if position >= 0 else place


def assignment(file: str, name: str) -> Place | None:
    """Where a module or class body gives this name a value, other than by importing it."""
    return _assignments(file).get(name)


def module_of(file: str) -> str:
    """The dotted name under which a file is imported, as its ``__init__.py`` files tell."""
    path = Path(file)
    parts = [] if path.stem == "__init__" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder.name:
        parts.append(folder.name)
        folder = folder.parent
    return ".".join(reversed(parts)) or path.parent.name


@lru_cache(maxsize=512)
def _tree(file: str) -> ast.Module:
    try:
        return parse(file)
    except UNREADABLE:
        return ast.Module([], [])


@lru_cache(maxsize=512)
def _starts(file: str) -> list[tuple[int, int]]:
    """From which line on which statement runs: (line, first line of the statement), sorted."""
    found: dict[int, int] = {}
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.stmt):
            decorators = getattr(node, "decorator_list", [])
            for line in (node.lineno, *(one.lineno for one in decorators)):
                found[line] = node.lineno
        elif isinstance(node, ast.ExceptHandler):
            found[node.lineno] = node.lineno
    return sorted(found.items())


@lru_cache(maxsize=512)
def _assignments(file: str) -> dict[str, Place]:
    found: dict[str, Place] = {}
    try:
        nodes = list(_bodies(_tree(file)))
    except RecursionError:  # then the file is named as unreadable
        return found
    for node in nodes:
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets = [node.target]
        elif isinstance(node, ast.With | ast.AsyncWith):
            targets = [item.optional_vars for item in node.items if item.optional_vars]
        for target in targets:
            for name in ast.walk(target):
                if isinstance(name, ast.Name):
                    found.setdefault(name.id, Place(file, node.lineno))
    return found


def _bodies(node: ast.AST) -> Iterator[ast.stmt]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.stmt):
            yield child
        yield from _bodies(child)
