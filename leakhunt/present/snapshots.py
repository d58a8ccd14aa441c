"""Snapshots compared or ranked, as reports."""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from itertools import chain
from typing import Union

from leakhunt.model.report import Annotation, Report, Table
from leakhunt.model.statistics import DiffResult, StatisticDiff, TopResult
from leakhunt.present import (
    snapshots_advice,
    snapshots_details,
    snapshots_facts,
    snapshots_headline,
    snapshots_ledger,
    snapshots_rows,
)
from leakhunt.present.snapshots_places import Places, blocks, each_execution, holder, narrowed
from leakhunt.units import format_count, format_size, format_size_diff

Result = Union[DiffResult, TopResult]


def diff_report(result: DiffResult, *, fail_over: int | None = None, details: bool = False) -> Report:
    """Word a comparison: the headline says how much grew, between what, and where most of it is.

    Args:
        result: the comparison.
        fail_over: growth in bytes of one row from which on its annotation is an error.
        details: tell also what leakhunt's own snapshots hold beside the rows.
    """
    places = _places(result)
    notes = tuple(filter(None, (_diff_note(result), _hidden(result))))
    return Report(
        headline=snapshots_headline.of_diff(result, places),
        facts=tuple(_facts(result, places, details=details)),
        tables=(
            snapshots_rows.table(result, places, notes, details=details),
            *(_detail_tables(result, places) if details else ()),
        ),
        advice=tuple(snapshots_advice.of_diff(result)),
        warnings=result.warnings,
        skipped=result.skipped,
        annotations=tuple(_annotations(result, places, fail_over)),
    )


def top_report(result: TopResult, *, details: bool = False) -> Report:
    """Word what one snapshot holds; ``details`` adds what leakhunt's own snapshots hold beside the rows."""
    places = _places(result)
    kept_size = result.totals.size - result.hidden.size
    kept_count = result.totals.count - result.hidden.count
    name = os.path.basename(result.snapshots[0].path)
    headline = f"{format_size(kept_size)} in {blocks(kept_count)} in {name}{snapshots_headline.of_top(result, places)}."
    if not result.totals.count:
        headline = f"Nothing was traced in {name}."
    rest = kept_size - sum(row.size for row in result.rows)
    held = "are not listed" if result.settings.cumulative else f"hold {format_size(rest)}"
    notes = (f"{_more(result)} {held}." if result.omitted else "", _hidden(result))
    return Report(
        headline=headline,
        facts=tuple(_facts(result, places, details=details)),
        tables=(
            snapshots_rows.table(result, places, tuple(filter(None, notes)), details=details),
            *(_detail_tables(result, places) if details else ()),
        ),
        warnings=result.warnings,
        skipped=result.skipped,
    )


def _places(result: Result) -> Places:
    """Return short names for the files that a report names."""
    last = result.snapshots[-1].told
    sites = last.garbage.sites if last and last.garbage else ()
    frames = chain.from_iterable(row.traceback for row in result.rows)
    named = {frame.filename for frame in chain(frames, (site.frame for site in sites))}
    return Places(narrowed(result.root, named))


def _facts(result: Result, places: Places, *, details: bool) -> Iterator[str]:
    last = result.snapshots[-1].told
    if isinstance(result, DiffResult):
        size_diff = result.totals.size_diff - result.hidden.size_diff
        is_rate = all(info.blocks for info in result.snapshots)
        yield from snapshots_facts.of_processes(result.snapshots, size_diff if is_rate else None)
        ran = snapshots_facts.of_executions(result.executions)
    else:
        yield from snapshots_facts.of_processes(result.snapshots)
        yield from filter(None, (snapshots_facts.of_tracing(last) if last else "",))
        ran = snapshots_facts.so_far(last) if last else ""
    yield from filter(None, (ran,))
    if result.ledger:
        yield from snapshots_ledger.facts(result.ledger, places)
    if last and details:
        yield from snapshots_details.of_process(last)
    if places.root:
        yield f"Paths below {places.root}."
    for info in result.snapshots:
        if info.partial:
            yield f"{info.path} is partial: {blocks(info.blocks)} read."


def _detail_tables(result: Result, places: Places) -> Iterator[Table]:
    first, last = result.snapshots[0].told, result.snapshots[-1].told
    if last is None:
        return
    if isinstance(result, TopResult):
        yield from snapshots_details.of_types(last)
    elif first is not None:
        yield from snapshots_details.of_growth(first, last)
    yield from snapshots_details.of_garbage(last, places)


def _hidden(result: Result) -> str:
    """Say what the filters took, and by which; kept and hidden are the whole."""
    settings, hidden = result.settings, result.hidden
    if not (hidden.count or hidden.count_diff or hidden.size_diff):
        return ""
    amount = f"{format_size(hidden.size)} in {blocks(hidden.count)}"
    if isinstance(result, DiffResult):
        amount = f"{format_size_diff(hidden.size_diff)}, {amount} now,"
    by = ["what no --include names"] if settings.include else []
    by += [f"--exclude {text}" for text in settings.exclude]
    if settings.domain is not None:
        by.append(f"not of domain {settings.domain}")
    if settings.default_excludes:
        by.append(f"the default excludes {' '.join(settings.default_excludes)}")
    return f"Hidden: {amount} by {'; '.join(by)}."


def _diff_note(result: DiffResult) -> str:
    if not result.omitted:
        return ""
    if result.settings.cumulative:
        return f"{_more(result)} are not listed."
    listed = sum(row.size_diff for row in result.rows)
    rest = result.totals.size_diff - result.hidden.size_diff - listed
    return f"{_more(result)} come to {format_size_diff(rest)}."


def _more(result: Result) -> str:
    noun = {"lineno": "lines", "filename": "files", "traceback": "stacks"}.get(
        result.settings.group_by, f"{result.settings.group_by}s"
    )
    return f"{format_count(result.omitted)} more {noun}"


def _annotations(result: DiffResult, places: Places, fail_over: int | None) -> Iterator[Annotation]:
    for row in result.rows:
        if row.size_diff <= 0 or not row.traceback:
            continue
        frame = row.traceback[-1]
        yield Annotation(
            level="error" if fail_over is not None and row.size_diff >= fail_over else "warning",
            filename=row.source or places.file(frame.filename),
            lineno=frame.lineno,
            title=f"memory grew {format_size(row.size_diff)}",
            message=f"{format_size_diff(row.size_diff)} in {row.count_diff:+,} blocks{_remarks(row)}",
        )


def _remarks(row: StatisticDiff) -> str:
    """Say behind an amount whose it is, who holds it and how steadily it grew."""
    task = f", in task {row.task.task.name}" if row.task else ""
    each = f": {row.verdict}, {each_execution(row.per_execution)}" if row.per_execution else ""
    held = f", held by {holder(row.held_by[0])}" if row.held_by else ""
    trend = f"; {row.trend}" if row.trend else ""
    freeable = f"; a gc.collect() would free {format_size(row.freeable)} of it" if row.freeable else ""
    return f"{task}{each}{held}{trend}{freeable}"
