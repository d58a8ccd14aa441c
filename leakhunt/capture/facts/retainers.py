"""Who holds what a line allocated: samples of it are followed from holder to holder up to a name."""

from __future__ import annotations

import gc
import types
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from leakhunt.capture.facts import heap, holders, peek, sites
from leakhunt.capture.facts.peek import Thing
from leakhunt.capture.facts.roots import Root, Roots

_DEPTH = 20  # references; a kept exception is some ten below its name
_CHUNK = 256
_MOST_PARENTS = 24
_MOST_FRONTIER = 40
_MOST_HOLDERS = 5
_LONG_CHAIN = 8
_MANY_ALIKE = 3
_MOST_FOLLOWED = 12  # of the samples of a line


class Found(NamedTuple):
    """Who holds what, as plain data, and what was left out.

    Attributes:
        rows: one for each line, the largest first.
        left_out: reasons in words.
    """

    rows: list[dict[str, object]]
    left_out: list[str]


class _Climb:
    """The way up from one sample."""

    def __init__(self, sample: Thing) -> None:
        self.sample = sample
        self.children: dict[int, Any] = {id(sample): None}  # each object's nearest to the sample
        self.frontier: list[Any] = [sample]
        self.root: tuple[Root, Any] | None = None  # and the object that the place holds
        self.local: tuple[str, Any] | None = None
        self.top: Thing = sample

    def rise(self, referrers: Mapping[int, list[Any]], roots: Roots) -> None:
        """Go up by one level."""
        above: list[Any] = []
        for child in self.frontier:
            below = self.children[id(child)]
            for parent in referrers.get(id(child), ()):
                if id(parent) in self.children:
                    continue
                found = roots.root(parent, child, below)
                if found is not None:
                    held = (
                        child
                        if found.words != "class attribute" and not _is_namespace(parent, child)
                        else below
                    )
                    if self.root is None or found.rank < self.root[0].rank:
                        self.root = found, held
                    continue
                self.children[id(parent)] = child
                above.append(parent)
            if self.local is None:
                self._look_for_a_local(child, referrers.get(id(child), ()), roots)
        if above:
            self.top = above[0]
        self.frontier = [] if self.root is not None else above[:_MOST_FRONTIER]

    def _look_for_a_local(self, child: Thing, parents: Iterable[Thing], roots: Roots) -> None:
        """Remember a variable of a function: a name where no better one is found."""
        words = roots.running(child)
        for parent in parents:
            words = words or holders.local_of(parent, child)
        if words is not None:
            self.local = words, child

    def path(self, top: Thing) -> list[Any]:
        """Return the objects from one of those that were met down to the sample."""
        found = []
        while top is not None:
            found.append(top)
            top = self.children[id(top)]
        return found


class _Way(NamedTuple):
    """A sample's holder: where it is held, and the object that it is one item of."""

    nodes: list[holders.Node]
    root: str
    holder: int


def retainers(
    everything: heap.Heap,
    found: sites.Traced,
    deadline: float,
    earlier: Mapping[sites.Line, int] | None,
    dead: frozenset[int],
) -> Found:
    """Return who holds what the largest lines allocated.

    Args:
        everything: all objects; the collector is to be off.
        found: what is traced.
        deadline: by ``time.monotonic``; what is known by then is returned.
        earlier: bytes of each line at an earlier time; those that grew most since are looked at too.
        dead: ids of objects that are garbage.
    """
    owners = sites.Owners()
    left_out: list[str] = []
    wanted = sites.chosen(found, earlier)
    samples = sites.sample(everything, wanted, owners, deadline)
    followed = {line: _followed(samples, line) for line in wanted}
    climbs = {line: [_Climb(thing) for thing in things] for line, things in followed.items()}
    roots = Roots()
    try:
        _climb([climb for line in wanted for climb in climbs[line]], everything, roots, deadline)
    except heap.OutOfTimeError:
        left_out.append("retainers: the time was over before all holders were found")
    rows = [
        {
            "file": line[0],
            "line": line[1],
            "size": found.sizes[line],
            "count": found.counts[line],
            "sampled": len(climbs[line]),
            "held_by": _held_by(climbs[line], dead, {id(thing) for thing in samples.containers[line]}),
        }
        for line in wanted
    ]
    return Found(rows, left_out)


