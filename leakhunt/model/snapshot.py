"""What one tracemalloc dump holds, aggregated: a row per distinct traceback, never an object per block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Any, NamedTuple


class Frame(NamedTuple):
    """One line of a traceback; ``lineno`` is 0 when the line is unknown."""

    filename: str
    lineno: int


@dataclass(frozen=True)
class Columns:
    """All live blocks, one row per domain and distinct traceback, as parallel columns.

    Attributes:
        domains: tracemalloc's address space of each row; 0 is Python's own.
        stacks: indexes into ``Snapshot.frames``, oldest frame first.
        total_nframes: how deep each stack really was, or None where the dump does not say (before 3.9).
        sizes: bytes.
        counts: blocks.
    """

    domains: Sequence[int] = ()
    stacks: Sequence[tuple[int, ...]] = ()
    total_nframes: Sequence[int] | None = None
    sizes: Sequence[int] = ()
    counts: Sequence[int] = ()


@dataclass(frozen=True)
class Skipped:
    """A part of the evidence that was not read, and why."""

    what: str
    why: str


@dataclass(frozen=True)
class Snapshot:
    """A tracemalloc snapshot.

    Attributes:
        path: where it was read from, as the user named it.
        frames: every distinct frame once.
        rows: one row per domain and distinct traceback.
        traceback_limit: frames kept per traceback, or None when the dump was cut before it.
        trace_fields: how many fields the dump's traces have: 2 (3.4, 3.5), 3 (3.6-3.8), 4 (3.9 on); 0 if empty.
        capture: what leakhunt stored beside the traces (pid, host, tasks, ...), or None for a plain dump.
        partial: whether the dump was cut and holds only its first traces.
        skipped: what was not read.
    """

    path: str
    frames: Sequence[Frame]
    rows: Columns
    traceback_limit: int | None
    trace_fields: int
    capture: Mapping[str, Any] | None = None
    partial: bool = False
    skipped: tuple[Skipped, ...] = ()

    @property
    def size(self) -> int:
        """Bytes in all traced blocks."""
        return sum(self.rows.sizes)

    @property
    def blocks(self) -> int:
        """Number of traced blocks."""
        return sum(self.rows.counts)

    @cached_property
    def filenames(self) -> frozenset[str]:
        """Every distinct file name in the frames."""
        return frozenset(map(itemgetter(0), self.frames))

    def traceback(self, stack: tuple[int, ...]) -> tuple[Frame, ...]:
        """Return the frames of a row's stack, oldest first."""
        return tuple(self.frames[index] for index in stack)
