"""Looks at objects of the program that run none of its code: no ``__len__``, ``__repr__``, property or ``__getattr__``."""

from __future__ import annotations

import sys
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any

Thing = Any  # an object of the program, of which nothing is known

# The slots of `type` itself: a metaclass cannot come between.
_mro: Callable[[type], tuple[type, ...] | None] = type.__dict__["__mro__"].__get__
class_namespace: Callable[[type], Mapping[str, object]] = type.__dict__["__dict__"].__get__
plain_name: Callable[[type], str] = type.__dict__["__name__"].__get__
_module: Callable[[type], object] = type.__dict__["__module__"].__get__
_qualname: Callable[[type], str] = type.__dict__["__qualname__"].__get__
flags: Callable[[type], int] = type.__dict__["__flags__"].__get__


def mro(kind: type) -> tuple[type, ...]:
    """Return a type and its bases; none for a type that is not made to the end."""
    return _mro(kind) or ()


HAS_GC = 1 << 14
LENGTHS: dict[int, Callable[[Any], int]] = {
    id(kind): kind.__len__
    for kind in (list, tuple, dict, set, frozenset, deque, bytes, bytearray, str, OrderedDict)
}
# Whose own __sizeof__ is C of the interpreter, or does nothing but add numbers.
_TRUSTED = frozenset(
    {"builtins", "collections", "array", "_io", "itertools", "functools", "re", "_sre", "types", "_struct"}
    | {
        "_pickle",
        "_elementtree",
        "_asyncio",
        "_contextvars",
        "weakref",
        "_weakref",
        "_thread",
        "mmap",
        "numpy",
    }
)
_INSTANCE_DICT = "dictionary for instance variables"
_LONGEST = 200


def kind_of(kind: type) -> str:
    """Return a type's name: ``shop.models.Order``; without its module for the built-in ones."""
    try:
        module = _module(kind)
        name = _qualname(kind)
    except Exception:  # noqa: BLE001 - a type of C without a name has none
        return "?"
    if type(module) is not str or module == "builtins":
        return name[:_LONGEST]
    return f"{module}.{name}"[:_LONGEST]


def base_among(kind: type, known: Mapping[int, object]) -> int:
    """Return the id of the first of a type's bases that is known; 0 where none is."""
    return next((id(base) for base in mro(kind) if id(base) in known), 0)


def is_a(thing: object, kind: type) -> bool:
    """Tell whether an object's real type is, or is derived from, another; ``__class__`` may lie."""
    return any(base is kind for base in mro(type(thing)))


def length(thing: object) -> int | None:
    """Return how many items a container has; None where only code of the program could tell."""
    found = base_among(type(thing), LENGTHS)
    return LENGTHS[found](thing) if found else None


def sizer(kind: type) -> Callable[[Any], int]:
    """Return what tells the bytes of a type's objects without running the program's code."""
    for base in mro(kind):
        method = class_namespace(base).get("__sizeof__")
        if method is None:
            continue
        if type(method) is types.MethodDescriptorType and _trusted(method.__objclass__):
            return sys.getsizeof
        break
    header = 16 if flags(kind) & HAS_GC else 0
    return lambda thing: object.__sizeof__(thing) + header


def _trusted(kind: type) -> bool:
    module = _module(kind)
    return type(module) is str and module.partition(".")[0] in _TRUSTED


def namespace(thing: object) -> dict[str, object] | None:
    """Return an instance's ``__dict__``; None where it has none, or where the program's code would answer for it."""
    for base in mro(type(thing)):
        slot = class_namespace(base).get("__dict__")
        if slot is None:
            continue
        own = type(slot) is types.GetSetDescriptorType and (
            (slot.__doc__ or "").startswith(_INSTANCE_DICT) or _trusted(slot.__objclass__)
        )
        if not own and type(slot) is not types.MemberDescriptorType:
            return None
        try:
            found = slot.__get__(thing)  # type: ignore[attr-defined] # one of the two descriptors
        except Exception:  # noqa: BLE001 - has none
            return None
        return found if type(found) is dict else None
    return None


def slot_of(thing: object, value: object) -> str | None:
    """Return the name of the slot that holds a value."""
    for base in mro(type(thing)):
        for name, slot in list(class_namespace(base).items()):
            if type(slot) is not types.MemberDescriptorType or type(name) is not str:
                continue
            try:
                if slot.__get__(thing) is value:
                    return name
            except Exception:  # noqa: BLE001, S112 - not set
                continue
    return None


def key_of(values: dict[Any, object], value: object, most: int = 200_000) -> object:
    """Return the key under which a dict holds a value; None where it is not found among the first ``most``."""
    if dict.__len__(values) > most:
        return None
    return next((key for key, held in list(dict.items(values)) if held is value), None)


def function_name(function: types.FunctionType) -> str:
    """Return a function's ``module.qualname``."""
    # Both are slots of exact functions, and set to anything by anyone.
    module, name = function.__module__, function.__qualname__
    return f"{module}.{name}"[:_LONGEST] if type(module) is str else name[:_LONGEST]


def traversable(kind: type) -> bool:
    """Tell whether objects of a type can refer to others, as the collector sees it."""
    return bool(flags(kind) & HAS_GC)
