"""What leakhunt stores beside the traces of its own snapshots, typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from leakhunt.model.snapshot import Frame
from leakhunt.model.task import TaskRef


@dataclass(frozen=True)
class TypeCount:
    """Objects of one type; ``size`` in bytes, None where it was not measured."""

    name: str
    count: int
    size: int | None


@dataclass(frozen=True)
class GarbageSite:
    """Where objects that only the garbage collector can free were allocated."""

    frame: Frame
    count: int
    size: int


@dataclass(frozen=True)
class Holder:
    """What holds the objects of a site.

    Attributes:
        name: ``shop.cache._seen``.
        kind: its type, ``list``.
        length: how many items it has, or None.
        share: the part of the sampled objects that it holds, from 0 to 1, or None.
        chain: the way from an object to the name, each step in words.
    """

    name: str
    kind: str | None = None
    length: int | None = None
    share: float | None = None
    chain: tuple[str, ...] = ()


@dataclass(frozen=True)
class Retained:
    """Who holds the objects of one site.

    Attributes:
        frame: where they were allocated.
        sampled: how many of them were looked at.
        holders: who holds them, the one that holds most first.
    """

    frame: Frame
    sampled: int | None
    holders: tuple[Holder, ...]


@dataclass(frozen=True)
class Trim:
    """A trial ``malloc_trim``: the RSS behind it and what it gave back, in bytes."""

    rss_after: int | None = None
    returned: int | None = None


@dataclass(frozen=True)
class Memory:
    """What a process's memory was made of, in bytes; what could not be read is None.

    Attributes:
        anon, file, shmem: the parts of RSS that are anonymous, of files and of shared memory.
        peak: the most that RSS was.
        traced, traced_peak: bytes in traced blocks, now and at most.
        tracer: what the tracer says that it costs itself, which is its tables alone.
        tracer_estimate: what it costs in all.
        arenas: bytes in the arenas of Python's own allocator.
        malloc_used, malloc_free, malloc_mmapped: what the C library's heap has handed out, keeps free, and has
            handed out of mappings of their own.
        trim: what a trial ``malloc_trim`` did, or None where none was made.
    """

    rss: int | None = None
    pss: int | None = None
    uss: int | None = None
    anon: int | None = None
    file: int | None = None
    shmem: int | None = None
    swap: int | None = None
    peak: int | None = None
    cgroup_usage: int | None = None
    cgroup_limit: int | None = None
    traced: int | None = None
    traced_peak: int | None = None
    tracer: int | None = None
    tracer_estimate: int | None = None
    arenas: int | None = None
    malloc_used: int | None = None
    malloc_free: int | None = None
    malloc_mmapped: int | None = None
    trim: Trim | None = None


@dataclass(frozen=True)
class Garbage:
    """What a ``gc.collect()`` would have freed: objects in cycles that nothing reaches any more.

    Attributes:
        objects: how many.
        size: bytes, or None.
        types: how many of which type, as they were listed.
        sites: where they were allocated, as they were listed.
    """

    objects: int | None
    size: int | None
    types: tuple[TypeCount, ...] = ()
    sites: tuple[GarbageSite, ...] = ()


@dataclass(frozen=True)
class Tracing:
    """How a process was traced.

    Attributes:
        since: when tracing began.
        frames: the most frames kept of a stack.
        inherited: what became of the parent's traces in a forked child: ``none`` there were, ``left out``, ``included``.
    """

    since: datetime | None = None
    frames: int | None = None
    inherited: str | None = None


@dataclass(frozen=True)
class Capture:
    """What a snapshot of leakhunt's own tells beside its traces; what it does not tell is None or empty.

    Attributes:
        when: when it was taken.
        number: which of the process's snapshots it is, from 1.
        reason: why it was taken, such as ``asked`` or ``rss``.
        how: ``fork`` or ``in process``.
        left_out: what it leaves out, and why.
        started: when the process started.
        role: ``child``, ``main`` or ``process``.
        pool: the worker's pool, such as ``prefork``.
        node: the Celery node.
        name: the pool child's name, ``ForkPoolWorker-1``.
        executions: how often each task had run in the process, or None where nobody counted.
        tasks: the registry.
        types: objects per type, those with most bytes first.
        gc_enabled: whether the garbage collector was on.
        uncollectable: how many objects it found and could not free.
        retained: who holds the objects of the largest and fastest growing sites.
        files: how many files were open.
        connections: how many connections to which peer.
        threads: the threads' names.
    """

    when: datetime | None = None
    number: int | None = None
    reason: str | None = None
    how: str | None = None
    left_out: tuple[str, ...] = ()
    pid: int | None = None
    started: datetime | None = None
    role: str | None = None
    pool: str | None = None
    node: str | None = None
    name: str | None = None
    host: str | None = None
    boot_id: str | None = None
    tracing: Tracing = Tracing()
    executions: Mapping[str, int] | None = None
    tasks: tuple[TaskRef, ...] = ()
    memory: Memory = Memory()
    types: tuple[TypeCount, ...] = ()
    gc_enabled: bool | None = None
    uncollectable: int | None = None
    garbage: Garbage | None = None
    retained: tuple[Retained, ...] = ()
    files: int | None = None
    open_files: tuple[str, ...] = ()
    connections: Mapping[str, int] | None = None
    threads: tuple[str, ...] = ()
