"""Celery's lines, brought to the workers they are of."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Union

from leakhunt.model.evidence import Place
from leakhunt.model.incident import TaskAgain, WorkerDeath
from leakhunt.readers.kernel_log.listener import Reading
from leakhunt.readers.worker_log import wording as say
from leakhunt.readers.worker_log.chunk import PLAIN, Chunk
from leakhunt.readers.worker_log.death import placed
from leakhunt.readers.worker_log.deaths import Deaths
from leakhunt.readers.worker_log.flight import Flight
from leakhunt.readers.worker_log.lives import Lives
from leakhunt.readers.worker_log.pool import Candidate, Pool, Taken
from leakhunt.readers.worker_log.said import Said, hashed, read_line

_HEAD = 400  # bytes of a line in front of the task's name in which the child's is looked for
_LONGEST_CALL = 6_000  # bytes behind a task's id in which its arguments are looked for
_SIGKILL = {b"SIGKILL", b"9"}

_Telling = Callable[[Union[WorkerDeath, TaskAgain]], None]
_FAILED = (b"raised", b"INTERNAL", b"ignored", b"Reject", b"reject", b"Task already")
_OUTCOMES = {b"succeeded": "succeeded", b"retry:": "retried", **dict.fromkeys(_FAILED, "failed")}


class Celery:
    """Follows workers.

    Args:
        reading: the source.
        place: what the source's name tells.
        tell: takes what was understood.

    Attributes:
        flight: the tasks.
        deaths: those of children.
        lives: those of whole workers.
    """

    def __init__(self, reading: Reading, place: Place, tell: _Telling) -> None:
        self._reading, self._place, self._tell = reading, place, tell
        self.flight = Flight(reading, place, tell)
        self.deaths = Deaths(self.flight, tell)
        self.lives = Lives(reading, place, self.flight, self.deaths, tell)

    @staticmethod
    def speaks(raw: bytes) -> bool:
        """Tell whether a task is received as Celery says it."""
        match = say.EVENT.search(raw)
        return match is not None and (
            match[say.AFTER] == b"received" or match[say.BEFORE] in {b": ", b" from broker: "}
        )

    @staticmethod
    def means(raw: bytes) -> bool:
        """Tell whether a line is one of those that ``line`` reads."""
        return any(word in raw for word in _WORDS) and any(pattern.search(raw) for pattern in _LINES)

    def events(self, start: int, end: int) -> None:  # noqa: C901 - one loop: calls would double its cost
        """Follow the tasks through a stretch of the chunk."""
        flight, chunk = self.flight, self.flight.chunk
        data, tasks, waiting = chunk.data, flight.tasks, self.deaths.waiting
        plain = not chunk.owners
        pool, at = flight.pool(b"") if b"" in flight.pools else None, -1
        for match in say.EVENT.finditer(data, start, end):
            before, name, id_, after, pid, _, handed = match.groups()
            if pool is not None:
                pool.last_at = at
            at = match.start()
            line = data.rfind(b"\n", 0, at) + 1
            key = b"" if plain and data[line : line + 2] in PLAIN else chunk.key(line, at)
            if pool is None or pool.key != key:
                pool = flight.pool(key)
            if after == b"received" or (
                before != b" " and before is not None and _receives(data, at, before)
            ):
                flight.receive(pool, name, id_, at)
                if waiting:
                    self.deaths.received(id_)
            elif after in _OUTCOMES:
                task = tasks.get(id_)
                if waiting:
                    self.deaths.over(id_, at)
                if task is None:
                    flight.finish_unknown(id_, _OUTCOMES[after], at)
                    continue
                hit = data.rfind(b"Worker-", line, at)
                known = say.CHILD.match(data, hit) if hit >= 0 else None
                flight.finish(
                    task, int(known[1]) if known else self._child(chunk, line, at, task), _OUTCOMES[after], at
                )
            elif (task := tasks.get(id_ or handed)) is not None:
                self._step(task, match, before, pid)
        if pool is not None and at >= 0:
            pool.lives, pool.last_at = True, at
        for match in say.OWN_LINE.finditer(data, start, end):
            task = tasks.get(match[3])
            if task is not None and (task.chunk < flight.turns or task.at < match.start()):
                task.worker.own_line(task, int(match[1]))

    def _step(self, task: Taken, match: re.Match[bytes], before: bytes | None, pid: bytes | None) -> None:
        """A task in flight is handed to the pool, accepted by a child, or never to be run."""
        if pid is not None:
            task.worker.accept(task, int(pid))
        elif match[say.POOL_ID] is not None:
            chunk = self.flight.chunk
            task.worker.hand(task)
            end = min(match.end() + _LONGEST_CALL, chunk.bounds(match.start())[1])
            if found := say.ARGUMENTS.search(chunk.data, match.end(), end):
                task.arguments = hashed(
                    *(part.decode("utf-8", "replace").strip("'\"") for part in found.groups())
                )
        elif before == b": ":
            self._discard(task)

    def line(self, raw: bytes, start: int, end: int) -> None:
        """Read a line that tells of a death, a start or an end."""
        chunk = self.flight.chunk
        pool = self.flight.pool(chunk.key(start, min(end, start + _HEAD)))
        said = read_line(self._reading, self._place, raw, chunk.number(start))
        if say.BANNER.search(raw) or say.CONCURRENCY.search(raw) or say.READY.search(raw):
            self.lives.starts(pool, raw, start, end, said)
            return
        pool.lives, pool.last_at = True, start
        if match := say.EXITED.search(raw):
            timed = said if said.when is not None else self.lives.timed(said, start, end)
            self.deaths.exited(pool, match[1], int(match[2]), match[3], timed, guessed=timed is not said)
        elif match := say.LOST.search(raw):
            self._lost(pool, raw, match, said)
        elif match := say.HARD_LIMIT.search(raw):
            self.deaths.expect(pool, "time-limit", said, self._named(match[2], match[1], pool, start))
        elif match := say.TERMINATING.search(raw):
            task = self.flight.tasks.get(match[1])
            if task is not None and match[2] in _SIGKILL:
                self.deaths.expect(pool, "terminated", said, [Candidate("named", task)], alone=False)
        elif match := say.NO_SIGN_OF_LIFE.search(raw):
            number = say.CHILD.search(match[1])
            self.deaths.expect(pool, "timeout", said, [], child=int(number[1]) if number else -1)
        elif say.RECYCLED.search(raw):
            child = say.CHILD_NAME.search(raw)
            self._tell(
                WorkerDeath(
                    program="celery",
                    cause="recycled",
                    evidence=(said.evidence,),
                    place=placed(said.place, pool),
                    name=child[0].decode() if child else None,
                    when=said.when,
                    uncertainty_s=said.uncertainty_s,
                    busy=False,
                )
            )
        elif say.SHUTDOWN.search(raw):
            pool.phase = "stopping"

    def early(self, raw: bytes, key: bytes) -> None:
        """Read a line of a start that stood in front of the first line that gave Celery away."""
        pool = self.flight.pool(key)
        if say.SHUTDOWN.search(raw):
            pool.phase = "stopping"
        elif say.BANNER.search(raw) or say.CONCURRENCY.search(raw) or say.READY.search(raw):
            pool.lives = False
            self.lives.starts(pool, raw, -1, -1, None)

    def expire(self) -> None:
        """Tell of deaths of which no more is expected, at the end of a chunk."""
        last = self.lives.end()
        if self.deaths.waiting and last is not None:
            self.deaths.flush(last)

    def finish(self) -> None:
        """Tell everything, and of workers whose log ends with tasks in flight."""
        self.deaths.flush(None)
        self.lives.close()
        self.flight.close()

    def _lost(self, pool: Pool, raw: bytes, lost: re.Match[bytes], said: Said) -> None:
        """A task was lost; Celery 3 names it, as does the 5.7 that knows of its success."""
        head = raw[max(0, lost.start() - 700) : lost.start()]
        if head.endswith(say.RETRIED_AFTER):
            return
        named = None
        if match := say.LOST_BY_NAME.search(head) or say.LOST_BUT_DONE.search(head):
            task = self.flight.tasks.get(match[2])
            named = Candidate(
                "named", task or Taken(match[1], match[2], pool, pool.last_at, self.flight.turns)
            )
        self.deaths.lost(pool, lost[1], int(lost[2] or -1), said, named)

    def _named(self, id_: bytes, name: bytes, pool: Pool, at: int) -> list[Candidate]:
        task = self.flight.tasks.get(id_) or Taken(name, id_, pool, at, self.flight.turns)
        return [Candidate("named", task)]

    def _discard(self, task: Taken) -> None:
        self.flight.tasks.pop(task.id, None)
        task.worker.discard(task)

    @staticmethod
    def _child(chunk: Chunk, line: int, at: int, task: Taken) -> int:
        """Return the number of the child that wrote a line, where it stands behind the message; or -1."""
        data = chunk.data
        if data[line : line + 1] != b"{":
            return task.child
        hit = data.find(b"Worker-", at, min(at + _LONGEST_CALL, chunk.bounds(at)[1]))
        match = say.CHILD.match(data, hit) if hit >= 0 else None
        return int(match[1]) if match else task.child


def _receives(data: bytes, at: int, before: bytes) -> bool:
    """Tell whether ``task: name[id]`` is a reception, as worded until 5.0, and no other message."""
    return before == b" from broker: " or (before == b": " and data[max(0, at - 10) : at] == b"Received t")


_LINES = (
    say.EXITED,
    say.LOST,
    say.HARD_LIMIT,
    say.TERMINATING,
    say.NO_SIGN_OF_LIFE,
    say.RECYCLED,
    say.CONCURRENCY,
    say.BANNER,
    say.READY,
    say.SHUTDOWN,
)
_WORDS = (*say.DEATHS, *say.LIFE)
