"""Signs in logs of any form: the lines are found by their words, and only those and a few around them are read."""

from __future__ import annotations

from leakhunt.model.evidence import Evidence, Place
from leakhunt.readers.kernel_log.exports import unfolded
from leakhunt.readers.kernel_log.listener import Heard, Reading
from leakhunt.readers.kernel_log.stamps import Stamp
from leakhunt.readers.kernel_log.structured import PLAIN
from leakhunt.readers.signs.hearing import Ear
from leakhunt.readers.signs.search import Search

_LOOK_BACK = 40  # lines: nohang prints a page about its victim, and a pod's name stands above its containers
_BEFORE = 1 << 13  # bytes
_QUIET = 12  # lines without a word of ours after which nothing belongs to what was said
_LONGEST_LINE = 1 << 14
_EVIDENCE_TEXT = 1 << 11
_MOST_PARTS = 200


class Signs:
    """A listener for what programs other than the kernel, and other than workers, say of deaths.

    Args:
        reading: the source.
        place: what the source's name tells of where it was written.

    Attributes:
        events: the signs that are not fetched yet.
    """

    def __init__(self, reading: Reading, place: Place) -> None:
        self.events: list[Heard] = []
        self._reading = reading
        self._plain = reading.kind in PLAIN
        self._search = Search(reading.kind)
        self._ear = Ear(reading.source, reading.clock, place)
        self._before = b""  # the end of what was read last, to look back at
        self._read_to = 0  # lines up to this number were looked at
        self._patience = -1  # how many further lines are read one by one
        self._stamp = Stamp()

    def read(self, data: bytes, first_line: int) -> None:
        """Take whole lines.

        Args:
            data: lines, each ended by a newline but perhaps the last of the source.
            first_line: the number of the first of them, counted from 1.
        """
        at = len(self._before)
        line = first_line - self._before.count(b"\n")
        data = self._before + data
        counted = 0  # from where on lines are not counted yet
        self._search.begin(data)
        while at < len(data):
            if self._patience < 0:
                hit = self._search.first(at)
                if hit < 0:
                    break
                at = _lines_back(data, hit)
                self._patience = _LOOK_BACK + 1 + _QUIET
            line += data.count(b"\n", counted, at) - data.count(b"\n", at, counted)  # it may lie behind
            end = data.find(b"\n", at)
            end = len(data) if end < 0 else end
            if line > self._read_to:
                self._read_to = line
                self._take(data[at:end], line)
            counted, at = at, end + 1
        self._before = _end_of(data)
        self._fetch()

    def wakes(self) -> tuple[bytes, ...] | None:
        """Return the words that wake it; None where it is awake."""
        return self._search.wakes if self._patience < 0 else None

    def pass_by(self, data: bytes, first_line: int) -> None:  # noqa: ARG002 - what is passed by has no number
        """Take whole lines without any of its words."""
        self._before = _end_of(data if len(data) > _BEFORE else self._before + data)

    def settle(self) -> None:
        """Release what nothing further is expected for at once; called where a live source pauses."""
        self._ear.rest()
        self._fetch()

    def finish(self) -> None:
        """Release everything, at the end of the source."""
        self.settle()

    def _fetch(self) -> None:
        self.events.extend(self._ear.signs)
        self._ear.signs.clear()

    def _take(self, raw: bytes, line: int) -> None:
        """Read one line; what it means keeps the reader awake."""
        if len(raw) > _LONGEST_LINE and self._plain:
            aside = Search(self._reading.kind)
            aside.begin(raw)
            hit = max(0, aside.first(0))
            raw = raw[max(0, hit - 2048) : hit + (_LONGEST_LINE >> 1)]
        meant = False
        parts = 0
        for stamp, text in self._reading.unwrap(raw):
            continued = False
            if _says_nothing(stamp):
                text = raw.decode("utf-8", "backslashreplace") if self._plain else text  # noqa: PLW2901 - as it stood
                continued = text[:1].isspace() and not _says_nothing(self._stamp)
                stamp = self._stamp if continued else Stamp()  # noqa: PLW2901 - it continues another
            else:
                self._stamp = stamp
            stamped = not _says_nothing(stamp)
            for part in unfolded(text):
                parts += 1
                if parts > _MOST_PARTS:
                    break
                evidence = Evidence(self._reading.source, line, part[:_EVIDENCE_TEXT])
                meant |= self._ear.hear(stamp, part, evidence, stamped=stamped)
        self._patience = max(self._patience - 1, _QUIET) if meant else self._patience - 1
        if self._patience < 0:
            self._ear.rest()
            self._stamp = Stamp()


def _says_nothing(stamp: Stamp) -> bool:
    """Tell whether nothing stood in front of a line."""
    return stamp == Stamp()


def _end_of(data: bytes) -> bytes:
    """Return the last whole lines of a buffer."""
    if not data.endswith(b"\n"):
        return b""
    tail = data[-_BEFORE:]
    whole = len(tail) == len(data) or data[-_BEFORE - 1 : -_BEFORE] == b"\n"
    return tail if whole else tail[tail.find(b"\n") + 1 :]


def _lines_back(data: bytes, at: int) -> int:
    """Return the start of the line that stands some lines in front."""
    for _ in range(_LOOK_BACK + 1):
        before = data.rfind(b"\n", 0, at)
        if before < 0:
            return 0
        at = before
    return at + 1
