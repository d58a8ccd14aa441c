"""Traces straight from the bytes of a pickle, many at a time.

CPython's pickler writes a trace whose traceback it has written before as a dozen bytes, always in the same form::

    ( K 0 M <size> j <memo index of its traceback> K <total_nframe> t MEMOIZE

Running those opcodes one by one costs microseconds a trace. Here a regular expression checks a whole run of such
traces, what stands between their fields is cut out, and the C unpickler turns the rest into a list: it is given a
stream of ours, in which every byte is one of ``( l . ] 0 r`` put there by us, or a number or memo index that the
expression let through. In that unpickler's memo each traceback is an empty list, which gathers the sizes of its blocks.
Whatever does not fit is left to the machine, which takes one trace and tries again.
"""

from __future__ import annotations

import io
import pickle
import re
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from leakhunt.readers.pickle_machine import MemoDropped, NotADump

if TYPE_CHECKING:
    from leakhunt.readers.pickle_machine import Machine

_FLUSH_BLOCKS = 1 << 20
_LONGEST = 1 << 17  # bytes of frames in one trace
_FRAME_END = b"\x86\x94"
_INT_SIZES = {ord("K"): 2, ord("M"): 3, ord("J"): 5}
_REF_SIZES = {ord("h"): 2, ord("j"): 5}
_SIGNED = ord("J")

_SIZE = rb"(?:M..|K.|J...[\0-\x7f])"
_REF = rb"(?:j....|h.)"
_FRAME = _REF + rb"(?:M..|K.|J....)\x86\x94"
_SHORT = re.compile(
    rb"(%b(?=\x85\x94)|(?:%b){2}(?=\x86\x94)|(?:%b){3}(?=\x87\x94))(..)" % ((_FRAME,) * 3), re.DOTALL
)


@dataclass(frozen=True)
class Layout:
    """The form of a trace with so many fields, in domain 0.

    Attributes:
        opening: the bytes up to the size.
        closing: the bytes behind the last field.
        known: matches a run of traces whose tracebacks are known.
        head: matches what stands before the frames of a trace with a traceback of its own: size, mark.
        tail: matches what stands behind them: total_nframe.
        width: how many values a trace has without its domain.
    """

    opening: bytes
    closing: bytes
    known: re.Pattern[bytes]
    head: re.Pattern[bytes]
    tail: re.Pattern[bytes]
    width: int


def _layout(opening: bytes, closing: bytes, nframe: bytes, width: int) -> Layout:
    """Make a layout; no number that passes can hold the bytes that close one trace and open the next."""
    border = re.escape(closing + opening)
    size, ref = rb"(?!.%b)%b" % (border, _SIZE), rb"(?!.%b)%b" % (border, _REF)
    begin, end = re.escape(opening), re.escape(closing)
    return Layout(
        opening,
        closing,
        re.compile(rb"(?:%b%b%b%b%b)+" % (begin, size, ref, nframe, end), re.DOTALL),
        re.compile(rb"%b(%b)(\(?)" % (begin, _SIZE), re.DOTALL),
        re.compile(rb"(%b)%b" % (nframe, end), re.DOTALL),
        width,
    )


