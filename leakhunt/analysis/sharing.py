"""Whose executions the growth of processes follows, where several task types run in them.

Memory that one task keeps may lie where another had used and freed some: then RSS does not move while the first runs,
and grows while the second does. So what RSS does during a task names nobody. But over stretches of work a process grows
in proportion to the executions of the one that keeps. A task is named only where the growth of stretches cannot be
explained without it, by any mix of the others; and these stretches end with executions of that very task, when what
others had put into its place has shown; what growth that shows later still may move is noise. Where several explain the
growth equally well, all of them are suspected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import combinations
from math import sqrt
from typing import NamedTuple

from leakhunt.analysis.fitting import Fit, Rows, dot
from leakhunt.analysis.stretches import (
    Stretch,
    bounded,
    columns_of,
    cut,
    growth_of,
    looked_at,
    place_of,
    rows_of,
)
from leakhunt.model.columns import UNKNOWN, Executions

NOISE = 128 << 10  # bytes in all that nobody should wonder at
_STRETCHES = 100  # of all processes together
_SHORTEST = 4  # executions of a stretch that any task may end
_SPARE = 8  # stretches beyond one for each task
_SURE, _SURE_ALONE, _STILL_SURE, _WORSE = 4.0, 5.0, 2.0, 3.0  # standard errors
_STILL = 0.25  # of the average growth that the last third must have
_ORDINARY = 10  # a task that is one of so many executions or more
_GOOD_PART = 0.25  # of the growth: a task that may have kept so much is suspected
_MOST_ALONE = 8  # processes that are looked at by themselves


class Share(NamedTuple):
    """What processes grow with each execution of a task.

    Attributes:
        slope: bytes.
        error: the standard error of that.
        executions: how often it ran where that is so.
        processes: in how many; 0 is all.
    """

    slope: float
    error: float
    executions: int
    processes: int = 0


class Doubt(NamedTuple):
    """Growth that several tasks explain equally well.

    Attributes:
        slopes: bytes per execution of each, were it the one.
        total: bytes in all.
        executions: of all of these.
        ran: how these ran: ``in turns``, ``in step`` or ``alike``; ``too few`` where it is one, and not sure.
    """

    slopes: dict[int, float]
    total: float
    executions: int
    ran: str


class Shares(NamedTuple):
    """What the growth follows.

    Attributes:
        sure: the tasks without which it cannot be explained, by number.
        doubt: growth that is left, and that several tasks explain.
        told: whether there was enough to tell at all.
    """

    sure: dict[int, Share]
    doubt: Doubt | None
    told: bool


def shares(processes: Sequence[Executions], known: Collection[int] = ()) -> Shares:
    """Tell whose executions the growth of processes follows.

    Args:
        processes: those that ran several task types, one task at a time.
        known: tasks of which something better has shown that they keep memory.
    """
    sure: dict[int, Share] = {}
    processes = bounded(processes)
    tasks = looked_at(processes)
    lag = _lag(processes)
    for task in tasks:
        share = _share(processes, task, _SURE, lag)
        if share is not None:
            sure[task] = share
    growing = sorted(processes, key=growth_of, reverse=True)[:_MOST_ALONE] if len(processes) > 1 else []
    explained = []
    for process in growing:
        if growth_of(process) < NOISE:
            break
        lag = _lag([process])
        found = {task: _share([process], task, _SURE_ALONE, lag) for task in tasks if task not in sure}
        alone = {task: share for task, share in found.items() if share is not None}
        for task, share in alone.items():
            before = sure.get(task)
            sure[task] = share._replace(processes=1) if before is None else _joined(before, share)
        explained += [process] if alone else []
    rest = [process for process in processes if not any(process is one for one in explained)]
    named = {*known, *sure}
    doubt, told = _doubt(rest, named)
    if doubt is None and not explained and len(named) == 1:
        sure = {task: _alone(processes, task, share) for task, share in sure.items()}
    return Shares(sure, doubt, told or bool(sure))


def _joined(one: Share, other: Share) -> Share:
    executions = one.executions + other.executions
    slope = (one.slope * one.executions + other.slope * other.executions) / executions
    return Share(slope, max(one.error, other.error), executions, one.processes + 1)


def _share(processes: Sequence[Executions], task: int, least: float, lag: float) -> Share | None:
    """Return what processes grow with a task, if that cannot be explained without it, and late no more than early."""
    stretches = _ending_with(task, processes)
    columns = columns_of(stretches)
    if task not in columns or len(stretches) < len(columns) + _SPARE:
        return None
    at = columns.index(task)
    rows, full = rows_of(stretches, columns).clipped()
    noise = _noise(rows, full, lag)
    slope, proof = full.slopes[at], _worse(rows, full, at, range(rows.width)) / noise
    counted = sum(stretch.counts[task] for stretch in stretches)
    if proof < least**2 or slope * counted < NOISE:
        return None
    late = rows_of([stretch for stretch in stretches if stretch.late], columns)
    if len(late.growths) < 2:
        return None
    still = late.fit(range(late.width))
    lost = late.fit(one for one in range(late.width) if one != at).left - still.left
    if still.slopes[at] < _STILL * slope or lost < _STILL_SURE**2 * noise:
        return None
    return Share(slope, slope / sqrt(proof), counted)


def _ending_with(task: int, processes: Sequence[Executions]) -> list[Stretch]:
    """Cut the work into stretches that end with a task; processes that did not run it, into any."""
    ran = sum(executions.task.count(task) for executions in processes)
    length = max(1, ran // _STRETCHES)
    other = max(_SHORTEST, sum(map(len, processes)) // _STRETCHES)
    return [
        stretch
        for executions in processes
        for stretch in (
            cut(executions, length, task) if task in executions.task else cut(executions, other, None)
        )
    ]


def _alone(processes: Sequence[Executions], task: int, share: Share) -> Share:
    """Return what a task keeps once processes are warm, where that growth needs no other to explain it.

    No task's part of a fit may shrink, so those that keep nothing have some of the growth by chance, and the one that
    keeps would read as much too low.
    """
    stretches = _ending_with(task, processes)
    columns = columns_of(stretches)
    rows, full = rows_of([stretch for stretch in stretches if stretch.late], columns).clipped()
    at = columns.index(task)
    found = rows.fit([at])
    if found.left > full.left + _WORSE**2 * rows.variance(full):
        return share
    proof = _worse(rows, found, at, [at]) / rows.variance(found)
    return share._replace(slope=found.slopes[at], error=found.slopes[at] / sqrt(proof)) if proof else share


def _worse(rows: Rows, fit: Fit, at: int, columns: Iterable[int]) -> float:
    """Return how much more a fit of these columns leaves without one of them."""
    return max(0.0, rows.fit(one for one in columns if one != at).left - fit.left)


def _noise(rows: Rows, fit: Fit, lag: float) -> float:
    """Return the variance of what a fit leaves, at least what growth that shows late moves over a stretch's two ends."""
    late = lag * sum(rows.growths) / sum(map(sum, rows.counts))
    return max(2.0 * late**2, rows.variance(fit))


