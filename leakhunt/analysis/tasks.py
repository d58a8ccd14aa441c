"""What each task type does to memory, from the records of the processes that ran it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone

from leakhunt.analysis.culprits import FITTED, Judgement, judge_all
from leakhunt.analysis.endings import ENDED, UNRECORDED, endings, unended
from leakhunt.analysis.incident.choose import Choice
from leakhunt.analysis.keeping import Keeping, quantile
from leakhunt.model.columns import UNKNOWN
from leakhunt.model.record import (
    Alive,
    Life,
    Peak,
    ProcessSummary,
    Records,
    RunningTask,
    TaskMemory,
    TasksResult,
)
from leakhunt.units import count_of

RECYCLE_AT = 100 << 20
_CAUTION = 3  # times from the median to the upper quartile: two standard errors
_DIGITS = 2  # that are worth telling
_FAILURE = "FAILURE"
_LEAST_SPIKE, _SURE_SPIKE = 16 << 20, 256 << 20
_SPIKE_OF_RSS, _SPIKE_OF_LIMIT = 2, 5  # a half, a fifth
_NOTHING = Judgement(Keeping("too few", "", None, None), "", 0, None)
_ORDER = {"keeps": 0, "spikes": 2, "too few": 3, "clean": 3}
_SUSPECTED = 1
_AT_ONCE = "its processes ran several tasks at once"


class _Task:
    """One task type while it is counted."""

    def __init__(self) -> None:
        self.executions = self.failures = self.killed = 0
        self.shared = 0  # of the executions, those beside which others ran in the same process
        self.peaks: list[int] = []  # above the start
        self.spiking = False
        self.queues: set[str] = set()
        self.beside: set[str] = set()  # others that its processes ran


def analyse(records: Records, alive: Alive | None, choice: Choice | None = None) -> TasksResult:
    """Tell what each task type keeps and needs, what was running at the end, and which belong on their own queue.

    Args:
        records: what was read.
        alive: who runs on this machine; None where that is not asked or not known.
        choice: from when to when processes must have lived to be told of; the records are read for the same time.
    """
    choice = choice or Choice()
    became = endings(records.lives, alive)
    tasks: dict[str, _Task] = defaultdict(_Task)
    running: list[RunningTask] = []
    lives = [life for life in records.lives if _within(life, became[life.process.key][0], choice)]
    for life in lives:
        _count(life, records.tasks, tasks)
        for task in unended(life, became[life.process.key], alive):
            tasks[task.task].killed += task.ended == "killed"
            running.append(task)
    judged = judge_all([life.executions for life in lives if not life.process.shared], records.tasks)
    by_name = {records.tasks[number]: judgement for number, judgement in judged.items()}
    found = [_result(name, task, by_name.get(name, _NOTHING)) for name, task in tasks.items()]
    trouble = {task.name for task in found if task.verdict in {"keeps", "spikes"}}
    return TasksResult(
        tasks=tuple(sorted((_placed(task, tasks, trouble) for task in found), key=_rank)),
        running=tuple(
            sorted(running, key=lambda one: (ENDED.index(one.ended), one.since is None, one.since))
        ),
        processes=tuple(_summary(life, became[life.process.key][0]) for life in lives),
        filtered=choice.words,
        warnings=(*records.warnings, *_warnings(lives, running)),
        skipped=records.skipped,
    )


def _within(life: Life, ended: str, choice: Choice) -> bool:
    """Tell whether a process lived at any time that is asked for: from its first line to its last, or to now."""
    began, last = life.process.began, _utc(life.last) if life.last else None
    lasted = ended == "running" or Choice(since=choice.since).takes_time(last or began)
    return lasted and Choice(until=choice.until).takes_time(began)


def _count(life: Life, names: Sequence[str], tasks: dict[str, _Task]) -> None:
    """Count one process's executions."""
    begun = (*life.running.values(), *life.unrecorded.values())
    ran = {task for task, _ in life.finished} | {one.task for one in begun}
    for name in ran:
        tasks[name].queues |= life.queues.get(name, set())
        tasks[name].beside |= ran - {name}
    for (name, state), count in life.finished.items():
        tasks[name].executions += count
        tasks[name].shared += count * life.process.shared
        tasks[name].failures += count * (state == _FAILURE)
    if not life.process.shared:
        _count_peaks(life, names, tasks)


def _count_peaks(life: Life, names: Sequence[str], tasks: dict[str, _Task]) -> None:
    """Count peaks above the start; the first execution of a task in a process may be loading modules."""
    columns, limit = life.executions, life.process.limit
    first: dict[int, tuple[int, int]] = {}
    warm: set[int] = set()
    for number, before, peak in zip(columns.task, columns.before, columns.peak):
        if UNKNOWN in (before, peak):
            continue
        if number not in first:
            first[number] = (before, peak)
            continue
        warm.add(number)
        _add_peak(tasks[names[number]], before, peak, limit)
    for number in first.keys() - warm:
        _add_peak(tasks[names[number]], *first[number], limit)


