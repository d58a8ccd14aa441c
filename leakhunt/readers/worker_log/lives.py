"""Starts and ends of whole workers, and lines whose time only their neighbours tell."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from leakhunt.model.evidence import Place
from leakhunt.model.incident import WorkerDeath
from leakhunt.readers.kernel_log.listener import Reading
from leakhunt.readers.worker_log import wording as say
from leakhunt.readers.worker_log.death import placed
from leakhunt.readers.worker_log.deaths import Deaths
from leakhunt.readers.worker_log.flight import MOST_LISTED, Flight
from leakhunt.readers.worker_log.pool import Pool
from leakhunt.readers.worker_log.said import Said, apart, read_line

_HEAD = 400  # bytes of a line that tell whose it is
_CLOCK = re.compile(rb"\d\d:\d\d:\d\d|\d{10}")
_OWN = re.compile(rb"[:/](?:MainProcess|(?:Fork)?(?:Pool)?Worker-\d{1,6})\]")
_NEIGHBOURS = 60  # lines around one without a time in which one with a time is looked for


class Lives:
    """Follows workers from start to end.

    Args:
        reading: the source.
        place: what the source's name tells.
        flight: the tasks.
        deaths: those of children.
        tell: takes what was understood.
    """

    def __init__(
        self,
        reading: Reading,
        place: Place,
        flight: Flight,
        deaths: Deaths,
        tell: Callable[[WorkerDeath], None],
    ) -> None:
        self._reading, self._place, self._tell = reading, place, tell
        self._flight, self._deaths = flight, deaths
        self._gone: list[WorkerDeath] = []
        self._last: Said | None = None  # the last line with a time of an earlier chunk

    def begin(self) -> None:
        """Tell of workers that were gone, as a chunk shows what time it was when their successors came."""
        if self._gone and (first := self.neighbour(-1, 1)) is not None:
            for gone in self._gone:
                self._tell_vanished(gone, first)
            self._gone.clear()

    def end(self) -> Said | None:
        """Return the last line with a time, at the end of a chunk."""
        self._last = self.neighbour(len(self._flight.chunk.data), -1) or self._last
        return self._last

    def close(self) -> None:
        """Tell of workers that were gone, and of those whose log ends with tasks in flight."""
        for gone in self._gone:
            self._tell_vanished(gone, None)
        self._gone.clear()
        for pool in list(self._flight.pools.values()):
            if pool.held > pool.ghosts and pool.phase != "stopping":
                self._vanished(pool, self._flight.last_of(pool), None)

    def starts(self, pool: Pool, raw: bytes, start: int, end: int, said: Said | None) -> None:
        """A worker starts; another that was here before, and said no farewell, has vanished."""
        banner, ready, size = say.BANNER.search(raw), say.READY.search(raw), say.CONCURRENCY.search(raw)
        node = (banner or ready)[1] if banner or ready else b""  # type: ignore[index] # one of them matched
        if node and pool.node and node != pool.node and ready and pool.phase == "up":
            pool.mixed, pool.started = True, False
        begins = pool.phase != "starting" or (banner is not None and pool.node_said)
        if begins and not pool.mixed:
            if pool.phase in {"up", "starting", ""} and pool.lives and said is not None:
                self._vanished(pool, self._last_words(pool, start), said, end)
            for id_ in (*pool.running, *pool.waiting):
                self._flight.tasks.pop(id_, None)
            pool.restart()
        pool.node_said = banner is not None or (pool.node_said and not begins)
        pool.node = node or pool.node
        pool.size = int(size[1]) if size else pool.size
        pool.phase = "up" if ready else "starting"
        pool.lives = bool(ready) or pool.lives

    def _vanished(self, pool: Pool, last: Said, said: Said | None, end: int = 0) -> None:
        """A worker as a whole is gone.

        Args:
            pool: which.
            last: its last words.
            said: the line of its successor; None at the end of the log.
            end: where that line ends.
        """
        self._deaths.end(pool, last)
        everything = pool.everything()
        self._flight.lose(everything, sure=said is not None, whole=True)
        evidence = (last.evidence,) if said is None else (said.evidence, last.evidence)
        death = WorkerDeath(
            program="celery",
            cause="vanished",
            evidence=evidence,
            place=placed(last.place, pool),
            when=last.when,
            uncertainty_s=last.uncertainty_s,
            until=said.when if said is not None else None,
            tasks=self._flight.listed(everything),
            tasks_omitted=max(0, len(everything) - MOST_LISTED) + pool.dropped,
            busy=True if everything else None,
        )
        if said is None or said.when is not None:
            self._tell(death)
        elif (after := self.neighbour(end, 1, key=pool.key)) is not None:
            self._tell_vanished(death, after)
        else:
            self._gone.append(death)  # until a later line has a time

    def _tell_vanished(self, death: WorkerDeath, after: Said | None) -> None:
        self._tell(replace(death, until=after.when if after is not None else None))

    def _last_words(self, pool: Pool, start: int) -> Said:
        """Return the last line in front of a banner that a worker wrote, or else the last that meant something.

        What else stands there may be of the new start: an entry point's, a warning of an import.
        """
        limit = max(pool.last_at, 0)
        return self.neighbour(start, -1, limit, pool.key, _OWN) or self._flight.last_of(pool)

    def timed(self, said: Said, start: int, end: int) -> Said:
        """Give a line that has no time that of the line in front of it, and the doubt up to the line behind."""
        before, after = self.neighbour(start, -1) or self._last, self.neighbour(end, 1)
        gap = apart(before.when, after.when) if before and after else None
        one = before or after
        return said if one is None else said._replace(when=one.when, uncertainty_s=gap)

    def neighbour(
        self, at: int, step: int, limit: int = 0, key: bytes | None = None, clock: re.Pattern[bytes] = _CLOCK
    ) -> Said | None:
        """Return the nearest line with a time.

        Args:
            at: where a line begins, or where it ends.
            step: -1 to look in front of it, 1 to look behind.
            limit: where not to look further back.
            key: what the line must be of.
            clock: what the line must hold.
        """
        chunk = self._flight.chunk
        for _ in range(_NEIGHBOURS):
            at += step
            if at < limit or at >= len(chunk.data):
                return None
            begin, end = chunk.bounds(at)
            if clock.search(chunk.data, begin, min(end, begin + 6000)) and key in {
                None,
                chunk.key(begin, min(end, begin + _HEAD)),
            }:
                said = read_line(self._reading, self._place, chunk.line(begin), chunk.number(begin))
                if said.when is not None:
                    return said
            at = begin if step < 0 else end
        return None
