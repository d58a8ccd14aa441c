"""The kernel's words in a stream: the places that speak of memory are found, and only what is around them is read."""

from __future__ import annotations

from leakhunt.model.evidence import Evidence
from leakhunt.readers.kernel_log import structured
from leakhunt.readers.kernel_log.episodes import Episodes, Found
from leakhunt.readers.kernel_log.exports import unfolded
from leakhunt.readers.kernel_log.grammar import LATE_WORDS, WORDS, parse
from leakhunt.readers.kernel_log.lines import Group, Kill, Line, Lost, Reaped
from leakhunt.readers.kernel_log.listener import Reading
from leakhunt.readers.kernel_log.stamps import Stamp
from leakhunt.readers.markers import Markers, count_lines

_LOOK_BACK = 6  # lines in front of a marker that may say more of it
_QUIET = 8  # lines after which a finished report is over
_PATIENCE = 6_000  # lines without a word of ours after which a report is over that lacks its kill line
_WINDOW = 1 << 10  # about as many bytes are looked through at once for a word of ours
_TABLE_WINDOW = 1 << 12  # likewise for rows of a task table
_LONGEST_TEXT = 1 << 14
_EVIDENCE_TEXT = 1 << 11
_SAMPLED = 1 << 18  # of so many bytes the clock sees some lines
_SAMPLES = 2

# What wakes the reader up. Every line that must not be missed holds one; what else belongs to a report stands near.
# Long markers are found faster than short ones.
MARKERS = (
    b"Killed process ",
    b" invoked oom-killer: gfp_mask=",
    b" printk messages dropped **",
    b": page allocation failure: order:",
)
# What people leave of a report when they look for some words of it only; such excerpts are short.
_EXCERPT_MARKERS = (
    b"ut of memory", b"oom-kill:constraint=", b" killed as a result of limit of ", b"oom_reaper: reaped process ",
)  # fmt: skip
_EXCERPT = 1 << 20
# How the parts of a report begin that has lost its header.
_PARTS = (b" killed as a result of limit of ", b"memory: usage ", b" tgid ")


