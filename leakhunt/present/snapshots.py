"""Snapshots compared or ranked, as reports."""

from __future__ import annotations

import glob
import os.path
import shlex
from collections.abc import Iterator
from typing import Union

from leakhunt.model.ledger import GARBAGE
from leakhunt.model.report import Annotation, Report, Table
from leakhunt.model.statistics import LEAK, SUSPECT, DiffResult, StatisticDiff, TopResult
from leakhunt.present import snapshots_details, snapshots_facts, snapshots_ledger, snapshots_rows
from leakhunt.present.snapshots_places import Places, blocks, each_execution, holder, short_paths
from leakhunt.units import format_count, format_share, format_size, format_size_diff

Result = Union[DiffResult, TopResult]

_MOST = 0.5  # of the sampled objects, for a holder to be named first
_STEADY = "grows in every interval"


def diff_report(result: DiffResult, *, fail_over: int | None = None, details: bool = False) -> Report:
    """Word a comparison: the headline says how much grew, between what, and where most of it is.

    Args:
        result: the comparison.
        fail_over: growth in bytes of one row from which on its annotation is an error.
        details: tell also what leakhunt's own snapshots hold beside the rows.
    """
    places = Places(result.root)
    notes = tuple(filter(None, (_diff_note(result), _hidden(result))))
    return Report(
        headline=_diff_headline(result, places),
        facts=tuple(_facts(result, places, details=details)),
        tables=(
            snapshots_rows.table(result, places, notes, details=details),
            *(_detail_tables(result, places) if details else ()),
        ),
        advice=tuple(_diff_advice(result)),
        warnings=result.warnings,
        skipped=result.skipped,
        annotations=tuple(_annotations(result, places, fail_over)),
    )


def top_report(result: TopResult, *, details: bool = False) -> Report:
    """Word what one snapshot holds; ``details`` adds what leakhunt's own snapshots hold beside the rows."""
    places = Places(result.root)
    kept_size = result.totals.size - result.hidden.size
    kept_count = result.totals.count - result.hidden.count
    name = os.path.basename(result.snapshots[0].path)
    headline = f"{format_size(kept_size)} in {blocks(kept_count)} in {name}{_first(result, places)}."
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


def _diff_headline(result: DiffResult, places: Places) -> str:
    size = result.totals.size_diff - result.hidden.size_diff
    count = result.totals.count_diff - result.hidden.count_diff
    names = short_paths(result.snapshots)
    between = f"from {names[0]} to {names[-1]}"
    if len(result.snapshots) > 2:
        between += f" ({len(result.snapshots)} snapshots)"
    untraced = [name for name, info in zip(names, result.snapshots) if not info.blocks]
    if untraced:
        return f"Nothing can be said of what grew {between}: nothing was traced in {' and '.join(untraced)}."
    whole, rss = snapshots_ledger.headline(result.ledger, size, between)
    if whole:
        return whole
    if not result.rows:
        return f"Nothing grew {between}.{rss}"
    verb = "Grew" if size >= 0 else "Shrank"
    amount = blocks(abs(count)) + (" fewer" if count < 0 <= size else " more" if size < 0 < count else "")
    return f"{verb} {format_size(abs(size))} in {amount} {between}{_first(result, places)}.{rss}"


def _first(result: Result, places: Places) -> str:
    """Say where most is, as the end of a headline: the task, what each execution left, and who holds it."""
    row = result.rows[0] if result.rows else None
    if row is None or row.share is None:
        return ""
    of_all = f"{format_share(row.share)} of {'all growth' if isinstance(row, StatisticDiff) else 'it'}"
    task = f", task {row.task.task.name}" if row.task and result.settings.group_by != "task" else ""
    proof = _proof(row) if isinstance(row, StatisticDiff) else ""
    most = row.held_by[0] if row.held_by else None
    sure = most is not None and (most.share is None or most.share >= _MOST)
    held = f", held by {holder(most, short=True)}" if most is not None and sure else ""
    return f": {of_all} at {places.site(row, result.settings.group_by)}{task}{proof}{held}"


def _proof(row: StatisticDiff) -> str:
    """Say what each execution left, or, where that is not known, how steadily a row grew."""
    if row.per_execution is None:
        return f", which {row.trend}" if row.trend == _STEADY else ""
    each = f"{format_size(round(row.per_execution.size))} per execution"
    return {LEAK: f", a leak of {each}", SUSPECT: f", suspect at {each}"}.get(row.verdict or "", f", {each}")


def _facts(result: Result, places: Places, *, details: bool) -> Iterator[str]:
    last = result.snapshots[-1].told
    if isinstance(result, DiffResult):
        size_diff = result.totals.size_diff - result.hidden.size_diff
        yield from snapshots_facts.of_processes(result.snapshots, size_diff)
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


def _diff_advice(result: DiffResult) -> Iterator[str]:
    if result.ledger:
        yield from snapshots_ledger.advice(result.ledger)
    first = next((row for row in result.rows if row.size_diff > 0), None)
    if first is None or _is_beside(result):
        return
    if result.ledger and result.ledger.kind == GARBAGE:
        pass  # whatever it proves of the rows, the collector comes first
    elif len(result.snapshots) == 2:
        yield _of_two(first)
    elif first.verdict == LEAK:
        yield "Growth in every interval, in proportion to the tasks run: a leak."
    elif first.trend == _STEADY:
        yield "Growth in every interval is a suspect; in proportion to the tasks run, it is a leak."
    if first.traceback and result.settings.group_by == "lineno":
        frame = first.traceback[-1]
        place = shlex.quote(f"{glob.escape(frame.filename)}:{frame.lineno}")
        yield f"Who calls it: the same command with --group-by traceback --include {place}"


def _is_beside(result: DiffResult) -> bool:
    """Tell whether the growth is not in the rows."""
    size = result.totals.size_diff - result.hidden.size_diff
    return bool(snapshots_ledger.headline(result.ledger, size, "")[0])


def _of_two(first: StatisticDiff) -> str:
    """Say what two snapshots prove of the first row."""
    if first.verdict == SUSPECT:
        return (
            "Two snapshots and a whole number of blocks per execution make a suspect: a third after the same work "
            "tells a leak from a cache that is filling."
        )
    return "Two snapshots show growth, not a leak: a third after the same work tells a leak from a cache that filled."


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
    return f"{task}{each}{held}{trend}"
