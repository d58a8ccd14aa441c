"""One input read to its end, its files one after another as if they were one."""

from __future__ import annotations

import codecs
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from leakhunt.model.evidence import Evidence, Place
from leakhunt.model.snapshot import Skipped
from leakhunt.readers.kernel_log.listener import Listener, Listeners, Reading
from leakhunt.readers.kernel_log.scan import Event, Options, scan
from leakhunt.readers.oom_inputs import Input, Part
from leakhunt.readers.streams import Stream

_WIDE = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_CHUNK = 1 << 16  # stays in the processor's cache while one reader after another goes through it
_T = TypeVar("_T")
Hearers = Sequence[Callable[[Reading, Place], Listener]]


def read(source: Input, options: Options | None = None, hearers: Hearers = ()) -> Iterator[Event | Skipped]:
    """Scan an input; evidence names the file and the line in it.

    Args:
        source: what to read.
        options: what is known beforehand; where it has no reference, the last change of the newest file is taken.
        hearers: what makes further readers of the same bytes; they are told the place that the input's name tells.

    Yields:
        What the input says, its summary, and the damage that was met.

    Raises:
        LeakhuntError: a file may not be read, or unfolds without end.
    """
    options = options or Options()
    if options.reference is None:
        options = replace(options, reference=source.reference)
    chain = _Chain(source.parts)
    events = scan(chain.chunks(), source.name, options, placed(hearers, source.place))
    if len(source.parts) == 1:
        yield from events
    else:
        yield from (relocated(event, chain.rows) for event in events)
    yield from chain.faults


def placed(hearers: Hearers, place: Place) -> Listeners:
    """Return what makes listeners that know where their source was written."""
    return [lambda reading, make=make: make(reading, place) for make in hearers]  # type: ignore[misc]


class Rows:
    """Which line of several files read in a row is whose."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._starts: list[int] = []  # how many lines stand in front of each file
        self._lines = 0

    def begin(self, name: str) -> None:
        """Say that the next line is the first of a file."""
        self._names.append(name)
        self._starts.append(self._lines)

    def count(self, data: bytes) -> None:
        """Take the bytes in order."""
        self._lines += data.count(b"\n")

    def place(self, evidence: Evidence) -> Evidence:
        """Return where a line of the whole stands."""
        number = bisect_right(self._starts, max(evidence.line - 1, 0)) - 1
        return Evidence(self._names[number], evidence.line - self._starts[number], evidence.text)


class _Chain:
    """The bytes of several files in a row.

    Attributes:
        rows: which line is whose.
        faults: what was wrong with the files that were read.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.rows = Rows()
        self.faults: list[Skipped] = []
        self._parts = parts

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes; each file's last line is ended."""
        several = len(self._parts) > 1
        for part in self._parts:
            self.rows.begin(part.name)
            last = b""
            stream = part.open()
            try:
                for chunk in utf8(stream):
                    if several:
                        self.rows.count(chunk)
                    last = chunk
                    yield chunk
            finally:
                stream.close()
            if stream.fault:
                self.faults.append(Skipped(part.name, f"{stream.fault}; read as far as it goes"))
            if several and last and not last.endswith(b"\n"):
                self.rows.count(b"\n")
                yield b"\n"


def without_nuls(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Leave out NULs: a log that was emptied while its program wrote on has as many as it had bytes before."""
    for chunk in chunks:
        if b"\0" not in chunk:
            yield chunk
        elif left := chunk.translate(None, b"\0"):  # nothing would be a pause
            yield left


def utf8(stream: Stream) -> Iterator[bytes]:
    """Yield a file's bytes without NULs; what Windows wrote in UTF-16 becomes UTF-8."""
    yield from without_nuls(_decoded(stream))


def _decoded(stream: Stream) -> Iterator[bytes]:
    chunk = stream.read(_CHUNK)
    encoding = _WIDE.get(chunk[:2])
    if encoding is None:
        while chunk:
            yield chunk
            chunk = stream.read(_CHUNK)
        return
    decode = codecs.getincrementaldecoder(encoding)("backslashreplace").decode
    chunk = chunk[2:]
    while chunk:
        if text := decode(chunk):  # nothing would be a pause
            yield text.encode("utf-8", "backslashreplace")
        chunk = stream.read()
    yield decode(b"", final=True).encode("utf-8", "backslashreplace")


def relocated(value: _T, rows: Rows) -> _T:
    """Return an event with all the evidence in it placed."""
    if isinstance(value, Evidence):
        return rows.place(value)  # type: ignore[return-value]  # an Evidence for an Evidence
    if isinstance(value, tuple) and value and (isinstance(value[0], Evidence) or is_dataclass(value[0])):
        return tuple(relocated(item, rows) for item in value)  # type: ignore[return-value]  # likewise
    if not is_dataclass(value) or isinstance(value, type):
        return value
    changed: dict[str, Any] = {}
    for one in fields(value):
        old = getattr(value, one.name)
        new = relocated(old, rows) if isinstance(old, tuple) else old
        if new is not old:
            changed[one.name] = new
    return replace(value, **changed)
