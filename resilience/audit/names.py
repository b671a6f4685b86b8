"""What the names of one file stand for: imports, aliases, constants, objects of known classes."""

from __future__ import annotations

import ast

from resilience.audit.known import ENVIRONMENTS

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Names:
    """The names that a file binds, wherever it binds them. Scopes are not told apart.

    Of several imports under one name the outermost and first counts, and one in an ``except`` only
    where there is no other: it is the replacement, not what the file means.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.imported: dict[str, str] = {}
        self.functions: dict[str, Function] = {}
        self.classes: dict[str, ast.ClassDef] = {}
        self._aliases: dict[str, str] = {}
        self._constants: dict[str, str] = {}
        self._built: dict[str, ast.Call] = {}
        # Kept: walking a tree takes longer than all that is done with its nodes.
        self.nodes = nodes = list(ast.walk(tree))
        handlers = (node for node in nodes if isinstance(node, ast.ExceptHandler))
        replacements = {below for handler in handlers for below in ast.walk(handler)}
        for node in sorted(nodes, key=replacements.__contains__):
            self._import(node)
        for node in tree.body:
            self._define(node)
        for node in nodes:
            self._bind(node)

    def dotted(self, node: ast.AST | None) -> str:
        """``os.environ`` for whatever the file calls it; ``""`` for what is no plain name."""
        if isinstance(node, ast.Name):
            return self._aliases.get(node.id) or self.imported.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            base = self.dotted(node.value)
            return f"{base}.{node.attr}" if base else ""
        return ""

    def built(self, node: ast.AST | None) -> str:
        """The dotted class or factory of a call, or of the call that a name was given."""
        if isinstance(node, ast.Name):
            node = self._built.get(node.id)
        if not isinstance(node, ast.Call):
            return ""
        return self.base_of(self.dotted(node.func))

    def base_of(self, name: str) -> str:
        """For a class of this file the first base that is not; else the name itself."""
        seen = set()
        while name in self.classes and name not in seen:
            seen.add(name)
            bases = [self.dotted(base) for base in self.classes[name].bases]
            name = bases[0] if bases else name
        return name

    def text(self, node: ast.AST | None) -> str:
        """The text of a literal or of a constant of the file; ``""`` for everything else."""
        if isinstance(node, ast.Name):
            return self._constants.get(node.id, "")
        value = node.value if isinstance(node, ast.Constant) else None
        return value.decode(errors="replace") if isinstance(value, bytes) else _text(value)

    def _import(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.partition(".")[0]
                self.imported.setdefault(bound, alias.name if alias.asname else bound)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                joint = "" if base.endswith(".") else "."
                self.imported.setdefault(alias.asname or alias.name, f"{base}{joint}{alias.name}")

    def _define(self, node: ast.stmt) -> None:
        """Functions and classes of the module, those below an ``if`` or ``try`` too."""
        if isinstance(node, Function):
            self.functions[node.name] = node
        elif isinstance(node, ast.ClassDef):
            self.classes[node.name] = node
            for inner in node.body:
                if isinstance(inner, Function):
                    self.functions[f"{node.name}.{inner.name}"] = inner
        else:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.stmt):
                    self._define(child)
                elif isinstance(child, ast.ExceptHandler):
                    for inner in child.body:
                        self._define(inner)

    def _bind(self, node: ast.AST) -> None:
        if isinstance(node, ast.withitem):
            target, value = node.optional_vars, node.context_expr
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            target, value = node.target, node.value
        else:
            return
        if not isinstance(target, ast.Name):
            return
        if isinstance(value, ast.Call):
            self._built[target.id] = value
        elif isinstance(value, ast.Constant):
            self._constants[target.id] = self.text(value)
        elif self.dotted(value) in ENVIRONMENTS:
            self._aliases[target.id] = self.dotted(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
