"""The first sentence of snapshots: how much grew, whose it is, who holds it; and what makes that doubtful."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

from leakhunt.analysis.executions import by_process, one_series, same_process, traced_anew
from leakhunt.analysis.findings import holder_of
from leakhunt.model.capture import Capture, Holder
from leakhunt.model.statistics import (
    LEAK,
    SUSPECT,
    DiffResult,
    Finding,
    StatisticDiff,
    TopResult,
)
from leakhunt.moments import format_moment
from leakhunt.present import snapshots_ledger
from leakhunt.present.snapshots_places import Places, blocks, holder, short_paths
from leakhunt.units import count_of, format_share, format_size

Result = Union[DiffResult, TopResult]

STEADY = "grows in every interval"
_ONE_LINE = 0.95  # what a line must have of its finding, to stand for it
_NAMED = 4
_SMALL = 10  # growth below a tenth of the shrinkage is not told in the first sentence


def of_diff(result: DiffResult, places: Places) -> str:
    """Say how much grew, between what, and where most of it is; what is no growth in time begins with that."""
    size = result.totals.size_diff - result.hidden.size_diff
    names = short_paths(result.snapshots)
    between = f"from {names[0]} to {names[-1]}"
    if len(result.snapshots) > 2:
        between += f" ({len(result.snapshots)} snapshots)"
    if untraced := untraced_names(result):
        return f"Nothing can be said of what grew {between}: nothing was traced in {' and '.join(untraced)}."
    told = [info.told for info in result.snapshots]
    if not same_process(told):
        return f"{_apart(told)} {_compared(result, places, names)}"
    whole, rss = snapshots_ledger.headline(result.ledger, size, between)
    if whole:
        return whole
    return f"{_anew(told)}{_of_rows(result, places, between)}{rss}"


def of_top(result: TopResult, places: Places) -> str:
    """Say where most of one snapshot is, as the end of a headline."""
    row = result.rows[0] if result.rows else None
    if row is None or row.share is None:
        return ""
    task = f", task {row.task.task.name}" if row.task and result.settings.group_by != "task" else ""
    site = places.site(row, result.settings.group_by)
    return f": {format_share(row.share)} of it at {site}{task}{_held(holder_of(row))}"


def untraced_names(result: DiffResult) -> tuple[str, ...]:
    """Return the names of the snapshots in which nothing was traced."""
    names = short_paths(result.snapshots)
    return tuple(name for name, info in zip(names, result.snapshots) if not info.blocks)


def shrank(result: DiffResult) -> bool:
    """Tell whether so much less is there that what grew beside is nothing to it: unless it is a suspect."""
    if any(row.verdict in {SUSPECT, LEAK} for row in result.rows[:1]):
        return False
    return result.growth * _SMALL < result.hidden.size_diff - result.totals.size_diff


def _of_rows(result: DiffResult, places: Places, between: str) -> str:
    size = result.totals.size_diff - result.hidden.size_diff
    count = result.totals.count_diff - result.hidden.count_diff
    if not result.rows:
        return f"Nothing grew {between}."
    verb = "Grew" if size >= 0 else "Shrank"
    amount = blocks(abs(count)) + (" fewer" if count < 0 <= size else " more" if size < 0 < count else "")
    most = _first(result, places, "all growth" if size >= 0 else "that")
    beside = f"; {format_size(result.growth)} grew beside" if size < 0 and most else ""
    return f"{verb} {format_size(abs(size))} in {amount} {between}{beside}{most}."


def _compared(result: DiffResult, places: Places, names: Sequence[str]) -> str:
    """Say what one process has more than another, which is no growth."""
    size = result.totals.size_diff - result.hidden.size_diff
    amount = f"{format_size(abs(size))} {'more' if size >= 0 else 'less'}" if size else "as much"
    than = "as" if not size else "than"
    return f"{names[-1]} holds {amount} {than} {names[0]}{_first(result, places, 'the increase')}."


def _first(result: DiffResult, places: Places, whole: str) -> str:
    """Say whose most of the growth is, what each execution left, who holds it, and at which line most of it is."""
    leading = result.leading
    if leading is None or not result.rows or shrank(result):
        return ""
    row = result.rows[0]
    site = places.site(row, result.settings.group_by)
    garbage = ", garbage that a gc.collect() would free" if leading.freeable else ""
    told = f"{_proof(row, leading)}{_held(leading.holder)}{garbage}"
    if row.task and leading.lines > 1 and row.size_diff < _ONE_LINE * leading.size_diff:
        of_all = f"{format_share(leading.share)} of {whole}"
        return f": {of_all} by task {row.task.task.name}{told}; most at {site}"
    task = f", task {row.task.task.name}" if row.task and result.settings.group_by != "task" else ""
    alone = f"{_proof(row, None)}{_held(leading.holder)}{garbage}"
    return f": {format_share(row.share or 0.0)} of {whole} at {site}{task}{alone}"


def _held(most: Holder | None) -> str:
    return f", held by {holder(most, short=True)}" if most is not None else ""


def _proof(row: StatisticDiff, leading: Finding | None) -> str:
    """Say what each execution left, or, where that is not known, how steadily it grew."""
    size = row.per_execution.size if row.per_execution else None
    if leading is not None:
        size = leading.size_per_execution
    if size is None:
        return f", which {row.trend}" if row.trend == STEADY else ""
    each = f"{format_size(round(size))} per execution"
    return {LEAK: f", a leak of {each}", SUSPECT: f", suspect at {each}"}.get(row.verdict or "", f", {each}")


def _apart(told: Sequence[Capture | None]) -> str:
    """Say that snapshots are of several processes, in a sentence."""
    pids = sorted({one.pid for one in told if one is not None and one.pid is not None})
    named = f" (pid {' and '.join(map(str, pids))})" if 1 < len(pids) <= _NAMED else ""
    count = count_of(len(by_process(told)), "process")
    return f"Snapshots of {count}{named}, so what differs may be work, not growth over time."


def _anew(told: Sequence[Capture | None]) -> str:
    """Say that tracing began between snapshots, as the beginning of a headline."""
    if one_series(told):
        return ""
    known = [one for one in told if one is not None]
    pairs = ((known[0], known[-1]), *zip(known, known[1:]))
    began = next(new.tracing.since for old, new in pairs if traced_anew(old, new))
    at = f", at {format_moment(began)} UTC" if began else ""
    return (
        f"Tracing began between these snapshots{at}, so the last holds nothing of what was allocated before. "
    )
