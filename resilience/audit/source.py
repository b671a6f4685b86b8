"""What one file does when it is imported, as its source tells.

Followed are the body of the module and of its classes, decorators, default arguments, and calls of
functions and classes of the same file. Not followed: function bodies that nobody calls, blocks
under ``TYPE_CHECKING`` or ``__name__ == "__main__"``, and other files. Branches are not decided:
what may run counts.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

from resilience.audit import known
from resilience.audit.names import Function, Names
from resilience.audit.sightings import EVERYTHING, Id, Place, Sighting

_NEVER = ("TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__ == '__main__'")
_WRITES = frozenset(("setdefault", "update", "clear", "__setitem__", "__delitem__"))
_WHOLE = frozenset(("copy", "items", "keys", "values"))
_RUNNERS = frozenset(("asyncio.run", "asgiref.sync.async_to_sync", "anyio.run"))
_DEEPEST = 20  # calls of local functions within each other


class Source:
    """The sightings of one parsed file: ``at_import()`` and ``frozen()``."""

    def __init__(self, path: str, tree: ast.Module) -> None:
        self.names = Names(tree)
        self._path = path
        self._tree = tree
        self._found: list[Sighting] = []
        self._cause = 0
        self._loaded = 0  # the line that loads .env; 0 for none
        self._active: list[str] = []
        self._arguments: list[dict[str, str]] = []
        self._followed: dict[tuple[object, ...], int] = {}  # calls by how deep they were

    def at_import(self) -> list[Sighting]:
        """What happens at import. A read above the line that loads ``.env`` says so."""
        self._found, self._loaded = [], 0
        self._followed.clear()
        for statement in self._tree.body:
            self._visit(statement)
        late = self._loaded
        return [
            replace(one, later=Place(self._path, late))
            if late and one.cause.line < late and one.id == "audit.import-read"
            else one
            for one in self._found
        ]

    def frozen(self) -> list[Sighting]:
        """Reads inside functions whose results are cached: what they saw first, they keep."""
        found = []
        for node in self.names.nodes:
            if isinstance(node, Function) and any(map(self._is_cache, node.decorator_list)):
                self._found, self._cause = [], node.lineno
                self._followed.clear()
                self._run(node, node.name, None)
                reads = (one for one in self._found if one.id == "audit.import-read")
                found += [
                    replace(
                        one,
                        id="audit.frozen-read",
                        cause=Place(self._path, node.lineno),
                        by_cache=node.name,
                    )
                    for one in reads
                ]
        return found

    def _is_cache(self, decorator: ast.expr) -> bool:
        call = decorator.func if isinstance(decorator, ast.Call) else decorator
        return self.names.dotted(call) in known.CACHES

    def _see(self, id: Id, name: str, node: ast.expr) -> None:
        cause = Place(self._path, self._cause)
        self._found.append(Sighting(id, name, cause, Place(self._path, node.lineno)))

    def _visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.stmt) and not self._active:
            self._cause = node.lineno
        for child in self._children(node):
            self._visit(child)

    def _children(self, node: ast.AST) -> Iterator[ast.AST]:
        """What runs when this node does, after noting what it is itself."""
        if isinstance(node, ast.Call):
            yield from self._call(node)
        elif isinstance(node, ast.stmt | ast.Lambda):
            yield from self._parts(node)
        else:
            yield from self._mentions(node)

    def _parts(self, node: ast.stmt | ast.Lambda) -> Iterator[ast.AST]:
        """The parts of a statement that run with it: no body of a function, no annotation."""
        if isinstance(node, ast.ClassDef | Function):
            yield from self._decorators(node)
        if isinstance(node, ast.Lambda | Function):
            yield from [*node.args.defaults, *filter(None, node.args.kw_defaults)]
        elif isinstance(node, ast.ClassDef):
            yield from [*node.bases, *node.keywords, *node.body]
        elif isinstance(node, ast.If) and ast.unparse(node.test) in _NEVER:
            yield from node.orelse
        elif isinstance(node, ast.AnnAssign):
            yield from filter(None, [node.value])
        elif isinstance(node, ast.Assign) and self._is_environment(node.value):
            yield from node.targets  # a second name for it, no read
        else:
            yield from ast.iter_child_nodes(node)

    def _mentions(self, node: ast.AST) -> Iterator[ast.AST]:
        """Whatever else mentions the environment."""
        if isinstance(node, ast.Subscript) and self._is_environment(node.value):
            if isinstance(node.ctx, ast.Load):
                self._read(node.slice, node)
            yield node.slice
        elif isinstance(node, ast.Compare) and any(map(self._is_environment, node.comparators)):
            self._read(node.left, node)
        elif isinstance(node, ast.Name | ast.Attribute) and self._is_environment(node):
            if isinstance(node.ctx, ast.Load):
                self._see("audit.import-read", EVERYTHING, node)
        else:
            yield from ast.iter_child_nodes(node)

    def _decorators(self, node: Function | ast.ClassDef) -> Iterator[ast.AST]:
        for decorator in node.decorator_list:
            yield decorator
            name = self.names.dotted(decorator)
            if name in self.names.functions:
                self._run(self.names.functions[name], name, None)

    def _is_environment(self, node: ast.AST) -> bool:
        return self.names.dotted(node) in known.ENVIRONMENTS

    def _read(self, key: ast.AST, node: ast.expr) -> None:
        name = self.names.text(key)
        if isinstance(key, ast.Name):
            name = (self._arguments[-1] if self._arguments else {}).get(key.id, name)
        if not known.is_of_the_machine(name):
            self._see("audit.import-read", name, node)

    def _call(self, node: ast.Call) -> Iterator[ast.AST]:
        arguments: list[ast.AST] = [*node.args, *node.keywords]
        name, method = self.names.dotted(node.func), ""
        receiver: ast.AST | None = None
        if isinstance(node.func, ast.Attribute):
            method, receiver = node.func.attr, node.func.value
        if receiver is not None and self._is_environment(receiver):
            if method in _WHOLE:
                self._see("audit.import-read", EVERYTHING, node)
            elif method not in _WRITES and node.args:
                self._read(node.args[0], node)
            yield from arguments
            return
        if not self._reads(node, name, method, receiver):
            self._acts(node, name, method, receiver)
            self._follow(node, name)
        yield from arguments
        # client().ping(): the call before the dot runs too
        yield from [receiver] if receiver is not None and not isinstance(receiver, ast.Name) else []

    def _reads(self, node: ast.Call, name: str, method: str, receiver: ast.AST | None) -> bool:
        """Whether this call belongs to a library that reads variables or loads ``.env``."""
        of_reader = self.names.built(receiver) in known.READER_CLASSES
        if name in known.LOADERS or (of_reader and method in known.LOADING_METHODS):
            self._loaded = min(self._loaded or self._cause, self._cause)
            return True
        called = self.names.built(node.func) in known.READER_CLASSES
        if name in known.READERS or of_reader or called:
            if node.args:
                self._read(node.args[0], node)
            return True
        return False

    def _acts(self, node: ast.Call, name: str, method: str, receiver: ast.AST | None) -> None:
        made, owner = self.names.base_of(name), self.names.built(receiver)
        if made in known.CLIENT_NAMES:
            self._see("audit.import-client", made, node)
        elif name in known.TALKERS:
            self._see("audit.import-network", name, node)
        elif name in known.STARTERS:
            self._see("audit.import-thread", name, node)
        elif owner in known.CLIENT_NAMES and method in known.TALKING_METHODS:
            self._see("audit.import-network", f"{owner}.{method}", node)
        elif owner in known.STARTABLE and method in known.STARTING_METHODS:
            self._see("audit.import-thread", owner, node)

    def _follow(self, node: ast.Call, name: str) -> None:
        """Into functions and classes of this file, as far as the call runs them."""
        if name in self.names.classes:
            for method in ("__new__", "__init__", "__post_init__"):
                inside = self.names.functions.get(f"{name}.{method}")
                if inside:
                    self._run(inside, f"{name}.{method}", node, skip=1)
        elif name in self.names.functions:
            function = self.names.functions[name]
            if not _is_lazy(function):
                self._run(function, name, node, skip=int("." in name))
        elif name in _RUNNERS and node.args and isinstance(node.args[0], ast.Call):
            inner = self.names.dotted(node.args[0].func)
            if inner in self.names.functions:
                self._run(self.names.functions[inner], inner, node.args[0])

    def _run(self, function: Function, name: str, call: ast.Call | None, skip: int = 0) -> None:
        depth = len(self._active)
        if name in self._active or depth > _DEEPEST:
            return
        bound = self._bound(function, call, skip)
        # The same call of the same statement shows the same again, unless the depth cut it short.
        same = (self._cause, name, *sorted(bound.items()))
        if self._followed.get(same, _DEEPEST + 1) <= depth:
            return
        self._followed[same] = depth
        self._active.append(name)
        self._arguments.append(bound)
        for statement in function.body:
            if not isinstance(statement, Function | ast.ClassDef):  # only defined, not called
                self._visit(statement)
        self._arguments.pop()
        self._active.pop()

    def _bound(self, function: Function, call: ast.Call | None, skip: int) -> dict[str, str]:
        """The arguments of a call that are texts, by the function's own names."""
        if call is None:
            return {}
        names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
        given = dict(zip(names[skip:], call.args, strict=False))
        given |= {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
        texts = {name: self.names.text(value) for name, value in given.items()}
        return {name: text for name, text in texts.items() if text}


def _is_lazy(function: Function) -> bool:
    """Whether a call runs nothing yet: a coroutine function or a generator."""
    if isinstance(function, ast.AsyncFunctionDef):
        return True
    return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(function))
