"""The traces of this process as a pickle that ``tracemalloc.Snapshot.load`` loads, written for size and speed.

The standard library's dump writes each block in a dozen bytes. Most blocks are like another: same size, same
traceback. Here such blocks are written once and then repeated by the opcode DUP, one byte each, and equal frames are
one object; nothing else differs from a dump by ``tracemalloc``, and no total does. The opcodes are written here instead
of by ``pickle``, which knows no DUP and remembers every trace. Our metadata is one more attribute, ``leakhunt``,
before the traces, so that it can be read without them.

    PROTO 4, Snapshot NEWOBJ { leakhunt: {...}, traceback_limit: n, traces: _Traces NEWOBJ { _traces: [ batches ] } } STOP
    a batch: MARK, then for each distinct trace ``( domain size traceback total_nframe t`` and DUP for each more, APPENDS
"""

from __future__ import annotations

import pickle
import struct
import tracemalloc
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple

from leakhunt.errors import LeakhuntError
from leakhunt.units import format_size

_BATCH = 1000  # distinct traces; those before a cut can be read again
_CHUNK = 1 << 16
_DEPTH = 24  # of metadata; what a reader of ours takes
_SIZE_BITS = 64  # in a key: the size stands above the identity of the traceback
_IDENTITY = (1 << _SIZE_BITS) - 1

_MARK, _TUPLE, _APPENDS, _MEMOIZE, _DUP = b"(", b"t", b"e", b"\x94", b"2"
_TUPLE_OF = {0: b")", 1: b"\x85", 2: b"\x86", 3: b"\x87"}

_Traceback = tuple[tuple[str, int], ...]
_RawTrace = tuple[int, int, _Traceback, int]  # domain, size, traceback, total_nframe
_Place = tuple[int, _Traceback, int]  # the same without the size


class Written(NamedTuple):
    """What was written.

    Attributes:
        blocks: traced blocks of memory.
        size_traced: their bytes together.
        size: bytes of the file.
    """

    blocks: int
    size_traced: int
    size: int


def write(file: BinaryIO, metadata: Mapping[str, object], limit: int | None = None) -> Written:
    """Write all traces of this process, none where nothing is traced, and end tracing: for a process that leaves then.

    What follows the look at the traces takes many times longer while it is traced itself.

    Args:
        file: where to.
        metadata: plain data; what is none is written as its text.
        limit: how many bytes the file may have.

    Raises:
        LeakhuntError: it would have more.
        OSError: it cannot be written.
    """
    traceback_limit = tracemalloc.get_traceback_limit()
    raw = _raw_traces()
    tracemalloc.stop()
    return write_traces(file, metadata, raw, traceback_limit, limit)


def write_plainly(file: BinaryIO, metadata: Mapping[str, object], limit: int | None = None) -> Written:
    """Write them as ``tracemalloc`` does and go on tracing: for a process that goes on, or has little memory left.

    The file is larger, but what C does costs a traced process far less than what Python does. See :func:`write`.
    """
    raw = _raw_traces()
    snapshot = tracemalloc.Snapshot(raw, tracemalloc.get_traceback_limit())
    snapshot.leakhunt = pickle.loads(b"\x80\x04" + _plain(metadata, _DEPTH) + b".")  # type: ignore[attr-defined] # noqa: S301 - our own, made plain
    out = _Out(file, limit)
    pickle.Pickler(out, 4).dump(snapshot)
    out.flush()
    return Written(len(raw), sum([trace[1] for trace in raw]), out.size)


def write_traces(
    file: BinaryIO,
    metadata: Mapping[str, object],
    traces: list[_RawTrace],
    traceback_limit: int,
    limit: int | None = None,
) -> Written:
    """Write traces, and empty their list on the way, so that no block takes memory twice."""
    blocks = len(traces)
    out = _Out(file, limit)
    out.write(b"\x80\x04" + _new("Snapshot") + b"}(" + _text("leakhunt") + _plain(metadata, _DEPTH))
    out.write(_text("traceback_limit") + _number(traceback_limit) + _text("traces") + _new("_Traces"))
    out.write(b"}" + _text("_traces") + b"]")
    size_traced = _write_batches(out, traces)
    out.write(b"sbub.")
    out.flush()
    return Written(blocks, size_traced, out.size)


class _Out:
    """Collects bytes and writes them in chunks, up to a limit."""

    def __init__(self, file: BinaryIO, limit: int | None) -> None:
        self.size = 0
        self._file = file
        self._limit = limit
        self._waiting = bytearray()

    def write(self, data: bytes) -> None:
        """Write bytes, now or soon."""
        self._waiting += data
        if len(self._waiting) > _CHUNK:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        self.size += len(self._waiting)
        if self._limit is not None and self.size > self._limit:
            raise LeakhuntError(
                f"the snapshot would have more than the {format_size(self._limit)} that it may have",
                "make room, or raise --budget (LEAKHUNT_BUDGET)",
            )
        self._file.write(self._waiting)
        self._waiting.clear()


