"""Results of comparing snapshots: the standard library's words, with what it does not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from leakhunt.model.capture import Capture, Holder
from leakhunt.model.ledger import Ledger
from leakhunt.model.snapshot import Frame, Skipped
from leakhunt.model.task import Attribution

# What a site's growth proves, in rising order.
GROWTH = "growth"
SUSPECT = "suspect"
LEAK = "leak"

_MOSTLY = 0.5


@dataclass(frozen=True)
class Amount:
    """Bytes and blocks at one moment."""

    size: int
    count: int


@dataclass(frozen=True)
class Kept:
    """What each execution left in one interval: bytes and blocks, or None where there was none."""

    executions: int
    size: float | None
    count: float | None


@dataclass(frozen=True)
class PerExecution:
    """What each execution of a site's task left behind, on average.

    Attributes:
        executions: how often the task ran between the first and the last snapshot.
        size: bytes for each.
        count: blocks for each.
        intervals: the same for each interval.
    """

    executions: int
    size: float
    count: float
    intervals: tuple[Kept, ...]


@dataclass(frozen=True)
class Statistic:
    """One site: a line, file, stack, module, package or task.

    Attributes:
        rank: place in the list, from 1.
        key: name of the module, package or task; None where the traceback is the key.
        traceback: frames, oldest first; one for a line, one with line 0 for a file, the most common stack for a task.
        size: bytes in the newest snapshot.
        count: blocks in the newest snapshot.
        share: part of all bytes kept (of all growth, for a difference), or None where there is nothing to share.
        task: the task that allocated most of it, or None.
        code: the source line, where the source was found.
        source: the local file that the source line is from.
        named: whether the site has a name: a module, package or task, though the name may be None.
        held_by: who holds what was allocated there, the one that holds most first; None where nobody looked.
    """

    rank: int
    key: str | None
    traceback: tuple[Frame, ...]
    size: int
    count: int
    share: float | None
    task: Attribution | None
    code: str | None
    source: str | None
    named: bool
    held_by: tuple[Holder, ...] | None


@dataclass(frozen=True)
class StatisticDiff(Statistic):
    """One site in two or more snapshots.

    Attributes:
        size_diff: bytes in the newest less bytes in the oldest snapshot.
        count_diff: likewise for blocks.
        trend: a word for the series, from three snapshots on.
        series: bytes and blocks in each snapshot, oldest first.
        per_execution: what each execution of its task left, or None where that is not known.
        verdict: ``growth``, ``suspect`` or ``leak``; None for a site that did not grow.
        freeable: bytes of the growth that a ``gc.collect()`` would free; None where that is not known.
    """

    size_diff: int
    count_diff: int
    trend: str | None
    series: tuple[Amount, ...]
    per_execution: PerExecution | None
    verdict: str | None
    freeable: int | None = None


@dataclass(frozen=True)
class Finding:
    """What the first row is part of: rows that have its task and its holder, added up.

    Attributes:
        lines: how many rows they are.
        size_diff: bytes that they grew.
        share: their part of all growth.
        holder: who holds them, or None where nobody looked or nothing holds most.
        size_per_execution: bytes that each execution left, or None where that is not known.
        freeable: whether a ``gc.collect()`` would free most of it.
    """

    lines: int
    size_diff: int
    share: float
    holder: Holder | None
    size_per_execution: float | None
    freeable: bool


def is_mostly_freeable(size_diff: int, freeable: int | None) -> bool:
    """Tell whether most of a growth only waits for a collection."""
    return size_diff > 0 and (freeable or 0) >= _MOSTLY * size_diff


@dataclass(frozen=True)
class SnapshotInfo:
    """What is told of each snapshot beside its rows.

    Attributes:
        python: the Python that wrote it, as far as it can be seen, or None.
        capture: what leakhunt stored beside the traces, as it stands there, or None for a plain dump.
        told: the same, typed.
    """

    path: str
    blocks: int
    size: int
    tracebacks: int
    traceback_limit: int | None
    python: str | None
    capture: Mapping[str, Any] | None
    told: Capture | None
    partial: bool


@dataclass(frozen=True)
class Totals:
    """Sums over rows; ``rows`` counts sites where that is told."""

    size: int
    count: int
    size_diff: int = 0
    count_diff: int = 0
    rows: int = 0


@dataclass(frozen=True)
class Settings:
    """What was asked for, as results repeat it."""

    group_by: str
    cumulative: bool
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    default_excludes: tuple[str, ...]
    all_frames: bool
    domain: int | None


@dataclass(frozen=True)
class TopResult:
    """One snapshot, ranked.

    Attributes:
        root: the folder that the application's files are below, or an empty string.
        totals: everything in the snapshot, before filters.
        hidden: what the filters took.
        rows: the sites listed.
        omitted: how many more sites there are.
        ledger: what the process's memory is made of, or None where that is not known.
        warnings: what limits the result.
        skipped: what could not be read, and why.
    """

    settings: Settings
    root: str
    snapshots: tuple[SnapshotInfo, ...]
    totals: Totals
    hidden: Totals
    rows: tuple[Statistic, ...]
    omitted: int
    ledger: Ledger | None
    warnings: tuple[str, ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class DiffResult:
    """Two or more snapshots compared, ranked.

    Attributes:
        growth: sum of all positive differences kept, in bytes; what shares are parts of.
        largest: the largest difference of any one site kept, listed or not.
        leading: what the first row is part of, or None where nothing grew.
        executions: how often each task ran in each interval, as far as that is known.
        ledger: what the growth of the process's memory was, or None where that is not known.
        root, totals, hidden, rows, omitted, warnings, skipped: as in TopResult.
    """

    settings: Settings
    root: str
    snapshots: tuple[SnapshotInfo, ...]
    totals: Totals
    hidden: Totals
    growth: int
    largest: int
    rows: tuple[StatisticDiff, ...]
    omitted: int
    leading: Finding | None
    executions: Mapping[str, tuple[int, ...]]
    ledger: Ledger | None
    warnings: tuple[str, ...]
    skipped: tuple[Skipped, ...]
