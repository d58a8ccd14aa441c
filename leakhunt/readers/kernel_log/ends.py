"""The time that a source covers: its first line and its last, beside whatever the clock saw between them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from leakhunt.readers.kernel_log.listener import Reading
from leakhunt.readers.kernel_log.stamps import Stamp

_REACH = 1 << 13
_MOST_LINES = 20


class Ends:
    """Sees each buffer, and lets the clock note the first line and the last that have stamps."""

    def __init__(self, reading: Reading) -> None:
        self._unwrap = reading.unwrap
        self._clock = reading.clock
        self._first: Stamp | None = None
        self._last: Stamp | None = None
        self._begun = False
        self._tail: tuple[bytes, bytes] = (b"", b"")  # the last two buffers

    def see(self, data: bytes) -> None:
        """Take a buffer, before others do."""
        if not self._begun:
            self._begun = True
            self._first = self._note(data[:_REACH].split(b"\n")[:_MOST_LINES])
        self._tail = self._tail[1], data

    def finish(self) -> None:
        """Note the last line, behind all others."""
        tail = self._tail[0][-_REACH:] + self._tail[1][-_REACH:]
        self._last = self._note(reversed(tail.split(b"\n")[-_MOST_LINES - 1 :]))

    def between(self) -> tuple[datetime | None, datetime | None]:
        """Return the earliest and the latest time, where anything tells them."""
        clock = self._clock
        if clock.first is not None or len(clock.boots) > 1:
            return clock.first, clock.last
        first, last = (clock.place(stamp).when if stamp else None for stamp in (self._first, self._last))
        return first, last

    def _note(self, lines: Iterable[bytes]) -> Stamp | None:
        """Let the clock note the first of some lines that has a stamp."""
        for line in lines:
            for stamp, _text in self._unwrap(line) if line else ():
                if stamp.wall is not None or stamp.monotonic is not None:
                    self._clock.note(stamp)
                    return stamp
        return None
