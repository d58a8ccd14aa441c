"""The list of traces of a dump, summed up by traceback while it is read.

A trace is ``(size, traceback)`` in CPython 3.4 and 3.5, ``(domain, size, traceback)`` in 3.6 to 3.8, and
``(domain, size, traceback, total_nframe)`` from 3.9 on; fields that a later Python adds behind are passed over.
A traceback is a tuple of ``(filename, lineno)``, the most recent frame first, in every version.
"""

from __future__ import annotations

from itertools import compress
from typing import Any

from leakhunt.model.snapshot import Columns, Frame
from leakhunt.readers.bulk import FIELDS, BulkReader, StackNumber
from leakhunt.readers.pickle_machine import Machine, NotADump

_MAX_INT = (1 << 63) - 1
_NO_FRAMES = (("<unknown>", 0),)  # what CPython itself writes where no Python code ran
_PATIENCE, _RETRY = (
    8,
    64,
)  # where traces have a form that bulk reading does not know, it is tried now and then
_MAX_FRAMES = 100_000  # what CPython 3.8 took; 3.9 and later stop at 65,535


class TraceSink:
    """Sums of the traces seen so far, by domain and traceback.

    Attributes:
        fields: how many fields the traces have, 0 before the first.
        blocks: how many traces were taken.
    """

    def __init__(self, *, bulk: bool) -> None:
        self.fields = 0
        self._frame_ids: dict[tuple[str, int], int] = {}
        self._frames: list[tuple[str, int]] = []  # by their ids
        self._stacks: list[tuple[int, ...]] = []  # oldest frame first
        self._nframes: list[int] = []
        self._by_identity: dict[int, int] = {}
        self._alive: list[object] = []  # keeps the identities above from being reused
        self._sizes: list[int] = []  # of domain 0, by stack
        self._counts: list[int] = []
        self._others: dict[tuple[int, int], list[int]] = {}  # of other domains: size and count
        self._bulk: BulkReader | None = None
        self._use_bulk = bulk
        self._misfits = 0  # how often in a row bulk reading took nothing
        self._blocks = 0

    @property
    def blocks(self) -> int:
        """Traces taken so far."""
        return self._blocks + (self._bulk.blocks if self._bulk else 0)

    def add(self, trace: tuple[Any, ...], count: int = 1) -> None:
        """Take one trace, or several that are equal.

        Raises:
            NotADump: it is no trace, or of another form than those before.
        """
        if len(trace) != self.fields:
            if self.fields or len(trace) < 2:
                raise NotADump(f"a trace has {len(trace)} fields")
            self.fields = len(trace)
        domain, size, traceback = trace[:3] if len(trace) > 2 else (0, *trace)
        total_nframe = trace[3] if len(trace) > 3 else 0
        if not (is_int(size) and is_int(domain) and is_int(total_nframe)):
            raise NotADump("a trace holds something else than a size and a traceback")
        self.add_sum(domain, self._stack_number(traceback, total_nframe), size * count, count)
        self._blocks += count

    def add_sum(self, domain: int, stack: int, size: int, count: int) -> None:
        """Add blocks of one domain to a numbered stack."""
        if domain:
            sums = self._others.setdefault((domain, stack), [0, 0])
            sums[0] += size
            sums[1] += count
        else:
            self._sizes[stack] += size
            self._counts[stack] += count

    def add_sums(self, stacks: list[int], sizes: list[int], counts: list[int]) -> None:
        """Add blocks of domain 0 to numbered stacks."""
        sizes_of, counts_of = self._sizes, self._counts
        for stack, size, count in zip(stacks, sizes, counts):
            sizes_of[stack] += size
            counts_of[stack] += count

    def add_bulk(self, machine: Machine) -> None:
        """Take the whole traces that stand next in the window in the form CPython's pickler gives them."""
        if self._bulk is None:
            if not self._use_bulk or self.fields not in FIELDS:
                return
            self._bulk = BulkReader(self, machine, self.fields)
        self._misfits += 1
        if self._misfits <= _PATIENCE or self._misfits % _RETRY == 0:
            before = self._bulk.blocks
            self._bulk.read()
            if self._bulk.blocks > before:
                self._misfits = 0

    def recall(self, index: int) -> object | None:
        """Return what bulk reading memoized at an index, as far as it kept it."""
        return self._bulk.recall(index) if self._bulk else None

    def stack_count(self) -> int:
        """Return how many stacks have a number, and so the next one's."""
        return len(self._stacks)

    def new_stacks(self, stacks: list[tuple[int, ...]], total_nframes: list[int]) -> None:
        """Number stacks in turn, each by its frame ids, oldest first."""
        self._stacks += stacks
        self._nframes += total_nframes
        self._sizes += [0] * len(stacks)
        self._counts += [0] * len(stacks)

    def frame_id(self, filename: object, lineno: object) -> int:
        """Number a frame; raises NotADump when it is none."""
        if type(filename) is not str or type(lineno) is not int or not 0 <= lineno <= _MAX_INT:
            raise NotADump("a traceback holds something else than files and lines")
        frame = (filename, lineno)
        number = self._frame_ids.setdefault(frame, len(self._frames))
        if number == len(self._frames):
            self._frames.append(frame)
        return number

    def frame(self, number: int) -> tuple[str, int]:
        """Return the frame that has this number."""
        return self._frames[number]

    def frames(self) -> list[Frame]:
        """Return every distinct frame, in the order of the ids."""
        return list(map(Frame._make, self._frames))

    def columns(self) -> Columns:
        """Return a row per domain and distinct stack, oldest frame first, as columns."""
        if self._bulk is not None:
            self._bulk.flush()
        if len(set(self._stacks)) < len(self._stacks):
            self._merge_equal_stacks()
        others = list(self._others.items())
        numbers = [number for (_, number), _ in others]
        filled = self._counts  # a stack without blocks of domain 0 has no row there
        rows = len(filled) - filled.count(0)
        nframes = [*compress(self._nframes, filled), *map(self._nframes.__getitem__, numbers)]
        return Columns(
            domains=[0] * rows + [domain for (domain, _), _ in others],
            stacks=[*compress(self._stacks, filled), *map(self._stacks.__getitem__, numbers)],
            sizes=[*compress(self._sizes, filled), *(size for _, (size, _) in others)],
            counts=[*compress(filled, filled), *(count for _, (_, count) in others)],
            total_nframes=nframes if self.fields > 3 else None,
        )

    def _merge_equal_stacks(self) -> None:
        """Let stacks that are equal but were written more than once share the first one's number."""
        first: dict[tuple[int, ...], int] = {}
        for number, stack in enumerate(self._stacks):
            same = first.setdefault(stack, number)
            if same != number:
                self.add_sum(0, same, self._sizes[number], self._counts[number])
                self._counts[number] = 0
        for domain, number in list(self._others):
            same = first[self._stacks[number]]
            if same != number:
                size, count = self._others.pop((domain, number))
                self.add_sum(domain, same, size, count)

    def known_stack(self, traceback: object) -> int | None:
        """Return the number of the stack of a traceback that an earlier trace had, or None."""
        return self._by_identity.get(id(traceback))

    def _stack_number(self, traceback: object, total_nframe: int) -> int:
        if type(traceback) is StackNumber:
            return traceback
        number = self._by_identity.get(id(traceback))
        if number is None:
            if type(traceback) is not tuple:
                raise NotADump("a trace holds something else than a size and a traceback")
            if len(traceback) > _MAX_FRAMES:
                raise NotADump(f"a traceback has {len(traceback)} frames")
            if any(type(frame) is not tuple or len(frame) != 2 for frame in traceback):
                raise NotADump("a traceback holds something else than files and lines")
            frames = traceback or _NO_FRAMES
            stack = tuple([self.frame_id(filename, lineno) for filename, lineno in frames])
            number = len(self._stacks)
            self.new_stacks([stack[::-1]], [total_nframe])
            self._by_identity[id(traceback)] = number
            self._alive.append(traceback)
        return number


def is_int(value: object) -> bool:
    """Tell whether a value is a whole number that tracemalloc can have written: from 0 to 2**63 - 1, no bool."""
    return type(value) is int and 0 <= value <= _MAX_INT
