"""What a collection would free, counted without one.

Finalizers and callbacks are the program's code: they run once, in the program, and never in a copy of it. So what the
collector does is done here by hand. References among tracked objects are subtracted from the counts of references;
what has some left is held from outside, and so is all that it reaches. The rest is garbage, with all that only it
refers to.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from itertools import compress, islice
from typing import Any, NamedTuple

from leakhunt.capture.facts import allocator, heap, sites

_MOST_TYPES = 20
_MOST_SITES = 20
_MOST_LOOKUPS = 20_000  # a stack of 25 frames takes up to 20 us


class Garbage(NamedTuple):
    """Objects that nothing but each other refers to.

    Attributes:
        tracked: those that the collector would find.
        released: those that would go with them, as nothing else refers to them.
    """

    tracked: list[Any]
    released: list[Any]


def find(everything: heap.Heap, deadline: float) -> Garbage:
    """Return what a full collection would free, were it run now.

    Args:
        everything: all objects; nobody else may hold references to them that were not there before.
        deadline: by ``time.monotonic``.

    Raises:
        heap.OutOfTimeError: it takes longer.
    """
    unreached = _unreached(everything.objects, deadline)
    tracked = [thing for thing in everything.objects if id(thing) in unreached]
    return Garbage(tracked, _released(tracked, unreached, deadline))


def summary(garbage: Garbage, deadline: float) -> dict[str, object]:
    """Return plain data of garbage: objects, bytes, types, and the lines that allocated it."""
    found = heap.kinds((garbage.tracked, garbage.released), deadline)
    return {
        "objects": sum(kind.objects for kind in found),
        "bytes": sum(kind.size for kind in found),
        "types": heap.largest(found, _MOST_TYPES),
        "sites": _sites(garbage, deadline),
    }


def _baseline() -> int:
    """Return what ``getrefcount`` says of an object that only one list holds."""
    return next(map(sys.getrefcount, [object()]))


def _unreached(objects: list[Any], deadline: float) -> set[int]:
    """Return the ids of the tracked objects that are not reached from outside."""
    inner: Counter[int] = Counter()
    for chunk in heap.chunks(objects, deadline):
        inner.update(map(id, filter(gc.is_tracked, gc.get_referents(*chunk))))
    chunk = []  # its references would count
    own = _baseline()
    # What nobody refers to was alive when the objects were listed, and is no more: it is no garbage, but ours.
    reached = [
        not inner[name] or number > own + inner[name]
        for number, name in zip(map(sys.getrefcount, objects), map(id, objects))
    ]
    frontier = list(compress(objects, reached))
    del inner
    unreached = set(map(id, objects))
    unreached.difference_update(map(id, frontier))
    while frontier:
        following: list[Any] = []
        for chunk in heap.chunks(frontier, deadline):
            referents = gc.get_referents(*chunk)
            new = {
                id(thing): thing
                for thing in compress(referents, map(unreached.__contains__, map(id, referents)))
            }
            unreached.difference_update(new)
            following += new.values()
        frontier = following
    return unreached


def _released(tracked: list[Any], dead: set[int], deadline: float) -> list[Any]:
    """Return what is only referred to by dead objects, as it would be freed one after the other."""
    held: Counter[int] = Counter()
    released: list[Any] = []
    dying = tracked
    while dying:
        touched: dict[int, Any] = {}
        for chunk in heap.chunks(dying, deadline):
            referents = gc.get_referents(*chunk)
            held.update(map(id, referents))
            touched.update((id(thing), thing) for thing in referents if id(thing) not in dead)
        referents = chunk = []  # their references would count
        candidates = list(touched.values())
        del touched
        # A list of the heap holds each of them too.
        own = _baseline() + 1
        gone = [
            number - own <= held[name]
            for number, name in zip(map(sys.getrefcount, candidates), map(id, candidates))
        ]
        dying = list(compress(candidates, gone))
        del candidates
        dead.update(map(id, dying))
        released += dying
    return released


def _sites(garbage: Garbage, deadline: float) -> list[list[object]]:
    """Return file, line, count and bytes of the lines that allocated most of the garbage; of much, an estimate."""
    counts: Counter[tuple[str, int]] = Counter()
    sizes: Counter[tuple[str, int]] = Counter()
    total = len(garbage.tracked) + len(garbage.released)
    looked_at = list(islice(sites.spread(heap.Heap(garbage.tracked, garbage.released)), _MOST_LOOKUPS))
    sizer = sites.Sizer()
    for chunk in heap.chunks(looked_at, deadline):
        with allocator.answering():
            stacks = list(map(sites.stack_of, chunk))
        for stack, thing in zip(stacks, chunk):
            if stack:
                counts[stack[0]] += 1
                sizes[stack[0]] += sizer(thing)
    largest = sorted(sizes, key=lambda site: (-sizes[site], site))[:_MOST_SITES]  # most_common() would import
    share = len(looked_at) / max(1, total)
    return [[*site, round(counts[site] / share), round(sizes[site] / share)] for site in largest]
