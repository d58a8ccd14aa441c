"""The driver: finds the places in a stream of bytes that speak of memory, and reads only around them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone, tzinfo

from leakhunt.model.oom import Evidence, SourceSummary
from leakhunt.readers.kernel_log import structured
from leakhunt.readers.kernel_log.episodes import Episodes, Event
from leakhunt.readers.kernel_log.exports import unfolded
from leakhunt.readers.kernel_log.grammar import parse
from leakhunt.readers.kernel_log.lines import Kill, Line, Lost
from leakhunt.readers.kernel_log.prefix import strip
from leakhunt.readers.kernel_log.stamps import Stamp
from leakhunt.readers.kernel_log.times import Clock

_STEP = 1 << 18  # a stretch that stays in the processor's cache while several markers are searched
_LONGEST_LINE = 1 << 20
_LOOK_BACK = 6  # lines in front of a marker that may say more of it
_QUIET = 8  # lines without a word of ours after which a finished report is over
_PATIENCE = 6_000  # likewise for a report that lacks its kill line
_LONGEST_TEXT = 1 << 14
_EVIDENCE_TEXT = 1 << 11
_SAMPLES = 2

# What wakes the reader up. Every line that must not be missed holds one; what else belongs to a report stands near.
# Long markers are found faster than short ones.
MARKERS = (
    b"Killed process ",
    b" invoked oom-killer: gfp_mask=",
    b" printk messages dropped **",
    b": page allocation failure: order:",
)


@dataclass(frozen=True)
class Options:
    """What the caller knows of a source.

    Attributes:
        kind: its form, one of ``structured.KINDS``, or an empty string to find out.
        tz: the zone of stamps without one.
        reference: a moment that no line lies behind, such as the file's last change; tells the year.
        boot_time: when the machine was started.
    """

    kind: str = ""
    tz: tzinfo = timezone.utc
    reference: datetime | None = None
    boot_time: datetime | None = None


def scan(chunks: Iterable[bytes], source: str, options: Options | None = None) -> Iterator[Event]:
    """Read a log to its end and yield what it says of kills; the last event is the summary.

    Args:
        chunks: the bytes in order; an empty one says that there is no more for now.
        source: the name that evidence gets.
        options: what is known beforehand.

    Yields:
        Kills and what else was found, about in the order of the log.
    """
    options = options or Options()
    size = 0

    def counted() -> Iterator[bytes]:
        nonlocal size
        for chunk in chunks:
            size += len(chunk)
            yield chunk

    kind, whole = structured.identify(counted(), options.kind)
    scanner = _Scanner(source, kind, options)
    for chunk in structured.as_lines(kind, whole):
        if chunk:
            scanner.take(chunk)
        else:
            scanner.episodes.settle()
        yield from scanner.fetch()
    scanner.finish()
    yield from scanner.fetch()
    yield scanner.summary(size)


class _Scanner:
    """Bytes of one source, cut into lines only where it matters."""

    def __init__(self, source: str, kind: str, options: Options) -> None:
        self.clock = Clock(options.tz, options.reference, options.boot_time)
        self.episodes = Episodes(self.clock)
        self._source = source
        self._kind = kind
        self._unwrap = structured.unwrapper(kind)
        self._plain = kind in structured.PLAIN
        self._markers = MARKERS + structured.more_markers(kind)
        self._rest = b""
        self._line = 0  # lines in front of the buffer
        self._patience = -1  # how many further lines are read one by one
        self._sampled = -_STEP  # where in the buffer the clock saw lines last
        self._last = Stamp()
        self._sequence = (0, 0)  # the number of the last record, and its line

    def take(self, chunk: bytes) -> None:
        """Read what is complete of the bytes so far."""
        data = self._rest + chunk
        self._sampled = -_STEP
        end = data.rfind(b"\n") + 1
        if not end and len(data) < _LONGEST_LINE:
            self._rest = data
            return
        self._rest = data[self._read(data, end or len(data)) :]

    def finish(self) -> None:
        """Read the last line, and say what is left to say."""
        self._read(self._rest, len(self._rest), last=True)
        self.episodes.close()

    def fetch(self) -> Iterator[Event]:
        """Yield what was found since the last time."""
        events, self.episodes.events = self.episodes.events, []
        yield from events

    def summary(self, size: int) -> SourceSummary:
        """Return what the source held."""
        clock = self.clock
        return SourceSummary(
            self._source,
            self._kind,
            self._line,
            size,
            clock.first,
            clock.last,
            self.episodes.lost,
            clock.boots,
        )

    def _read(self, data: bytes, end: int, *, last: bool = False) -> int:
        """Read whole lines; returns from where on the bytes are still wanted."""
        at = 0
        while at < end:
            if self._patience >= 0:
                at = self._read_lines(data, at, end)
                continue
            hit = self._next_marker(data, at, end)
            start = _lines_back(data, hit if hit >= 0 else end, at)
            self._line += data.count(b"\n", at, start)
            at = start
            if hit < 0:
                if last:
                    self._line += data.count(b"\n", at, end) + (not data.endswith(b"\n"))
                    return end
                return at
            self._patience = _LOOK_BACK + 1
        return at

    def _next_marker(self, data: bytes, at: int, end: int) -> int:
        """Return where the first marker stands, or -1."""
        while at < end:
            if at - self._sampled >= _STEP:
                self._sample(data, at, end)
                self._sampled = at
            stop = limit = min(at + _STEP, end)
            for marker in self._markers:
                hit = data.find(marker, at, limit + len(marker) - 1)
                if 0 <= hit < limit:
                    limit = hit
            if limit < stop:
                return limit
            at = stop
        return -1

    def _sample(self, data: bytes, at: int, end: int) -> None:
        """Let the clock see a few lines of a stretch that is not read."""
        for _ in range(_SAMPLES):
            start = data.find(b"\n", at, end) + 1
            stop = data.find(b"\n", start, end) if start else -1
            if stop < 0:
                return
            if stop - start < _LONGEST_TEXT:
                for stamp, _text in self._unwrap(data[start:stop]):
                    self.clock.note(stamp)
            at = stop

    def _read_lines(self, data: bytes, at: int, end: int) -> int:
        """Read line by line until nothing more is expected; returns where that was."""
        episodes, plain = self.episodes, self._plain
        while at < end:
            stop = data.find(b"\n", at, end)
            if stop < 0:
                stop = end
            raw = data[at:stop]
            self._line += 1
            at = stop + 1
            if (
                plain
                and episodes.table_open
                and episodes.row(raw.decode("utf-8", "backslashreplace").rstrip("\r"))
            ):
                continue
            if self._take_line(raw):
                self._patience = _PATIENCE if episodes.waiting else _QUIET
                continue
            self._patience -= 1
            if self._patience < 0:
                episodes.expire()
                self._last = Stamp()
                break
        return min(at, end)

    def _take_line(self, raw: bytes) -> bool:
        """Read one line; tells whether it meant something."""
        if len(raw) > _LONGEST_TEXT:
            hits = [hit for hit in map(raw.find, self._markers) if hit >= 0]
            middle = min(hits, default=0)
            raw = raw[max(0, middle - 2048) : middle + (_LONGEST_TEXT >> 1)]
        if self._plain:
            return self._take_plain(raw.decode("utf-8", "backslashreplace").rstrip("\r"))
        meant = False
        for stamp, text in self._unwrap(raw):
            here = self._noted(stamp, text)
            for part in unfolded(text):
                meant |= self._take_text(here, part, parse(part))
        return meant

    def _take_plain(self, raw: str) -> bool:
        """Read a line of text; what stands in front of it is looked at only if the rest means something."""
        line = parse(raw)
        if line is None:
            return False
        stamp, text = strip(raw)
        here = self._noted(stamp, text)
        parts = unfolded(text)
        if isinstance(line, Kill) and len(parts) == 1:
            before = len(raw) - len(text)
            return self._take_text(here, text, line._replace(start=max(0, line.start - before)))
        meant = False
        for part in parts:
            meant |= self._take_text(here, part, parse(part))
        return meant

    def _noted(self, stamp: Stamp, text: str) -> Stamp:
        """Let the clock see a stamp; a line without one continues another."""
        if stamp.wall is None and stamp.monotonic is None and not stamp.tag:
            return self._last._replace(dropped=stamp.dropped)
        self._last = stamp
        self.clock.note(stamp)
        if stamp.sequence is not None:
            self._watch_sequence(stamp.sequence, text)
        return stamp

    def _take_text(self, stamp: Stamp, text: str, line: Line | None) -> bool:
        if line is None and not stamp.dropped:
            return self.episodes.table_open and self.episodes.row(text)
        evidence = Evidence(self._source, self._line, text[:_EVIDENCE_TEXT])
        if stamp.dropped:
            self.episodes.note_dropped(stamp.dropped, evidence)
        if line is not None:
            self.episodes.feed(stamp, line, evidence)
        return True

    def _watch_sequence(self, sequence: int, text: str) -> None:
        """Notice missing records: between two that were read there are at least as many lines as records."""
        records, lines = sequence - self._sequence[0], self._line - self._sequence[1]
        if self._sequence[1] and 0 < lines < records:
            evidence = Evidence(self._source, self._line, text[:_EVIDENCE_TEXT])
            self.episodes.feed(Stamp(), Lost("gap", records - lines), evidence)
        self._sequence = sequence, self._line


def _lines_back(data: bytes, at: int, first: int) -> int:
    """Return the start of the line that stands a few lines in front."""
    for _ in range(_LOOK_BACK + 1):
        before = data.rfind(b"\n", first, at)
        if before < 0:
            return first
        at = before
    return at + 1
