"""What flight records tell: processes, the executions of tasks in them, and what was running when a record ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from leakhunt.model.columns import Executions
from leakhunt.model.snapshot import Skipped

FIRST_NAMESPACE = 0xEFFFFFFC  # of processes: the kernel numbers it so, and its own lines count in it


class ProcessKey(NamedTuple):
    """What tells processes apart: ``start`` is in ticks since boot, 0 where unknown; a pid counts in its namespace."""

    host: str
    boot: str | None
    pid: int
    start: int


@dataclass(frozen=True)
class RecordedProcess:
    """A process as the first line of its record describes it; what it does not say is None.

    Attributes:
        pids: its numbers from the outermost namespace that it could see to its own.
        pid_ns: the number of its namespace of processes.
        role: ``main``, ``child``, ``process`` or ``forked``.
        name: such as ``ForkPoolWorker-3``.
        limit: the memory limit that it ran under, in bytes.
        shared: whether several tasks ran in it at once, so that its memory is no single task's.
        began: when its record begins.
    """

    key: ProcessKey
    pids: tuple[int, ...] = ()
    pid_ns: int | None = None
    ppid: int | None = None
    role: str | None = None
    pool: str | None = None
    node: str | None = None
    name: str | None = None
    cgroup: str | None = None
    container: str | None = None
    pod: str | None = None
    limit: int | None = None
    shared: bool = False
    began: datetime | None = None


class Begun(NamedTuple):
    """The line of a task that begins.

    Attributes:
        when: in epoch seconds.
        args_size: about how many bytes its arguments hold.
        args_hash: equal arguments have equal hashes.
        rss: of the process, in bytes; None where unknown.
        source: the file.
        line: the line's number there.
        text: the line.
        traced: bytes that tracemalloc knew of; None where it did not trace.
        anew: whether earlier figures of that do not compare.
    """

    task: str
    id: str
    when: float
    queue: str | None
    retries: int
    redelivered: bool
    args_size: int | None
    args_hash: str | None
    rss: int | None
    source: str
    line: int
    text: str
    traced: int | None = None
    anew: bool = False


@dataclass
class Life:
    """All that the records tell of one process.

    Attributes:
        sources: the files, in the order read.
        executions: those that ended.
        running: tasks that began and did not end, by id.
        unrecorded: tasks whose ends are not recorded though they ended: another began later where one runs at a time.
        finished: per task and state, how many.
        unmatched: ends whose beginnings are not in the record, per task.
        exit_code: of the line that says so.
        left: whether a line says that the process leaves.
        recycled: why the pool replaced it, where a line says so.
        last: when the last line was written, in epoch seconds.
        rss: what the last line says, in bytes.
        lost: how many lines could not be written.
        snapshot: the path of the last snapshot of the process, where one lies beside its record.
    """

    process: RecordedProcess
    sources: list[str] = field(default_factory=list)
    executions: Executions = field(default_factory=Executions)
    running: dict[str, Begun] = field(default_factory=dict)
    unrecorded: dict[str, Begun] = field(default_factory=dict)
    finished: dict[tuple[str, str], int] = field(default_factory=dict)
    unmatched: dict[str, int] = field(default_factory=dict)
    queues: dict[str, set[str]] = field(default_factory=dict)
    exit_code: int | None = None
    left: bool = False
    recycled: str | None = None
    last: float = 0.0
    rss: int | None = None
    lost: int = 0
    snapshot: str | None = None


class RecordFile(NamedTuple):
    """A file that was read; ``first`` and ``last`` are the times of its lines in epoch seconds, 0 where it has none."""

    name: str
    lines: int
    size: int
    first: float
    last: float


@dataclass(frozen=True)
class Records:
    """What was read.

    Attributes:
        lives: the processes, in the order of their first lines.
        tasks: the names that the columns of executions refer to.
        files: that the lines are in.
        skipped: what could not be read, and why.
        warnings: what limits the rest.
    """

    lives: tuple[Life, ...]
    tasks: tuple[str, ...]
    files: tuple[RecordFile, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()


class Alive(NamedTuple):
    """Who runs on this machine now.

    Attributes:
        boot: this boot's id; None where unknown.
        pid_ns: the namespace that was looked at.
        sees_all: whether that is the machine's first, which sees the processes of all others.
        processes: the numbers of each in its own namespace, with its start in ticks since boot.
    """

    boot: str | None
    pid_ns: int | None
    sees_all: bool
    processes: frozenset[tuple[int, int]]


class Spread(NamedTuple):
    """Memory kept per execution, in bytes: the median of groups of executions, and their lower and upper quartile."""

    median: int
    low: int
    high: int


class Peak(NamedTuple):
    """Peaks above the start, in bytes."""

    median: int
    p95: int
    max: int


class Suspicion(NamedTuple):
    """That processes grow, and that their RSS does not tell by which of several task types.

    Attributes:
        tasks: the names of these, in order.
        each: bytes that an execution of this one keeps if it is the one.
        total: bytes that are kept in all, by whichever.
        executions: of all of these.
        ran: how they ran, so that they cannot be told apart: ``in turns``, ``in step``, ``alike`` or ``too few``.
    """

    tasks: tuple[str, ...]
    each: int
    total: int
    executions: int
    ran: str


@dataclass(frozen=True)
class TaskMemory:
    """One task type.

    Attributes:
        executions: those that ended.
        failures: of these, those that failed.
        killed: those that began and whose process is known to be gone.
        counted: executions whose memory counts: the first ones of a process warm it up, and are left out.
        measured: by what: ``traced`` (exact), ``rss fitted to executions`` (the growth of processes that run others, too,
            follows its executions), ``rss`` (before and after each), or empty.
        kept: per execution; None where nothing could be measured.
        kept_total: bytes that the counted executions kept, as much each as the median says.
        warm_up: bytes that those left out kept.
        peak: above the start; None where nothing could be measured.
        verdict: ``keeps``, ``spikes``, ``clean`` or ``too few``.
        why: the reason, where the figures alone do not tell it.
        suspected: where it may be the one that keeps memory, and may be not.
        queues: the queues it came by.
        own_queue: whether it belongs on one of its own: it keeps or spikes, and others run in its processes.
        recycle_after: executions after which a process that runs only this has grown by about ``RECYCLE_AT`` bytes, rather
            too few than too many.
    """

    name: str
    executions: int
    failures: int
    killed: int
    counted: int
    measured: str
    kept: Spread | None
    kept_total: int | None
    warm_up: int | None
    peak: Peak | None
    verdict: str
    why: str = ""
    suspected: Suspicion | None = None
    queues: tuple[str, ...] = ()
    own_queue: bool = False
    recycle_after: int | None = None


@dataclass(frozen=True)
class RunningTask:
    """A task that began and did not end, as far as the records go.

    Attributes:
        ended: ``killed`` (its process is gone), ``still running``, ``unknown`` or ``end not recorded`` (its process ran
            another later).
        proof: how that is known.
        rss: of the process when the task began, in bytes.
        here: whether that was on this machine, since it was last started.
    """

    task: str
    id: str
    pid: int
    since: datetime | None
    ended: str
    proof: str
    host: str
    queue: str | None
    retries: int
    redelivered: bool
    rss: int | None
    here: bool = False


@dataclass(frozen=True)
class ProcessSummary:
    """One process.

    Attributes:
        ended: ``exit``, ``recycled``, ``killed`` (gone without a word), ``running`` or ``unknown``.
        growth: RSS at the last end of a task less that at the first start, in bytes.
    """

    process: RecordedProcess
    ended: str
    exit_code: int | None
    last: datetime | None
    executions: int
    growth: int | None
    lost: int


@dataclass(frozen=True)
class TasksResult:
    """What the records tell of each task type, of what is running, and of the processes; ``filtered`` says of what time."""

    tasks: tuple[TaskMemory, ...]
    running: tuple[RunningTask, ...]
    processes: tuple[ProcessSummary, ...]
    paths: tuple[str, ...] = ()
    filtered: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
