"""Whether a task keeps memory, from the RSS before and after each of its executions.

RSS is a coarse measure: it moves in pages, an allocator takes memory in pieces and gives it back late, a first execution
imports modules and fills caches, and a child that was forked touches its parent's pages. So executions are looked at in
groups, the groups are as large as it takes for most of them to show any change, and a task keeps memory only where far
more groups grow than shrink, where the later ones still do, and where the processes grew accordingly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import comb
from typing import NamedTuple

from leakhunt.analysis.sharing import NOISE
from leakhunt.model.columns import UNKNOWN, Executions
from leakhunt.model.record import Spread

GROUPS = 24  # of executions, of all processes together
FEWEST = 10  # executions that are needed to say anything
SURE = 0.01  # the chance that as many groups grow, were growing and shrinking as likely
_STILL = 0.25  # of the average growth that the last third must have
_NEARLY_ALL = 0.95
_STOPPED = 0.05  # the chance that growth at any time would have come so early
_BELIEVED = 0.5  # of what a task seems to keep that its processes must have grown
_WARM_UP_SHARE, _WARM_UP_MOST = 10, 20
_MOVING = 0.75  # of the groups must show a change


class Run(NamedTuple):
    """The executions of one task in one process, in order.

    Attributes:
        kept: bytes that each kept.
        warm_up: bytes that the first ones kept, which are not among ``kept``.
        left_out: how many these were.
        grown: bytes that the process grew over the executions counted, whatever ran in it.
        seeming: bytes that all tasks together seemed to keep in that time.
    """

    kept: tuple[int, ...]
    warm_up: int
    left_out: int
    grown: int
    seeming: int


class Keeping(NamedTuple):
    """What the runs of a task come to.

    Attributes:
        verdict: ``keeps``, ``clean`` or ``too few``.
        why: the reason, where it is none of the plain ones.
        total: bytes that the executions counted keep, as much each as the median says.
        average: bytes per execution, those included that kept far more or gave it back.
    """

    verdict: str
    why: str
    spread: Spread | None
    total: int | None
    average: int = 0


def runs(executions: Executions) -> dict[int, Run]:
    """Return what each task kept in one process, by the task's number.

    What is given back before the next execution begins, such as a result that was on its way, is not kept. The first
    execution of each task, and the first tenth of all (at most 20), warm the process up and are left out.
    """
    kept = list(_kept(executions))
    early = min(_WARM_UP_MOST, len(kept) // _WARM_UP_SHARE)
    counted: dict[int, list[int]] = {}
    left_out: dict[int, list[int]] = {}
    first: int | None = None
    for at, (task, size) in enumerate(zip(executions.task, kept)):
        if size is None:
            continue
        if at < early or task not in left_out:
            left_out.setdefault(task, []).append(size)
            continue
        first = at if first is None else first
        counted.setdefault(task, []).append(size)
    grown = 0 if first is None else _last(executions.after) - executions.before[first]
    seeming = sum(size for sizes in counted.values() for size in sizes)
    return {
        task: Run(tuple(counted.get(task, ())), sum(sizes), len(sizes), grown, seeming)
        for task, sizes in left_out.items()
    }


def judge(found: Sequence[Run]) -> Keeping:
    """Tell from the runs of one task in all processes whether it keeps memory.

    Where others ran in the same processes, RSS may have grown during this one by what they keep. The total is what the
    executions counted keep at the median, so that both agree; a few that took far more or gave it back say nothing of
    the others.
    """
    counted = sum(len(run.kept) for run in found)
    if not counted:
        sizes = [run.warm_up // run.left_out for run in found if run.left_out]
        return Keeping("too few", "no process ran it twice", _spread(sizes), None)
    total = sum(sum(run.kept) for run in found)
    groups = _groups(found, counted)
    spread = spread_of([sum(group) / len(group) for group in groups])
    verdict, why = _verdict(found, groups, counted, total)
    average = round(total / counted)
    if verdict == "keeps" and spread.median <= 0:  # some processes never grow, and those that do decide
        spread = spread._replace(median=average, high=max(spread.high, average))
    return Keeping(verdict, why, spread, spread.median * counted, average)


def _verdict(
    found: Sequence[Run], groups: Sequence[tuple[int, ...]], counted: int, total: int
) -> tuple[str, str]:
    """Return the verdict and its reason."""
    grew = sum(sum(group) > 0 for group in groups)
    shrank = sum(sum(group) < 0 for group in groups)
    if counted < FEWEST or total < NOISE:
        return ("clean" if counted >= FEWEST else "too few"), ""
    sure = _chance(grew, shrank) <= SURE
    if _late(found) * counted < _STILL * total and (sure or _reached(found) ** grew <= _STOPPED):
        return "clean", "it grew at first, and stopped"
    if not sure:
        how = f"{grew} of {len(groups)} groups of executions grew, {shrank} shrank"
        return ("clean" if grew <= 2 * shrank else "too few"), how
    if _grown(found) < _BELIEVED * total:
        return "clean", "what it seems to keep is given back later"
    return "keeps", ""


def quantile(values: Sequence[float], share: float) -> int:
    """Return a quantile of values in order, the nearest that occurs."""
    return round(values[min(len(values) - 1, max(0, round(share * (len(values) - 1))))])


def _kept(executions: Executions) -> Iterable[int | None]:
    """Yield what each execution kept; None where it is not known."""
    before, after = executions.before, executions.after
    for at in range(len(executions)):
        if UNKNOWN in (before[at], after[at]):
            yield None
            continue
        kept = after[at] - before[at]
        if kept > 0 and 0 < at == len(before) - 1:  # nothing shows what was given back of it
            yield None
            continue
        following = before[at + 1] if at + 1 < len(before) else UNKNOWN
        if kept > 0 and following != UNKNOWN and following < after[at]:
            kept = max(0, following - before[at])
        yield kept


def _last(column: Sequence[int]) -> int:
    return next(value for value in reversed(column) if value != UNKNOWN)


def _groups(found: Sequence[Run], counted: int) -> list[tuple[int, ...]]:
    """Cut the runs into about ``GROUPS`` groups, fewer and larger ones where most show no change."""
    groups: list[tuple[int, ...]] = []
    for run in found:
        pieces = min(len(run.kept), max(1, round(GROUPS * len(run.kept) / counted)))
        edges = [len(run.kept) * piece // pieces for piece in range(pieces + 1)] if pieces else []
        groups += [run.kept[start:end] for start, end in zip(edges, edges[1:])]
    while len(groups) >= 2 * FEWEST and _moving(groups) < _MOVING:
        larger = [sum(groups[at : at + 2], ()) for at in range(0, len(groups), 2)]
        if _moving(larger) <= _moving(groups):  # some processes never change, however long they are looked at
            break
        groups = larger
    return groups


def _moving(groups: Sequence[tuple[int, ...]]) -> float:
    """Return the share of the groups that show a change."""
    return sum(map(bool, map(sum, groups))) / len(groups)


def _chance(grew: int, shrank: int) -> float:
    """Return the chance that so many groups grow, were growing and shrinking as likely: the sign test."""
    moved = grew + shrank
    if moved > 1_000:  # beyond, as many would prove the same
        grew, moved = grew * 1_000 // moved, 1_000
    return float(sum(comb(moved, count) for count in range(grew, moved + 1)) / 2**moved)


def _reached(found: Sequence[Run]) -> float:
    """Return after which part of its executions a process had nearly all of its growth, on average."""
    parts = 0.0
    growing = [run for run in found if sum(run.kept) > 0]
    for run in growing:
        most = _NEARLY_ALL * sum(run.kept)
        at = next(at for at, size in enumerate(accumulate(run.kept), 1) if size >= most)
        parts += at / len(run.kept)
    return parts / len(growing) if growing else 1.0


def _late(found: Sequence[Run]) -> float:
    """Return what an execution of the last third of each process kept, on average."""
    late = [run.kept[len(run.kept) - max(1, len(run.kept) // 3) :] for run in found if run.kept]
    return sum(map(sum, late)) / sum(map(len, late))


def _grown(found: Sequence[Run]) -> float:
    """Return what of the growth of its processes may be this task's, by its part of what all seemed to keep."""
    return sum(
        run.grown * min(1.0, sum(run.kept) / run.seeming) if run.seeming > 0 else 0.0
        for run in found
        if sum(run.kept) > 0
    )


def _spread(values: Sequence[float]) -> Spread | None:
    return spread_of(values) if values else None


def spread_of(values: Sequence[float]) -> Spread:
    """Return the median and the quartiles of some values, at least one."""
    ranked = sorted(values)
    return Spread(quantile(ranked, 0.5), quantile(ranked, 0.25), quantile(ranked, 0.75))
