"""Lines that allocated: what is traced for each, and objects that came from it."""

from __future__ import annotations

import ctypes
import os
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

from leakhunt.capture.facts import allocator, heap, peek

Line = tuple[str, int]
Stack = tuple[Line, ...]

try:
    import _tracemalloc

    _traces: Callable[[], Sequence[tuple[Any, ...]]] = _tracemalloc._get_traces  # noqa: SLF001 - a Snapshot would make objects of them
    _of_object: Callable[[object], Stack | None] = _tracemalloc._get_object_traceback  # type: ignore[assignment] # noqa: SLF001 - likewise
except ImportError:  # another interpreter
    _traces = list

    def _of_object(_thing: object) -> Stack | None:
        return None


_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_STDLIB = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_IMPORTS = "<frozen importlib"
_MOST_LOOKUPS = 60_000  # of ten frames each some 5 us
_LARGE = 4096
_MOST_LARGE = 20_000
# Where an object's own block begins before its address, with the two words of a managed dict: 3.11 forgets those.
_MANAGED_DICT = 1 << 4
_FORGETS = sys.version_info[:2] == (3, 11)
_MANAGED_HEADER = 32
# Where a container keeps the address of its items, in CPython 3.9-3.14 of 64 bits.
_ITEMS = {id(list): 24, id(bytearray): 32, id(dict): 32, id(set): 40}


class Traced(NamedTuple):
    """All that is traced, by the line that is answerable for it.

    Attributes:
        sizes: bytes.
        counts: blocks.
        traces: number of blocks in all.
        frames: mean number of frames of a stack.
    """

    sizes: dict[Line, int]
    counts: dict[Line, int]
    traces: int
    frames: float


def _address_lookup() -> Callable[[int, int], Stack | None] | None:
    """Return what finds the stack of any block by its address; None where CPython does not show it."""
    found = getattr(getattr(ctypes, "pythonapi", None), "_PyTraceMalloc_GetTraceback", None)
    if found is None or heap.FREE_THREADED or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    found.restype = ctypes.py_object
    found.argtypes = [ctypes.c_uint, ctypes.c_size_t]
    lookup: Callable[[int, int], Stack | None] = found
    return lookup


_at_address = _address_lookup()


class Sizer:
    """Tells bytes of objects, and remembers how for each type."""

    def __init__(self) -> None:
        self._known: dict[int, Callable[[Any], int]] = {}

    def __call__(self, thing: object) -> int:
        """Return an object's own bytes."""
        number = id(type(thing))
        tell = self._known.get(number)
        if tell is None:
            tell = self._known[number] = peek.sizer(type(thing))
        return tell(thing)


def stack_of(thing: object) -> Stack:
    """Return the stack that allocated an object, newest frame first; empty where it was not traced."""
    stack = _of_object(thing)
    if stack is None and _FORGETS and _at_address and peek.flags(type(thing)) & _MANAGED_DICT:
        stack = _at_address(0, id(thing) - _MANAGED_HEADER)
    return stack or ()


def stack_of_items(container: object) -> Stack:
    """Return the stack that last enlarged a list, dict, set or bytearray; empty where unknown."""
    base = peek.base_among(type(container), _ITEMS)
    if not base or _at_address is None:
        return ()
    address = ctypes.c_size_t.from_address(id(container) + _ITEMS[base]).value
    return (_at_address(0, address) if address else None) or ()


class Owners:
    """Finds the line that is answerable for a stack: the newest of the project, else the newest."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def owner(self, stack: Stack) -> Line | None:
        """Return the line; None for what imports and leakhunt itself allocate.

        Args:
            stack: file names and lines, newest first.
        """
        known = self._known
        for line in stack:
            rank = known.get(line[0])
            if rank is None:
                rank = known[line[0]] = _rank(line[0])
            if rank == 0:
                return line
            if rank == 2:
                return None
        return stack[0] if stack and stack[0][1] else None


def _rank(filename: str) -> int:
    """Return 0 for a file of the project, 1 for a library's, 2 for one that nobody asks about."""
    if filename.startswith((_IMPORTS, _HERE)):
        return 2
    library = filename.startswith(("<", _STDLIB)) or any(part in filename for part in _INSTALLED)
    return 1 if library else 0


