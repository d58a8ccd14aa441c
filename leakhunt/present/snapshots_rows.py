"""The rows of a result: their cells, and the lines below them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Union

from leakhunt.analysis.executions import in_proportion
from leakhunt.analysis.findings import joined
from leakhunt.model.report import Column, Detail, Kind, Line, Table
from leakhunt.model.statistics import LEAK, DiffResult, PerExecution, Statistic, StatisticDiff, TopResult
from leakhunt.present.snapshots_places import Places, each_execution, holder
from leakhunt.units import count_of, format_rate, format_share, format_size

Result = Union[DiffResult, TopResult]

_HOW = {
    "registry": "registry",
    "source": "source",
    "anchor": "called by worker",
    "inferred": "inferred: its only caller",
}
_MOST_HOLDERS = 2
_WORTH_NAMING = 0.2  # of the sampled objects
_SMALL = 0.01  # of all growth


def table(result: Result, places: Places, notes: tuple[str, ...], *, details: bool) -> Table:
    """Lay out a result's rows; columns that only leakhunt's own snapshots fill are there where one of them is filled."""
    told = any(info.told is not None for info in result.snapshots)
    divided = any(isinstance(row, StatisticDiff) and row.per_execution for row in result.rows)
    held = any(row.held_by for row in result.rows)
    columns = [*_number_columns(result), *_WHERE, *(_DIVIDED if divided else ()), *(_HELD if held else ())]
    lines = tuple(
        Line(
            (
                *_numbers(row, result),
                *_where(row, result, places),
                *(_divided(row) if divided else ()),
                *((holder(row.held_by[0]) if row.held_by else None,) if held else ()),
            ),
            tuple(_details(row, result, places, told=told, chains=details)),
        )
        for row in result.rows
    )
    return Table(tuple(columns), lines, notes)


def _number_columns(result: Result) -> tuple[Column, ...]:
    if isinstance(result, TopResult):
        return (
            Column("size", "size", Kind.SIZE),
            Column("count", "blocks", Kind.COUNT),
            Column("share", "share", Kind.SHARE),
        )
    return (
        Column("size_diff", "growth", Kind.SIZE_DIFF),
        Column("count_diff", "blocks", Kind.COUNT_DIFF),
        Column("size", "now", Kind.SIZE),
        Column("share", "share", Kind.SHARE),
        *((Column("trend", "trend", Kind.TEXT),) if len(result.snapshots) > 2 else ()),
    )


def _numbers(row: Statistic, result: Result) -> tuple[Any, ...]:
    if not isinstance(row, StatisticDiff):
        return row.size, row.count, row.share
    trend = (row.trend,) if len(result.snapshots) > 2 else ()
    return row.size_diff, row.count_diff, row.size, row.share, *trend


_WHERE = (
    Column("place", "place", Kind.TEXT),
    Column("task", "task", Kind.TEXT),
    Column("how", "found", Kind.TEXT),
)


def _where(row: Statistic, result: Result, places: Places) -> tuple[str, str | None, str | None]:
    task = row.task
    return (
        places.site(row, result.settings.group_by),
        task.task.name if task else None,
        task.how if task else None,
    )


_DIVIDED = (
    Column("verdict", "verdict", Kind.TEXT),
    Column("executions", "executions", Kind.COUNT),
    Column("size_per_execution", "per execution", Kind.SIZE),
    Column("count_per_execution", "blocks each", Kind.RATE),
)
_HELD = (Column("held_by", "held by", Kind.TEXT),)


def _divided(row: Statistic) -> tuple[Any, ...]:
    each = row.per_execution if isinstance(row, StatisticDiff) else None
    word = row.verdict if isinstance(row, StatisticDiff) else None
    if each is None:
        return word, None, None, None
    return word, each.executions, round(each.size), round(each.count, 4)


def _details(row: Statistic, result: Result, places: Places, *, told: bool, chains: bool) -> Iterator[Detail]:
    if result.settings.group_by == "traceback":
        yield from (Detail(places.frame(frame), "frame") for frame in row.traceback[:-1])
    if result.settings.group_by == "task" and row.traceback:
        yield Detail(places.frame(row.traceback[-1]), "note")
    elif row.code:
        yield Detail(row.code, "code")
    if row.task:
        name = f"task {row.task.task.name} " if result.settings.group_by != "task" else ""
        yield Detail(f"{name}({_HOW.get(row.task.how, row.task.how)})", "task")
    if told:
        yield from _proof(row)
        yield from _freeable(row, result)
        if chains or not _is_small(row):
            yield from _holders(row, chains=chains)
    if isinstance(row, StatisticDiff) and row.trend:
        yield Detail(row.trend, "note")
        yield Detail(" -> ".join(format_size(amount.size) for amount in row.series), "note")


def _proof(row: Statistic) -> Iterator[Detail]:
    if not isinstance(row, StatisticDiff):
        return
    each, word = row.per_execution, row.verdict
    if each is not None:
        yield Detail(f"{word or 'shrinks'}: {each_execution(each)} ({_executions(each, word)})", "note")


def _executions(each: PerExecution, word: str | None) -> str:
    """Say how many executions there were, and, where the intervals do not agree, what each left in them."""
    executions = count_of(each.executions, "execution")
    if len(each.intervals) < 2 or abs(each.count) < 1 / each.executions:
        return executions
    if word == LEAK and in_proportion(each):
        return f"{executions}, alike in every interval"
    rates = ("none ran" if one.count is None else format_rate(one.count) for one in each.intervals)
    return f"{executions}; blocks by interval: {', '.join(rates)}"


def _is_small(row: Statistic) -> bool:
    """Tell whether a row grew too little for its holder to be of use."""
    return isinstance(row, StatisticDiff) and row.share is not None and row.share < _SMALL


def _freeable(row: Statistic, result: Result) -> Iterator[Detail]:
    """Say how much of a row's growth, or of a line's blocks in one snapshot, only waits for a collection."""
    if isinstance(row, StatisticDiff):
        if row.freeable:
            yield Detail(f"a gc.collect() would free {format_size(row.freeable)} of it", "note")
        return
    told = result.snapshots[-1].told
    if told is None or told.garbage is None or not row.traceback or result.settings.group_by != "lineno":
        return
    size = sum(site.size for site in told.garbage.sites if site.frame == row.traceback[-1])
    if size:
        yield Detail(f"a gc.collect() would free {format_size(size)} of it", "note")


def _holders(row: Statistic, *, chains: bool) -> Iterator[Detail]:
    for number, held_by in enumerate(joined(row.held_by or ())[:_MOST_HOLDERS]):
        if number and (held_by.share or 0) < _WORTH_NAMING:
            return
        part = "" if held_by.share is None or held_by.share >= 1 else f"{format_share(held_by.share)} "
        yield Detail(f"{part}held by {holder(held_by)}", "note")
        if chains and held_by.chain:
            yield Detail(f"by way of {' <- '.join(held_by.chain)}", "note")
