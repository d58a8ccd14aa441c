"""Snapshots compared or ranked, as documents of ``leakhunt.diff/1`` and ``leakhunt.top/1``.

What only leakhunt's own snapshots tell has keys only where one of the snapshots is such.
"""

from __future__ import annotations

from typing import Any, Union

from leakhunt.model.capture import Garbage, Holder
from leakhunt.model.ledger import Ledger, Part
from leakhunt.model.statistics import (
    DiffResult,
    PerExecution,
    SnapshotInfo,
    Statistic,
    StatisticDiff,
    TopResult,
    Totals,
)
from leakhunt.model.task import Attribution
from leakhunt.version import __version__

Result = Union[DiffResult, TopResult]


def document(result: Result) -> dict[str, Any]:
    """Return a result as a document of the contract: sizes in bytes, unknown is null."""
    is_diff = isinstance(result, DiffResult)
    told = any(info.told is not None for info in result.snapshots)
    settings = result.settings
    values: dict[str, Any] = {
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
        "snapshots": [_info(info) for info in result.snapshots],
        "totals": _totals(result.totals, is_diff=is_diff),
        "hidden": {**_totals(result.hidden, is_diff=is_diff), "rows": result.hidden.rows},
        "listed": len(result.rows),
        "omitted": result.omitted,
        "rows": [_row(row, told=told) for row in result.rows],
        "warnings": list(result.warnings),
        "skipped": [vars(skipped) for skipped in result.skipped],
    }
    if told:
        values["ledger"] = _ledger(result.ledger, is_diff=is_diff)
        if isinstance(result, DiffResult):
            values["executions"] = {task: list(steps) for task, steps in result.executions.items()}
    return values


def _info(info: SnapshotInfo) -> dict[str, Any]:
    return {key: value for key, value in vars(info).items() if key != "told"}


def _totals(totals: Totals, *, is_diff: bool) -> dict[str, int]:
    values = {"size": totals.size, "count": totals.count}
    return {**values, "size_diff": totals.size_diff, "count_diff": totals.count_diff} if is_diff else values


def _row(row: Statistic, *, told: bool) -> dict[str, Any]:
    values: dict[str, Any] = {"rank": row.rank, "size": row.size, "count": row.count, "share": row.share}
    if isinstance(row, StatisticDiff):
        values.update(size_diff=row.size_diff, count_diff=row.count_diff, trend=row.trend)
        values["series"] = [vars(amount) for amount in row.series]
        if told:
            values["verdict"] = row.verdict
            values["per_execution"] = _per_execution(row.per_execution)
            values["freeable"] = row.freeable
    if told:
        values["held_by"] = None if row.held_by is None else [_holder(holder) for holder in row.held_by]
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


def _per_execution(each: PerExecution | None) -> dict[str, Any] | None:
    if each is None:
        return None
    return {**vars(each), "intervals": [vars(interval) for interval in each.intervals]}


def _holder(holder: Holder) -> dict[str, Any]:
    return {
        "name": holder.name,
        "type": holder.kind,
        "items": holder.length,
        "share": holder.share,
        "chain": list(holder.chain),
    }


def _ledger(ledger: Ledger | None, *, is_diff: bool) -> dict[str, Any] | None:
    if ledger is None:
        return None
    values: dict[str, Any] = {
        "rss": _part(ledger.rss, is_diff=is_diff),
        "uss": _part(ledger.uss, is_diff=is_diff),
        "shared": _part(ledger.shared, is_diff=is_diff),
        "swap": _part(ledger.swap, is_diff=is_diff),
        "parts": {part.name: _part(part, is_diff=is_diff) for part in ledger.parts},
        "trim": vars(ledger.trim) if ledger.trim else None,
        "garbage": _garbage(ledger.garbage),
        "cgroup": {"limit": ledger.limit, "usage": ledger.usage},
    }
    return {"kind": ledger.kind, "most": ledger.most, **values} if is_diff else values


def _part(part: Part, *, is_diff: bool) -> dict[str, Any] | int | None:
    if not is_diff:
        return part.after
    return {"before": part.before, "after": part.after, "growth": part.growth}


def _garbage(garbage: Garbage | None) -> dict[str, Any] | None:
    if garbage is None:
        return None
    return {
        "count": garbage.objects,
        "size": garbage.size,
        "types": [vars(one) for one in garbage.types],
        "sites": [{**site.frame._asdict(), "count": site.count, "size": site.size} for site in garbage.sites],
    }
