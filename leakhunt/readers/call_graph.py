"""The one task that leads to a function, by syntax alone.

Every mention of a function counts as a call of it, and a mention that may mean several functions counts for each.
So a function may seem to have too many callers, and never too few: "only this task" can be relied on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from leakhunt.readers.names import Definition, same_module

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from leakhunt.readers.names import Function, Reference
    from leakhunt.readers.outline import Mention, Module

_ANCESTOR_LIMIT = 500


class UntraceableError(Exception):
    """The callers of a function cannot all be known."""


class Project(Protocol):
    """What the call graph asks of a source tree."""

    def mentioning(self, word: str) -> Sequence[Module]:
        """Return the modules whose text holds a word, or raise UntraceableError when not all can be read."""

    def named(self, dotted: str) -> Sequence[Module]:
        """Return the modules that an import of this dotted name may mean, or raise UntraceableError."""

    def defines_class(self, name: str) -> bool:
        """Whether some file has a class of this name."""

    def module_of(self, function: Function) -> Module:
        """Return the module that holds a function."""

    def is_task(self, function: Function) -> bool:
        """Whether a function is the body of a task."""


class CallGraph:
    """Who calls whom in a source tree, explored upwards from a function.

    A nested function counts as a part of the function around it, unless it is a task.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._nodes: dict[Function, Function] = {}
        self._families: dict[str, set[str]] = {}

    def only_task(self, function: Function) -> Function | None:
        """Return the task without which nothing in the tree calls the function, or None."""
        try:
            return self._only_task(self._node(function))
        except UntraceableError:
            return None

    def _only_task(self, start: Function) -> Function | None:
        tasks: set[Function] = set()
        callers: dict[Function, set[Function]] = {}
        pending = [start]
        while pending:
            node = pending.pop()
            if node in callers:
                continue
            is_task = self._project.is_task(node)
            tasks.update([node] if is_task else [])
            callers[node] = set() if is_task else self._callers(node)
            if len(tasks) > 1 or len(callers) > _ANCESTOR_LIMIT:
                return None
            pending.extend(callers[node])
        return next(iter(tasks)) if tasks and _all_reached(tasks, callers) else None

    def _node(self, function: Function) -> Function:
        if function not in self._nodes:
            around = self._project.module_of(function).enclosing(function.lineno, function.last_lineno)
            tasks = [each for each in reversed(around[1:]) if self._project.is_task(each)]
            self._nodes[function] = tasks[0] if tasks else around[0]
        return self._nodes[function]

    def _callers(self, node: Function) -> set[Function]:
        """Return the functions that mention one, or raise UntraceableError when not only functions do."""
        home = self._project.module_of(node)
        found: set[Function] = set()
        if node in home.exposed:
            raise UntraceableError
        for function in home.functions:
            if node.lineno <= function.lineno <= node.last_lineno and self._node(function) == node:
                for definition in _mentioned_for(function):
                    found.update(self._mentioning(definition))
        found.discard(node)
        if not found:
            raise UntraceableError
        return found

    def _mentioning(self, definition: Definition) -> Iterator[Function]:
        for module in self._project.mentioning(definition.name):
            for mention in module.mentions.get(definition.name, ()):
                if self._may_mean(mention, module, definition):
                    if mention.function is None:
                        raise UntraceableError
                    yield self._node(mention.function)

    def _may_mean(self, mention: Mention, module: Module, target: Definition) -> bool:
        kind, dotted = mention.reference
        if kind in {"import", "string"}:
            return self._import_may_mean(mention.reference, module, target)
        if kind == "self":
            return self._self_may_mean(mention, target)
        if kind == "local":
            return _local_may_mean(dotted, module, target)
        return True

    def _import_may_mean(self, reference: Reference, module: Module, target: Definition) -> bool:
        dotted = reference.dotted
        if dotted.endswith(f".{target.qualname}") and same_module(
            dotted[: -len(target.qualname) - 1], target.module
        ):
            return True
        parts = dotted.split(".")
        for length in range(len(parts) - 1, 0, -1):
            modules = self._project.named(".".join(parts[:length]))
            if modules:  # a re-export, unless every such module defines the name itself
                return not all(_defines(each, ".".join(parts[length:])) for each in modules)
        return reference.kind == "import" and module.imported.isdisjoint((dotted, dotted.rpartition(".")[0]))

    def _self_may_mean(self, mention: Mention, target: Definition) -> bool:
        family = self._family(mention.owner)
        if target.owner in family:
            return True
        name = target.name
        modules = self._project.mentioning(name)
        return not any(
            each.name == name and each.owner in family for module in modules for each in module.functions
        )

    def _family(self, name: str) -> set[str]:
        """Return the names of the classes that may lie under or over an object of a class, or beside it."""
        family: set[str] = set()
        pending = [] if name in self._families else [name]
        while pending:
            current = pending.pop()
            if current in family:
                continue
            family.add(current)
            for module in self._project.mentioning(current):
                for qualname, bases in module.classes.items():
                    if current in bases:
                        pending.append(qualname.rpartition(".")[2])
                    if current == qualname.rpartition(".")[2]:
                        pending.extend(base for base in bases if self._project.defines_class(base))
        return self._families.setdefault(name, family)


def _mentioned_for(function: Function) -> Iterator[Definition]:
    """Yield what code mentions when it calls a function: its name, or its class for ``__init__`` and its like."""
    yield function
    if function.owner and function.name.startswith("__") and function.name.endswith("__"):
        yield Definition(function.path, function.module, function.qualname.rpartition(".")[0])


def _local_may_mean(dotted: str, module: Module, target: Definition) -> bool:
    head, _, name = dotted.rpartition(".")
    if head in module.classes and _defines(module, dotted):
        return module.path == target.path and target.qualname == dotted
    if head:
        return True
    if module.path != target.path:
        return module.star
    return not target.owner or all(each.owner for each in module.functions if each.name == name)


def _defines(module: Module, qualname: str) -> bool:
    return qualname in module.classes or any(each.qualname == qualname for each in module.functions)


def _all_reached(tasks: set[Function], callers: Mapping[Function, set[Function]]) -> bool:
    """Whether the tasks lead to every function: a ring of functions that nothing enters is called from elsewhere."""
    reached = set(tasks)
    while True:
        more = {node for node, above in callers.items() if node not in reached and above & reached}
        if not more:
            return len(reached) == len(callers)
        reached |= more
