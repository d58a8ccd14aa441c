"""Whose executions the growth of processes follows, where several task types run in them.

Memory that one task keeps may lie where another had used and freed some: then RSS does not move while the first runs,
and grows while the second does. But over stretches of work the process grows in proportion to the executions of the
one that keeps. So the growth of each stretch is fitted, by least squares, to how often each task ran in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from math import inf, sqrt
from typing import NamedTuple

from leakhunt.model.record import UNKNOWN, Executions

_STRETCHES = 60  # of all processes together
_SHORTEST = 8  # executions
_MOST_TASKS = 20
_SPARE = 12  # stretches beyond one for each task
_FEWEST = 10  # executions of a task of its own; rarer ones are taken together
_RARE = -1
_CLIP = 6.0  # times the median distance from the median: beyond lies an import, not a habit
_WARM_UP_SHARE = 10


class Share(NamedTuple):
    """What a process grows with each execution of a task.

    Attributes:
        slope: bytes.
        error: the standard error of that.
        late_slope: the same in the later half of each process.
        late_error: likewise.
    """

    slope: float
    error: float
    late_slope: float
    late_error: float


class _Stretch(NamedTuple):
    counts: Counter[int]
    growth: float
    late: bool


def shares(processes: Sequence[Executions]) -> dict[int, Share]:
    """Return each task's share of the growth, by its number; none where the executions do not tell tasks apart.

    Args:
        processes: those that ran one task at a time.
    """
    length = max(_SHORTEST, sum(map(len, processes)) // _STRETCHES)
    stretches = [stretch for executions in processes for stretch in _stretches(executions, length)]
    totals = sum((stretch.counts for stretch in stretches), Counter[int]())
    own = [task for task, count in totals.most_common(_MOST_TASKS) if count >= _FEWEST]
    if len(totals) < 2:
        return {}
    columns = own if len(own) == len(totals) else [*own, _RARE]
    whole = _fitted(stretches, columns)
    late = _fitted([stretch for stretch in stretches if stretch.late], columns)
    return {
        task: Share(*whole[at], *(late[at] if late else (0.0, inf)))
        for at, task in enumerate(columns)
        if whole and task != _RARE
    }


def _stretches(executions: Executions, length: int) -> Iterator[_Stretch]:
    """Cut one process's work, its first tenth left out, into stretches of equal length."""
    known = [at for at, sizes in enumerate(zip(executions.before, executions.after)) if UNKNOWN not in sizes]
    known = known[len(known) // _WARM_UP_SHARE :]
    whole = len(known) // length
    for number in range(whole):
        here = known[number * length : (number + 1) * length]
        following = known[(number + 1) * length] if (number + 1) * length < len(known) else None
        end = executions.after[here[-1]] if following is None else executions.before[following]
        counts = Counter(executions.task[at] for at in here)
        yield _Stretch(counts, float(end - executions.before[here[0]]), late=2 * number >= whole)


def _fitted(stretches: Sequence[_Stretch], columns: Sequence[int]) -> list[tuple[float, float]]:
    """Return the slope and its standard error of each column; none where they cannot be told."""
    size = len(columns)
    if len(stretches) < size + _SPARE:
        return []
    place = {task: at for at, task in enumerate(columns)}
    rows = []
    for stretch in stretches:
        row = [0.0] * size
        for task, count in stretch.counts.items():
            row[place.get(task, size - 1)] += count
        rows.append(row)
    growths = _clipped([stretch.growth for stretch in stretches])
    inverse = _inverse([[_dot(one, other) for other in zip(*rows)] for one in zip(*rows)])
    if not inverse:
        return []
    sums = [_dot(column, growths) for column in zip(*rows)]
    slopes = [_dot(line, sums) for line in inverse]
    left = sum((growth - _dot(row, slopes)) ** 2 for row, growth in zip(rows, growths))
    variance = left / (len(rows) - size)
    return [(slope, sqrt(max(0.0, variance * inverse[at][at]))) for at, slope in enumerate(slopes)]


def _clipped(values: list[float]) -> list[float]:
    middle = _median(values)
    reach = _CLIP * _median([abs(value - middle) for value in values])
    return [min(max(value, middle - reach), middle + reach) for value in values] if reach else values


def _median(values: Iterable[float]) -> float:
    ranked = sorted(values)
    return ranked[len(ranked) // 2]


def _dot(one: Iterable[float], other: Iterable[float]) -> float:
    return sum(left * right for left, right in zip(one, other))


def _inverse(matrix: list[list[float]]) -> list[list[float]]:
    """Invert a matrix by elimination; empty where its rows depend on each other, or nearly."""
    size = len(matrix)
    rows = [[*row, *(float(at == other) for other in range(size))] for at, row in enumerate(matrix)]
    for at in range(size):
        best = max(range(at, size), key=lambda row: abs(rows[row][at]))
        if abs(rows[best][at]) < 1e-6 * max(1.0, abs(matrix[at][at])):
            return []
        rows[at], rows[best] = rows[best], rows[at]
        rows[at] = [value / rows[at][at] for value in rows[at]]
        for other in range(size):
            if other != at and rows[other][at]:
                factor = rows[other][at]
                rows[other] = [value - factor * own for value, own in zip(rows[other], rows[at])]
    return [row[size:] for row in rows]