def _add_peak(task: _Task, before: int, peak: int, limit: int | None) -> None:
    above = max(0, peak - before)
    least = min(_SURE_SPIKE, max(_LEAST_SPIKE, before // _SPIKE_OF_RSS))
    if limit:
        least = min(least, max(_LEAST_SPIKE, limit // _SPIKE_OF_LIMIT))
    task.spiking = task.spiking or above >= least
    task.peaks.append(above)


def _result(name: str, task: _Task, judgement: Judgement) -> TaskMemory:
    keeping, suspected = judgement.keeping, judgement.suspected
    verdict = "spikes" if keeping.verdict != "keeps" and task.spiking else keeping.verdict
    told = task.executions and (verdict == keeping.verdict or suspected is not None)
    return TaskMemory(
        name=name,
        executions=task.executions,
        failures=task.failures,
        killed=task.killed,
        counted=judgement.counted,
        measured=judgement.measured,
        kept=keeping.spread,
        kept_total=keeping.total,
        warm_up=judgement.warm_up,
        peak=_peak(task.peaks),
        verdict=verdict,
        why=_AT_ONCE if task.executions and task.executions == task.shared else keeping.why if told else "",
        suspected=suspected,
        queues=tuple(sorted(task.queues)),
        recycle_after=_recycle_after(judgement) if verdict == "keeps" else None,
    )


def _recycle_after(judgement: Judgement) -> int | None:
    """Return after how many executions a process should be replaced: by the cautious side of what is kept, and rounded down.

    What is fitted reads low where growth shows long after the execution that it belongs to.
    """
    spread = judgement.keeping.spread
    if spread is None or spread.high <= 0:
        return None
    kept = max(spread.high, judgement.keeping.average)
    if judgement.measured == FITTED:
        kept = max(kept, spread.median + _CAUTION * (spread.high - spread.median))
    after = max(1, RECYCLE_AT // kept)
    rounded: int = 10 ** max(0, len(str(after)) - _DIGITS)
    return after // rounded * rounded


def _placed(task: TaskMemory, tasks: dict[str, _Task], trouble: set[str]) -> TaskMemory:
    """Say whether a task belongs on its own queue: it keeps or spikes, and peaceful ones run beside it."""
    return replace(task, own_queue=task.name in trouble and bool(tasks[task.name].beside - trouble))


def _rank(task: TaskMemory) -> tuple[int, int, int, int, str]:
    """Put what keeps most first, then what may keep, then what spikes highest, what was killed, and what ran most."""
    order = _ORDER[task.verdict]
    if task.suspected is not None:
        return _SUSPECTED, -task.suspected.total, -task.killed, -task.executions, task.name
    size = task.kept_total if task.verdict == "keeps" else task.peak.max if task.peak else 0
    weight = size or 0 if order < _ORDER["clean"] else 0
    return order, -weight, -task.killed, -task.executions, task.name


def _peak(above: list[int]) -> Peak | None:
    if not above:
        return None
    above.sort()
    return Peak(quantile(above, 0.5), quantile(above, 0.95), above[-1])


def _summary(life: Life, ended: str) -> ProcessSummary:
    columns = life.executions
    first = next((size for size in columns.before if size != UNKNOWN), None)
    last = next((size for size in reversed(columns.after) if size != UNKNOWN), None)
    return ProcessSummary(
        life.process,
        ended,
        life.exit_code,
        _utc(life.last) if life.last else None,
        len(columns),
        None if first is None or last is None else last - first,
        life.lost,
    )


def _warnings(lives: Sequence[Life], running: Sequence[RunningTask]) -> Iterator[str]:
    """Say what limits the result."""
    shared = sum(life.process.shared for life in lives)
    if shared:
        yield (
            f"{count_of(shared, 'process')} of {len(lives):,} ran several tasks at once: that memory is no single task's, "
            "so only executions are counted there"
        )
    unmatched = sum(count for life in lives for count in life.unmatched.values())
    if unmatched:
        yield f"the beginning of {count_of(unmatched, 'execution')} is not in the records (rotated, or lost): memory unknown"
    unrecorded = sum(task.ended == UNRECORDED for task in running)
    if unrecorded:
        yield f"the end of {count_of(unrecorded, 'execution')} is not in the records (lost: the disk was full, for instance): their processes ran others later"
    lost = sum(life.lost for life in lives)
    if lost:
        yield f"{count_of(lost, 'line')} could not be written when due, because the disk was full for instance"
    unknown = sum(task.ended == "unknown" for task in running)
    if unknown:
        yield f"whether the process of {count_of(unknown, 'task')} that did not end still runs cannot be told from here"


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
