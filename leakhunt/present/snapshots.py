"""Snapshots compared or ranked, as reports and as documents of ``leakhunt.diff/1`` and ``leakhunt.top/1``."""

from __future__ import annotations

import glob
import os.path
import shlex
from collections.abc import Sequence
from typing import Any, Union

from leakhunt.analysis.modules import installed_path
from leakhunt.model.report import Annotation, Column, Detail, Kind, Line, Report, Table
from leakhunt.model.snapshot import Frame
from leakhunt.model.statistics import DiffResult, SnapshotInfo, Statistic, StatisticDiff, TopResult, Totals
from leakhunt.model.task import Attribution
from leakhunt.units import format_count, format_share, format_size, format_size_diff
from leakhunt.version import __version__

Result = Union[DiffResult, TopResult]

_STEADY = "grows in every interval"
_HOW = {
    "registry": "registry",
    "source": "source",
    "anchor": "called by worker",
    "inferred": "inferred: its only caller",
}
_NO_NAME = {"task": "(no task)", "module": "(no module)", "package": "(no package)"}


def diff_report(result: DiffResult, *, fail_over: int | None = None) -> Report:
    """Word a comparison: the headline says how much grew, between what, and where most of it is."""
    places = _Places(result.root)
    return Report(
        headline=_diff_headline(result, places),
        facts=_facts(result, places),
        tables=(_diff_table(result, places),),
        advice=_diff_advice(result),
        warnings=result.warnings,
        skipped=result.skipped,
        annotations=_annotations(result, places, fail_over),
    )


def top_report(result: TopResult) -> Report:
    """Word what one snapshot holds."""
    places = _Places(result.root)
    kept_size = result.totals.size - result.hidden.size
    kept_count = result.totals.count - result.hidden.count
    headline = (
        f"{format_size(kept_size)} in {_blocks(kept_count)} in {os.path.basename(result.snapshots[0].path)}"
        f"{_first(result, places)}."
    )
    columns = (
        Column("size", "size", Kind.SIZE),
        Column("count", "blocks", Kind.COUNT),
        Column("share", "share", Kind.SHARE),
        *_where_columns(),
    )
    lines = tuple(
        Line((row.size, row.count, row.share, *_where(row, result, places)), _details(row, result, places))
        for row in result.rows
    )
    rest = kept_size - sum(row.size for row in result.rows)
    held = "are not listed" if result.settings.cumulative else f"hold {format_size(rest)}"
    note = f"{_more(result)} {held}." if result.omitted else ""
    return Report(
        headline=headline,
        facts=_facts(result, places),
        tables=(Table(columns, lines, tuple(filter(None, (note, _hidden(result))))),),
        warnings=result.warnings,
        skipped=result.skipped,
    )


def document(result: Result) -> dict[str, Any]:
    """Return a result as the document of ``leakhunt.diff/1`` or ``leakhunt.top/1``: sizes in bytes, unknown is null."""
    is_diff = isinstance(result, DiffResult)
    settings = result.settings
    return {
        "schema": "leakhunt.diff/1" if is_diff else "leakhunt.top/1",
        "leakhunt": __version__,
        "group_by": settings.group_by,
        "cumulative": settings.cumulative,
        "filters": {
            "include": list(settings.include),
            "exclude": list(settings.exclude),
            "default_excludes": list(settings.default_excludes),
            "all_frames": settings.all_frames,
            "domain": settings.domain,
        },
        "root": result.root,
        "snapshots": [vars(info) for info in result.snapshots],
        "totals": _totals(result.totals, is_diff=is_diff),
        "hidden": {**_totals(result.hidden, is_diff=is_diff), "rows": result.hidden.rows},
        "listed": len(result.rows),
        "omitted": result.omitted,
        "rows": [_row(row) for row in result.rows],
        "warnings": list(result.warnings),
        "skipped": [vars(skipped) for skipped in result.skipped],
    }


def _totals(totals: Totals, *, is_diff: bool) -> dict[str, int]:
    values = {"size": totals.size, "count": totals.count}
    return {**values, "size_diff": totals.size_diff, "count_diff": totals.count_diff} if is_diff else values


