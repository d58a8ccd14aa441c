"""What leakhunt's own snapshots tell of their processes: which, when, how taken, what ran."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from leakhunt.analysis.executions import one_series, same_process
from leakhunt.model.capture import Capture
from leakhunt.model.statistics import SnapshotInfo
from leakhunt.moments import format_moment
from leakhunt.present.snapshots_places import short_paths
from leakhunt.units import count_of, format_count, format_duration, format_size_diff

_NAMED = 3
_RATE_FROM = 60.0  # seconds; what grew in less says nothing of an hour


def of_processes(infos: Sequence[SnapshotInfo], size_diff: int | None = None) -> Iterator[str]:
    """Yield a line for the process, or for each snapshot where they are of several.

    Args:
        infos: the snapshots, oldest first.
        size_diff: how many bytes were gained between the first and the last, to be told by the hour.
    """
    told = [info.told for info in infos]
    known = [one for one in told if one is not None]
    if not one_series(told):
        size_diff = None
    if len(known) == len(infos) and same_process(told):
        yield from _sentence(_process(known[-1]), _times(known, size_diff), _taken(known))
    else:
        for name, info in zip(short_paths(infos), infos):
            if info.told is not None:
                line = _sentence(_process(info.told), _times([info.told], None), _taken([info.told]))
                yield from (f"{name}: {text}" for text in line)
    yield from _left_out(infos)


def _sentence(process: str, times: str, taken: str) -> Iterator[str]:
    if process or times:
        yield f"{process}{': ' if process and times else ''}{times}{taken}."


def _process(told: Capture) -> str:
    pid = None if told.pid is None else f"pid {told.pid}"
    place = None if told.node else told.host
    return ", ".join(filter(None, (told.node, told.name, place, pid)))


def _times(told: Sequence[Capture], size_diff: int | None) -> str:
    first, last = told[0].when, told[-1].when
    if first is None or last is None:
        return ""
    if len(told) == 1:
        return f"{format_moment(first)} UTC"
    seconds = (last - first).total_seconds()
    until = format_moment(last)
    if first.date() == last.date():
        until = until.partition(" ")[2]
    between = f"{format_moment(first)} to {until} UTC, {format_duration(abs(seconds))} apart"
    if size_diff is None or seconds < _RATE_FROM:
        return between
    return f"{between}, {format_size_diff(round(size_diff / seconds * 3600))} per hour"


def _taken(told: Sequence[Capture]) -> str:
    ways = {one.how for one in told if one.how}
    return f", taken {' and '.join(sorted(_WAYS.get(way, way) for way in ways))}" if ways else ""


_WAYS = {"fork": "by a fork"}


def _left_out(infos: Sequence[SnapshotInfo]) -> Iterator[str]:
    """Say what snapshots leave out, each reason once."""
    reasons: dict[str, list[str]] = {}
    for name, info in zip(short_paths(infos), infos):
        for reason in info.told.left_out if info.told else ():
            reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        where = f"{names[0]} leaves" if len(names) == 1 else f"{count_of(len(names), 'snapshot')} leave"
        yield f"{where} out: {reason}."


def of_executions(between: Mapping[str, Sequence[int]]) -> str:
    """Say which tasks ran between the snapshots, those that ran most first."""
    return _ran({task: sum(steps) for task, steps in between.items()}, "between them")


def so_far(told: Capture) -> str:
    """Say which tasks had run when the snapshot was taken."""
    return _ran(told.executions or {}, "so far")


def _ran(counts: Mapping[str, int], when: str) -> str:
    ran = sorted(
        ((count, task) for task, count in counts.items() if count), key=lambda one: (-one[0], one[1])
    )
    if not ran:
        return ""
    if len(ran) == 1:
        return f"{count_of(ran[0][0], 'execution')} of {ran[0][1]} {when}."
    named = ", ".join(f"{task} {format_count(count)}" for count, task in ran[:_NAMED])
    more = f" and {count_of(len(ran) - _NAMED, 'more task')}" if len(ran) > _NAMED else ""
    executions = count_of(sum(count for count, _ in ran), "execution")
    return f"{executions} {when}: {named}{more}."


def of_tracing(told: Capture) -> str:
    """Say since when a process was traced, and what became of its parent's blocks."""
    since: datetime | None = told.tracing.since
    began = f"Traced since {format_moment(since)} UTC" if since else ""
    frames = f"{count_of(told.tracing.frames, 'frame')} deep" if told.tracing.frames else ""
    inherited = {
        "left out": "without what the parent had allocated before the fork",
        "included": "with what the parent had allocated before the fork",
    }.get(told.tracing.inherited or "", "")
    parts = [part for part in (began, frames if began else "", inherited if began else "") if part]
    return f"{', '.join(parts)}." if parts else ""
