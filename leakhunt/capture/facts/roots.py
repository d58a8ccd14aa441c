"""Where a climb from an object to its holders may end: places that have a name."""

from __future__ import annotations

import contextvars
import gc
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from leakhunt.capture.facts import peek
from leakhunt.capture.facts.keys import shown_name
from leakhunt.capture.facts.peek import Thing

_HAMT = frozenset({"hamt_bitmap_node", "hamt_collision_node", "hamt_array_node"})
_OURS = "leakhunt.capture"
_OPTIMIZED = 1  # CO_OPTIMIZED: a function


class Root(NamedTuple):
    """A named place that holds something for good.

    Attributes:
        rank: the smaller, the better a name.
        words: such as ``module global``; empty where the name says it.
        name: such as ``shop.cache._entries``.
    """

    rank: int
    words: str
    name: str


class Roots:
    """The named places of the process."""

    def __init__(self) -> None:
        self._modules: dict[int, str] = {}
        self.own: set[int] = set()
        for name, module in list(sys.modules.items()):
            if type(name) is str and peek.is_a(module, types.ModuleType):
                values = module_namespace(module)
                if values is not None:
                    known = dict.get(values, "__name__")
                    self._modules.setdefault(id(values), known if type(known) is str else name)
                    if name.startswith(_OURS):
                        self.own.add(id(values))
        self._locals = {id(value): words for value, words in _running()}

    def is_module(self, values: object) -> bool:
        """Tell whether an object is the namespace of a module."""
        return id(values) in self._modules

    def root(self, parent: Thing, child: Thing, below: Thing) -> Root | None:
        """Return the name of a place; None where a parent is none.

        Args:
            parent: refers to the child.
            child: refers to what is below it.
            below: nearer to the object whose holder is looked for; None where the child is that object.
        """
        module = self._modules.get(id(parent))
        if module is not None:
            return Root(0, "module global", f"{module}.{_key(parent, child)}")
        if peek.is_a(parent, type) and class_dict(parent) is child and below is not None:
            return Root(1, "class attribute", f"{peek.kind_of(parent)}.{_key(child, below)}")
        if peek.is_a(parent, types.ModuleType) and module_namespace(parent) is child and below is not None:
            return Root(0, "module global", f"{_key(child, None, '__name__')}.{_key(child, below)}")
        if peek.plain_name(type(parent)) in _HAMT:
            variable = _variable(parent, child)
            return Root(2, "", f"context variable {variable}") if variable else None
        return None

    def running(self, thing: object) -> str | None:
        """Return which variable of a running function has an object: ``local page of shop.x.render (x.py:12)``."""
        return self._locals.get(id(thing))


def module_namespace(module: Thing) -> dict[str, object] | None:
    """Return a module's namespace, whatever its class makes of ``__dict__``."""
    values = _MODULE_DICT(module)
    return values if type(values) is dict else None


_MODULE_DICT: Callable[[Any], object] = vars(types.ModuleType)["__dict__"].__get__


def class_dict(kind: type) -> object:
    """Return the dict behind a class's namespace."""
    return next(iter(gc.get_referents(peek.class_namespace(kind))), None)


def code_name(code: types.CodeType) -> str:
    """Return a function's name with its file and line."""
    name = getattr(code, "co_qualname", code.co_name)  # since Python 3.11
    return f"{name} ({code.co_filename.rpartition('/')[2]}:{code.co_firstlineno})"


def local_values(frame: types.FrameType) -> list[tuple[str, object]]:
    """Return a function's local variables; none of a class's or module's body, whose namespace may be anything."""
    return list(frame.f_locals.items()) if frame.f_code.co_flags & _OPTIMIZED else []


def _key(values: Thing, child: object, default: str = "?") -> str:
    """Return the text under which a namespace holds a child; with no child, the text that it holds itself."""
    found = peek.key_of(values, child) if child is not None else dict.get(values, default)
    return shown_name(found)


def _variable(node: Thing, child: object) -> str | None:
    """Return the context variable whose value is a child: a node shows each value next to its variable."""
    referents = gc.get_referents(node)
    for at, thing in enumerate(referents):
        if thing is child and at + 1 < len(referents) and type(referents[at + 1]) is contextvars.ContextVar:
            return str(referents[at + 1].name)[:100]
    return None


def _running() -> Iterator[tuple[object, str]]:
    """Yield the values of local variables of the functions that run in this thread, leakhunt's own left out."""
    frame: types.FrameType | None = sys._getframe()  # noqa: SLF001 - there is no other way
    while frame is not None:
        module = dict.get(frame.f_globals, "__name__")
        if not (type(module) is str and module.startswith(_OURS)):
            for name, value in local_values(frame):
                yield value, f"local {name} of {code_name(frame.f_code)}"
        frame = frame.f_back