class _Memo:
    """What the pickle has named before: file names, frames, tracebacks; each is written whole the first time."""

    def __init__(self) -> None:
        self._count = 0
        self._names: dict[str, bytes] = {}
        self._frames: dict[tuple[str, int], bytes] = {}
        self._tracebacks: dict[int, bytes] = {}

    def traceback(self, frames: tuple[tuple[str, int], ...]) -> bytes:
        """Return the opcodes for a traceback; it must live until the end, as it is known by its identity."""
        known = self._tracebacks.get(id(frames))
        if known is not None:
            return known
        parts = [self._frames.get(frame) or self._frame(frame) for frame in frames]
        opened, closed = (b"", _TUPLE_OF[len(frames)]) if len(frames) <= 3 else (_MARK, _TUPLE)
        self._tracebacks[id(frames)] = self._reference()
        return opened + b"".join(parts) + closed + _MEMOIZE

    def _frame(self, frame: tuple[str, int]) -> bytes:
        filename, lineno = frame
        name = self._names.get(filename)
        if name is None:
            name = _text(filename) + _MEMOIZE
            self._names[filename] = self._reference()
        self._frames[frame] = self._reference()
        return name + _number(lineno) + _TUPLE_OF[2] + _MEMOIZE

    def _reference(self) -> bytes:
        index = self._count
        self._count += 1
        return b"h" + bytes((index,)) if index < 256 else b"j" + index.to_bytes(4, "little")


def _raw_traces() -> list[_RawTrace]:
    """Return the traces as tuples, which is all that ``tracemalloc.take_snapshot`` does besides wrapping them."""
    get_traces = getattr(tracemalloc, "_get_traces", None)
    if get_traces is None:  # a private name; the public one gives the same
        traces: list[_RawTrace] = list(tracemalloc.take_snapshot().traces._traces)  # type: ignore[attr-defined] # noqa: SLF001
        return traces
    found: list[_RawTrace] = get_traces()
    return found


def _write_batches(out: _Out, traces: list[_RawTrace]) -> int:
    """Write each distinct trace as often as it is there; returns the bytes of all blocks."""
    counts, tracebacks = _count(traces)
    memo = _Memo()
    size_traced = waiting = 0
    for key, count in counts.items():
        size, identity = key >> _SIZE_BITS, key & _IDENTITY
        domain, frames, total_nframe = tracebacks[identity]
        trace = _number(domain) + _number(size) + memo.traceback(frames) + _number(total_nframe)
        out.write((_MARK if waiting else _MARK + _MARK) + trace + _TUPLE + _DUP * (count - 1))
        size_traced += size * count
        waiting += 1
        if waiting == _BATCH:
            out.write(_APPENDS)
            waiting = 0
    if waiting:
        out.write(_APPENDS)
    return size_traced


def _count(traces: list[_RawTrace]) -> tuple[dict[int, int], dict[int, _Place]]:
    """Count equal traces, taking each off the list; a number stands for a trace, as a tuple would take thrice the room.

    A traceback is one object for all traces that have it, and goes with one domain and total_nframe but for rare
    exceptions, which get a number of their own.
    """
    counts: dict[int, int] = {}
    places: dict[int, _Place] = {}
    exceptions: dict[tuple[int, int, int], int] = {}
    while traces:
        domain, size, frames, total_nframe = traces.pop()
        identity = id(frames)
        place = places.get(identity)
        if place is None:
            places[identity] = (domain, frames, total_nframe)
        elif place[0] != domain or place[2] != total_nframe:
            # No object has an odd address.
            identity = exceptions.setdefault((identity, domain, total_nframe), 2 * len(exceptions) + 1)
            places[identity] = (domain, frames, total_nframe)
        key = size << _SIZE_BITS | identity
        counts[key] = counts.get(key, 0) + 1
    return counts, places


def _new(name: str) -> bytes:
    """Return the opcodes for a new object of one of tracemalloc's classes."""
    return _text("tracemalloc") + _text(name) + b"\x93)\x81"


def _plain(value: object, depth: int) -> bytes:
    """Return the opcodes for plain data; what is none, or too deep, is given as its text."""
    if value is None or isinstance(value, bool):
        return _CONSTANTS[value]
    if isinstance(value, int) and value.bit_length() < _SIZE_BITS:
        return _number(value)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, Mapping) and depth:
        items = [_text(str(key)) + _plain(item, depth - 1) for key, item in value.items()]
        return b"}(" + b"".join(items) + b"u"
    if isinstance(value, (list, tuple)) and depth:
        return b"](" + b"".join([_plain(item, depth - 1) for item in value]) + b"e"
    return _text(value if isinstance(value, str) else str(value))


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return (
        b"\x8c" + bytes((len(data),)) + data
        if len(data) < 256
        else b"X" + struct.pack("<I", len(data)) + data
    )


def _number(number: int) -> bytes:
    if 0 <= number < 256:
        return b"K" + bytes((number,))
    if 0 <= number < 65536:
        return b"M" + number.to_bytes(2, "little")
    if -(1 << 31) <= number < 1 << 31:
        return b"J" + number.to_bytes(4, "little", signed=True)
    width = number.bit_length() // 8 + 1
    return b"\x8a" + bytes((width,)) + number.to_bytes(width, "little", signed=True)


_CONSTANTS = {None: b"N", True: b"\x88", False: b"\x89"}