_LAYOUTS = {
    3: _layout(b"K\0", b"\x87\x94", b"", 2),
    4: _layout(b"(K\0", b"t\x94", rb"(?:K[^\0]|M..)", 3),
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


class StackNumber(int):
    """Stands in the memo for a traceback whose frames are counted already."""

    __slots__ = ()


class _Misfit(Exception):  # noqa: N818 - a form that the machine may know
    """Bytes that are not of the form that bulk reading knows."""


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


class _OurStream(pickle.Unpickler):
    """The C unpickler, fed by us piece by piece; its memo lasts from piece to piece."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        super().__init__(self._buffer)

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - pickle's signature
        """Refuse, although our streams name nothing."""
        raise NotADump(f"its pickle names {module!a}.{name!a}")

    def run(self, opcodes: bytes) -> list[Any]:
        """Run opcodes that leave values on the stack, and return these as a list."""
        self._buffer.seek(0)
        self._buffer.write(b"\x80\x04\x95" + struct.pack("<Q", len(opcodes) + 3) + b"(" + opcodes + b"l.")
        self._buffer.truncate()
        self._buffer.seek(0)
        try:
            values: list[Any] = self.load()
        except pickle.UnpicklingError:
            # An index that we did not give it; the machine knows what to make of that.
            raise MemoDropped from None
        return values


class BulkReader:
    """Reads runs of traces from a machine's window.

    Attributes:
        blocks: how many traces were taken.
    """

    def __init__(self, totals: Totals, machine: Machine, layout: Layout) -> None:
        self.blocks = 0
        self._totals = totals
        self._machine = machine
        self._layout = layout
        self._frame_ids = _FrameIds(totals, machine.recall)
        # From the memo index of a traceback that was met here to the number of its stack.
        self._numbers: dict[int, int] = {}
        self._gathered: list[int] = []  # memo indexes of all tracebacks that gather sizes
        self._stream = _OurStream()
        self._opcodes: list[bytes] = []  # for the stream, not yet run
        self._unflushed = 0
        machine.dropped = True

    def read(self) -> None:
        """Take whole traces from the window until one does not fit."""
        machine = self._machine
        for index in machine.new_tuples:
            # The unpickler's memo is an array, and a stranger's index may be huge.
            if index < machine.memo_size:
                self._gather(index)
        machine.new_tuples.clear()
        while self._take_known() or self._take_defining():
            pass
        if self._opcodes:
            self._run()

    def recall(self, index: int) -> StackNumber | None:
        """Return the traceback that bulk reading memoized at an index, or None where it memoized something else."""
        number = self._numbers.get(index)
        return None if number is None else StackNumber(number)

    def flush(self) -> None:
        """Hand the sums over; raises NotADump when traces refer to something that is no traceback."""
        lists = self._stream.run(b"".join([b"j" + index.to_bytes(4, "little") for index in self._gathered]))
        for index, size, count in zip(self._gathered, map(sum, lists), map(len, lists)):
            if count:
                number = self._numbers.get(index)
                if number is None:
                    number = self._totals.stack_of(self._machine.recall(index))
                self._totals.add_sum(0, number, size, count)
        deque(map(list.clear, lists), 0)
        self._unflushed = 0

    def _take_known(self) -> bool:
        """Take a run of traces whose tracebacks are known."""
        window, layout = self._machine.window, self._layout
        match = layout.known.match(window.data, window.pos)
        if match is None:
            return False
        run = match[0]
        values = run[len(layout.opening) : -len(layout.closing)].replace(layout.closing + layout.opening, b"")
        self._opcodes.append(values)
        self._machine.memo_size += (len(run) - len(values)) // (len(layout.closing) + len(layout.opening))
        window.pos = match.end()
        return True

    def _take_defining(self) -> bool:
        """Take a trace that has a traceback of its own, whose file names are known."""
        window, layout = self._machine.window, self._layout
        data = window.data
        head = layout.head.match(data, window.pos)
        if head is None:
            return False
        frames, closing = head.end(), b"t\x94"
        end = data.find(_FRAME_END + closing, frames, frames + _LONGEST) if head[2] else -1
        if not head[2]:  # up to three frames need no mark, and other opcodes close them
            short = _SHORT.match(data, frames)
            if short is None:
                return False
            end, closing = short.end(1) - len(_FRAME_END), short[2]
        tail = layout.tail.match(data, end + len(_FRAME_END) + len(closing)) if end >= 0 else None
        if tail is None:
            return False
        try:
            stack = tuple(map(self._frame_ids.__getitem__, data[frames:end].split(_FRAME_END)))
        except _Misfit:  # a number looked like the end of a frame
            return False
        machine = self._machine
        index = machine.memo_size + len(stack)
        self._numbers[index] = self._totals.new_stack(stack, int.from_bytes(tail[1][1:], "little"))
        self._gather(index, head[1] + b"j" + index.to_bytes(4, "little") + tail[1])
        machine.memo_size = index + 2
        window.pos = tail.end()
        return True

    def _gather(self, index: int, trace: bytes = b"") -> None:
        """Let a memo index stand for a traceback in our stream, and follow with a trace that has it."""
        self._gathered.append(index)
        self._opcodes.append(b"]r" + index.to_bytes(4, "little") + b"0" + trace)

    def _run(self) -> None:
        """Hand the sizes of the blocks taken to the lists of their tracebacks."""
        values = self._stream.run(b"".join(self._opcodes))
        self._opcodes.clear()
        width = self._layout.width
        deque(map(list.append, values[1::width], values[::width]), 0)
        blocks = len(values) // width
        self.blocks += blocks
        self._unflushed += blocks
        if self._unflushed > _FLUSH_BLOCKS:
            self.flush()