def _doubt(processes: Sequence[Executions], sure: Collection[int]) -> tuple[Doubt | None, bool]:
    """Return the growth that those who are sure do not explain, and whether there was enough to tell."""
    length = max(_SHORTEST, sum(map(len, processes)) // _STRETCHES)
    stretches = [stretch for executions in processes for stretch in cut(executions, length, None)]
    columns = columns_of(stretches)
    if len(stretches) < len(columns) + _SPARE or not columns:
        return None, False
    rows, full = rows_of(stretches, columns).clipped()
    base = [at for at, task in enumerate(columns) if task in sure]
    limit = full.left + _WORSE**2 * rows.variance(full)
    explained = rows.fit(base)
    counts = [sum(row[at] for row in rows.counts) for at in range(rows.width)]
    totals: Counter[int] = Counter()
    for stretch in stretches:
        totals.update(stretch.counts)
    total = sum(rows.growths) - dot(explained.slopes, counts)
    least = max(NOISE, _GOOD_PART * sum(rows.growths) if base else 0)
    if explained.left <= limit or total < least or not _goes_on(stretches, rows, explained):
        return None, True
    limit = full.left + _WORSE**2 * _noise(rows, full, _lag(processes))
    able = [
        at for at in range(rows.width) if at not in base and _may_keep(rows, at, total, counts[at]) <= limit
    ]
    if len(able) == 1:  # one that is not sure is no better than those with it
        able += [at for at in range(rows.width) if full.slopes[at] > 0 and at not in {*base, *able}]
    suspects = [task for task in totals if task not in sure and place_of(task, columns) in able]
    executions = sum(totals[task] for task in suspects)
    slopes = {task: total / totals[task] for task in suspects}
    return (Doubt(slopes, total, executions, _ran(stretches, suspects)) if slopes else None), True


def _may_keep(rows: Rows, at: int, total: float, count: float) -> float:
    """Return how badly the growth is explained where one column keeps a good part of it."""
    slope = _GOOD_PART * total / count
    rest = [growth - slope * row[at] for growth, row in zip(rows.growths, rows.counts)]
    return Rows(rows.counts, rest).fit(range(rows.width)).left


def _lag(processes: Sequence[Executions]) -> float:
    """Return after how many executions growth may show: until a row of the same ends, or those run where it shows."""
    times: Counter[int] = Counter()
    rows: Counter[int] = Counter()
    shown: Counter[int] = Counter()
    for executions in processes:
        earlier = None
        for task, before, after in zip(executions.task, executions.before, executions.after):
            times[task] += 1
            rows[task] += task != earlier
            earlier = task
            if UNKNOWN not in (before, after) and after > before:
                shown[task] += after - before
    total, grown = sum(times.values()), sum(shown.values())
    again = (
        total / count
        for task, count in times.items()
        if count * _ORDINARY >= total or shown[task] > _GOOD_PART * grown
    )
    return max([times[task] / rows[task] for task in times] + list(again), default=0.0)


def _goes_on(stretches: Sequence[Stretch], rows: Rows, explained: Fit) -> bool:
    """Tell whether the growth that is not explained goes on late."""
    left = [growth - dot(row, explained.slopes) for row, growth in zip(rows.counts, rows.growths)]
    late = [size for size, stretch in zip(left, stretches) if stretch.late]
    return bool(late) and sum(late) / len(late) > _STILL * sum(left) / len(left)


def _ran(stretches: Sequence[Stretch], tasks: Sequence[int]) -> str:
    """Tell how tasks ran beside each other; a single one ran too seldom to be sure of."""
    if len(tasks) < 2:
        return "too few"
    totals = [sum(stretch.counts[task] for stretch in stretches) for task in tasks]
    turns = step = True
    for (one, many), (other, more) in combinations(list(zip(tasks, totals)), 2):
        for stretch in stretches:
            off = abs(stretch.counts[one] * more - stretch.counts[other] * many)
            step = step and off <= many + more and min(many, more) >= len(stretches)
            turns = turns and abs(stretch.counts[one] - stretch.counts[other]) <= 1
    return "in turns" if turns else "in step" if step else "alike"
