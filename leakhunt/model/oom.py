"""A process killed for want of memory, as far as logs tell: who, when, by whose limit, holding how much."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from leakhunt.model.evidence import Evidence, Place

CONFIDENCES = ("confirmed", "probable", "possible")  # the surest first
KILL_LINE, KILL_LINE_END = (
    "kill line",
    "end of the kill line",
)  # among what is missing of a report that was cut


class Process(NamedTuple):
    """A process that a report names; ``score`` is its badness where the kernel printed it."""

    pid: int | None
    comm: str
    score: int | None = None


class TaskRow(NamedTuple):
    """One row of a report's task table; ``rss`` and ``swap`` in bytes."""

    pid: int
    tgid: int
    uid: int
    comm: str
    rss: int
    swap: int | None
    oom_score_adj: int | None


@dataclass(frozen=True)
class Owner:
    """Whose process it was, read from control group paths.

    Attributes:
        limited: the control group whose limit was reached, or None for the whole machine.
        victim: the control group of the killed process.
        runtime: ``docker``, ``containerd``, ``crio``, ``podman``, ``kubernetes``, ``systemd``, ``lxc``, ...
        pod_uid: with dashes, as Kubernetes writes it.
        qos: ``guaranteed``, ``burstable`` or ``besteffort``.
        unit: the systemd unit.
        instance: what stands behind the ``@`` of a template unit.
        user: the numeric user of a user slice.
    """

    limited: str | None = None
    victim: str | None = None
    runtime: str | None = None
    container_id: str | None = None
    pod_uid: str | None = None
    qos: str | None = None
    unit: str | None = None
    instance: str | None = None
    user: int | None = None


@dataclass(frozen=True)
class MemoryLimit:
    """Use and limits of the control group whose limit was reached, in bytes; no limit is None.

    Attributes:
        version: of control groups, 1 or 2, where the report shows it.
    """

    usage: int | None = None
    limit: int | None = None
    failcnt: int | None = None
    swap_usage: int | None = None
    swap_limit: int | None = None
    version: int | None = None


@dataclass(frozen=True)
class WorkerRef:
    """The worker process that was killed, as its own log knows it.

    Attributes:
        name: of the pool child, ``ForkPoolWorker-3``; None where the worker died as a whole.
        pid: as the worker counts; in a container that is not the kernel's.
        queue: where the log shows it.
        program: ``celery``, ``gunicorn``, ...
        node: the Celery node.
        whole: whether the main process died too, so that no line of its own tells of the death.
        confidence: that this is the process that was killed: ``certain``, ``likely`` or ``possible``.
        matched: what ties the two together, in words: ``container``, ``pid``, ``0.4 s``, ...
    """

    name: str | None
    pid: int | None = None
    queue: str | None = None
    program: str = ""
    node: str | None = None
    whole: bool = False
    confidence: str = "possible"
    matched: tuple[str, ...] = ()


class Candidate(NamedTuple):
    """A task that may have been running; ``how`` as in :class:`LostTask`."""

    name: str | None
    id: str | None
    how: str


@dataclass(frozen=True)
class LostTask:
    """The task that a killed worker child was running.

    Attributes:
        name: the task's name, or None where several names are possible.
        id: its id, or None where several are possible.
        how: ``accepted`` (a line says which child took it), ``child`` (the child logged under the task's id), ``named``
            (the line of the death names it), ``job`` (the pool's number of the lost task counts to it), ``only`` (no other was unfinished), ``recorded`` (its flight record has no end), ``received`` (one of several) or ``all`` (the worker died as
            a whole, and all that were in flight with it).
        candidates: all that may be it, the likeliest first, where more than one may.
        omitted: how many further candidates there were.
        took: bytes that the killed process held beyond those that it held when the task began; None where a flight record
            does not tell, or several ran at once.
    """

    name: str | None
    id: str | None
    how: str
    candidates: tuple[Candidate, ...] = ()
    omitted: int = 0
    took: int | None = None


