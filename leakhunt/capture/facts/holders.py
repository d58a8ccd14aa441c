"""A chain of references in words: from a named place down to an object, each step an attribute, a key or an item."""

from __future__ import annotations

import functools
import gc
import threading
import types
from typing import Any, NamedTuple

from leakhunt.capture.facts import keys, peek, roots
from leakhunt.capture.facts.peek import Thing

_LRU = type(functools.lru_cache(lambda: None))
_SHORT = 64
_MOST_WORDS = 8
_PLAIN: frozenset[int] = frozenset(map(id, (types.CellType, types.TracebackType, types.MappingProxyType)))
_GENERATORS = {
    id(types.GeneratorType): "gi_frame",
    id(types.CoroutineType): "cr_frame",
    id(types.AsyncGeneratorType): "ag_frame",
}


class Node(NamedTuple):
    """One object of a chain.

    Attributes:
        thing: the object.
        name: what it is called by way of the place that holds it, such as ``shop.models.registry._seen``.
        words: what it is.
        length: items, where it is a container.
        noise: whether it only belongs to the object above it, as an instance's ``__dict__`` does.
    """

    thing: Thing
    name: str
    words: str
    length: int | None
    noise: bool


def describe(path: list[Any], name: str, namespaced: Thing = None) -> list[Node]:
    """Name each object of a path.

    Args:
        path: objects from the held one at the named place down to the sample.
        name: of the first of them.
        namespaced: the object whose ``__dict__`` the first is, if it is one.
    """
    nodes: list[Node] = []
    owner = namespaced
    above: Thing = None
    for at, thing in enumerate(path):
        if at:
            name, owner = _step(name, above, thing, owner)
        if type(thing) is _LRU:
            name = f"functools.lru_cache of {name}"
        length = length_of(thing)
        nodes.append(
            Node(thing, name, _words(thing, length, above), length, owner is not None or _is_plain(thing))
        )
        above = thing
    return nodes


def length_of(thing: object) -> int | None:
    """Return how many items a container or a function's cache has."""
    if type(thing) is _LRU:
        return max((len(found) for found in gc.get_referents(thing) if type(found) is dict), default=None)
    if peek.base_among(type(thing), _TEXTS):
        return None
    return peek.length(thing)


_TEXTS = {id(kind): kind for kind in (str, bytes, bytearray)}


def _is_plain(thing: object) -> bool:
    return id(type(thing)) in _PLAIN


def _step(name: str, parent: Thing, child: Thing, owner: Thing) -> tuple[str, Any]:  # noqa: PLR0911 - a line a kind
    """Return the child's name, and the object whose namespace or cells it is, if it is one."""
    if owner is not None:  # the parent only serves its owner
        return _through(name, owner, parent, child)
    kind = type(parent)
    if kind is types.FunctionType:
        if child is parent.__closure__ or child is parent.__defaults__ or child is parent.__kwdefaults__:
            return name, parent
    elif kind is _LRU:
        return name, parent if type(child) is dict else None
    elif id(kind) in _GENERATORS or kind is types.FrameType:
        return _local(name, parent, child), None
    elif _is_plain(parent):
        return name, None
    elif peek.is_a(parent, type) and roots.class_dict(parent) is child:
        return peek.kind_of(parent), parent
    elif peek.base_among(kind, _ITEMS):
        return name + _item(parent, child), None
    if type(child) is dict and (peek.namespace(parent) is child or peek.is_a(parent, threading.local)):
        return name, parent
    attribute = _attribute(parent, child)
    return f"{name}.{attribute}" if attribute else name, None


_ITEMS = peek.LENGTHS