class KernelReader:
    """Reads the kernel's reports out of buffers of whole lines, each of which ends with a newline."""

    def __init__(self, reading: Reading) -> None:
        self._source = reading.source
        self._unwrap = reading.unwrap
        self._clock = reading.clock
        self._episodes = Episodes(reading.clock)
        self._plain = reading.kind in structured.PLAIN
        more = structured.more_markers(reading.kind)
        self._long_wakes = MARKERS + more
        self._wakes = self._long_wakes + _EXCERPT_MARKERS
        self._markers = Markers(self._wakes)
        self._words = Markers(WORDS + more)
        self._late_words = Markers((*LATE_WORDS, *self._long_wakes))
        self._size = 0  # bytes that were taken, as long as it may be an excerpt
        self._woken = False  # whether anything woke the reader
        self._line = 0  # lines in front of where the reading is
        self._patience = -1  # how many further lines are read; none while the reader sleeps
        self._late = False  # whether a report with its kill line was read, and only its rest is missing
        self._talking = False  # whether the next line is likely to mean something
        self._asleep_since = 0
        self._unseen = _SAMPLED  # bytes since the clock saw a line that was passed over
        self._before = (b"", 0)  # the buffer before, and from where on it was passed over
        self._last = Stamp()
        self._sequence = (0, 0)  # the number of the last record, and its line

    @property
    def lost(self) -> int:
        """How many lines the source says are missing."""
        return self._episodes.lost

    def fetch(self) -> list[Found]:
        """Return what was found since the last time."""
        found = self._episodes.events
        if found:
            self._episodes.events = []
        return found

    def read(self, data: bytes, first_line: int) -> int:
        """Take whole lines.

        Args:
            data: the lines.
            first_line: the number of the first of them, counted from 1.

        Returns:
            The number of the line that follows.
        """
        self._grow(len(data))
        self._line = first_line - 1
        at, end = 0, len(data)
        asleep_from = 0
        while at < end:
            if self._patience >= 0:
                at = asleep_from = self._read_lines(data, at, end)
                continue
            hit = self._markers.first(data, at, end)
            start = end if hit < 0 else max(at, _lines_back(data, hit, _LOOK_BACK))
            if hit >= 0 and not self._woken:
                self._woken = True
                start = _opening(data, at, start)
            if at == 0:
                if start == 0:
                    self._read_before(_LOOK_BACK - data.count(b"\n", 0, hit))
                self._unseen += end
                if self._unseen >= _SAMPLED:
                    self._sample(data, start)
            self._line += count_lines(data, at, start)
            at = start
            if hit >= 0:
                self._wake(_LOOK_BACK + 1)
        self._before = (data, asleep_from) if self._patience < 0 else (b"", 0)
        return self._line + 1

    def wakes(self) -> tuple[bytes, ...] | None:
        """Return the words that wake it; None where it is awake."""
        return self._wakes if self._patience < 0 else None

    def pass_by(self, data: bytes, first_line: int) -> int:
        """Take whole lines without any of its words; see :meth:`read`."""
        self._grow(len(data))
        self._line = first_line - 1 + count_lines(data, 0, len(data))
        self._unseen += len(data)
        if self._unseen >= _SAMPLED:
            self._sample(data, len(data))
        self._before = data, 0
        return self._line + 1

    def settle(self) -> None:
        """Release what nothing further is expected for at once; called where a live source pauses."""
        self._episodes.settle()

    def finish(self) -> None:
        """Release everything, at the end of the source."""
        self._episodes.close()

    def _grow(self, size: int) -> None:
        """Look for whole reports only, once there is more than anybody's excerpt."""
        if self._wakes is not self._long_wakes:
            if self._size > _EXCERPT:
                self._wakes = self._long_wakes
                self._markers = Markers(self._wakes)
            self._size += size

    def _wake(self, lines: int) -> None:
        """Be ready to read so many lines."""
        if self._late and self._line - self._asleep_since > _QUIET:
            self._forget()
        self._patience, self._late, self._talking = lines, False, False

    def _forget(self) -> None:
        """Give up on reports that the log left behind."""
        self._episodes.expire()
        self._last = Stamp()

    def _read_before(self, lines: int) -> None:
        """Read the last lines of the buffer before, as there are too few in front of a marker in this one."""
        (before, start), self._before = self._before, (b"", 0)
        if lines > 0 and start < len(before):
            before = before[max(start, _lines_back(before, len(before) - 1, lines - 1)) :]
            self._line -= before.count(b"\n")
            self._wake(lines)
            self._read_lines(before, 0, len(before))

    def _sample(self, data: bytes, end: int) -> None:
        """Let the clock see the first lines of a stretch that is not read."""
        at = 0
        for _ in range(_SAMPLES):
            stop = data.find(b"\n", at, end)
            if stop < 0:
                return
            self._unseen = 0
            if stop - at < _LONGEST_TEXT:
                for stamp, _text in self._unwrap(data[at:stop]):
                    self._clock.note(stamp)
            at = stop + 1

    def _read_lines(self, data: bytes, at: int, end: int) -> int:
        """Read until nothing more is expected; returns where that was."""
        while at < end and self._patience >= 0:
            if self._episodes.table_open:
                at = self._read_table(data, at, end)
                continue
            if not self._talking:
                at = self._pass_silence(data, at, end)
            if at < end and self._talking:
                at = self._read_line(data, at, end)
        if self._patience < 0 and not self._late:
            self._forget()
        self._asleep_since = self._line
        return at

    def _pass_silence(self, data: bytes, at: int, end: int) -> int:
        """Look through the next lines for a word of ours; returns where the line with it begins, or where they end."""
        stop = data.find(b"\n", min(at + _WINDOW, end - 1), end) + 1
        hit = (self._late_words if self._late else self._words).first(data, at, stop)
        if hit >= 0:
            stop = data.rfind(b"\n", at, hit) + 1 or at
            self._talking = True
        elif self._late:  # from here on markers are enough
            self._patience = -1
            return at
        lines = data.count(b"\n", at, stop)
        self._line += lines
        self._patience -= lines
        return stop

    def _read_line(self, data: bytes, at: int, end: int) -> int:
        """Read one line; returns where the next begins."""
        stop = data.find(b"\n", at, end)
        self._line += 1
        self._talking = self._take_line(data[at:stop])
        if self._talking:
            waiting = self._episodes.waiting
            self._late = self._late and not waiting
            self._talking = not self._late
            self._patience = _PATIENCE if waiting else _QUIET
        else:
            self._patience -= 1
        return stop + 1

    def _read_table(self, data: bytes, at: int, end: int) -> int:
        """Read the rows of a task table, and the line behind them; returns where that ends."""
        if self._plain:
            stop = data.find(b"\n", min(at + _TABLE_WINDOW, end - 1), end)
            lines = data[at:stop].split(b"\n")
            rows = self._episodes.raw_rows(lines)
            if rows == len(lines):
                self._line += rows
                return stop + 1
            self._line += rows
            at += sum(map(len, lines[:rows])) + rows
        return self._read_line(data, at, end)

    def _take_line(self, raw: bytes) -> bool:
        """Read one line; tells whether it meant something."""
        if len(raw) > _LONGEST_TEXT:
            middle = max(0, self._markers.first(raw, 0, len(raw)))
            raw = raw[max(0, middle - 2048) : middle + (_LONGEST_TEXT >> 1)]
        if self._plain and self._words.first(raw, 0, len(raw)) < 0:
            return False  # what stands in front is looked at only if the rest may mean something
        meant = False
        for stamp, text in self._unwrap(raw):
            here: Stamp | None = None
            for part in unfolded(text):
                line = parse(part)
                if line is not None or stamp.dropped or self._episodes.table_open:
                    here = here or self._noted(stamp, text)
                    meant |= self._take_text(here, part, line)
        return meant

    def _noted(self, stamp: Stamp, text: str) -> Stamp:
        """Let the clock see a stamp; a line without one continues another."""
        if stamp.wall is None and stamp.monotonic is None and not stamp.tag:
            return self._last._replace(dropped=stamp.dropped)
        self._last = stamp
        self._clock.note(stamp)
        if stamp.sequence is not None:
            self._watch_sequence(stamp.sequence, text)
        return stamp

    def _take_text(self, stamp: Stamp, text: str, line: Line | None) -> bool:
        if line is None and not stamp.dropped:
            return self._episodes.table_open and self._episodes.row(text)
        evidence = Evidence(self._source, self._line, text[:_EVIDENCE_TEXT])
        if stamp.dropped:
            self._episodes.note_dropped(stamp.dropped, evidence)
        if line is not None:
            self._episodes.feed(stamp, line, evidence)
            self._late = isinstance(line, (Kill, Group, Reaped))
        return True

    def _watch_sequence(self, sequence: int, text: str) -> None:
        """Notice missing records: between two that were read there are at least as many lines as records."""
        records, lines = sequence - self._sequence[0], self._line - self._sequence[1]
        if self._sequence[1] and 0 < lines < records:
            evidence = Evidence(self._source, self._line, text[:_EVIDENCE_TEXT])
            self._episodes.feed(Stamp(), Lost("gap", records - lines), evidence)
        self._sequence = sequence, self._line


def _opening(data: bytes, at: int, start: int) -> int:
    """Return where a report begins whose header was lost: in a ring that has overwritten it, in a file's first lines."""
    hits = [hit for hit in (data.rfind(part, at, start) for part in _PARTS) if hit >= 0]
    return data.rfind(b"\n", at, min(hits)) + 1 or at if hits else start


def _lines_back(data: bytes, at: int, lines: int) -> int:
    """Return the start of the line that stands so many lines in front of a place."""
    for _ in range(lines + 1):
        at = data.rfind(b"\n", 0, at)
        if at < 0:
            return 0
    return at + 1