@dataclass(frozen=True)
class OomKill:
    """One process killed for want of memory.

    Attributes:
        when: in UTC, or None where no clock is known.
        uncertainty_s: how far off ``when`` may be, in seconds.
        monotonic: the kernel's own stamp, seconds since boot.
        boot: the boot's id, where the log has it.
        boot_number: counts the boots seen within one source, from 0.
        confidence: ``confirmed`` (a kernel's kill line), ``probable`` (another program's word, a quoted kill line, or the
            kernel's choice without the kill line) or ``possible``.
        killer: ``kernel`` or the name of a program.
        scope: ``global``, ``memcg``, ``cpuset``, ``mempolicy``, ``manual``, ``bpf`` or ``unknown``.
        pid: of the kill line; the id of a thread where the main thread had left already; None where nobody says.
        tgid: the process, where the report shows it.
        score: the badness, where the kernel printed it.
        invoker: who asked for memory when there was none; seldom the one to blame.
        place: what other sources call the place: names of container and pod, the worker's node.
        selected: who was chosen; another than the killed one when a child was sacrificed.
        group: the control group that was killed as a whole (``memory.oom.group``), or None.
        episode: counts the reports within one source; kills of one report or storm share it.
        quoted: whether another program's log line quotes the kernel.
        page_size: of the machine, in bytes; ``page size`` in ``missing`` says that it is assumed.
        tasks: the report's task table.
        tasks_omitted: how many rows of it were not kept.
        complete: whether all parts of the report are there that such a kernel prints.
        missing: what is not.
        notes: what else is to be known, in sentences.
        at_least: whether the source says that there may have been more.
        copies: how often the kill was seen; every sighting is in ``evidence``, up to a bound.
        snapshot: the path of the last snapshot of that very process, where one lies beside its flight record.
        here: whether a flight record shows that it was on this machine, since it was last started.
        drifts: whether ``when`` was counted from the start of the machine, as ``dmesg -T`` does: such a clock drifts, and
            stands still while the machine sleeps.
    """

    pid: int | None
    comm: str | None
    when: datetime | None = None
    uncertainty_s: float | None = None
    monotonic: float | None = None
    boot: str | None = None
    boot_number: int = 0
    host: str | None = None
    confidence: str = "confirmed"
    killer: str = "kernel"
    scope: str = "unknown"
    tgid: int | None = None
    uid: int | None = None
    total_vm: int | None = None
    anon_rss: int | None = None
    file_rss: int | None = None
    shmem_rss: int | None = None
    pgtables: int | None = None
    oom_score_adj: int | None = None
    score: int | None = None
    invoker: Process | None = None
    selected: Process | None = None
    kernel: str | None = None
    cgroup: Owner | None = None
    place: Place = field(default_factory=Place)
    memory: MemoryLimit | None = None
    group: str | None = None
    episode: int = 0
    quoted: bool = False
    page_size: int = 4096
    tasks: tuple[TaskRow, ...] = field(default=(), repr=False)
    tasks_omitted: int = 0
    worker: WorkerRef | None = None
    task: LostTask | None = None
    complete: bool = True
    missing: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()
    at_least: bool = False
    copies: int = 1
    snapshot: str | None = None
    here: bool = False
    drifts: bool = False

    @property
    def rss(self) -> int | None:
        """Resident bytes of all kinds, or None where the kernel did not print them."""
        parts = [part for part in (self.anon_rss, self.file_rss, self.shmem_rss) if part is not None]
        return sum(parts) if parts else None


@dataclass(frozen=True)
class IncompleteReport:
    """A report without its kill line: the log was cut, or nobody was killed.

    Attributes:
        victim: who was to be killed, as far as the report says.
    """

    when: datetime | None
    uncertainty_s: float | None
    monotonic: float | None
    host: str | None
    scope: str
    invoker: Process | None
    victim: Process | None
    cgroup: Owner | None
    memory: MemoryLimit | None
    missing: tuple[str, ...]
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class NotAKill:
    """A line about memory that is no kill.

    Attributes:
        kind: ``panic``, ``no-killable-process``, ``allocation-failure``, ``unable-to-reap``, ``already-exiting``,
            ``page-fault``, ``shares-memory`` or ``pinned``; of other programs ``time-limit``, ``timeout``, ``recycled``,
            ``terminated``, ``signal``, ``vanished``, ``eviction``, ``attempt`` or ``exit``.
        text: what happened, in a few words of ours.
    """

    kind: str
    when: datetime | None
    monotonic: float | None
    host: str | None
    process: Process | None
    evidence: Evidence
    place: Place = field(default_factory=Place)
    text: str = ""


@dataclass(frozen=True)
class Loss:
    """Lines that the log says it lost.

    Attributes:
        kind: ``suppressed`` (the kernel's rate limit), ``dropped`` (too fast for the log), ``gap`` (numbers missing) or
            ``unreadable`` (a message shown as blob data).
    """

    kind: str
    count: int | None
    evidence: Evidence


@dataclass(frozen=True)
class SourceSummary:
    """What a source held; ``first`` and ``last`` are the earliest and latest times met, ``boots`` their boot times."""

    source: str
    kind: str
    lines: int
    bytes: int
    first: datetime | None
    last: datetime | None
    lost: int
    boots: tuple[datetime | None, ...] = ()