def _row(row: Statistic) -> dict[str, Any]:
    values: dict[str, Any] = {"rank": row.rank, "size": row.size, "count": row.count, "share": row.share}
    if isinstance(row, StatisticDiff):
        values.update(size_diff=row.size_diff, count_diff=row.count_diff, trend=row.trend)
        values["series"] = [vars(amount) for amount in row.series]
    if row.named:
        values["key"] = row.key
    values["traceback"] = [frame._asdict() for frame in row.traceback]
    values["task"] = _task(row.task)
    values["code"] = row.code
    values["source"] = row.source
    return values


def _task(attribution: Attribution | None) -> dict[str, Any] | None:
    if attribution is None:
        return None
    task = attribution.task
    return {"name": task.name, "filename": task.filename, "lineno": task.lineno, "how": attribution.how}


class _Places:
    """Short names of files: below site-packages or the library, or below the folder that all other files share."""

    def __init__(self, root: str) -> None:
        self.root = "" if root == "/" else root

    def file(self, filename: str) -> str:
        """Return a file's short name."""
        installed = installed_path(filename)
        if installed is not None:
            return installed
        prefix = self.root.rstrip("/") + "/"
        return filename[len(prefix) :] if self.root and filename.startswith(prefix) else filename

    def frame(self, frame: Frame) -> str:
        """Return a frame's short name, with its line if it has one."""
        return f"{self.file(frame.filename)}:{frame.lineno}" if frame.lineno else self.file(frame.filename)

    def site(self, row: Statistic, group_by: str) -> str:
        """Return the name of a row's site."""
        if group_by in _NO_NAME:
            return row.key if row.key is not None else _NO_NAME[group_by]
        return self.frame(row.traceback[-1])


def _diff_headline(result: DiffResult, places: _Places) -> str:
    size = result.totals.size_diff - result.hidden.size_diff
    count = result.totals.count_diff - result.hidden.count_diff
    first, last = _short_paths(result.snapshots)
    between = f"from {first} to {last}"
    if len(result.snapshots) > 2:
        between += f" ({len(result.snapshots)} snapshots)"
    if not result.rows:
        return f"Nothing grew {between}."
    verb = "Grew" if size >= 0 else "Shrank"
    blocks = _blocks(abs(count)) + (" fewer" if count < 0 <= size else " more" if size < 0 < count else "")
    return f"{verb} {format_size(abs(size))} in {blocks} {between}{_first(result, places)}."


def _short_paths(infos: Sequence[SnapshotInfo]) -> tuple[str, str]:
    """Return the names of the first and last file, without folders where that tells them apart."""
    first, last = infos[0].path, infos[-1].path
    names = os.path.basename(first), os.path.basename(last)
    return names if names[0] != names[1] else (first, last)


def _blocks(count: int) -> str:
    return f"{format_count(count)} block{'' if count == 1 else 's'}"


def _first(result: Result, places: _Places) -> str:
    """Say where most is, as the end of a headline."""
    row = result.rows[0] if result.rows else None
    if row is None or row.share is None:
        return ""
    of_all = f"{format_share(row.share)} of {'all growth' if isinstance(row, StatisticDiff) else 'it'}"
    task = f", task {row.task.task.name}" if row.task and result.settings.group_by != "task" else ""
    steady = f", which {row.trend}" if isinstance(row, StatisticDiff) and row.trend == _STEADY else ""
    return f": {of_all} at {places.site(row, result.settings.group_by)}{task}{steady}"


def _facts(result: Result, places: _Places) -> tuple[str, ...]:
    facts = [f"Paths below {places.root}."] if places.root else []
    facts += [
        f"{info.path} is partial: {_blocks(info.blocks)} read." for info in result.snapshots if info.partial
    ]
    return tuple(facts)


def _hidden(result: Result) -> str:
    """Say what the filters took, and by which; kept and hidden are the whole."""
    settings, hidden = result.settings, result.hidden
    if not (hidden.count or hidden.count_diff or hidden.size_diff):
        return ""
    amount = f"{format_size(hidden.size)} in {_blocks(hidden.count)}"
    if isinstance(result, DiffResult):
        amount = f"{format_size_diff(hidden.size_diff)}, {amount} now,"
    by = ["what no --include names"] if settings.include else []
    by += [f"--exclude {text}" for text in settings.exclude]
    if settings.domain is not None:
        by.append(f"not of domain {settings.domain}")
    if settings.default_excludes:
        by.append(f"the default excludes {' '.join(settings.default_excludes)}")
    return f"Hidden: {amount} by {'; '.join(by)}."


