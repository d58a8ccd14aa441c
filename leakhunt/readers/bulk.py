"""Traces many at a time: what the machine has and bulk reading has, kept in step.

A run of traces in their usual form, or in the compact one of :mod:`leakhunt.capture.snapshots.traces`, is taken by the compiled
:mod:`leakhunt.readers._fast` or, without it, by :mod:`leakhunt.readers.runs`; both give the same sums.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from leakhunt.readers.compiled import fast
from leakhunt.readers.pickle_machine import MemoDropped, NotADump

if TYPE_CHECKING:
    from leakhunt.readers.pickle_machine import Machine

FIELDS = frozenset({3, 4})  # of the traces that bulk reading knows

_FLUSH_BLOCKS = 1 << 20


class Totals(Protocol):
    """Where stacks are numbered and sums are kept."""

    def stack_count(self) -> int:
        """Return how many stacks have a number, and so the next one's."""

    def new_stacks(self, stacks: list[tuple[int, ...]], total_nframes: list[int]) -> None:
        """Number stacks in turn, each by its frames, oldest first."""

    def frame_id(self, filename: object, lineno: object) -> int:
        """Number a frame; raises NotADump when it is none."""

    def frame(self, number: int) -> tuple[str, int]:
        """Return the frame that has this number."""

    def known_stack(self, traceback: object) -> int | None:
        """Return the number of the stack of a traceback that an earlier trace had, or None."""

    def add_sums(self, stacks: list[int], sizes: list[int], counts: list[int]) -> None:
        """Add blocks of domain 0 to numbered stacks."""


class Runs(Protocol):
    """Takes runs of traces from bytes, and sums them up by the memo index of their traceback."""

    def gather(self, index: int, stack: int) -> None:
        """Let a memo index stand for a traceback that the machine has read, by the number of its stack."""

    def take(
        self,
        data: bytes,
        pos: int,
        memo_size: int,
        first_stack: int,
        number_frame: Callable[[int, int | None], int],
    ) -> tuple[int, int, int, list[tuple[int, ...]], list[int]]:
        """Take whole traces until one does not fit.

        Args:
            data: the bytes at hand.
            pos: where to begin.
            memo_size: how many values the pickle has memoized before.
            first_stack: the number of the first stack that is new.
            number_frame: numbers a frame by the memo index of its file name and its line, or by its own and None.

        Returns:
            The position behind them; the size of the memo then; how many traces were taken, or -1 where one refers to
            what is no traceback known here; the new stacks by their frames, oldest first; their total_nframes.
        """

    def number_of(self, index: int) -> int:
        """Return the number of the stack whose traceback is memoized at an index, or -1."""

    def frame_of(self, index: int) -> int:
        """Return the number of the frame that a compact trace memoized at an index, or -1."""

    def drain(self) -> tuple[list[int], list[int], list[int]]:
        """Hand over the sums: numbers of the stacks, bytes, blocks."""


def new_runs(fields: int) -> Runs:
    """Return what takes runs of traces with so many fields: compiled where it can be."""
    if fast is not None:
        runs: Runs = fast.Runs(fields)
        return runs
    from leakhunt.readers.runs import PatternRuns  # noqa: PLC0415 - costs time that the compiled one does not

    return PatternRuns(fields)


class StackNumber(int):
    """Stands in the memo for a traceback whose frames are counted already."""

    __slots__ = ()


class BulkReader:
    """Reads runs of traces from a machine's window.

    Attributes:
        blocks: how many traces were taken.
    """

    def __init__(self, totals: Totals, machine: Machine, fields: int) -> None:
        self.blocks = 0
        self._totals = totals
        self._machine = machine
        self._runs = new_runs(fields)
        self._unflushed = 0
        machine.dropped = True

    def read(self) -> None:
        """Take whole traces from the window until one does not fit.

        Raises:
            MemoDropped: something is wrong with one, or it refers to what bulk reading did not keep.
        """
        machine, totals = self._machine, self._totals
        window = machine.window
        for index in machine.new_tuples:
            stack = totals.known_stack(machine.memo[index])
            # A stranger's index may be huge.
            if stack is not None and index < machine.memo_size:
                self._runs.gather(index, stack)
        machine.new_tuples.clear()
        try:
            window.pos, machine.memo_size, blocks, stacks, total_nframes = self._runs.take(
                window.data, window.pos, machine.memo_size, totals.stack_count(), self._number_frame
            )
        except NotADump:
            blocks = -1
        if blocks < 0:  # the machine finds the right words, or the right value
            raise MemoDropped
        totals.new_stacks(stacks, total_nframes)
        self.blocks += blocks
        self._unflushed += blocks
        if self._unflushed > _FLUSH_BLOCKS:
            self.flush()

    def recall(self, index: int) -> StackNumber | tuple[str, int] | None:
        """Return the traceback or frame that bulk reading memoized at an index, or None where it kept neither."""
        number = self._runs.number_of(index)
        if number >= 0:
            return StackNumber(number)
        frame = self._runs.frame_of(index)
        return None if frame < 0 else self._totals.frame(frame)

    def flush(self) -> None:
        """Hand the sums over."""
        self._totals.add_sums(*self._runs.drain())
        self._unflushed = 0

    def _number_frame(self, index: int, lineno: int | None) -> int:
        value = self._machine.recall(index)
        if lineno is not None:
            return self._totals.frame_id(value, lineno)
        if type(value) is not tuple or len(value) != 2:
            raise NotADump("a traceback holds something else than files and lines")
        return self._totals.frame_id(*value)
