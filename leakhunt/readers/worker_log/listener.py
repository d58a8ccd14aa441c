"""Hears a log for workers: what each child was doing when it died.

What happens to every task is searched in whole buffers of bytes; a line is read in full only where a death, a start or a
task in flight makes it matter. A log of another kind costs a search for a handful of words.
"""

from __future__ import annotations

from collections import deque

from leakhunt.model.evidence import Place
from leakhunt.model.incident import TaskAgain, WorkerDeath
from leakhunt.readers.kernel_log import structured
from leakhunt.readers.kernel_log.listener import Heard, Reading
from leakhunt.readers.worker_log import wording
from leakhunt.readers.worker_log.celery import Celery
from leakhunt.readers.worker_log.chunk import Chunk, Upcoming, with_texts
from leakhunt.readers.worker_log.said import Said, read_line
from leakhunt.readers.worker_log.supervisor_wording import DEATHS, EARLIER
from leakhunt.readers.worker_log.supervisors import Supervisors

_TAIL = 1 << 18  # bytes in front of a chunk that are looked at again when a program shows itself
_CONTEXT = 1 << 14  # bytes in front of a death in which its job is looked for
_OWNERS = frozenset(
    {structured.JOURNAL_JSON, structured.JOURNAL_EXPORT, structured.JSON_LINES, structured.JSON_STREAM}
)


class WorkerLog:
    """Hears workers and their supervisors.

    Args:
        reading: the source.
        place: what the source's name tells of where it was written.

    Attributes:
        events: what was heard and is not fetched yet.
    """

    def __init__(self, reading: Reading, place: Place) -> None:
        self.events: list[Heard] = []
        self._reading, self._place = reading, place
        self._celery = Celery(reading, place, self._heard)
        self._supervisors = Supervisors(self._heard)
        self._owners = reading.kind in _OWNERS
        self._is_celery = False
        self._earlier: frozenset[str] = frozenset()  # programs whose earlier lines are searched too
        self._words = self._wanted()
        self._upcoming = Upcoming((), b"")
        self._recent: deque[tuple[bytes, int]] = (
            deque()
        )  # the last buffers, and the numbers of their first lines
        self._kept = 0  # bytes of these

    def read(self, data: bytes, first_line: int) -> None:
        """Take whole lines; see ``Listener``."""
        if self._owners:
            data = with_texts(data, self._reading.unwrap)
        chunk = Chunk(data, first_line, owners=self._owners)
        self._celery.flight.turn(chunk)
        self._celery.lives.begin()
        self._upcoming = Upcoming(self._words, data)
        at, end = 0, len(data)
        while at < end:
            hit = self._upcoming.after(at)
            start, stop = chunk.bounds(hit) if hit >= 0 else (end, end)
            if self._is_celery and start > at:
                self._celery.events(at, start)
            if hit >= 0:
                self._line(chunk, hit, start, stop)
            at = stop + 1
        if self._is_celery:
            self._celery.expire()
        self._keep(data, first_line)

    def wakes(self) -> tuple[bytes, ...] | None:
        """Return the words that wake it; None where it follows a worker, or texts are to be taken out of records."""
        return None if self._is_celery or self._owners else self._words

    def pass_by(self, data: bytes, first_line: int) -> None:
        """Take whole lines without any of its words."""
        self._keep(data, first_line)

    def settle(self) -> None:
        """Tell what can be told at once."""
        self._celery.deaths.settle()

    def finish(self) -> None:
        """Tell everything."""
        self._celery.finish()

    def _keep(self, data: bytes, first_line: int) -> None:
        """Keep the end of what was read."""
        recent = self._recent
        recent.append((data, first_line))
        self._kept += len(data)
        while self._kept - len(recent[0][0]) >= _TAIL:
            self._kept -= len(recent.popleft()[0])

    @property
    def _tail(self) -> Chunk:
        """The end of what was read before."""
        first_line = self._recent[0][1] if self._recent else 1
        return Chunk(b"".join(data for data, _ in self._recent), first_line, owners=self._owners)

    def _heard(self, event: WorkerDeath | TaskAgain) -> None:
        self.events.append(event)

    def _wanted(self) -> tuple[bytes, ...]:
        earlier = tuple(marker for name, marker in EARLIER if name in self._earlier)
        return (*wording.DEATHS, *DEATHS, *(wording.LIFE if self._is_celery else wording.TASKS), *earlier)

    def _want_more(self, chunk: Chunk, at: int) -> None:
        """Look for more words from here on."""
        self._words = self._wanted()
        self._upcoming = Upcoming(self._words, chunk.data, at)

    def _said(self, chunk: Chunk, at: int) -> Said:
        return read_line(self._reading, self._place, chunk.line(at), chunk.number(at))

    def _line(self, chunk: Chunk, hit: int, start: int, stop: int) -> None:
        """Read one line that may matter."""
        raw = chunk.line(hit)
        if b"\x1b" in raw or b"u001" in raw:
            raw = wording.COLOURS.sub(b"", raw)
        if self._celery.means(raw):
            if not self._is_celery:
                self._begin_celery(chunk, start)
            self._celery.line(raw, start, stop)
            return
        if not self._is_celery and self._celery.speaks(raw):
            self._begin_celery(chunk, stop)
            self._celery.events(start, stop)
            return
        told = self._supervisors.program(raw)
        if told is not None:
            if told.program not in self._earlier:
                self._earlier |= {told.program}
                self._want_more(chunk, stop)
                self._look_back(chunk, start, told.program)
            context = chunk.data[max(0, start - _CONTEXT) : start]
            if len(context) < _CONTEXT and self._recent:
                context = self._recent[-1][0][-(_CONTEXT - len(context)) :] + context
            self._supervisors.line(told, self._said(chunk, hit), chunk.key(start, start + 400), context)
        elif self._is_celery:
            self._celery.events(start, stop)

    def _look_back(self, chunk: Chunk, end: int, program: str) -> None:
        """Read what a program said before it was known to speak here."""
        words = tuple(word for name, word in EARLIER if name == program)
        for part, stop in ((self._tail, len(self._tail.data)), (chunk, end)):
            at, upcoming = 0, Upcoming(words, part.data[:stop])
            while (hit := upcoming.after(at)) >= 0:
                start, at = part.bounds(hit)
                told = self._supervisors.program(part.line(hit))
                if told is not None and not told.dies:
                    self._supervisors.line(told, self._said(part, hit), part.key(start, start + 400))

    def _begin_celery(self, chunk: Chunk, start: int) -> None:
        """From here on Celery's lines are read; its banner may stand in front."""
        self._is_celery = True
        self._want_more(chunk, start)
        for part, stop in ((self._tail, len(self._tail.data)), (chunk, start)):
            at, upcoming = 0, Upcoming(wording.LIFE, part.data[:stop])
            while (hit := upcoming.after(at)) >= 0:
                begin, at = part.bounds(hit)
                if self._celery.means(part.line(hit)):
                    self._celery.early(part.line(hit), part.key(begin, begin + 400))
