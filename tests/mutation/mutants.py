"""Every small fault that a file could have: one mutant each, made from its syntax tree.

Tables and patterns at the level of the module are mutated like the code in functions. What means
nothing when it runs is not: annotations, docstrings, ``assert``, ``__slots__``, TYPE_CHECKING.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from copy import copy, deepcopy
from typing import Any, NamedTuple

_Node = ast.expr | ast.stmt

_SWAPS: dict[type[ast.AST], Any] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div, ast.Mod: ast.Div, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
# In a pattern: an alternative and one of its bars, a condition on what stands before or behind.
_PARTS = tuple(
    map(
        re.compile,
        (r"(?<![\w\\])\w+\|(?=\w)", r"(?<=\w)\|\w+(?=\)|$)", r"\(\?<?[!=](?:\\.|[^()\\])*\)"),
    )
)


class Mutant(NamedTuple):
    """A whole source; ``before`` and ``after`` are the lines in which it differs."""

    line: int
    before: str
    after: str
    source: str

    @property
    def diff(self) -> str:
        lines = [f"-{line}" for line in self.before.splitlines()]
        return "\n".join([*lines, *(f"+{line}" for line in self.after.splitlines())])


def mutants(source: str) -> list[Mutant]:
    """Every mutant of a source, in the order of its lines."""
    whole = source.encode()
    starts = [0]
    for line in whole.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = set()
    for place, new in _changes(ast.parse(source)):
        first, last = place.lineno - 1, place.end_lineno or 0
        begin = starts[first] + place.col_offset
        end = starts[last - 1] + (place.end_col_offset or 0)
        text = ast.unparse(new)
        if isinstance(new, ast.expr) and not isinstance(new, ast.Constant | ast.Name):
            text = f"({text})"  # what stands around it may bind tighter
        before, after = whole[starts[first] : begin], whole[end : starts[last]]
        line_ = before + text.encode() + after
        mutated = (whole[: starts[first]] + line_ + whole[starts[last] :]).decode()
        if _compiles(mutated):
            was = whole[starts[first] : starts[last]]
            found.add(Mutant(place.lineno, was.decode(), line_.decode(), mutated))
    return sorted(found)


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _changes(
    node: ast.AST, field: str = "", text: ast.JoinedStr | None = None
) -> Iterator[tuple[_Node, _Node]]:
    """What to replace by what. ``text`` is the f-string around: its parts have no place."""
    if isinstance(node, ast.JoinedStr):
        text = text or node
    if isinstance(node, _Node):
        for new in _replacements(node, field):
            yield (node, new) if text is None else (text, deepcopy(text, {id(node): new}))
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_idle(name, child):
                yield from _changes(child, name, text)


def _is_idle(field: str, child: ast.AST) -> bool:
    """Whether it means nothing when the code runs."""
    match child:
        case ast.Expr(value=ast.Constant()) | ast.Assert():
            return True
        case ast.Assign(targets=[ast.Name(id="__slots__")]):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Subscript(value=ast.Name(id="Literal" | "Callable" | "ContextVar")):
            return True
    return field in ("annotation", "returns", "decorator_list", "format_spec")


def _replacements(node: _Node, field: str) -> Iterator[_Node]:  # noqa: C901, PLR0912 - many kinds
    if (
        field in ("test", "ifs")
        and isinstance(node, ast.expr)
        and not isinstance(node, ast.Compare)
    ):
        yield ast.UnaryOp(ast.Not(), node)
    match node:
        case ast.Constant(value=bool() as flag):
            yield ast.Constant(not flag)
        case ast.Constant(value=int() | float() as number):
            yield ast.Constant(number + 1)
        case ast.Constant(value=str() as text):
            yield from map(ast.Constant, ["XX", *_smaller_patterns(text)])
        case ast.Constant(value=bytes()):
            yield ast.Constant(b"XX")
        case ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op) in _SWAPS:
            yield _with(node, op=_SWAPS[type(op)]())
        case ast.Compare(ops=ops):
            for n, each in enumerate(ops):
                yield _with(node, ops=[*ops[:n], _SWAPS[type(each)](), *ops[n + 1 :]])
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.ListComp(generators=loops) | ast.SetComp(generators=loops):
            yield from _without_conditions(node, loops)
        case ast.GeneratorExp(generators=loops):
            yield from _without_conditions(node, loops)
        case ast.Call(keywords=keywords):
            for keyword in keywords:
                yield _with(node, keywords=[each for each in keywords if each is not keyword])
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield ast.Return(ast.Constant(None))
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Delete():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()


def _with(node: _Node, **changed: object) -> _Node:
    new = copy(node)
    for name, value in changed.items():
        setattr(new, name, value)
    return new


def _without_conditions(node: _Node, loops: list[ast.comprehension]) -> Iterator[_Node]:
    for n, each in enumerate(loops):
        if each.ifs:
            every = ast.comprehension(each.target, each.iter, [], each.is_async)
            yield _with(node, generators=[*loops[:n], every, *loops[n + 1 :]])


def _smaller_patterns(value: str) -> Iterator[str]:
    """A pattern without one of its alternatives or conditions, as far as that still is one."""
    for part in (part for each in _PARTS for part in each.finditer(value)):
        smaller = value[: part.start()] + value[part.end() :]
        try:
            re.compile(smaller)
        except re.error:
            continue
        yield smaller
