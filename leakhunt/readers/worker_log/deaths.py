"""Deaths of pool children: what several lines say of one of them, put together."""

from __future__ import annotations

import re
from collections.abc import Callable

from leakhunt.model.incident import WorkerDeath
from leakhunt.readers.worker_log import anew
from leakhunt.readers.worker_log.death import SURE, Death, Expected, cause_of, fit, placed
from leakhunt.readers.worker_log.flight import MOST_LISTED, Flight
from leakhunt.readers.worker_log.pool import Candidate, Pool
from leakhunt.readers.worker_log.said import Said, near

_MOST_WAITING = 200
_MOST_ENDS = 20_000
_NUMBER = re.compile(rb"\d+$")


class Deaths:
    """What is being put together.

    Args:
        flight: the tasks.
        tell: takes what is complete.
    """

    def __init__(self, flight: Flight, tell: Callable[[WorkerDeath], None]) -> None:
        self._flight, self._tell = flight, tell
        self._open: list[Death] = []
        self._expected: list[Expected] = []
        self._watched: set[bytes] = set()  # the tasks that may have died
        self._over: dict[bytes, int] = {}  # those that ended since, and in which order
        self._ends = 0

    @property
    def waiting(self) -> bool:
        """Whether anything is being put together."""
        return bool(self._open or self._expected)

    def expect(
        self,
        pool: Pool,
        cause: str,
        said: Said,
        tasks: list[Candidate],
        *,
        child: int = -1,
        alone: bool = True,
    ) -> None:
        """Hear that a worker will kill a child of its own."""
        pid = -1
        for _, task in tasks:
            pid, child = task.pid, max(child, task.child)
        self._flight.lose(tasks, sure=True)
        self._expected.append(Expected(pool, cause, said, alone, child, pid, tasks))
        if len(self._expected) > _MOST_WAITING:
            self._give_up(self._expected.pop(0))

    def exited(
        self, pool: Pool, name: bytes, pid: int, status: bytes, said: Said, *, guessed: bool = False
    ) -> None:
        """Hear that a child's process is gone.

        Args:
            pool: the worker.
            name: the child's.
            pid: likewise.
            status: ``signal 9`` or ``exitcode 1``.
            said: the line.
            guessed: whether the line's time is that of its neighbours.
        """
        self._expire(said)
        number = _NUMBER.search(name)
        child = int(number[0][:9]) if number else -1
        if number:
            pool.style = name[: number.start()][:60]
        shown = name.decode("utf-8", "backslashreplace")
        expected = self._expectation(pool, child, pid, said) if status == b"signal 9" else None
        if expected is not None:
            death = self._death(pool, expected.cause, status, said, expected.tasks)
            death.name, death.pid, death.lost = shown, pid, True
            pool.exit()
            death.more.append(expected.said.evidence)
        else:
            death = self._death(pool, cause_of(status), status, said, pool.candidates(child, pid, -1))
            death.name, death.pid = shown, pid
            pool.exit()
            if death.sure:
                self._die(death)
            earlier = next((one for one in self._open if self._is_same(one, death)), None)
            if earlier is not None:  # the loss was logged first
                earlier.name, earlier.pid = shown, pid
                earlier.more.append(said.evidence)
                return
        death.guessed = guessed
        self._add(death)

    def lost(self, pool: Pool, status: bytes, job: int, said: Said, named: Candidate | None = None) -> None:
        """Hear that a task was lost with its child.

        Args:
            pool: the worker.
            status: ``signal 9`` or ``exitcode 1``.
            job: the pool's number of the task, or -1.
            said: the line.
            named: the task, where the line names it.
        """
        self._expire(said)
        close = [
            one for one in self._open if one.pool is pool and one.status == status and near(one.said, said)
        ]
        if job >= 0 and any(one.job == job for one in close):
            return  # the same, said by another logger
        free = [one for one in close if not one.lost and one.name is not None]
        death = min(free, key=lambda one: fit(one, job, named, said), default=None)
        if death is None:
            death = self._death(pool, cause_of(status), status, said, pool.candidates(-1, -1, job))
            self._add(death)
        else:
            death.more.append(said.evidence)
            if death.guessed and said.when is not None:
                death.said = death.said._replace(when=said.when, uncertainty_s=said.uncertainty_s)
        death.lost, death.job = True, job
        if death.told or (death.sure and death.name is not None):
            return
        if named is not None:
            death.candidates = [named]
        elif job >= 0:
            self._count(death, job)
        if death.sure or (len(death.candidates) == 1 and not death.others):
            self._die(death)
        else:
            pool.haunt(death.candidates)
            self._flight.lose(death.candidates[:MOST_LISTED], sure=False)

    def over(self, id_: bytes, at: int) -> None:
        """Hear that a task came to its end: it did not die, unless that was a later run.

        Args:
            id_: the task's.
            at: where the line stands.
        """
        if id_ in self._watched:
            anew.end(self._open, id_, at, self._flight)
        self._ends += 1
        self._over[id_] = self._ends
        if len(self._over) > _MOST_ENDS:  # a log whose clock stands still
            self._expire(None)

    def received(self, id_: bytes) -> None:
        """Hear that a task is delivered again: of those that may have died it is the likeliest."""
        task = self._flight.tasks.get(id_) if id_ in self._watched else None
        if task is None:
            return
        for death in self._open:
            if not death.sure and not self._survived(death, id_):
                anew.deliver(death, task, self._flight)

    def flush(self, said: Said | None) -> None:
        """Tell of deaths of which no more is expected.

        Args:
            said: the last line; None for the end of the log.
        """
        self._expire(said)
        waiting = self._expected
        self._expected = [one for one in waiting if said is not None and near(one.said, said)]
        for one in waiting:
            if one not in self._expected:
                self._give_up(one)

    def end(self, pool: Pool, last: Said) -> None:
        """Tell of all deaths in a worker that is gone itself, after its last line."""
        mine = [one for one in self._open if one.pool is pool]
        self._open = [one for one in self._open if one.pool is not pool]
        for one in mine:
            self._tell_of(one, None if near(one.said, last) else last)

    def settle(self) -> None:
        """Tell of deaths of which all that can be is said, or which had time enough for it."""
        for death in self._open:
            death.settled += 1
            if not death.told and (death.lost or death.settled > 1):
                death.told = True
                self._emit(death, death.candidates)

    def _count(self, death: Death, job: int) -> None:
        """Put the task first that has the pool's number; where all else speaks for it too, it is the one."""
        before = death.candidates[:1]
        death.candidates.sort(key=lambda one: not (one.task.job == job and one.task.id in self._flight.tasks))
        first = death.candidates[:1]
        if first and first[0].task.job == job:
            death.candidates[0] = Candidate("job", first[0].task)
            if death.name is not None and before[0].task is first[0].task:
                death.candidates, death.others = death.candidates[:1], 0

    def _die(self, death: Death) -> None:
        """The task that died is known: it is in flight no longer, and that run of it died with no other child."""
        self._flight.lose(death.candidates[:1], sure=True)
        dead = death.candidates[0].task
        for other in self._open:
            if other is not death and not anew.is_later(dead, other):
                other.survived.add(dead.id)

    def _survived(self, death: Death, id_: bytes) -> bool:
        ended = id_ not in death.again and self._over.get(id_, -1) > death.ends
        return ended or id_ in death.survived

    def _expire(self, said: Said | None) -> None:
        if self._open:
            self._open = [one for one in self._open if not self._tell_of(one, said)]
            if not self._open:
                self._watched.clear()
                self._over.clear()

    def _tell_of(self, death: Death, said: Said | None) -> bool:
        if said is not None and near(death.said, said):
            return False
        if not death.told:
            idle = said is not None and not death.lost and not death.sure
            self._emit(death, [] if idle else death.candidates, busy=False if idle else death.lost or None)
        return True

    def _death(self, pool: Pool, cause: str, status: bytes, said: Said, candidates: list[Candidate]) -> Death:
        for _, task in candidates[:MOST_LISTED]:
            self._flight.keep(task)
        others = (
            0
            if candidates and candidates[0].how in SURE
            else max(0, pool.held - len(candidates)) + pool.dropped
        )
        return Death(pool, cause, status, said, candidates, self._ends, others)

    def _add(self, death: Death) -> None:
        self._open.append(death)
        self._watched.update(one.task.id for one in death.candidates)
        if len(self._open) > _MOST_WAITING:
            self._tell_of(self._open.pop(0), None)

    def _is_same(self, one: Death, death: Death) -> bool:
        """Tell whether a loss that was heard first is of this exit."""
        if one.pool is not death.pool or one.name is not None or one.status != death.status:
            return False
        return not one.told and near(one.said, death.said, 1.0)

    def _expectation(self, pool: Pool, child: int, pid: int, said: Said) -> Expected | None:
        for one in self._expected:
            other = (one.pid >= 0 and one.pid != pid) or (one.child >= 0 and one.child != child)
            if one.pool is pool and not other and near(one.said, said):
                self._expected.remove(one)
                return one
        return None

    def _give_up(self, one: Expected) -> None:
        if one.alone:
            death = self._death(one.pool, one.cause, b"signal 9", one.said, one.tasks)
            if one.child >= 0:
                death.name = (one.pool.style + b"%d" % one.child).decode("utf-8", "backslashreplace")
            self._emit(death, death.candidates)

    def _emit(self, death: Death, candidates: list[Candidate], *, busy: bool | None = True) -> None:
        if not death.sure:
            candidates = [one for one in candidates if not self._survived(death, one.task.id)]
        elif death.candidates[0].how in {"accepted", "child", "named"}:
            candidates = candidates[:1]
        word, _, number = death.status.partition(b" ")
        value = int(number or b"0")
        self._tell(
            WorkerDeath(
                program="celery",
                cause=death.cause,
                evidence=(death.said.evidence, *death.more[:8]),
                place=placed(death.said.place, death.pool),
                name=death.name,
                pid=death.pid if death.pid >= 0 else None,
                when=death.said.when,
                uncertainty_s=death.said.uncertainty_s,
                signal=abs(value) if word == b"signal" else None,
                exit_code=value if word == b"exitcode" else None,
                tasks=self._flight.listed(candidates),
                tasks_omitted=max(0, len(candidates) - MOST_LISTED) + (death.others if candidates else 0),
                busy=busy,
            )
        )
