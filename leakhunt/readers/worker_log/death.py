"""One death, or one that is to come, while its lines are put together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from leakhunt.model.evidence import Evidence, Place
from leakhunt.readers.worker_log.pool import Candidate, Pool, Taken
from leakhunt.readers.worker_log.said import Said, near

SURE = frozenset({"accepted", "child", "job", "named"})
_AT_ONCE_S = 2.0
_UNKNOWN, _MISFIT = 1_000, 2_000
_SIGKILL, _SIGTERM, _RECYCLED = 9, 15, 155


@dataclass
class Expected:
    """A child that the worker said it would kill.

    Attributes:
        cause: ``time-limit``, ``terminated`` or ``timeout``.
        alone: whether that is a death even if nothing further is heard of it.
    """

    pool: Pool
    cause: str
    said: Said
    alone: bool
    child: int = -1
    pid: int = -1
    tasks: list[Candidate] = field(default_factory=list)


@dataclass
class Again:
    """Deliveries of a task after a death that it may have died by.

    Attributes:
        task: as it was delivered first after that death.
        open: how many of these deliveries have not come to an end.
    """

    task: Taken
    open: int = 0


@dataclass
class Death:
    """A death of which more may be said.

    Attributes:
        ids: of the tasks that may have died by it.
        survived: those of tasks that are known not to have.
        again: tasks that were delivered anew since, and did not end before.
    """

    pool: Pool
    cause: str
    status: bytes
    said: Said
    candidates: list[Candidate]
    ends: int = 0
    others: int = 0
    name: str | None = None
    pid: int = -1
    lost: bool = False
    guessed: bool = False
    told: bool = False
    job: int = -1
    settled: int = 0
    more: list[Evidence] = field(default_factory=list)
    survived: set[bytes] = field(default_factory=set)
    again: dict[bytes, Again] = field(default_factory=dict)
    ids: frozenset[bytes] = field(init=False)

    def __post_init__(self) -> None:
        """Note whose tasks these are; the candidates are put in another order later, or get fewer."""
        self.ids = frozenset(one.task.id for one in self.candidates)

    @property
    def sure(self) -> bool:
        """Whether the task that died is known."""
        return bool(self.candidates) and self.candidates[0].how in SURE


def placed(place: Place, pool: Pool) -> Place:
    """Add a worker's own name to a place."""
    return replace(place, node=pool.node.decode("utf-8", "backslashreplace")) if pool.node else place


def fit(death: Death, job: int, named: Candidate | None, said: Said) -> tuple[int, bool]:
    """Return how badly a loss fits a death: by its task's place among the candidates, then by time."""
    tasks = (one.task for one in death.candidates)
    place = next(
        (at for at, task in enumerate(tasks) if task.job == job >= 0 or (named and task is named.task)), None
    )
    if place is None:
        place = _MISFIT if death.sure else _UNKNOWN
    return place, not near(death.said, said, _AT_ONCE_S)


def cause_of(status: bytes) -> str:
    """Return what ``signal 9`` or ``exitcode 1`` says of the cause."""
    word, _, number = status.partition(b" ")
    value = abs(int(number))
    if word == b"signal":
        return {_SIGKILL: "sigkill", _SIGTERM: "terminated"}.get(value, "signal")
    return "recycled" if value == _RECYCLED else "signal"
