"""The functions, classes and mentions of one source file."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from leakhunt.readers.names import Function, Reference, last_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from leakhunt.readers.names import FunctionNode, Names

_TRANSPARENT_DECORATOR = re.compile(
    "abstractmethod|async_to_sync|asynccontextmanager|atomic|cache|cached_property|classmethod|contextmanager|"
    "deleter|deprecated|final|getter|lru_cache|no_type_check|overload|override|property|retry|setter|"
    "staticmethod|sync_to_async|wraps"
)


class Mention(NamedTuple):
    """A reference, the innermost function it stands in and the class it stands in."""

    reference: Reference
    function: Function | None
    owner: str


class _Scope(NamedTuple):
    prefix: str = ""
    function: Function | None = None
    owner: str = ""


class Outline:
    """The definitions and mentions of one file, with their syntax trees.

    Attributes:
        functions: every function, methods and nested functions included.
        classes: every class by its qualified name.
        calls: every call.
        mentions: the mentions, by the last name of each.
    """

    def __init__(self, names: Names, tree: ast.Module) -> None:
        self.functions: list[tuple[FunctionNode, Function]] = []
        self.classes: dict[str, ast.ClassDef] = {}
        self.calls: list[ast.Call] = []
        self.mentions: defaultdict[str, dict[Mention, None]] = defaultdict(dict)
        self._names = names
        pending: list[tuple[ast.AST, _Scope]] = [(tree, _Scope())]
        while pending:  # no recursion: a syntax tree can be deeper than Python's stack
            pending.extend(self._enter(*pending.pop()))

    def _enter(self, node: ast.AST, scope: _Scope) -> Iterator[tuple[ast.AST, _Scope]]:
        inner = scope
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inner = self._function(node, scope)
        elif isinstance(node, ast.ClassDef):
            self.classes[scope.prefix + node.name] = node
            inner = _Scope(f"{scope.prefix}{node.name}.", scope.function, node.name)
        elif isinstance(node, ast.expr):
            self._mention(node, scope)
        body = {id(child) for child in getattr(node, "body", ())} if inner is not scope else set()
        for child in ast.iter_child_nodes(node):
            yield child, inner if id(child) in body else scope

    def _function(self, node: FunctionNode, scope: _Scope) -> _Scope:
        qualname = scope.prefix + node.name
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        last = node.end_lineno or node.lineno
        function = Function(self._names.path, self._names.module, qualname, first, last)
        self.functions.append((node, function))
        return _Scope(f"{qualname}.<locals>.", function, scope.owner)

    def _mention(self, node: ast.expr, scope: _Scope) -> None:
        found: Iterator[Reference]
        if isinstance(node, ast.Call):
            self.calls.append(node)
            found = _attributes_by_name(node)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            return
        else:
            found = self._names.references(node, scope.owner)
        for reference in found:
            mention = Mention(reference, scope.function, scope.owner)
            self.mentions[reference.dotted.rpartition(".")[2]][mention] = None


def _attributes_by_name(call: ast.Call) -> Iterator[Reference]:
    """Yield ``m`` for ``getattr(x, "m")``, ``methodcaller("m")`` and their like."""
    if last_name(call.func) in {"getattr", "attrgetter", "methodcaller"}:
        for argument in call.args:
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield Reference("unknown", argument.value)


@dataclass(frozen=True, eq=False)
class Module:
    """What is kept of a parsed file when its syntax tree goes.

    Attributes:
        path: the file.
        name: its dotted name.
        functions: every function, methods and nested functions included.
        classes: the qualified name of every class, and the last names of its bases.
        mentions: the mentions in the file, by the last name of each.
        imported: the modules that its import statements name.
        star: whether it imports names that are not written down.
        exposed: functions handed to a decorator that may call them at any time.
    """

    path: Path
    name: str
    functions: tuple[Function, ...]
    classes: Mapping[str, frozenset[str]]
    mentions: Mapping[str, Sequence[Mention]]
    imported: frozenset[str]
    star: bool
    exposed: frozenset[Function]

    @classmethod
    def from_outline(cls, names: Names, outline: Outline) -> Module:
        """Keep the facts of an outline."""
        return cls(
            names.path,
            names.module,
            tuple(function for _, function in outline.functions),
            {
                qualname: frozenset(
                    origin.rpartition(".")[2] for base in node.bases for origin in names.origins(base)
                )
                for qualname, node in outline.classes.items()
            },
            {name: tuple(mentions) for name, mentions in outline.mentions.items()},
            frozenset(names.imported),
            names.star,
            frozenset(
                function
                for node, function in outline.functions
                if not all(map(_TRANSPARENT_DECORATOR.fullmatch, map(last_name, node.decorator_list)))
            ),
        )

    def enclosing(self, first: int, last: int) -> list[Function]:
        """Return the functions that hold these lines, outermost first."""
        found = [each for each in self.functions if each.lineno <= first and last <= each.last_lineno]
        return sorted(found, key=lambda each: (each.lineno, -each.last_lineno, len(each.qualname)))
