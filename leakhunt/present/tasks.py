"""What task types do to memory, as a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from leakhunt.model.record import RunningTask, TaskMemory, TasksResult
from leakhunt.model.report import Column, Detail, Kind, Line, Report, Table
from leakhunt.moments import format_moment
from leakhunt.present.tasks_headline import NAMED, headline, suspicions, which
from leakhunt.units import count_of, format_count, format_size, format_size_diff

_VERDICTS = {"keeps": "keeps memory", "spikes": "spikes", "clean": "clean", "too few": "too few to tell"}
_DETAILS = frozenset(
    {"failures", "killed", "kept_low", "kept_high", "counted", "measured", "peak_median", "peak_p95"}
)
_OTHERS = 3
_NOT_LISTED = "end not recorded"
_KEPT = {
    "traced": "what tracemalloc knew of after less before, the median of groups of executions (exact, Python's memory alone)",
    "rss fitted to executions": "the growth of RSS, fitted to how often each task ran (low where memory shows late)",
    "rss": "RSS after less RSS before, the median of groups of executions",
}
_MEASURED = {"traced": "as traced", "rss fitted to executions": "by RSS", "rss": "by RSS"}


def tasks_report(result: TasksResult, *, limit: int = 0) -> Report:
    """Word the result: the headline names what was killed, what keeps memory, and what spikes.

    Args:
        result: what :func:`leakhunt.tasks` returned.
        limit: so many rows are listed; 0 lists all.
    """
    shown = result.tasks[: limit or None]
    return Report(
        headline=headline(result),
        facts=tuple(_facts(result)),
        tables=(
            replace(_tasks_table(shown, full=False), notes=tuple(_notes(result, shown))),
            *_running(result, limit),
        ),
        advice=tuple(_advice(result)),
        warnings=result.warnings,
        skipped=result.skipped,
    )


def rows_report(result: TasksResult) -> Report:
    """Return the task types alone, for formats that hold one table."""
    table = _tasks_table(result.tasks, full=True)
    return Report(headline="", facts=(), tables=(table,), warnings=result.warnings, skipped=result.skipped)


def _facts(result: TasksResult) -> Iterator[str]:
    executions = sum(process.executions for process in result.processes)
    growths = [
        process.growth
        for process in result.processes
        if process.growth is not None and not process.process.shared
    ]
    grown = f"; from first to last task they grew {format_size_diff(sum(growths))} in all" if growths else ""
    if grown and any(task.measured == "traced" for task in result.tasks):
        grown += ", what it costs to trace included"
    ran = sum(process.executions > 0 for process in result.processes) or len(result.processes)
    yield f"{count_of(executions, 'execution')} in {count_of(ran, 'process')}{grown}."
    if result.filtered:
        yield f"Counted (times in UTC): {', '.join(result.filtered)}."


def _tasks_table(tasks: Sequence[TaskMemory], *, full: bool) -> Table:
    """List task types; with ``full`` every figure has its column, else those that differ from the common case."""
    cells: dict[str, tuple[Column, list[Any]]] = {
        "verdict": (Column("verdict", "verdict", Kind.TEXT), [task.verdict for task in tasks]),
        "executions": (Column("executions", "executions", Kind.COUNT), [task.executions for task in tasks]),
        "failures": (Column("failures", "failed", Kind.COUNT), [task.failures for task in tasks]),
        "killed": (Column("killed", "killed", Kind.COUNT), [task.killed for task in tasks]),
    }
    kept = [task.kept or (None, None, None) for task in tasks]
    for at, (key, title) in enumerate((("median", "kept each"), ("low", "low"), ("high", "high"))):
        cells[f"kept_{key}"] = (Column(f"kept_{key}", title, Kind.SIZE_DIFF), [sizes[at] for sizes in kept])
    cells["kept_total"] = (
        Column("kept_total", "in all", Kind.SIZE_DIFF),
        [task.kept_total for task in tasks],
    )
    cells["counted"] = (Column("counted", "counted", Kind.COUNT), [task.counted for task in tasks])
    cells["measured"] = (Column("measured", "measured", Kind.TEXT), [task.measured for task in tasks])
    peaks = [task.peak or (None, None, None) for task in tasks]
    for at, (key, title) in enumerate((("median", "peak"), ("p95", "p95"), ("max", "highest"))):
        cells[f"peak_{key}"] = (Column(f"peak_{key}", title, Kind.SIZE), [sizes[at] for sizes in peaks])
    cells["place"] = (Column("place", "task", Kind.TEXT), [task.name for task in tasks])
    if not full:
        cells["peak_max"] = (replace(cells["peak_max"][0], title="peak"), cells["peak_max"][1])
        cells = {key: column for key, column in cells.items() if key not in _DETAILS}
    rows = zip(*(values for _, values in cells.values()))
    return Table(
        tuple(column for column, _ in cells.values()),
        tuple(Line(tuple(row), tuple(_details(task))) for row, task in zip(rows, tasks)),
    )


def _notes(result: TasksResult, shown: Sequence[TaskMemory]) -> Iterator[str]:
    if len(shown) < len(result.tasks):
        yield f"{count_of(len(result.tasks) - len(shown), 'more task type')}."
    kept = [task for task in shown if task.kept]
    how = [words for evidence, words in _KEPT.items() if any(task.measured == evidence for task in kept)]
    if how:
        yield (
            f"Kept each: {'; '.join(how)}. In all: that, for each execution counted. The first executions warm a process up and are not counted. "
            "Peak: the highest RSS, above what was there at the start."
        )


def _details(task: TaskMemory) -> Iterator[Detail]:
    yield Detail(_verdict(task), "task")
    if task.verdict == "keeps" and task.kept is not None:
        low, high = format_size_diff(task.kept.low), format_size_diff(task.kept.high)
        mostly = low if low == high else f"mostly {low} to {high}"
        yield Detail(f"{mostly} each, {_MEASURED[task.measured]}", "note")
    if task.verdict == "spikes" and task.peak is not None:
        median, most = format_size(task.peak.median), format_size(task.peak.p95)
        once = task.executions == 1
        yield Detail("one execution" if once else f"peaks: median {median}, 95 of 100 up to {most}", "note")
    if task.failures:
        yield Detail(f"{format_count(task.failures)} failed", "note")
    if task.killed:
        peak = ", whose peak is not known" if task.verdict == "spikes" else ""
        yield Detail(f"{format_count(task.killed)} killed while running{peak}", "note")


def _verdict(task: TaskMemory) -> str:
    """Say what a task type does; why several cannot be told apart stands in the headline."""
    if not task.executions:
        return "no execution ended"
    if task.suspected is not None and len(task.suspected.tasks) > 1:
        others = [name for name in task.suspected.tasks if name != task.name]
        more = f" and {format_count(len(others) - _OTHERS)} more" if len(others) > _OTHERS else ""
        each = format_size(task.suspected.each)
        return (
            f"cannot tell from {', '.join(others[:_OTHERS])}{more}; if it is this one, {each} per execution"
        )
    if task.why.startswith("uneven") or (task.measured == "" and task.why):
        return f"cannot tell: {task.why}"
    return _VERDICTS[task.verdict] + (f": {task.why}" if task.why else "")


def _running(result: TasksResult, limit: int) -> Iterator[Table]:
    listed = [task for task in result.running if task.ended != _NOT_LISTED]
    if not listed:
        return
    columns = (
        Column("ended", "not ended", Kind.TEXT),
        Column("since", "since", Kind.TIME),
        Column("pid", "pid", Kind.TEXT),
        Column("rss", "RSS then", Kind.SIZE),
        Column("place", "task", Kind.TEXT),
    )
    shown = listed[: limit or None]
    lines = tuple(
        Line(
            (task.ended, task.since, str(task.pid), task.rss, task.task),
            (
                Detail(task.id, "code"),
                Detail(task.ended + (f": {task.proof}" if task.proof else ""), "note"),
            ),
        )
        for task in shown
    )
    more = len(listed) - len(shown)
    yield Table(columns, lines, (f"{count_of(more, 'more task')} did not end.",) if more else ())


def _advice(result: TasksResult) -> Iterator[str]:
    for suspicion, _ in suspicions(result)[:1]:
        yield (
            f"{which(suspicion)}: leakhunt hunt, or two of leakhunt snap and leakhunt diff, name "
            "the lines that keep it; or record while tracing (leakhunt trace, leakhunt run --trace --record)."
        )
    apart = [task for task in result.tasks if task.own_queue]
    for task in apart[:NAMED]:
        what = "keeps memory" if task.verdict == "keeps" else "spikes"
        yield f"{task.name} {what} in processes that run other tasks: give it a queue and workers of its own."
    for task in [task for task in result.tasks if task.recycle_after][:NAMED]:
        yield (
            f"Until {task.name} is mended, worker_max_tasks_per_child = {task.recycle_after} "
            "holds what it keeps under about 100 MiB per process."
        )
    killed = next((task for task in result.running if task.ended == "killed"), None)
    if killed is not None:
        yield _what_killed(killed)


def _what_killed(killed: RunningTask) -> str:
    """Name the command that tells of a kill: on the machine where it happened, no file need be named."""
    since = f" since {format_moment(killed.since)}" if killed.since else ""
    what = f"What killed process {killed.pid} (running {killed.task}{since})"
    if killed.here:
        return f"{what}: leakhunt oom-scan, which reads this machine's own logs."
    return (
        f"{what}: leakhunt oom-scan with these records, the worker's log, and the kernel's of {killed.host or 'its machine'} "
        "(there: journalctl -k -o json > kernel.json)."
    )
