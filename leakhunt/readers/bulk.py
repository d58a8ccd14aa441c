"""Traces straight from the bytes of a pickle, many at a time.

CPython's pickler writes a trace whose traceback it has written before as a dozen bytes, always in the same form::

    ( K <domain> M <size> j <traceback's memo index> K <total_nframe> t MEMOIZE

Running those opcodes one by one costs microseconds a trace. Here a stretch of the file is split at what ends one
record and begins the next, and the pieces are checked and summed column by column. That is sound: each piece is
taken only when its opcodes stand where its length says and all pieces before it were taken, so the piece begins
where an opcode begins, and it is followed by the bytes that close it; a piece that came about by a split inside a
number cannot pass. Whatever does not fit is left to the machine, which takes one trace and tries again.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from itertools import compress, count, repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Optional, Protocol

if TYPE_CHECKING:
    from leakhunt.readers.pickle_machine import Machine

_COUNT_SHIFT = 52  # a sum holds its count above its size: 2**21 blocks of less than 2**31 bytes stay below
_FLUSH_BLOCKS = 1 << 20
_ONE_BLOCK = 1 << _COUNT_SHIFT
_FIRST_STRETCH, _LAST_STRETCH = 1 << 12, 1 << 17
_INT_SIZES = {ord("K"): 2, ord("M"): 3, ord("J"): 5}
_DOMAIN, _SIGNED = ord("K"), ord("J")
_TAIL_OPS = {2: ord("K"), 3: ord("M")}
_MAX_POSITIVE = 0x7FFFFFFF
_REF_SIZES = {ord("h"): 2, ord("j"): 5}


@dataclass(frozen=True)
class Layout:
    """The form of a trace with so many fields, without what opens and closes it.

    Attributes:
        opening: the bytes before the first field.
        closing: the bytes behind the last.
        has_nframe: whether a fourth field follows the traceback.
        plain: the lengths of a trace whose traceback is known; hardly any other is as short.
    """

    opening: bytes
    closing: bytes
    has_nframe: bool
    plain: frozenset[int]

    @property
    def separator(self) -> bytes:
        """What stands between the fields of one trace and of the next."""
        return self.closing + self.opening


_LAYOUTS = {
    3: Layout(b"", b"\x87\x94", has_nframe=False, plain=frozenset(range(6, 13))),
    4: Layout(b"(", b"t\x94", has_nframe=True, plain=frozenset(range(8, 16))),
}


def layout_of(fields: int) -> Layout | None:
    """Return the layout of traces with so many fields, or None where bulk reading does not know one."""
    return _LAYOUTS.get(fields)


class Totals(Protocol):
    """Where stacks are numbered and sums are kept."""

    def add_sum(self, domain: int, stack: int, size: int, count: int) -> None:
        """Add blocks to a numbered stack."""

    def new_stack(self, frame_ids: tuple[int, ...], total_nframe: int) -> int:
        """Number a stack, most recent frame first."""

    def frame_id(self, filename: object, lineno: object) -> int:
        """Number a frame."""

    def stack_of(self, traceback: object) -> int:
        """Number the stack of a traceback that was defined before."""


# One trace: domain, size, memo index of its traceback or frame ids of a traceback of its own, total_nframe.
_Single = tuple[int, int, int, Optional[tuple[int, ...]], int]


class StackNumber(int):
    """Stands in the memo for a traceback whose frames are counted already."""

    __slots__ = ()


# Memo indexes of tracebacks, and sizes with a count of one above them.
_Column = tuple["array[int]", "array[int]"]


class _Misfit(Exception):  # noqa: N818 - a form that the machine may know
    """A piece is not of the form that bulk reading knows."""


class _FrameIds(dict[bytes, int]):
    """From the bytes of a frame in the pickle to its number."""

    def __init__(self, totals: Totals, recall: Callable[[int], object]) -> None:
        super().__init__()
        self._frame_id = totals.frame_id
        self._recall = recall

    def __missing__(self, token: bytes) -> int:
        at = _REF_SIZES.get(token[0], len(token)) if token else 0
        if not 0 < at < len(token) or len(token) - at != _INT_SIZES.get(token[at]):
            raise _Misfit
        lineno = int.from_bytes(token[at + 1 :], "little", signed=token[at] == _SIGNED)
        number = self[token] = self._frame_id(self._recall(int.from_bytes(token[1:at], "little")), lineno)
        return number


class BulkReader:
    """Reads stretches of traces from a machine's window.

    Attributes:
        blocks: how many traces were taken.
    """

    def __init__(self, totals: Totals, machine: Machine, layout: Layout) -> None:
        self.blocks = 0
        self._totals = totals
        self._machine = machine
        self._layout = layout
        self._frame_ids = _FrameIds(totals, machine.recall)
        self._defined: list[
            int
        ] = []  # numbers of the stacks met here, and the memo indexes of their tracebacks
        self._defined_at: list[int] = []
        self._sums: list[int] = []  # by memo index: size and, shifted, count
        self._unflushed = 0
        self._stretch = _FIRST_STRETCH
        self._odd = bytes(length not in layout.plain for length in range(256))
        self._same = {length: bytes(length == other for other in range(256)) for length in layout.plain}

    def read(self) -> None:
        """Take whole traces from the window until one does not fit."""
        window = self._machine.window
        layout = self._layout
        opening, closing = layout.opening, layout.closing
        while True:
            start = window.pos + len(opening)
            if window.data[window.pos : start] != opening:
                return
            end = window.data.find(closing + b"e", start, start + self._stretch)
            pieces = window.data[start : end if end >= 0 else start + self._stretch].split(layout.separator)
            if end < 0:
                pieces.pop()  # what follows it is not seen
            taken = self._take(pieces)
            window.pos += sum(map(len, taken)) + len(taken) * len(layout.separator)
            if not taken or len(taken) < len(pieces) or end >= 0:
                self._stretch = _FIRST_STRETCH
                return
            self._stretch = min(2 * self._stretch, _LAST_STRETCH)

    def recall(self, index: int) -> StackNumber | None:
        """Return the traceback that bulk reading memoized at an index, or None where it memoized something else."""
        at = bisect_left(self._defined_at, index)
        if at == len(self._defined_at) or self._defined_at[at] != index:
            return None
        return StackNumber(self._defined[at])

    def flush(self) -> None:
        """Hand the sums over; raises NotADump when traces refer to something that is no traceback."""
        sums = self._sums
        add = self._totals.add_sum
        for index, number in zip(self._defined_at, self._defined):
            add(0, number, sums[index] & (_ONE_BLOCK - 1), sums[index] >> _COUNT_SHIFT)
            sums[index] = 0
        for index, value in compress(enumerate(sums), sums):  # tracebacks that the machine read
            add(0, self._number(index), value & (_ONE_BLOCK - 1), value >> _COUNT_SHIFT)
            sums[index] = 0
        self._unflushed = 0

    def _take(self, pieces: list[bytes]) -> list[bytes]:
        """Take pieces from the first on, and return those that were taken."""
        try:
            lengths = bytes(map(len, pieces))
        except ValueError:  # a traceback of its own can be long
            lengths = bytes([min(len(piece), 255) for piece in pieces])
        singles: list[tuple[int, _Single]] = []
        for index in compress(count(), lengths.translate(self._odd)):
            single = self._single(pieces[index])
            if single is None:
                pieces, lengths = pieces[:index], lengths[:index]
                break
            singles.append((index, single))
        columns: list[_Column] = []
        for length in set(lengths) & self._layout.plain:
            group = list(compress(pieces, lengths.translate(self._same[length])))
            column = self._column(length, group)
            if column is not None:
                columns.append(column)
                continue
            for index in [index for index, other in enumerate(lengths) if other == length]:
                single = self._single(pieces[index])
                if single is None:
                    return self._take(pieces[:index])
                singles.append((index, single))
        if pieces:
            self._commit(len(pieces), singles, columns)
        return pieces

    def _commit(self, blocks: int, singles: list[tuple[int, _Single]], columns: list[_Column]) -> None:
        """Account for whole traces: singles in the order of the file, as each may define a traceback."""
        machine = self._machine
        machine.dropped = True
        sums = self._sums
        extra = machine.memo_size
        singles.sort(key=itemgetter(0))  # in order already, but for the rare ones of a plain length
        new_stack = self._totals.new_stack
        for index, (domain, size, ref, stack, total_nframe) in singles:
            if stack is None:
                machine.memo_size = extra + index
                number = self._number(ref)
            else:
                number = new_stack(stack, total_nframe)
                extra += len(stack)
                self._defined.append(number)
                self._defined_at.append(extra + index)
                extra += 1
            self._totals.add_sum(domain, number, size, 1)
        machine.memo_size = extra + blocks
        sums.extend(repeat(0, machine.memo_size - len(sums)))
        for refs, values in columns:
            for ref, value in zip(refs, values):
                sums[ref] += value
        self.blocks += blocks
        self._unflushed += blocks
        if self._unflushed > _FLUSH_BLOCKS:
            self.flush()

    def _number(self, index: int) -> int:
        return self._totals.stack_of(self._machine.recall(index))

    def _column(self, length: int, group: list[bytes]) -> _Column | None:
        """Read pieces of one length and one form: memo indexes of tracebacks, and sizes with a count of one."""
        blocks = len(group)
        joined = b"".join(group)
        size_end = 2 + _INT_SIZES.get(joined[2], length)
        ref_op = joined[size_end] if size_end < length else 0
        ref_end = size_end + _REF_SIZES.get(ref_op, length)
        fixed = {0: ord("K"), 1: 0, 2: joined[2], size_end: ref_op}
        tail_op = _TAIL_OPS.get(length - ref_end) if self._layout.has_nframe else None
        if tail_op is not None:
            fixed[ref_end] = tail_op
        elif ref_end != length or self._layout.has_nframe:
            return None
        if any(joined[at::length].count(opcode) != blocks for at, opcode in fixed.items()):
            return None
        if size_end == 7 and max(joined[6::length]) > 0x7F:
            return None  # a negative size
        values = bytearray(8 * blocks)
        for at in range(3, size_end):
            values[at - 3 :: 8] = joined[at::length]
        values[_COUNT_SHIFT // 8 :: 8] = bytes([1 << _COUNT_SHIFT % 8]) * blocks
        refs = bytearray(4 * blocks)
        for at in range(size_end + 1, ref_end):
            refs[at - size_end - 1 :: 4] = joined[at::length]
        return _little_endian("I", refs), _little_endian("q", values)

    def _single(self, piece: bytes) -> _Single | None:
        """Read one piece of any form, or None when its form is not known here."""
        if len(piece) < 6 or piece[0] != _DOMAIN or piece[2] not in _INT_SIZES:
            return None
        at = 2 + _INT_SIZES[piece[2]]
        size = int.from_bytes(piece[3:at], "little")
        tokens = piece[at:].split(b"\x86\x94")
        tail = tokens.pop()
        try:
            if not tokens:  # a memo index instead of frames
                ref_end = _REF_SIZES[tail[0]]
                stack, ref, tail = None, int.from_bytes(tail[1:ref_end], "little"), tail[ref_end:]
            else:
                closing = self._closing(tokens)
                stack, ref = tuple(map(self._frame_ids.__getitem__, tokens)), 0
                if not tail.startswith(closing):
                    return None
                tail = tail[len(closing) :]
        except (_Misfit, KeyError, IndexError):
            return None
        if size > _MAX_POSITIVE or not self._is_tail(tail):
            return None
        return piece[1], size, ref, stack, int.from_bytes(tail[1:], "little")

    @staticmethod
    def _closing(tokens: list[bytes]) -> bytes:
        """Return what closes a tuple of frames; what opens it, or an empty token behind it, is taken off."""
        if tokens[0][:1] == b"(":
            tokens[0] = tokens[0][1:]
            return b"t\x94"
        if len(tokens) == 3 and not tokens[2]:
            tokens.pop()
            return b""
        return {1: b"\x85\x94", 3: b"\x87\x94"}.get(len(tokens), b"?")

    def _is_tail(self, tail: bytes) -> bool:
        """Tell whether these bytes are the field behind the traceback, or nothing where there is none."""
        if self._layout.has_nframe:
            return tail[:1] in (b"K", b"M") and len(tail) == _INT_SIZES[tail[0]]
        return not tail


def _little_endian(typecode: str, data: bytearray) -> array[int]:
    numbers = array(typecode, bytes(data))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