def _through(name: str, owner: Thing, parent: Thing, child: Thing) -> tuple[str, Any]:
    """Name what an object holds by way of its namespace, its closure or its defaults."""
    if type(owner) is types.FunctionType and type(parent) is tuple:
        if parent is owner.__closure__:
            names = owner.__code__.co_freevars
            words = "closure variable"
        else:
            code = owner.__code__
            names = code.co_varnames[: code.co_argcount][-len(parent) :]
            words = "default argument"
        at = next((at for at, held in enumerate(parent) if held is child), len(names))
        return f"{words} {names[at] if at < len(names) else '?'} of {name}", None
    if type(parent) is not dict or type(owner) is _LRU:
        return name, None
    key = peek.key_of(parent, child)
    if type(key) is not str:
        # A thread's attributes are two dicts below their owner.
        return (name, owner) if type(child) is dict and peek.is_a(owner, threading.local) else (name, None)
    if type(owner) is types.FunctionType and parent is owner.__kwdefaults__:
        return f"default argument {keys.shown_name(key)} of {name}", None
    return f"{name}.{keys.shown_name(key)}", None


def _item(parent: Thing, child: Thing) -> str:
    """Return the place of an item where that is short."""
    base = peek.base_among(type(parent), _ITEMS)
    length = _ITEMS[base](parent)
    if length <= _SHORT and base in {id(list), id(tuple)}:
        items = list.__iter__(parent) if base == id(list) else tuple.__iter__(parent)
        return next((f"[{at}]" for at, held in enumerate(items) if held is child), keys.UNTOLD)
    if peek.is_a(parent, dict):
        attribute = _attribute(parent, child) if type(parent) is not dict else None
        key = peek.key_of(parent, child, most=_SHORT)
        if type(key) is int or type(key) is str:
            return keys.shown_key(key, list(dict.keys(parent)))
        if attribute:
            return f".{attribute}"
    return keys.UNTOLD


def _attribute(parent: Thing, child: Thing) -> str | None:
    """Return the instance's attribute that has a value."""
    values = peek.namespace(parent)
    key = peek.key_of(values, child) if values is not None else None
    return keys.shown_name(key) if type(key) is str else peek.slot_of(parent, child)


def _local(name: str, parent: Thing, child: Thing) -> str:
    """Name a local variable of a function that stands still, or that has ended but whose frame is kept."""
    words = local_of(parent, child)
    return words or name


def local_of(parent: Thing, child: Thing) -> str | None:
    """Return ``local request of charge (gateway.py:12)`` for what a frame or generator holds."""
    attribute = _GENERATORS.get(id(type(parent)))
    frame = getattr(parent, attribute, None) if attribute else parent
    if type(frame) is not types.FrameType:
        return None
    names = [name for name, value in roots.local_values(frame) if value is child]
    return f"local {names[0]} of {roots.code_name(frame.f_code)}" if names else None


def _words(thing: Thing, length: int | None, above: Thing) -> str:
    """Say what an object is."""
    kind = peek.kind_of(type(thing))
    if type(thing) is types.FunctionType:
        return f"function {peek.function_name(thing)}"
    if type(thing) is _LRU:
        return f"lru_cache ({length} items)"
    if type(above) is types.FrameType or id(type(above)) in _GENERATORS:
        local = local_of(above, thing)
        kind = f"{kind}, {local}" if local else kind
    if peek.is_a(thing, type):
        return f"class {peek.kind_of(thing)}"
    return kind if length is None else f"{kind} ({length} item{'' if length == 1 else 's'})"


def chain(nodes: list[Node], root: str) -> list[str]:
    """Return what holds a sample, nearest first, in few words; the middle of a long chain is left out.

    Args:
        nodes: from the named place down; the last is the sample.
        root: what the named place is.
    """
    words = [node.words for node in reversed(nodes[:-1]) if not node.noise]
    local = next((node for node in reversed(nodes) if ", local " in node.words), None)
    if local is nodes[-1]:
        words.insert(0, local.words.partition(", ")[2])
    words.append(root)
    if len(words) > _MOST_WORDS:
        half = _MOST_WORDS // 2
        words = [*words[:half], "...", *words[half - _MOST_WORDS + 1 :]]
    return words