def _followed(samples: sites.Samples, line: sites.Line) -> list[Any]:
    """Return the samples of a line to follow: containers that grew there only where nothing else is known."""
    things = samples.objects[line] or samples.containers[line]
    step = max(1, len(things) // _MOST_FOLLOWED)
    return things[::step][:_MOST_FOLLOWED]


def _climb(climbs: list[_Climb], everything: heap.Heap, roots: Roots, deadline: float) -> None:
    """Rise from all samples together, level by level: each level is one look at every object."""
    containers = [thing for thing in everything.atoms if peek.traversable(type(thing))]
    for _ in range(_DEPTH):
        rising = [climb for climb in climbs if climb.frontier]
        wanted = {id(thing) for climb in rising for thing in climb.frontier}
        if not wanted:
            return
        referrers: dict[int, list[Any]] = {}
        for part in (everything.objects, containers):
            _find(part, wanted, referrers, roots, deadline)
        for climb in rising:
            climb.rise(referrers, roots)


def _find(
    part: list[Any], wanted: set[int], referrers: dict[int, list[Any]], roots: Roots, deadline: float
) -> None:
    """Note which objects of a part refer to wanted ones."""
    for chunk in heap.chunks(part, deadline, _CHUNK):
        if wanted.isdisjoint(map(id, gc.get_referents(*chunk))):
            continue
        for thing in chunk:
            hits = wanted.intersection(map(id, gc.get_referents(thing)))
            for hit in hits:
                known = referrers.setdefault(hit, [])
                if id(thing) not in roots.own and (len(known) < _MOST_PARENTS or roots.is_module(thing)):
                    known.append(thing)


def _is_namespace(parent: Thing, child: Thing) -> bool:
    """Tell whether a module and its own namespace were met, rather than the namespace and a value."""
    return peek.is_a(parent, types.ModuleType) and type(child) is dict


def _way(climb: _Climb, dead: frozenset[int], itself: set[int]) -> _Way:
    """Say in words how a sample is held."""
    if climb.root is not None:
        root, held = climb.root
        nodes = holders.describe(climb.path(held), root.name)
        return _Way(nodes, f"{root.words} {root.name}".strip(), _holder(nodes, itself))
    if climb.local is not None:
        words, held = climb.local
        nodes = holders.describe(climb.path(held), words)
        return _Way(nodes, words, _holder(nodes, itself))
    words = _why_unnamed(climb, dead)
    nodes = holders.describe(climb.path(climb.top), words)
    return _Way(nodes, words, 0)


def _why_unnamed(climb: _Climb, dead: frozenset[int]) -> str:
    """Say what is at the end of a way that leads to no name."""
    if id(climb.sample) in dead:
        return "garbage: a cycle that the next collection frees"
    if not climb.frontier:
        return "native code or a running function"
    kinds = Counter(peek.kind_of(type(thing)) for thing in climb.path(climb.top)[:-1])
    kind, count = max(kinds.items(), key=lambda pair: pair[1], default=("", 0))
    if count >= _LONG_CHAIN:
        return f"a long chain of {kind}"
    return "further up than was followed"


def _holder(nodes: list[holders.Node], itself: set[int]) -> int:
    """Return the place in a path of what gathers the samples: the first container as large as others, or half."""
    last = len(nodes) if id(nodes[-1].thing) in itself else len(nodes) - 1
    lengths = [(-1 if node.noise or node.length is None else node.length) for node in nodes[:last]]
    most = max(lengths, default=-1)
    if most < 1:
        return 0
    return next(at for at, length in enumerate(lengths) if length >= max(1, most / 2))


def _held_by(climbs: list[_Climb], dead: frozenset[int], itself: set[int]) -> list[dict[str, object]]:
    """Return the holders of a line's samples by their share."""
    groups: dict[tuple[str, int], list[_Way]] = {}
    for climb in climbs:
        way = _way(climb, dead, itself)
        node = way.nodes[way.holder]
        named = climb.root is not None or climb.local is not None
        groups.setdefault((node.name, id(node.thing) if named else 0), []).append(way)
    rows: list[dict[str, object]] = []
    for ways in sorted(_merged(list(groups.values())), key=len, reverse=True)[:_MOST_HOLDERS]:
        way = ways[0]
        node = way.nodes[_deepest(ways)]
        rows.append(
            {
                "name": node.name,
                "type": peek.kind_of(type(node.thing)),
                "len": node.length,
                "share": round(len(ways) / len(climbs), 4),
                "chain": holders.chain(way.nodes, way.root),
            }
        )
    return rows


def _merged(groups: list[list[_Way]]) -> list[list[_Way]]:
    """Put groups together that one place holds, where they are many: ``slots`` for ``slots[0]`` to ``slots[6]``."""
    places: dict[tuple[str, int], list[list[_Way]]] = {}
    for ways in groups:
        places.setdefault((ways[0].root, id(ways[0].nodes[0].thing)), []).append(ways)
    merged: list[list[_Way]] = []
    for found in places.values():
        if len(found) < _MANY_ALIKE or found[0][0].nodes[0].length is None:
            merged += found
        else:
            merged.append([way._replace(holder=0) for ways in found for way in ways])
    return merged


def _deepest(ways: list[_Way]) -> int:
    """Return the place of the innermost container that all samples of a holder share."""
    best = ways[0].holder
    if len(ways) < 3:
        return best
    for at in range(best + 1, min(len(way.nodes) - 1 for way in ways)):
        node = ways[0].nodes[at]
        if any(way.nodes[at].thing is not node.thing for way in ways):
            break
        if not node.noise and node.length is not None and node.length > 1:
            best = at
    return best
