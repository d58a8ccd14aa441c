"""What task types do to memory, as a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from leakhunt.model.record import Suspicion, TaskMemory, TasksResult
from leakhunt.model.report import Column, Detail, Kind, Line, Report, Table
from leakhunt.moments import format_moment
from leakhunt.units import count_of, format_count, format_size, format_size_diff

_VERDICTS = {"keeps": "keeps memory", "spikes": "spikes", "clean": "clean", "too few": "too few to tell"}
_DETAILS = frozenset(
    {"failures", "killed", "kept_low", "kept_high", "counted", "measured", "peak_median", "peak_p95"}
)
_NAMED = 2  # of each verdict in the headline
_SUSPECTS = 3  # of which one keeps memory
_RAN = {
    "in turns": "they always ran in turns, which RSS cannot tell apart",
    "in step": "they always ran in step, which RSS cannot tell apart",
    "alike": "they ran in much the same mix all the time, which RSS cannot tell apart",
    "too few": "too few executions to tell them apart",
}
_KEPT = {
    "traced": "what tracemalloc knew of after less before, the median of groups of executions (exact, Python's memory alone)",
    "rss fitted to executions": "the growth of RSS, fitted to how often each task ran (low where memory shows late)",
    "rss": "RSS after less RSS before, the median of groups of executions",
}
_MEASURED = {"traced": "as traced", "rss fitted to executions": "by RSS", "rss": "by RSS"}


def tasks_report(result: TasksResult, *, limit: int = 0) -> Report:
    """Word the result: the headline names what keeps memory, what spikes, and what was killed.

    Args:
        result: what :func:`leakhunt.tasks` returned.
        limit: so many rows are listed; 0 lists all.
    """
    shown = result.tasks[: limit or None]
    return Report(
        headline=_headline(result),
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


def _headline(result: TasksResult) -> str:
    keeps = [task for task in result.tasks if task.verdict == "keeps"]
    spikes = [task for task in result.tasks if task.verdict == "spikes"]
    said = [
        f"{task.name} keeps {_about(task)}{format_size(_mean(task))} per execution "
        f"({format_size(task.kept_total or 0)} over {_measured(task)})"
        for task in keeps[:_NAMED]
    ]
    said += (
        [f"{count_of(len(keeps) - _NAMED, 'task type')} more that keep memory"] if len(keeps) > _NAMED else []
    )
    said += [_suspicion(one) for one in _suspicions(result)[:1]]
    said += [
        f"{task.name} spikes to {format_size(task.peak.max)} above its start"
        for task in spikes[:_NAMED]
        if task.peak
    ]
    said += _more(len(spikes) - _NAMED, "spike")
    killed = [task for task in result.running if task.ended == "killed"]
    if killed:
        names = sorted({task.task for task in killed})
        said.append(
            f"{names[0]} was killed while running"
            + (f", {count_of(len(killed), 'time')}" if len(killed) > 1 else "")
            if len(names) == 1
            else f"{count_of(len(killed), 'task')} were killed while running"
        )
    if not said:
        executions = sum(task.executions for task in result.tasks)
        few = all(task.verdict == "too few" for task in result.tasks)
        counted = f"{count_of(executions, 'execution')} of {count_of(len(result.tasks), 'task type')}"
        if not executions:
            where = count_of(len(result.processes), "process") if result.processes else "any process"
            return f"No execution ended in {where}."
        return (
            f"Too few executions to tell: {counted}."
            if few
            else f"No task type keeps memory or spikes: {counted}."
        )
    return f"{'; '.join(said)}."


def _suspicions(result: TasksResult) -> list[tuple[Suspicion, list[TaskMemory]]]:
    """Return the groups of task types of which some keep memory, and nobody can say which."""
    groups: dict[tuple[str, ...], tuple[Suspicion, list[TaskMemory]]] = {}
    for task in result.tasks:
        if task.suspected is not None:
            groups.setdefault(task.suspected.tasks, (task.suspected, []))[1].append(task)
    return list(groups.values())


def _suspicion(group: tuple[Suspicion, list[TaskMemory]]) -> str:
    """Word a suspicion: no name comes without the others."""
    suspicion, tasks = group
    sizes = sorted({format_size(task.suspected.each) for task in tasks if task.suspected is not None})
    each = f"{sizes[0]} per execution" if len(sizes) == 1 else "memory"
    measured = _of(suspicion.executions, sum(task.executions for task in tasks))
    counted = f"{format_size(suspicion.total)} over {measured}"
    if len(suspicion.tasks) == 1:
        return f"{suspicion.tasks[0]} may keep {each} (too few executions to be sure: {counted})"
    return f"{_either(suspicion.tasks)} keeps {each} ({_RAN[suspicion.ran]}: {counted})"


def _either(names: Sequence[str], word: str = "or") -> str:
    """Name a few of several."""
    shown = [*names[:_SUSPECTS], *_more_names(len(names) - _SUSPECTS)]
    return f"{', '.join(shown[:-1])} {word} {shown[-1]}" if len(shown) > 1 else shown[0]


def _more_names(number: int) -> list[str]:
    return [f"{count_of(number, 'other')}"] if number > 0 else []


def _more(number: int, what: str) -> list[str]:
    """Say of how many further task types the same is true."""
    verb, _, rest = what.partition(" ")
    said = f"{count_of(number, 'more task type')} {verb}{'s' * (number == 1)}"
    return [f"{said} {rest}".rstrip()] if number > 0 else []


def _about(task: TaskMemory) -> str:
    """Say that a size is no exact one: only what is traced is."""
    return "" if task.measured == "traced" else "about "


def _mean(task: TaskMemory) -> int:
    """Return what an execution keeps on average: the median of groups may be 0 where memory is taken in large steps."""
    if task.kept is not None and task.kept.median > 0:
        return task.kept.median
    return (task.kept_total or 0) // max(1, task.counted)


def _measured(task: TaskMemory) -> str:
    """Say how many executions the figures are of, where these are not all."""
    return _of(task.counted, task.executions)


def _of(counted: int, executions: int) -> str:
    if counted == executions:
        return count_of(counted, "execution")
    return f"{format_count(counted)} of {count_of(executions, 'execution')}"


def _facts(result: TasksResult) -> Iterator[str]:
    executions = sum(process.executions for process in result.processes)
    growths = [
        process.growth
        for process in result.processes
        if process.growth is not None and not process.process.shared
    ]
    grown = f"; from first to last task they grew {format_size_diff(sum(growths))} in all" if growths else ""
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
            f"Kept: {'; '.join(how)}. The first executions warm a process up and are not counted. "
            "Peak: the highest RSS, above what was there at the start."
        )


def _details(task: TaskMemory) -> Iterator[Detail]:
    verdict = _VERDICTS[task.verdict] if task.executions else "no execution ended"
    yield Detail(verdict + (f": {task.why}" if task.why else ""), "task")
    if task.verdict == "keeps" and task.kept is not None:
        low, high = format_size_diff(task.kept.low), format_size_diff(task.kept.high)
        mostly = low if low == high else f"mostly {low} to {high}"
        yield Detail(f"{mostly} each, {_MEASURED[task.measured]}", "note")
    if task.verdict == "spikes" and task.peak is not None:
        median, most = format_size(task.peak.median), format_size(task.peak.p95)
        yield Detail(f"peaks: median {median}, 95 of 100 up to {most}", "note")
    if task.failures:
        yield Detail(f"{format_count(task.failures)} failed", "note")
    if task.killed:
        yield Detail(f"{format_count(task.killed)} killed while running", "note")


def _running(result: TasksResult, limit: int) -> Iterator[Table]:
    if not result.running:
        return
    columns = (
        Column("ended", "not ended", Kind.TEXT),
        Column("since", "since", Kind.TIME),
        Column("pid", "pid", Kind.TEXT),
        Column("rss", "RSS then", Kind.SIZE),
        Column("place", "task", Kind.TEXT),
    )
    shown = result.running[: limit or None]
    lines = tuple(
        Line(
            (task.ended, task.since, str(task.pid), task.rss, f"{task.task}[{task.id}]"),
            (Detail(task.ended + (f": {task.proof}" if task.proof else ""), "note"),),
        )
        for task in shown
    )
    more = len(result.running) - len(shown)
    yield Table(columns, lines, (f"{count_of(more, 'more task')} did not end.",) if more else ())


def _advice(result: TasksResult) -> Iterator[str]:
    for suspicion, _ in _suspicions(result)[:1]:
        which = (
            f"Which of {_either(suspicion.tasks, 'and')} it is" if len(suspicion.tasks) > 1 else "To be sure"
        )
        yield (
            f"{which}: leakhunt hunt, or two of leakhunt snap and leakhunt diff, name "
            "the lines that keep it; or record while tracing (leakhunt trace, leakhunt run --trace --record)."
        )
    apart = [task for task in result.tasks if task.own_queue]
    for task in apart[:_NAMED]:
        what = "keeps memory" if task.verdict == "keeps" else "spikes"
        yield f"{task.name} {what} in processes that run other tasks: give it a queue and workers of its own."
    for task in [task for task in result.tasks if task.recycle_after][:_NAMED]:
        yield (
            f"Until {task.name} is mended, worker_max_tasks_per_child = {task.recycle_after} "
            "holds what it keeps under about 100 MiB per process."
        )
    killed = next((task for task in result.running if task.ended == "killed"), None)
    if killed is not None:
        since = f" since {format_moment(killed.since)}" if killed.since else ""
        yield f"What killed process {killed.pid} (running {killed.task}{since}): leakhunt oom-scan with these records and the logs."
