"""All tasks in flight in one log, whoever has them, and those that may have begun twice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Callable

from leakhunt.model.evidence import Place
from leakhunt.model.incident import InFlight, TaskAgain
from leakhunt.readers.kernel_log.listener import Reading
from leakhunt.readers.worker_log.chunk import Chunk
from leakhunt.readers.worker_log.pool import Candidate, Pool, Taken
from leakhunt.readers.worker_log.said import Said, read_line

_MOST_TASKS = 10_000
_MOST_POOLS = 256
_MOST_MEMORIES = 10_000
_KEPT_LINE = 1_600  # bytes of a line that outlive its chunk
MOST_LISTED = 20


@dataclass
class _Suspect:
    """A task that may have died.

    Attributes:
        whole: whether all of its worker died, so that any further word of it is a second run's.
        again: the line that shows it once more.
        last: how it was delivered last since then.
        times: how often it was.
    """

    name: str
    first: datetime | None
    deliveries: int
    whole: bool
    again: Said | None = None
    last: Taken | None = None
    times: int = 0


class Flight:
    """Tasks by their ids, workers by what tells them apart.

    Attributes:
        pools: the workers.
        tasks: what is in flight.
        chunk: what is being read.
        turns: how many chunks were read.
    """

    def __init__(self, reading: Reading, base: Place, tell: Callable[[TaskAgain], None]) -> None:
        self.pools: OrderedDict[bytes, Pool] = OrderedDict()
        self.tasks: OrderedDict[bytes, Taken] = OrderedDict()
        self.chunk = Chunk(b"", 1, owners=False)
        self._reading, self._base, self._tell = reading, base, tell
        self.turns = 0
        self._suspects: OrderedDict[bytes, _Suspect] = OrderedDict()
        self._retried: OrderedDict[bytes, int] = OrderedDict()

    def pool(self, key: bytes) -> Pool:
        """Return a worker by what tells it from others; the one that was quiet longest is forgotten for a new one."""
        pool = self.pools.get(key)
        if pool is None:
            pool = self.pools[key] = Pool(key)
            if len(self.pools) > _MOST_POOLS:
                _, gone = self.pools.popitem(last=False)
                for id_ in (*gone.running, *gone.waiting):
                    self.tasks.pop(id_, None)
        return pool

    def receive(self, pool: Pool, name: bytes, id_: bytes, at: int) -> None:
        """Put a task in flight."""
        task = Taken(name, id_, pool, at, self.turns)
        if id_ in self.tasks or id_ in self._retried or id_ in self._suspects:
            self._receive_again(task)
        self.tasks[id_] = task
        pool.take(task)
        if len(self.tasks) > _MOST_TASKS:
            _, oldest = self.tasks.popitem(last=False)
            oldest.worker.drop(oldest)
            oldest.worker.dropped += 1

    def _receive_again(self, task: Taken) -> None:
        """Count how often a task was received."""
        before = self.tasks.pop(task.id, None)
        if before is not None:
            before.worker.drop(before)
            task.again = before.again + 1
        else:
            task.again = self._retried.pop(task.id, 0) + 1
        suspect = self._suspects.get(task.id)
        if suspect is not None:
            suspect.deliveries = task.again = max(suspect.deliveries + 1, task.again)
            suspect.again = suspect.again or self.said_at(task.at)
            suspect.times += 1
            suspect.last = task
            self.keep(task)

    def finish(self, task: Taken, child: int, outcome: str, at: int) -> None:
        """Take a task out, as a line says that it is over.

        Args:
            task: which.
            child: who says so; -1 where the line does not tell.
            outcome: ``succeeded``, ``failed`` or ``retried``.
            at: where the line stands.
        """
        self.tasks.pop(task.id, None)
        task.worker.finish(task, child)
        if outcome == "retried":
            self._retried[task.id] = task.again
            if len(self._retried) > _MOST_MEMORIES:
                self._retried.popitem(last=False)
        elif task.id in self._suspects:
            self._see_again(task.id, outcome, at)

    def finish_unknown(self, id_: bytes, outcome: str, at: int) -> None:
        """Hear that a task is over which is not in flight."""
        suspect = self._suspects.get(id_)
        if suspect is not None and suspect.whole:
            self._see_again(id_, outcome, at)

    def lose(self, candidates: Iterable[Candidate], *, sure: bool, whole: bool = False) -> None:
        """Remember tasks that may have died; what surely did is no longer in flight.

        Args:
            candidates: which.
            sure: whether each of them did.
            whole: whether all of their worker did.
        """
        for _, task in candidates:
            self.keep(task)
            if sure:
                known = self._suspects.pop(task.id, None)
                if known is not None and known.again is not None:
                    self._tell_again(task.id, known, "lost", known.again)
                self.tasks.pop(task.id, None)
                if not whole:
                    task.worker.finish(task, -1)
            first = self.said(task).when
            name = task.name.decode("utf-8", "backslashreplace")
            self._suspects.setdefault(task.id, _Suspect(name, first, task.again, whole))
            if len(self._suspects) > _MOST_MEMORIES:
                id_, oldest = self._suspects.popitem(last=False)
                if oldest.again is not None:
                    self._tell_again(id_, oldest, "received", oldest.again)

    def keep(self, task: Taken) -> None:
        """Keep a task's line beyond its chunk."""
        if not task.line:
            task.line = self.chunk.number(task.at)
            start, end = self.chunk.bounds(task.at)
            task.raw = self.chunk.data[start : min(end, start + _KEPT_LINE)]

    def said(self, task: Taken) -> Said:
        """Return what the line said that put a task in flight."""
        self.keep(task)
        if task.said is None:
            task.said = read_line(self._reading, self._base, task.raw, task.line)
            task.raw = b""
        return task.said

    def listed(self, candidates: list[Candidate]) -> tuple[InFlight, ...]:
        """Return candidates as values, no more than anybody would read."""
        return tuple(map(self._in_flight, candidates[:MOST_LISTED]))

    def turn(self, chunk: Chunk) -> None:
        """Go on to another chunk: lines of the last that may be asked for are kept."""
        for task in reversed(self.tasks.values()):
            if task.chunk != self.turns:
                break
            self.keep(task)
        for pool in self.pools.values():
            if pool.last_at >= 0:
                pool.last = (self.chunk.line(pool.last_at)[:_KEPT_LINE], self.chunk.number(pool.last_at))
                pool.last_at = -1
        self.chunk = chunk
        self.turns += 1

    def last_of(self, pool: Pool) -> Said:
        """Return the last line that a worker wrote, as far as it meant something."""
        if pool.last_at >= 0:
            return self.said_at(pool.last_at)
        return read_line(self._reading, self._base, *pool.last)

    def close(self) -> None:
        """Say what was seen again and never came to an end."""
        for id_, suspect in self._suspects.items():
            if suspect.again is not None:
                self._tell_again(id_, suspect, "received", suspect.again)
        self._suspects.clear()

    def said_at(self, at: int) -> Said:
        """Return what a line of the chunk said."""
        return read_line(self._reading, self._base, self.chunk.line(at), self.chunk.number(at))

    def _see_again(self, id_: bytes, outcome: str, at: int) -> None:
        suspect = self._suspects.pop(id_)
        if suspect.again is not None or suspect.whole:
            self._tell_again(id_, suspect, outcome, self.said_at(at))

    def _tell_again(self, id_: bytes, suspect: _Suspect, outcome: str, said: Said) -> None:
        again = (suspect.again or said).when
        shown = id_.decode("utf-8", "backslashreplace")
        last = self.said(suspect.last).when if suspect.last is not None else None
        self._tell(
            TaskAgain(suspect.name, shown, outcome, suspect.first, again, said.evidence, last, suspect.times)
        )

    def _in_flight(self, candidate: Candidate) -> InFlight:
        how, task = candidate
        said, pool = self.said(task), task.worker
        child = (
            (pool.style + b"%d" % task.child).decode("utf-8", "backslashreplace") if task.child >= 0 else None
        )
        return InFlight(
            name=task.name.decode("utf-8", "backslashreplace"),
            id=task.id.decode("utf-8", "backslashreplace"),
            how=how,
            evidence=said.evidence,
            child=child,
            pid=task.pid if task.pid >= 0 else None,
            since=said.when,
            deliveries=task.again,
            arguments=task.arguments or said.arguments,
        )
