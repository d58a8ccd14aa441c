"""What a scan for kills comes to: the kills, the patterns in them, and what limits the answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from leakhunt.model.incident import Counter
from leakhunt.model.oom import IncompleteReport, Loss, NotAKill, OomKill, SourceSummary
from leakhunt.model.record import RunningTask
from leakhunt.model.snapshot import Skipped


@dataclass(frozen=True)
class KillGroup:
    """Kills of one owner: a unit, a pod, a container, a worker node, or processes of one name.

    Attributes:
        rank: from 1.
        kind: ``unit``, ``pod``, ``container``, ``cgroup``, ``node`` or ``comm``.
        name: the owner's.
        kills: how many; a storm's victims each count.
        bursts: how often killing began: the kills of one report or storm are one burst.
        first: when; ``last`` likewise.
        sizes: the largest resident anonymous bytes of each burst, oldest first, as far as known.
        slope: growth of these sizes in bytes per hour (the median of all pairs), or None with fewer than two dated ones.
        interval_s: the median time between bursts, in seconds.
        limit: the memory limit in force, in bytes, where it was the same at all kills.
        pattern: ``growing`` (each burst larger), ``flat`` (within a tenth), ``unsteady``, or None with fewer than three sizes.
        regular: whether the times between bursts are alike, or None with fewer than three bursts.
        tasks: names of the tasks that were running, the commonest first, with how often.
        members: places of the kills in the result's tuple.
    """

    rank: int
    kind: str
    name: str
    kills: int
    bursts: int
    first: datetime | None
    last: datetime | None
    sizes: tuple[int, ...] = ()
    slope: float | None = None
    interval_s: float | None = None
    limit: int | None = None
    pattern: str | None = None
    regular: bool | None = None
    tasks: tuple[tuple[str, int], ...] = ()
    members: tuple[int, ...] = ()


@dataclass(frozen=True)
class TaskLoop:
    """A task that was killed again after it had been delivered again: a poison pill.

    Attributes:
        name: the task's name.
        id: the message's id, or None where several messages with equal arguments make the loop.
        kills: how often it was killed.
        deliveries: how often it was received, as far as the log shows.
        how: ``same id`` or ``same arguments``.
        members: places of the kills in the result's tuple.
    """

    name: str | None
    id: str | None
    kills: int
    deliveries: int
    how: str
    first: datetime | None
    last: datetime | None
    members: tuple[int, ...] = ()


@dataclass(frozen=True)
class RanTwice:
    """A task that had begun, died with its worker, and began again: what it did before may be done twice.

    Attributes:
        outcome: of the last run that the log shows: ``received``, ``succeeded``, ``failed`` or ``lost``.
        first: when it was received first.
        again: when it began again for the first time; ``last`` for the last time.
        runs: how often it began, at least; a delivery whose run the log does not show counts as one.
    """

    name: str | None
    id: str
    outcome: str
    first: datetime | None
    again: datetime | None
    last: datetime | None = None
    runs: int = 2


@dataclass(frozen=True)
class LiveSource:
    """A source of this machine that was looked at without being named; or one that is to be followed, if there is more to say.

    Attributes:
        name: ``journal``, ``kernel buffer``, ``control groups``, ...
        used: whether it could be read.
        why: what it was read with, or why it could not be read and which right is missing.
    """

    name: str
    used: bool
    why: str


@dataclass(frozen=True)
class OomResult:
    """All that was found.

    Attributes:
        sources: what was read.
        live: what of this machine was looked at.
        kills: each once, oldest first; those without a time last.
        incomplete: reports whose kill line is missing.
        groups: ranked: repeated kills first.
        loops: tasks killed again and again.
        twice: tasks that probably ran twice.
        unended: tasks that flight records have no end of, whose process is gone or may be, and that no kill accounts for.
        not_kills: deaths and failures that are no kills for want of memory.
        losses: lines that the logs say they lost.
        counters: what the kernel counted.
        paths: what the user named; nothing where this machine was looked at.
        unseen: how many kills the kernel counted and no log tells of, on a machine since boot, or else in one control group.
        hidden: how many kills the options left out.
        filtered: the options that chose, in words.
        warnings: what limits the result.
        skipped: what could not be read, and why.
    """

    sources: tuple[SourceSummary, ...]
    kills: tuple[OomKill, ...]
    incomplete: tuple[IncompleteReport, ...] = ()
    groups: tuple[KillGroup, ...] = ()
    loops: tuple[TaskLoop, ...] = ()
    twice: tuple[RanTwice, ...] = ()
    unended: tuple[RunningTask, ...] = ()
    not_kills: tuple[NotAKill, ...] = ()
    losses: tuple[Loss, ...] = ()
    counters: tuple[Counter, ...] = ()
    live: tuple[LiveSource, ...] = ()
    paths: tuple[str, ...] = ()
    unseen: int = 0
    hidden: int = 0
    filtered: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = field(default=())
