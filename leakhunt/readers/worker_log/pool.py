"""What a worker has taken and not finished, and which of its children may have which of it.

A worker hands tasks to its pool in the order in which it received them, as many at a time as it has children; each child runs
one. The pool numbers what it is handed from 0 (``billiard.pool``), and says that number when a child is lost.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import chain, islice
from typing import NamedTuple

from leakhunt.readers.worker_log.said import Said

_MOST_CHILDREN = 4_096
_MOST_LOOKED_AT = 256


class Taken:
    """A task that was received and is not finished.

    Attributes:
        at: where its line stands in its chunk.
        chunk: the number of that chunk.
        raw: the line, or its beginning.
        line: its number; 0 while ``raw`` is not kept.
        begun: the count of events when it was handed to the pool, or -1 while it waits.
        job: the pool's number for it, as far as lines can be counted.
        child: the number of the child that logged under it.
        pid: of the child that took it, where a line says so.
        guess: the child that was free when the task's turn came.
        again: how often it was received.
        doubt: at how many deaths it was one of several that may have died.
        arguments: a short hash.
        said: its line, read in full; None until somebody asks.
    """

    raw = b""
    line = 0
    begun = job = child = pid = guess = -1
    again = 1
    doubt = 0
    arguments: str | None = None
    said: Said | None = None

    def __init__(self, name: bytes, id_: bytes, worker: Pool, at: int, chunk: int) -> None:
        self.name = name
        self.id = id_
        self.worker = worker
        self.at = at
        self.chunk = chunk


class Candidate(NamedTuple):
    """A task that may have died, and how it is tied to the death."""

    how: str
    task: Taken


class Pool:
    """One worker.

    Attributes:
        key: tells it from others in the same log.
        size: how many children it has; 0 where the log does not say, or where they are no processes.
        node: its name, ``celery@host``, or empty.
        style: how its children's names begin.
        phase: ``starting`` (its banner was seen), ``up``, ``stopping``, or empty where no line tells.
        started: whether its start was seen, so that its jobs can be counted.
        lives: whether anything was heard of it since.
        node_said: whether the start being read has named the worker.
        mixed: whether several workers share its lines, so that none can be told to have vanished.
        last_at: where its last line that meant something stands in the chunk being read, or -1.
        ghosts: tasks that are gone, though which of several is not known.
        dropped: tasks that were forgotten for want of room.
        last: that line and its number, where the chunk is gone.
    """

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.size = 0
        self.node = b""
        self.style = b"ForkPoolWorker-"
        self.phase = ""
        self.started = self.lives = self.mixed = self.node_said = False
        self.dropped = 0
        self.last_at = -1
        self.last: tuple[bytes, int] = (b"", 0)
        self.running: OrderedDict[bytes, Taken] = OrderedDict()
        self.waiting: OrderedDict[bytes, Taken] = OrderedDict()
        self._freed: OrderedDict[int, int] = OrderedDict()
        self._by_job: dict[int, Taken] = {}
        self._by_pid: dict[int, Taken] = {}
        self._by_child: dict[int, Taken] = {}
        self._events = 0
        self._jobs = 0
        self._exits: list[int] = []  # the counts of events at which children were seen to go
        self._handed = -1  # how many the pool itself was heard to be handed; -1 while that is not heard
        self.ghosts = 0

    def restart(self) -> None:
        """Begin anew: another process has taken this one's place."""
        self.running.clear()
        self.waiting.clear()
        for index in (self._freed, self._by_job, self._by_pid, self._by_child):
            index.clear()
        self._exits.clear()
        self._events = self._jobs = self.ghosts = self.dropped = 0
        self._handed = -1
        self.started = not self.mixed

    @property
    def held(self) -> int:
        """How many tasks are in flight."""
        return len(self.running) + len(self.waiting)

    def take(self, task: Taken) -> None:
        """Receive a task."""
        self._events += 1
        if self.started and self._handed < 0:
            task.job = self._jobs
            self._by_job[task.job] = task
        self._jobs += 1
        if not self.size or len(self.running) < self.size + self.ghosts:
            task.begun = self._events
            self.running[task.id] = task
        else:
            self.waiting[task.id] = task

    def hand(self, task: Taken) -> None:
        """Hear that the pool was handed a task: this counts better than receptions do."""
        if self._handed < 0:
            self._handed = 0
            for one in self._by_job.values():
                one.job = -1
            self._by_job.clear()
        if self.started:
            task.job = self._handed
            self._by_job[task.job] = task
        self._handed += 1
        self._start(task)

    def accept(self, task: Taken, pid: int) -> None:
        """Hear which child took a task."""
        task.pid = pid
        self._by_pid[pid] = task
        self._start(task)

    def own_line(self, task: Taken, child: int) -> None:
        """Hear a child that speaks of a task as its own."""
        task.child = child
        self._by_child[child] = task
        self._start(task)

    def discard(self, task: Taken) -> None:
        """Hear that a task was never handed on."""
        if task.job == self._jobs - 1:
            self._jobs -= 1
        else:
            self.started = False  # from here on nothing can be counted
        self.drop(task)

    def finish(self, task: Taken, child: int) -> None:
        """Hear that a task is over.

        Args:
            task: which.
            child: who says so; -1 where the line does not tell.
        """
        self._events += 1
        self.drop(task)
        if child >= 0:
            freed = self._freed
            freed[child] = self._events
            if len(freed) > _MOST_CHILDREN:
                freed.popitem(last=False)
        if self.waiting:
            self._next(child)

    def drop(self, task: Taken) -> None:
        """Forget a task."""
        if self.running.pop(task.id, None) is None:
            self.waiting.pop(task.id, None)
        if task.job >= 0:
            self._by_job.pop(task.job, None)
        if task.pid >= 0:
            self._by_pid.pop(task.pid, None)
        if task.child >= 0:
            self._by_child.pop(task.child, None)

    def haunt(self, tasks: list[Candidate]) -> None:
        """Keep in mind that one of these is gone."""
        for _, task in tasks:
            task.doubt += 1
        if tasks:
            self.ghosts += 1
            self._next(-1)

    def exit(self) -> None:
        """Hear that a child is gone; the next takes its place."""
        if len(self._exits) < _MOST_CHILDREN:
            self._exits.append(self._events)

    def candidates(self, child: int, pid: int, job: int) -> list[Candidate]:
        """Say which tasks a child may have had when it died, the likeliest first.

        Args:
            child: its number; -1 where the log does not tell.
            pid: its process id; -1 likewise.
            job: the number that the pool gave the lost task; -1 likewise.
        """
        for how, sure in (("accepted", self._by_pid.get(pid)), ("child", self._by_child.get(child))):
            if sure is not None and self.running.get(sure.id) is sure:
                return [Candidate(how, sure)]
        freed = max(self._freed.get(child, -1), self._born(child))
        ranked: list[tuple[tuple[bool, ...], int, Candidate]] = []
        counted = self._by_job.get(job)
        if counted is not None and (pid < 0 or counted.pid < 0) and (child < 0 or counted.child < 0):
            ranked.append(((False,), -1, Candidate("job", counted)))
        for task in islice(chain(self.running.values(), self.waiting.values()), _MOST_LOOKED_AT):
            if task is counted or (pid >= 0 <= task.pid) or (child >= 0 <= task.child):
                continue  # another child has it
            rank = (
                True,
                task.begun < 0,
                task.doubt > 0,
                not (task.guess == child >= 0),
                0 <= task.begun < freed and task.guess != child,
                task.guess >= 0 and task.guess != child,
            )
            ranked.append((rank, len(ranked), Candidate("received", task)))
        ranked.sort()
        return [candidate for _, _, candidate in ranked]

    def everything(self) -> list[Candidate]:
        """Return all that is in flight, what was running first."""
        tasks = sorted((*self.running.values(), *self.waiting.values()), key=lambda task: task.doubt > 0)
        return [
            Candidate("accepted" if task.pid >= 0 else "child" if task.child >= 0 else "received", task)
            for task in tasks
        ]

    def _born(self, child: int) -> int:
        """Return the count of events before which a child was not there: children are numbered as they come."""
        replaced = child - self.size
        return self._exits[replaced - 1] if self.size and 0 < replaced <= len(self._exits) else -1

    def _next(self, child: int) -> None:
        """Begin what waits, now that a child is free."""
        if self.size and len(self.running) < self.size + self.ghosts and self.waiting:
            id_, task = self.waiting.popitem(last=False)
            task.guess = child
            self._events += 1
            task.begun = self._events
            self.running[id_] = task

    def _start(self, task: Taken) -> None:
        if task.begun < 0:
            self.waiting.pop(task.id, None)
            self.running[task.id] = task
            self._events += 1
            task.begun = self._events