def _where_columns() -> tuple[Column, ...]:
    return (
        Column("place", "place", Kind.TEXT),
        Column("task", "task", Kind.TEXT),
        Column("how", "found", Kind.TEXT),
    )


def _where(row: Statistic, result: Result, places: _Places) -> tuple[str, str | None, str | None]:
    task = row.task
    return (
        places.site(row, result.settings.group_by),
        task.task.name if task else None,
        task.how if task else None,
    )


def _diff_table(result: DiffResult, places: _Places) -> Table:
    columns = (
        Column("size_diff", "growth", Kind.SIZE_DIFF),
        Column("count_diff", "blocks", Kind.COUNT_DIFF),
        Column("size", "now", Kind.SIZE),
        Column("share", "share", Kind.SHARE),
        *((Column("trend", "trend", Kind.TEXT),) if len(result.snapshots) > 2 else ()),
        *_where_columns(),
    )
    lines = tuple(
        Line(
            (
                row.size_diff,
                row.count_diff,
                row.size,
                row.share,
                *((row.trend,) if len(result.snapshots) > 2 else ()),
                *_where(row, result, places),
            ),
            _details(row, result, places),
        )
        for row in result.rows
    )
    return Table(columns, lines, tuple(filter(None, (_diff_note(result), _hidden(result)))))


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


def _details(row: Statistic, result: Result, places: _Places) -> tuple[Detail, ...]:
    details: list[Detail] = []
    if result.settings.group_by == "traceback":
        details.extend(Detail(places.frame(frame), "frame") for frame in row.traceback[:-1])
    if result.settings.group_by == "task" and row.traceback:
        details.append(Detail(places.frame(row.traceback[-1]), "note"))
    elif row.code:
        details.append(Detail(row.code, "code"))
    if row.task:
        name = f"task {row.task.task.name} " if result.settings.group_by != "task" else ""
        details.append(Detail(f"{name}({_HOW.get(row.task.how, row.task.how)})", "task"))
    if isinstance(row, StatisticDiff) and row.trend:
        details.append(Detail(row.trend, "note"))
        details.append(Detail(" -> ".join(format_size(amount.size) for amount in row.series), "note"))
    return tuple(details)


def _diff_advice(result: DiffResult) -> tuple[str, ...]:
    first = next((row for row in result.rows if row.size_diff > 0), None)
    if first is None:
        return ()
    advice = []
    if len(result.snapshots) == 2:
        advice.append(
            "Two snapshots show growth, not a leak: a third after the same work tells a leak from a cache that filled."
        )
    elif first.trend == _STEADY:
        advice.append("Growth in every interval is a suspect; in proportion to the tasks run, it is a leak.")
    if first.traceback and result.settings.group_by == "lineno":
        frame = first.traceback[-1]
        place = shlex.quote(f"{glob.escape(frame.filename)}:{frame.lineno}")
        advice.append(f"Who calls it: the same command with --group-by traceback --include {place}")
    return tuple(advice)


def _annotations(result: DiffResult, places: _Places, fail_over: int | None) -> tuple[Annotation, ...]:
    remarks = []
    for row in result.rows:
        if row.size_diff <= 0 or not row.traceback:
            continue
        frame = row.traceback[-1]
        task = f", in task {row.task.task.name}" if row.task else ""
        trend = f"; {row.trend}" if row.trend else ""
        remarks.append(
            Annotation(
                level="error" if fail_over is not None and row.size_diff >= fail_over else "warning",
                filename=row.source or places.file(frame.filename),
                lineno=frame.lineno,
                title=f"memory grew {format_size(row.size_diff)}",
                message=f"{format_size_diff(row.size_diff)} in {row.count_diff:+,} blocks{task}{trend}",
            )
        )
    return tuple(remarks)
