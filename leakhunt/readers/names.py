"""What a name in a source file refers to, by syntax alone."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Union

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FunctionNode = Union[ast.FunctionDef, ast.AsyncFunctionDef]

_CHAIN_LIMIT = 8
_DOTTED = re.compile(r"[^\W\d]\w*(?:[.:][^\W\d]\w*)+")


@dataclass(frozen=True)
class Definition:
    """A class or function of a source file; ``qualname`` is what Python calls ``__qualname__``."""

    path: Path
    module: str
    qualname: str

    @property
    def name(self) -> str:
        """The name that the statement binds."""
        return self.qualname.rpartition(".")[2]

    @property
    def owner(self) -> str:
        """The name of the class whose body holds the definition, or an empty string."""
        owner = self.qualname.rpartition(".")[0].rpartition(".")[2]
        return "" if owner == "<locals>" else owner


@dataclass(frozen=True)
class Function(Definition):
    """One ``def``; ``lineno`` is its first line, the decorators included."""

    lineno: int
    last_lineno: int


class Reference(NamedTuple):
    """A function or class as code names it.

    Attributes:
        kind: what the name starts from: ``import`` (an imported name), ``string`` (a dotted path in a string),
            ``local`` (a name of this file), ``self`` (an attribute of ``self``, ``cls`` or ``super()``) or
            ``unknown`` (an attribute of anything else).
        dotted: the name with its import undone, such as ``shop.utils.load``; the attribute alone when the start
            is ``self`` or unknown.
    """

    kind: str
    dotted: str


class Names:
    """What the names of one file stand for.

    Attributes:
        path: the file.
        module: its dotted name.
        imported: the modules that its import statements name.
        star: whether it imports names that are not written down.
    """

    def __init__(self, path: Path, module: str, tree: ast.Module) -> None:
        self.path = path
        self.module = module
        self.imported: set[str] = set()
        self.star = False
        self._imports: defaultdict[str, set[str]] = defaultdict(set)
        self._rebound: set[str] = set()
        for node in ast.walk(tree):
            self._bind(node)

    def origins(self, expression: ast.expr) -> tuple[str, ...]:
        """Return what ``a.b.c`` may be, imports undone: ``("x.a.b.c",)``; empty when no name starts it."""
        root, rest = chain(expression)
        if not root or root == "super()":
            return ()
        return tuple(".".join((origin, *rest)) for origin in sorted(self._imports.get(root, {root})))

    def references(self, expression: ast.expr, owner: str = "") -> Iterator[Reference]:
        """Yield what an expression, in a method of the class ``owner``, may refer to."""
        if isinstance(expression, ast.Constant):
            if isinstance(expression.value, str) and _DOTTED.fullmatch(expression.value[:200]):
                yield Reference("string", expression.value.replace(":", "."))
            return
        root, rest = chain(expression)
        if owner and root in {"self", "cls", "super()"}:
            if rest:
                yield Reference("self" if len(rest) == 1 else "unknown", rest[-1])
            elif root == "cls":
                yield Reference("local", owner)
        elif rest and (not root or root in self._rebound):
            yield Reference("unknown", rest[-1])
        else:
            kind = "import" if root in self._imports else "local"
            yield from (Reference(kind, origin) for origin in self.origins(expression))

    def _bind(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                self._imports[alias.asname or top].add(alias.name if alias.asname else top)
                self.imported.update((alias.name, top))
        elif isinstance(node, ast.ImportFrom):
            origin = self._absolute(node)
            self.imported.add(origin)
            for alias in node.names:
                self.star = self.star or alias.name == "*"
                self._imports[alias.asname or alias.name].add(f"{origin}.{alias.name}".lstrip("."))
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            self._rebound.add(node.id)
        elif isinstance(node, ast.arg):
            self._rebound.add(node.arg)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.module.split(".")
        climb = node.level - (self.path.name == "__init__.py")
        package = parts[: max(len(parts) - climb, 0)]
        return ".".join([*package, node.module] if node.module else package)


def chain(expression: ast.expr) -> tuple[str, list[str]]:
    """Split ``a.b.c`` into its first name and its attributes; the first is empty when it is no name."""
    attributes: list[str] = []
    while isinstance(expression, ast.Attribute) and len(attributes) < _CHAIN_LIMIT:
        attributes.append(expression.attr)
        expression = expression.value
    if isinstance(expression, ast.Name):
        return expression.id, attributes[::-1]
    is_super = isinstance(expression, ast.Call) and last_name(expression.func) == "super"
    return "super()" if is_super else "", attributes[::-1]


def last_name(expression: ast.expr) -> str:
    """Return the ``c`` of ``a.b.c`` or ``a.b.c(...)``, or an empty string."""
    expression = expression.func if isinstance(expression, ast.Call) else expression
    if isinstance(expression, ast.Attribute):
        return expression.attr
    return expression.id if isinstance(expression, ast.Name) else ""


def same_module(one: str, other: str) -> bool:
    """Whether two dotted names may be one module, found from different directories."""
    return f".{one}".endswith(f".{other}") or f".{other}".endswith(f".{one}")
