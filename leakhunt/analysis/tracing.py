"""Whether a task keeps memory, from what tracemalloc knew before and after each of its executions.

That is exact, but for when memory goes: what lies in reference cycles stays until the garbage collector comes, which may
be long after, and then goes all at once while any other task runs. So an execution that leaves far more than most, or
during which far more goes than most leave, says nothing of what the others keep: it is set apart, and counts as the median.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from leakhunt.analysis.keeping import FEWEST, Keeping, Run, judge, runs, spread_of
from leakhunt.analysis.sharing import NOISE
from leakhunt.model.columns import Executions
from leakhunt.units import count_of, format_count, format_size

_FAR = 3  # times the distance of the quartiles, beyond these: as far as nearly none lies by chance
_LEAST_FAR = 1 << 10
_MOSTLY = 0.5  # of what few executions left that must be there in the end, or it was garbage
_UNEVEN = 10  # times the lower quartile
_EXPLAINED = 0.75  # of what all seem to keep that must be there in the end; else some task lets go of its own
_STILL = 0.25  # of what a task seems to keep that must be left by its own executions then
_MAYBE = "it may be garbage that is not collected yet"


class Traced(NamedTuple):
    """What is known of one task from the time that tracemalloc traced.

    Attributes:
        keeping: the verdict and its figures.
        found: its runs, those set apart counted as the others.
        apart: whether much was set apart.
    """

    keeping: Keeping
    found: tuple[Run, ...]
    apart: bool


class _Apart(NamedTuple):
    """Executions that left far more than most: how many, and bytes beyond what the others leave."""

    number: int
    size: int


class _Fence(NamedTuple):
    """The least and the most that an execution of a task may leave and still be one of many, and the median of all."""

    least: int
    middle: int
    most: int

    @classmethod
    def around(cls, kept: Sequence[int]) -> _Fence:
        """Return the fence around what executions left."""
        middle, low, high = spread_of(kept)
        reach = max(_FAR * (high - low), abs(middle), _LEAST_FAR)
        return cls(low - reach, middle, high + reach)

    def above(self, kept: Sequence[int]) -> _Apart:
        """Return those that left far more."""
        above = [size - self.middle for size in kept if size > self.most]
        return _Apart(len(above), sum(above))

    def usual(self, run: Run) -> tuple[int, ...]:
        """Return what each execution left, the median for those set apart."""
        return tuple(size if self.least <= size <= self.most else self.middle for size in run.kept)


def judge_traced(parts: Sequence[Executions]) -> dict[int, Traced]:
    """Tell of each task whether it keeps memory, by its number.

    Args:
        parts: the executions that were traced, apart for each tracing.

    Returns:
        The tasks of which enough executions were traced.
    """
    each = [runs(part) for part in parts]
    sizes: dict[int, list[int]] = defaultdict(list)
    for part in each:
        for task, run in part.items():
            sizes[task] += run.kept
    grown = sum(max((run.grown for run in part.values() if run.kept), default=0) for part in each)
    fences = _fences(sizes, grown)
    left = {task: fences[task].above(kept) for task, kept in sizes.items() if kept}
    there = grown - sum(fence.middle * len(sizes[task]) for task, fence in fences.items())
    found: dict[int, list[Run]] = defaultdict(list)
    for part in each:
        for task, run in _within(part, fences).items():
            found[task].append(run)
    return {
        task: Traced(
            _uneven(judge(found[task]), left[task], len(kept), there),
            tuple(found[task]),
            left[task].size >= NOISE,
        )
        for task, kept in sizes.items()
        if len(kept) >= FEWEST
    }


def _fences(sizes: dict[int, list[int]], grown: int) -> dict[int, _Fence]:
    """Return the fence of each task; one that lets go of what it gathered, once in a while, has none.

    Args:
        sizes: what the executions of each task left.
        grown: bytes that the processes grew meanwhile.
    """
    fences = {task: _Fence.around(kept) for task, kept in sizes.items() if kept}
    usual = {task: fence.middle * len(sizes[task]) for task, fence in fences.items()}
    if grown < _EXPLAINED * sum(usual.values()):
        for task, size in usual.items():
            if sum(sizes[task]) < _STILL * size:
                fences[task] = fences[task]._replace(least=min(sizes[task]), most=max(sizes[task]))
    return fences


def _within(part: dict[int, Run], fences: dict[int, _Fence]) -> dict[int, Run]:
    """Return the runs of one tracing without what is set apart."""
    kept = {task: fences[task].usual(run) for task, run in part.items() if task in fences}
    seeming = sum(map(sum, kept.values()))
    return {task: part[task]._replace(kept=sizes, seeming=seeming) for task, sizes in kept.items()}


def _uneven(keeping: Keeping, left: _Apart, counted: int, there: int) -> Keeping:
    """Say where a few executions left much, or now much and now nothing: that may be garbage, and is no habit.

    Args:
        keeping: what the others come to.
        left: the few.
        counted: how many executions there are.
        there: bytes beyond what all tasks usually leave that are there in the end.
    """
    spread = keeping.spread
    wide = (
        keeping.verdict == "keeps"
        and spread is not None
        and spread.high > _UNEVEN * spread.low
        and spread.low * counted < NOISE
    )
    if wide:
        return keeping._replace(verdict="too few", why=f"uneven: now much is left and now nothing; {_MAYBE}")
    if keeping.verdict == "keeps" or left.size < NOISE:
        return keeping
    what = f"{format_count(left.number)} of {count_of(counted, 'execution')} left {format_size(left.size)}"
    if there < _MOSTLY * left.size:
        return keeping._replace(verdict="clean", why=f"{what}, and garbage collection takes such back")
    return keeping._replace(verdict="too few", why=f"uneven: {what}; {_MAYBE}")
