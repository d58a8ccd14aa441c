"""How often tasks ran between snapshots, and what each run left behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from leakhunt.analysis.growth import EVERY_INTERVAL
from leakhunt.model.capture import Capture
from leakhunt.model.statistics import GROWTH, LEAK, SUSPECT, Amount, Kept, PerExecution
from leakhunt.units import count_of

_SAME_START = timedelta(seconds=3)
_NEVER: Mapping[str, tuple[int, ...]] = {}

# A leak must show in each interval by as many runs and blocks, and vary by no more than a tenth of its mean.
_FEW = 10
_SPREAD = 0.1
# Two snapshots make a suspect where the blocks are a whole multiple of at least so many runs, within so much.
_RUNS_OF_TWO = 20
_OFF = 0.02


@dataclass(frozen=True)
class Runs:
    """How often each task ran.

    Attributes:
        between: for each task that ran, how often in each interval.
        warnings: why it cannot be told for all.
    """

    between: Mapping[str, tuple[int, ...]]
    warnings: tuple[str, ...] = ()


def same_process(captures: Sequence[Capture | None]) -> bool:
    """Tell whether snapshots can be of one process: nothing that all of them tell of it differs."""
    known = [capture for capture in captures if capture is not None]
    identities = (
        {capture.pid for capture in known},
        {capture.host for capture in known},
        {capture.boot_id for capture in known},
    )
    return all(len(values - {None}) < 2 for values in identities) and not started_apart(known)


def started_apart(captures: Sequence[Capture]) -> bool:
    """Tell whether processes started at different times: clocks are set and rounded, so seconds are no difference."""
    starts = [capture.started for capture in captures if capture.started is not None]
    return bool(starts) and max(starts) - min(starts) > _SAME_START


def traced_anew(first: Capture, last: Capture) -> bool:
    """Tell whether the tracing that the last snapshot is of began when the first one had been taken."""
    began, taken = last.tracing.since, first.when
    return began is not None and taken is not None and began > taken


def one_series(captures: Sequence[Capture | None]) -> bool:
    """Tell whether snapshots can be of one process under one tracing, so that growth in each interval means growth."""
    known = [capture for capture in captures if capture is not None]
    return same_process(known) and not any(map(traced_anew, known, known[1:]))


def by_process(captures: Sequence[Capture | None]) -> tuple[tuple[int, ...], ...]:
    """Gather the positions of snapshots of one process, oldest first; plain dumps are left out."""
    return _gathered(captures, lambda one, other: same_process((one, other)))


def comparable_parts(captures: Sequence[Capture | None]) -> tuple[tuple[int, ...], ...]:
    """Gather the positions of snapshots of one process under one tracing, oldest first; plain dumps are left out."""
    return _gathered(
        captures, lambda one, other: same_process((one, other)) and one.tracing.since == other.tracing.since
    )


def _gathered(
    captures: Sequence[Capture | None], alike: Callable[[Capture, Capture], bool]
) -> tuple[tuple[int, ...], ...]:
    known = [(at, told) for at, told in enumerate(captures) if told is not None]
    known.sort(key=lambda one: one[1].when.timestamp() if one[1].when else 0.0)
    parts: list[tuple[Capture, list[int]]] = []
    for at, told in known:
        part = next((positions for first, positions in parts if alike(first, told)), None)
        if part is None:
            parts.append((told, [at]))
        else:
            part.append(at)
    return tuple(tuple(positions) for _, positions in parts)


def runs_between(captures: Sequence[Capture | None]) -> Runs:
    """Count the executions of each task in each interval between snapshots, oldest first.

    Where the snapshots are of different processes, tracing began between them, or one of them does not tell, nothing
    is counted; the first two are told with what makes snapshots hard to compare.
    """
    known = [capture for capture in captures if capture is not None]
    told = [capture.executions for capture in known if capture.executions is not None]
    if len(told) < len(captures) or len(told) < 2 or not same_process(captures):
        return Runs(_NEVER)
    if traced_anew(known[0], known[-1]):
        return Runs(_NEVER)
    between, backwards = {}, []
    for task in sorted(set().union(*told)):
        series = [executions.get(task, 0) for executions in told]
        steps = tuple(after - before for before, after in zip(series, series[1:]))
        if min(steps) < 0:
            backwards.append(task)
        elif any(steps):
            between[task] = steps
    if not backwards:
        return Runs(between)
    more = f" and {count_of(len(backwards) - 1, 'more task')}" if len(backwards) > 1 else ""
    warning = (
        f"executions of {backwards[0]}{more} go backwards: these snapshots are of different processes or in another "
        "order, so growth is not divided by them"
    )
    return Runs(between, (warning,))


def per_execution(series: Sequence[Amount], runs: Sequence[int]) -> PerExecution | None:
    """Divide a site's growth by the runs of its task, over all and for each interval; None where it never ran.

    Args:
        series: bytes and blocks in each snapshot, oldest first.
        runs: how often the task ran in each interval.
    """
    total = sum(runs)
    if not total:
        return None
    intervals = tuple(_kept(before, after, ran) for before, after, ran in zip(series, series[1:], runs))
    whole = _kept(series[0], series[-1], total)
    return PerExecution(total, whole.size or 0.0, whole.count or 0.0, intervals)


def _kept(before: Amount, after: Amount, ran: int) -> Kept:
    if not ran:
        return Kept(0, None, None)
    return Kept(ran, (after.size - before.size) / ran, (after.count - before.count) / ran)


def verdict(series: Sequence[Amount], trend: str | None, each: PerExecution | None) -> str | None:
    """Say how much a site's growth proves.

    ``leak``: it grows in every interval of at least two, in proportion to the executions. ``suspect``: it grows in
    every interval, or, between two snapshots, each execution left a whole number of blocks. ``growth``: it grew.

    Args:
        series: bytes and blocks in each snapshot, oldest first.
        trend: the word for the series.
        each: what each execution of the site's task left, or None where that is not known.

    Returns:
        The word, or None for a site that did not grow.
    """
    if series[-1].size <= series[0].size:
        return None
    if len(series) > 2:
        if trend != EVERY_INTERVAL:
            return GROWTH
        return LEAK if each is not None and in_proportion(each) else SUSPECT
    return SUSPECT if each is not None and _whole_number(each) else GROWTH


def in_proportion(each: PerExecution) -> bool:
    """Tell whether each interval's blocks are the mean times its executions, give or take."""
    for interval in each.intervals:
        if interval.count is None or interval.executions < _FEW:
            return False
        blocks, expected = interval.count * interval.executions, each.count * interval.executions
        if blocks < _FEW or abs(blocks - expected) > 1 + _SPREAD * expected:
            return False
    return True


def _whole_number(each: PerExecution) -> bool:
    nearest = round(each.count)
    off = abs(each.count - nearest) * each.executions
    return nearest >= 1 and each.executions >= _RUNS_OF_TWO and off <= max(1.0, _OFF * each.executions)
