"""Work of processes cut into stretches: how often each task ran in one, and what the process grew meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from leakhunt.analysis.fitting import Rows
from leakhunt.model.columns import UNKNOWN, Executions

RARE = -1
_MOST_TASKS = 16
_FEWEST = 10  # executions of a task of its own; rarer ones are taken together
_MOST_EXECUTIONS = 1_000_000
_WARM_UP_SHARE = 10


class Stretch(NamedTuple):
    """A part of one process's work.

    Attributes:
        counts: how often each task ran.
        growth: of RSS, in bytes.
        late: whether it lies in the last third.
    """

    counts: Counter[int]
    growth: float
    late: bool


def bounded(processes: Sequence[Executions]) -> Sequence[Executions]:
    """Leave out those that grew least where it is too much to look at."""
    if sum(map(len, processes)) <= _MOST_EXECUTIONS:
        return processes
    kept: list[Executions] = []
    total = 0
    for process in sorted(processes, key=growth_of, reverse=True):
        total += len(process)
        if total > _MOST_EXECUTIONS and kept:
            break
        kept.append(process)
    return kept


def looked_at(processes: Sequence[Executions]) -> list[int]:
    """Return the tasks that are looked at one by one, those that ran most."""
    totals: Counter[int] = Counter()
    for executions in processes:
        totals.update(executions.task)
    return [task for task, count in totals.most_common(_MOST_TASKS) if count >= _FEWEST]


def columns_of(stretches: Sequence[Stretch]) -> list[int]:
    """Return the tasks that have a column of their own, and ``RARE`` where there are others."""
    totals: Counter[int] = Counter()
    for stretch in stretches:
        totals.update(stretch.counts)
    own = [task for task, count in totals.most_common(_MOST_TASKS) if count >= _FEWEST]
    return own if len(own) == len(totals) else [*own, RARE]


def place_of(task: int, columns: Sequence[int]) -> int:
    """Return the column of a task; rare ones have the last in common."""
    return columns.index(task) if task in columns else len(columns) - 1


def rows_of(stretches: Sequence[Stretch], columns: Sequence[int]) -> Rows:
    """Return the stretches as rows to fit."""
    place = {task: at for at, task in enumerate(columns)}
    counts = []
    for stretch in stretches:
        row = [0.0] * len(columns)
        for task, count in stretch.counts.items():
            row[place.get(task, len(columns) - 1)] += count
        counts.append(row)
    return Rows(counts, [stretch.growth for stretch in stretches])


def cut(executions: Executions, length: int, ends: int | None) -> Iterator[Stretch]:
    """Cut one process's work, its first tenth left out, into stretches of so many executions of a task, or of all."""
    known = [at for at, sizes in enumerate(zip(executions.before, executions.after)) if UNKNOWN not in sizes]
    known = known[len(known) // _WARM_UP_SHARE :]
    last_third = known[2 * len(known) // 3] if known else 0
    counts: Counter[int] = Counter()
    begin = None if ends is not None else 0  # the first stretch begins as all end
    for place, at in enumerate(known):
        task = executions.task[at]
        if begin is not None:
            counts[task] += 1
        done = counts[ends] if ends is not None else place + 1 - (begin or 0)
        if (begin is None and task == ends) or (begin is not None and done >= length):
            if begin is not None:
                following = known[place + 1] if place + 1 < len(known) else None
                end = executions.after[at] if following is None else executions.before[following]
                start = executions.before[known[begin]]
                yield Stretch(counts, float(end - start), late=known[begin] >= last_third)
            begin, counts = place + 1, Counter()


def growth_of(executions: Executions) -> int:
    """Return what a process grew from its first execution to its last, in bytes."""
    first = next((size for size in executions.before if size != UNKNOWN), 0)
    return next((size for size in reversed(executions.after) if size != UNKNOWN), first) - first