def traced(owners: Owners, deadline: float) -> Traced | None:
    """Return what is traced; None where nothing is.

    Raises:
        heap.OutOfTimeError: it takes longer than until the deadline.
    """
    with allocator.answering():
        if not tracemalloc.is_tracing():
            return None
        traces = _traces()
    sizes: Counter[int] = Counter()
    counts: Counter[int] = Counter()
    stacks: dict[int, Stack] = {}
    for chunk in heap.chunks(traces, deadline):
        for trace in chunk:
            stack = trace[2]
            number = id(stack)  # equal ones are one object
            sizes[number] += trace[1]
            counts[number] += 1
            stacks[number] = stack
    found = Traced({}, {}, len(traces), sum(map(len, stacks.values())) / max(1, len(stacks)))
    for number, stack in stacks.items():
        line = owners.owner(stack)
        if line is not None:
            found.sizes[line] = found.sizes.get(line, 0) + sizes[number]
            found.counts[line] = found.counts.get(line, 0) + counts[number]
    return found


def chosen(found: Traced, earlier: Mapping[Line, int] | None, most: int = 25) -> list[Line]:
    """Return the lines with most bytes, and half as many of those that grew most since earlier sizes."""
    largest = sorted(found.sizes, key=lambda line: (-found.sizes[line], line))[:most]
    if earlier is None:
        return largest
    growth = {line: size - earlier.get(line, 0) for line, size in found.sizes.items()}
    grown = sorted((line for line in growth if growth[line] > 0), key=lambda line: (-growth[line], line))
    return list(dict.fromkeys([*largest, *grown[: most // 2]]))


class Samples(NamedTuple):
    """Live objects of lines: those allocated there, and the containers that were last enlarged there."""

    objects: dict[Line, list[Any]]
    containers: dict[Line, list[Any]]


def sample(
    everything: heap.Heap, wanted: list[Line], owners: Owners, deadline: float, each: int = 30
) -> Samples:
    """Return some live objects of lines, the large ones first, then such as are spread over the heap."""
    large, spread = _candidates(everything, deadline)
    with allocator.answering():
        return _sample(large, spread, wanted, owners, deadline=deadline, each=each)


def _sample(
    large: list[Any], spread: Iterator[Any], wanted: list[Line], owners: Owners, *, deadline: float, each: int
) -> Samples:
    """Look up where candidates come from."""
    found = Samples({line: [] for line in wanted}, {line: [] for line in wanted})
    for thing in large:
        line = owners.owner(stack_of_items(thing))
        if line in found.containers and len(found.containers[line]) < each:
            found.containers[line].append(thing)
    missing = len(wanted)
    known = {id(thing) for thing in large}
    for at, thing in enumerate(_both(large, (thing for thing in spread if id(thing) not in known))):
        if not missing or (not at & 1023 and time.monotonic() > deadline):
            break
        line = owners.owner(stack_of(thing))
        if line in found.objects and len(found.objects[line]) < each:
            found.objects[line].append(thing)
            missing -= len(found.objects[line]) == each
    return found


def _both(first: list[Any], second: Iterator[Any]) -> Iterator[Any]:
    yield from first
    yield from second


def _candidates(everything: heap.Heap, deadline: float) -> tuple[list[Any], Iterator[Any]]:
    """Return the large objects, the largest first, and others from all over the heap."""
    sizer = Sizer()
    sized: list[tuple[int, Any]] = []
    for part in (everything.atoms, everything.objects):
        with suppress(heap.OutOfTimeError):
            for chunk in heap.chunks(part, deadline):
                sized += [(size, thing) for thing in chunk if (size := sizer(thing)) >= _LARGE]
    sized.sort(key=lambda pair: -pair[0])
    return [thing for _, thing in sized[:_MOST_LARGE]], islice(spread(everything), _MOST_LOOKUPS)


def spread(everything: heap.Heap) -> Iterator[Any]:
    """Yield all objects in an order in which any beginning is spread evenly."""
    parts = (everything.atoms, everything.objects)
    total = sum(map(len, parts))
    step = max(1, int(total * 0.6180339887)) | 1
    while total and _shared(step, total) > 1:
        step += 2
    at = 0
    for _ in range(total):
        yield parts[0][at] if at < len(parts[0]) else parts[1][at - len(parts[0])]
        at = (at + step) % total


def _shared(one: int, other: int) -> int:
    """Return the greatest common divisor."""
    while other:
        one, other = other, one % other
    return one
