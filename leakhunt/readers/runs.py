"""Traces straight from the bytes of a pickle, many at a time.

CPython's pickler writes a trace whose traceback it has written before as a dozen bytes, always in the same form::

    ( K 0 M <size> j <memo index of its traceback> K <total_nframe> t MEMOIZE

Running those opcodes one by one costs microseconds a trace. Here a regular expression checks a whole run of such
traces, what stands between their fields is cut out, and the C unpickler turns the rest into a list: it is given a
stream of ours, in which every byte is one of ``( l . ] 0 r`` put there by us, or a number or memo index that the
expression let through. In that unpickler's memo each traceback is an empty list, which gathers the sizes of its blocks.
In a dump of leakhunt's own each distinct trace stands once, and is repeated by DUP; these are taken one by one.
Whatever does not fit is left to the machine, which takes one trace and tries again.

``_fast.c`` does the same faster where it was built.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections import deque
from collections.abc import Callable
from itertools import compress
from typing import Any

from leakhunt.readers.pickle_machine import NotADump
from leakhunt.readers.run_forms import COMPACT, COMPACT_CLOSINGS, COMPACT_FRAME, LAYOUTS, SHORT

_LONGEST = 1 << 17  # bytes of frames in one trace
_FRAME_END = b"\x86\x94"
_INT_SIZES = {ord("K"): 2, ord("M"): 3, ord("J"): 5}
_REF_SIZES = {ord("h"): 2, ord("j"): 5}
_SIGNED = ord("J")


class _Misfit(Exception):  # noqa: N818 - a form that the machine may know
    """Bytes that are not of the form that bulk reading knows."""


class _FrameIds(dict[bytes, int]):
    """From the bytes of a frame in the pickle to its number."""

    number_frame: Callable[[int, int | None], int]

    def __missing__(self, token: bytes) -> int:
        at = _REF_SIZES.get(token[0], len(token)) if token else 0
        if not 0 < at < len(token) or len(token) - at != _INT_SIZES.get(token[at]):
            raise _Misfit
        lineno = int.from_bytes(token[at + 1 :], "little", signed=token[at] == _SIGNED)
        number = self[token] = self.number_frame(int.from_bytes(token[1:at], "little"), lineno)
        return number


class _KnownFrames(dict[bytes, int]):
    """From the opcode that recalls a frame of compact traces to its number; asked for a new one, it memoizes that."""

    def __init__(self, frame_ids: _FrameIds) -> None:
        super().__init__()
        self.memo_size = 0
        self._frame_ids = frame_ids

    def __missing__(self, token: bytes) -> int:
        if len(token) > _REF_SIZES[ord("j")]:
            number = self[_recalling(self.memo_size)] = self._frame_ids[token[: -len(_FRAME_END)]]
            self.memo_size += 1
            return number
        index = _operand(token)
        usual = _recalling(index)
        if token != usual:
            return self[usual]
        number = self[token] = self._frame_ids.number_frame(index, None)  # the machine has read it
        return number


def _recalling(index: int) -> bytes:
    """Return the opcode that recalls what is memoized at an index."""
    return b"h" + bytes((index,)) if index < 256 else b"j" + index.to_bytes(4, "little")


def _operand(opcode: bytes) -> int:
    return int.from_bytes(opcode[1:], "little")


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
        values: list[Any] = self.load()
        return values


class PatternRuns:
    """Takes runs of traces by regular expressions; see :class:`leakhunt.readers.bulk.Runs`."""

    def __init__(self, fields: int) -> None:
        self._layout = LAYOUTS[fields]
        self._frame_ids = _FrameIds()
        self._numbers: dict[int, int] = {}  # from the memo index of a traceback to its stack
        self._stream = _OurStream()
        self._opcodes: list[bytes] = []  # for the stream, not yet run
        # Of compact traces.
        self._fields = fields
        self._compact_numbers: dict[int, int] = {}  # of those tracebacks that the stream does not know
        self._known_frames = _KnownFrames(self._frame_ids)
        self._sizes: dict[int, int] = {}  # from stacks to bytes
        self._counts: dict[int, int] = {}  # from the same stacks to blocks
        # What is being taken.
        self._data = b""
        self._pos = 0
        self._memo_size = 0
        self._first_stack = 0
        self._stacks: list[tuple[int, ...]] = []
        self._total_nframes: list[int] = []
        self._compact_blocks = 0
        self._dangling = False

    def gather(self, index: int, stack: int) -> None:
        """Let a memo index stand for a traceback that the machine has read."""
        self._gather(index, stack)

    def take(
        self,
        data: bytes,
        pos: int,
        memo_size: int,
        first_stack: int,
        number_frame: Callable[[int, int | None], int],
    ) -> tuple[int, int, int, list[tuple[int, ...]], list[int]]:
        """Take whole traces until one does not fit."""
        self._data, self._pos, self._memo_size, self._first_stack = data, pos, memo_size, first_stack
        self._stacks, self._total_nframes = [], []
        self._compact_blocks, self._dangling = 0, False
        self._frame_ids.number_frame = number_frame
        while self._take_known() or self._take_defining() or self._take_compact():
            pass
        blocks = self._run() if self._opcodes else 0
        blocks = -1 if blocks < 0 or self._dangling else blocks + self._compact_blocks
        return self._pos, self._memo_size, blocks, self._stacks, self._total_nframes

    def number_of(self, index: int) -> int:
        """Return the number of the stack whose traceback is memoized at an index, or -1."""
        return self._compact_numbers.get(index, self._numbers.get(index, -1))

    def frame_of(self, index: int) -> int:
        """Return the number of the frame that a compact trace memoized at an index, or -1."""
        if not 0 <= index < 1 << 32:
            return -1
        return self._known_frames.get(_recalling(index), -1)

    def drain(self) -> tuple[list[int], list[int], list[int]]:
        """Hand over the sums: numbers of the stacks, bytes, blocks."""
        lists = self._stream.run(b"".join([b"j" + index.to_bytes(4, "little") for index in self._numbers]))
        stacks = list(compress(self._numbers.values(), lists))
        filled = list(filter(None, lists))
        sizes, counts = list(map(sum, filled)), list(map(len, filled))
        deque(map(list.clear, filled), 0)
        stacks += self._sizes
        sizes += self._sizes.values()
        counts += self._counts.values()
        self._sizes.clear()
        self._counts.clear()
        return stacks, sizes, counts

    def _take_known(self) -> bool:
        """Take a run of traces whose tracebacks are known."""
        layout = self._layout
        match = layout.known.match(self._data, self._pos)
        if match is None:
            return False
        run = match[0]
        values = run[len(layout.opening) : -len(layout.closing)].replace(layout.closing + layout.opening, b"")
        self._opcodes.append(values)
        self._memo_size += (len(run) - len(values)) // (len(layout.closing) + len(layout.opening))
        self._pos = match.end()
        return True

    def _take_defining(self) -> bool:
        """Take a trace that has a traceback of its own, whose file names are known."""
        data, layout = self._data, self._layout
        head = layout.head.match(data, self._pos)
        if head is None:
            return False
        frames, closing = head.end(), b"t\x94"
        end = data.find(_FRAME_END + closing, frames, frames + _LONGEST) if head[2] else -1
        if not head[2]:  # up to three frames need no mark, and other opcodes close them
            short = SHORT.match(data, frames)
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
        index = self._memo_size + len(stack)
        number = self._first_stack + len(self._stacks)
        self._stacks.append(stack[::-1])
        self._total_nframes.append(int.from_bytes(tail[1][1:], "little"))
        self._gather(index, number, head[1] + b"j" + index.to_bytes(4, "little") + tail[1])
        self._memo_size = index + 2
        self._pos = tail.end()
        return True

    def _take_compact(self) -> bool:
        """Take a run of traces as leakhunt writes them."""
        known_frames, sizes, counts = self._known_frames, self._sizes, self._counts
        taken = False
        while self._fields == 4 and (trace := COMPACT.match(self._data, self._pos)):
            size, known, mark, frames, closing, total_nframe, dups = trace.groups()
            if known:
                stack = self.number_of(_operand(known))
                if stack < 0:
                    self._dangling = True
            else:
                tokens = COMPACT_FRAME.findall(frames)
                if closing != b"t" if mark else (len(tokens), closing) not in COMPACT_CLOSINGS:
                    break
                stack = self._first_stack + len(self._stacks)
                known_frames.memo_size = self._memo_size
                self._stacks.append(tuple(map(known_frames.__getitem__, tokens))[::-1])
                self._total_nframes.append(_operand(total_nframe))
                self._compact_numbers[known_frames.memo_size] = stack
                self._memo_size = known_frames.memo_size + 1
            count = 1 + len(dups)
            sizes[stack] = sizes.get(stack, 0) + _operand(size) * count
            counts[stack] = counts.get(stack, 0) + count
            self._compact_blocks += count
            self._pos = trace.end()
            taken = True
        return taken

    def _gather(self, index: int, stack: int, trace: bytes = b"") -> None:
        """Let a memo index stand for a traceback in our stream, and follow with a trace that has it."""
        self._numbers[index] = stack
        self._opcodes.append(b"]r" + index.to_bytes(4, "little") + b"0" + trace)

    def _run(self) -> int:
        """Hand the sizes of the blocks taken to the lists of their tracebacks; returns how many, or -1."""
        try:
            values = self._stream.run(b"".join(self._opcodes))
        except pickle.UnpicklingError:  # an index that we did not give it
            return -1
        self._opcodes.clear()
        width = self._layout.width
        deque(map(list.append, values[1::width], values[::width]), 0)
        return len(values) // width
