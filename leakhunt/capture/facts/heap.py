"""All objects of the process, and how many there are of each type; for a forked child, whose time costs nobody."""

from __future__ import annotations

import gc
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, filterfalse
from typing import Any, NamedTuple

from leakhunt.capture.facts import peek

CHUNK = 2048
_MOST = 20_000_000


class OutOfTimeError(Exception):
    """The time for a question is over before it is answered."""


class Heap(NamedTuple):
    """Objects of the process.

    Attributes:
        objects: those that the garbage collector tracks.
        atoms: those that it does not track and others refer to: texts, bytes, numbers, containers of such.
        complete: whether ``atoms`` has them all.
    """

    objects: list[Any]
    atoms: list[Any]
    complete: bool = True


class Kind(NamedTuple):
    """How many objects of a type there are, and their own bytes without what they refer to."""

    name: str
    objects: int
    size: int


def chunks(objects: Sequence[Any], deadline: float, size: int = CHUNK) -> Iterator[Sequence[Any]]:
    """Yield a list in parts.

    Raises:
        OutOfTimeError: the deadline, by ``time.monotonic``, has come.
    """
    for begin in range(0, len(objects), size):
        if time.monotonic() > deadline:
            raise OutOfTimeError
        yield objects[begin : begin + size]


def walk(deadline: float, most: int = _MOST) -> Heap:
    """Return all objects; the collector is to be off meanwhile.

    Args:
        deadline: by ``time.monotonic``; those found by then are returned.
        most: no more objects than these are looked for.
    """
    objects = gc.get_objects()
    atoms: list[Any] = []
    seen: set[int] = set()
    fresh = objects
    try:
        while fresh:
            found: list[Any] = []
            for chunk in chunks(fresh, deadline):
                referents = filterfalse(gc.is_tracked, gc.get_referents(*chunk))
                new = {id(thing): thing for thing in referents}
                added = new.keys() - seen
                seen |= added
                found += [new[number] for number in added]
                if len(objects) + len(atoms) + len(found) > most:
                    atoms += found
                    return Heap(objects, atoms, complete=False)
            atoms += found
            fresh = [thing for thing in found if peek.traversable(type(thing))]
    except OutOfTimeError:
        atoms += found
        return Heap(objects, atoms, complete=False)
    return Heap(objects, atoms)


def kinds(heaps: Iterable[list[Any]], deadline: float) -> list[Kind]:
    """Count objects by type, the largest first.

    Raises:
        OutOfTimeError: it takes longer than until the deadline.
    """
    counts: Counter[int] = Counter()
    sizes: Counter[int] = Counter()
    known: dict[int, type] = {}
    sizers: dict[int, Callable[[Any], int]] = {}
    for chunk in chain.from_iterable(chunks(objects, deadline) for objects in heaps):
        numbers = list(map(id, map(type, chunk)))
        counts.update(numbers)
        for number, thing in zip(numbers, chunk):
            tell = sizers.get(number)
            if tell is None:
                known[number] = type(thing)
                tell = sizers[number] = peek.sizer(type(thing))
            sizes[number] += tell(thing)
    found = [Kind(peek.kind_of(known[number]), counts[number], size) for number, size in sizes.items()]
    return sorted(found, key=lambda kind: (-kind.size, kind.name))


def largest(found: list[Kind], most: int = 50) -> list[list[object]]:
    """Return as plain lists the types with most bytes, and those with most objects: at most ``most``, half each."""
    by_count = sorted(found, key=lambda kind: (-kind.objects, kind.name))
    chosen = dict.fromkeys(chain(found[: most - most // 2], by_count[: most // 2], found))
    return [list(kind) for kind in sorted(list(chosen)[:most], key=lambda kind: (-kind.size, kind.name))]


def collector() -> dict[str, object]:
    """Return the collector's state; whether it is on is of the caller's process at this moment."""
    return {
        "enabled": gc.isenabled(),
        "counts": list(gc.get_count()),
        "thresholds": list(gc.get_threshold()),
        "uncollectable": len(gc.garbage),
        "garbage": None,
    }


FREE_THREADED = "t" in getattr(sys, "abiflags", "")
