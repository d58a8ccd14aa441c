"""Kills as a report: the answer first, then what repeats, then each kill, newest first."""

from __future__ import annotations

import os.path
from collections import Counter
from collections.abc import Iterator, Sequence

from leakhunt.analysis.incident.counted import counting
from leakhunt.analysis.incident.groups import bursts_of
from leakhunt.analysis.incident.groups import group as group_by_owner
from leakhunt.model.oom import OomKill
from leakhunt.model.record import RunningTask
from leakhunt.model.report import Report
from leakhunt.model.verdict import KillGroup, OomResult, RanTwice
from leakhunt.moments import format_moment
from leakhunt.present import oom_tables as tables
from leakhunt.present import oom_words as words
from leakhunt.units import count_of, format_count

_OUTCOMES = {
    "received": "the log does not show the end of the {} run",
    "succeeded": "the {} run succeeded",
    "failed": "the {} run failed",
    "lost": "the {} run died too",
}
_MOST_SOURCES = 4
_MOST_TASKS = 5
_MOST_KINDS = 6
_LONGEST_NAME = 36


def oom_report(
    result: OomResult,
    *,
    limit: int = 10,
    details: bool = False,
    evidence: bool = False,
    everything: bool = False,
) -> Report:
    """Word what was found.

    Args:
        result: what a scan came to.
        limit: how many kills or storms to list, newest first; 0 lists all.
        details: show the parts of each report.
        evidence: show the lines themselves.
        everything: show what is no kill, too.
    """
    shown = [tables.repeated(result), tables.kills(result, limit, details=details, evidence=evidence)]
    if everything:
        shown.append(tables.not_kills(result, evidence=evidence))
    return Report(
        headline=_headline(result),
        facts=tuple(_facts(result, everything=everything)),
        tables=tuple(shown),
        advice=tuple(_advice(result)),
        warnings=result.warnings,
        skipped=result.skipped,
    )


def kill_report(kill: OomKill) -> Report:
    """Word one kill alone, as it is told while a log is followed."""
    when = f"{format_moment(kill.when)} UTC: " if kill.when is not None else ""
    shown = [detail.text for detail in tables.about(kill, ()) if detail.role not in {"next", "command"}]
    return Report(
        headline=f"{when}{words.sentence(kill)}", facts=tuple(f"  {line}" for line in shown), tables=()
    )


def _headline(result: OomResult) -> str:
    """Answer: how many, when, whose."""
    sure = [kill for kill in result.kills if kill.confidence != "possible"]
    unsure = len(result.kills) - len(sure)
    also = f"{count_of(unsure, 'SIGKILL')} that nothing explains" if unsure else ""
    if not sure and result.unseen and not (result.filtered and result.hidden):
        return (
            f"{count_of(result.unseen, 'OOM kill')} {_where_counted(result)}, but none of their lines "
            f"can be read here{f'; and {also}' if also else ''}."
        )
    if not sure:
        where = count_of(len(result.sources), "source") if result.sources else "what could be read"
        also = f"{also}{_span(result.kills)}" if also else ""
        also = "; and ".join(filter(None, (also, _without_end(result))))
        return f"No OOM kill in {where}{f', but {also}' if also else ''}."
    more = f"; and {also}" if also else ""
    if len(sure) == 1:
        return f"One OOM kill{_span(sure)}: {words.sentence(sure[0])}{words.running(sure[0])}{more}."
    groups = group_by_owner(sure)
    if len(groups) == 1:
        return f"{_of_one(sure, groups[0])}{more}."
    most = ""
    if groups and groups[0].kills > 1:
        most = f", {format_count(groups[0].kills)} of {words.group_name(groups[0])}"
    elif groups:
        last = max(groups, key=_last)
        most, groups = f", each of another owner, the last of {words.group_name(last)}", (last,)
    return f"{count_of(len(sure), 'OOM kill')}{_span(sure)}{most}{_running(groups, sure)}{more}."


def _where_counted(result: OomResult) -> str:
    """Say what counted the kills that no line tells of."""
    most = max(counting(result.counters), key=lambda counter: counter.value, default=None)
    if most is None or most.scope == "host":
        return "since boot by the kernel's count"
    where = f"of {most.scope}" if most.scope else f"in {os.path.basename(most.source)}"
    return f"by the kernel's count {where}"


def _without_end(result: OomResult) -> str:
    """Say what was running in processes that are gone, and that no kill accounts for."""
    gone = [task for task in result.unended if task.ended == "killed"]
    if len(gone) == 1:
        return f"{gone[0].task} was running when its process {gone[0].pid} ended without a word"
    return (
        f"{format_count(len(gone))} tasks were running when their processes ended without a word"
        if gone
        else ""
    )


def _last(group: KillGroup) -> tuple[bool, float]:
    """Return what sorts groups by their last kill."""
    return group.last is not None, group.last.timestamp() if group.last is not None else 0.0


def _of_one(kills: Sequence[OomKill], group: KillGroup) -> str:
    """Say of kills that all have one owner how they happened."""
    whose = words.group_name(group)
    if len(bursts_of(kills)) == 1:
        together = "as a whole" if kills[0].group else "at once"
        tasks = next((kill for kill in kills if kill.task is not None), None)
        return f"{count_of(len(kills), 'process')} of {whose} OOM-killed {together}{_span(kills)}{words.running(tasks)}"
    every = f", {words.rhythm(group)}" if group.interval_s is not None else ""
    return f"{count_of(len(kills), 'OOM kill')} of {whose}{_span(kills)}{every}{_running([group], kills)}"


def _running(groups: Sequence[KillGroup], kills: Sequence[OomKill]) -> str:
    """Name the tasks that were running most often; ``possibly`` where no kill of theirs is surely one of them."""
    tasks: Counter[str] = Counter()
    for group in groups:
        tasks.update(dict(group.tasks))
    names = [name for name, _ in tasks.most_common(2)]
    more = f" and {format_count(len(tasks) - 2)} more" if len(tasks) > 2 else ""
    members = [kills[at] for group in groups for at in group.members]
    sure = any(
        kill.task is not None and kill.task.name in names and not words.doubtful(kill) for kill in members
    )
    run = "running" if sure else "possibly running"
    return f", {run} {' and '.join(names) if not more else ', '.join(names)}{more}" if names else ""


def _span(kills: Sequence[OomKill]) -> str:
    """Say from when to when."""
    times = [kill.when for kill in kills if kill.when is not None]
    if not times:
        return ""
    first, last = min(times), max(times)
    if format_moment(first) == format_moment(last):
        return f" at {format_moment(first)} UTC"
    shown = format_moment(last)
    if first.date() == last.date():
        shown = shown.partition(" ")[2]
    return f" from {format_moment(first)} to {shown} UTC"


def _facts(result: OomResult, *, everything: bool) -> Iterator[str]:
    if result.sources:
        names = [_short(os.path.basename(source.source)) for source in result.sources[:_MOST_SOURCES]]
        more = len(result.sources) - len(names)
        read = f"{', '.join(names)}{f' and {format_count(more)} more' if more else ''}"
        yield f"Read {read}: {count_of(sum(source.lines for source in result.sources), 'line')}."
    used = [f"{source.name} ({source.why})" for source in result.live if source.used]
    if used:
        yield f"Looked at {', '.join(used)}."
    yield from (f"Not readable: {source.name}: {source.why}." for source in result.live if not source.used)
    if result.filtered:
        hidden = f"; {count_of(result.hidden, 'kill')} left out" if result.hidden else ""
        yield f"Shown (times in UTC): {', '.join(result.filtered)}{hidden}."
    if result.incomplete:
        reports = count_of(len(result.incomplete), "report")
        whom = _victims(result)
        yield f"{reports} without a kill line{whom}: the log is cut there, or nobody was killed."
    lost = sum(loss.count or 1 for loss in result.losses)
    if lost:
        yield f"The logs say that {count_of(lost, 'line')} of theirs are lost: there may have been more kills."
    if result.not_kills and not everything:
        kinds = Counter(one.kind for one in result.not_kills)
        shown = [
            f"{format_count(count)} {words.kind_of(kind)}" for kind, count in kinds.most_common(_MOST_KINDS)
        ]
        left = len(kinds) - len(shown)
        named = ", ".join([*shown, *([f"{format_count(left)} more kinds"] if left else [])])
        yield f"Not OOM kills ({named}): listed with --all."


def _victims(result: OomResult) -> str:
    """Name those who were to be killed by reports without a kill line."""
    victims = dict.fromkeys(one.victim for one in result.incomplete if one.victim is not None)
    named = [f"{victim.comm} (pid {victim.pid})" for victim in victims]
    more = f" and {format_count(len(named) - _MOST_TASKS)} more" if len(named) > _MOST_TASKS else ""
    return f", naming {', '.join(named[:_MOST_TASKS])}{more}" if named else ""


def _advice(result: OomResult) -> Iterator[str]:
    for lost in result.unended[:_MOST_TASKS]:
        yield f"Without an end in its flight record: {_unended(lost, result.paths)}"
    left = len(result.unended) - _MOST_TASKS
    if left > 0:
        yield f"{count_of(left, 'further task')} without an end: --format json names them."
    for task in result.twice[:_MOST_TASKS]:
        yield f"{_begun_again(task)} Check what it had done before its worker died."
    more = len(result.twice) - _MOST_TASKS
    if more > 0:
        yield f"{count_of(more, 'further task')} probably ran twice: --format json names them."


def _begun_again(task: RanTwice) -> str:
    """Say how often a task ran, since when, and what became of it."""
    again = f" at {format_moment(task.again)}" if task.again else ""
    what = f"{task.name or 'task'}[{task.id}], begun again{again}"
    if task.runs == 2:
        return f"Probably ran twice: {what}; {_OUTCOMES[task.outcome].format('second')}."
    often = (
        f"{'Probably ran' if task.outcome == 'received' else 'Ran'} at least {format_count(task.runs)} times"
    )
    last = f", last at {format_moment(task.last)}" if task.last else ""
    return f"{often}: {what}{last}; {_OUTCOMES[task.outcome].format('last')}."


def _unended(task: RunningTask, paths: Sequence[str]) -> str:
    """Name a task without an end, and where to look for what killed its process."""
    since = f" since {format_moment(task.since)}" if task.since else ""
    proof = f" ({task.proof})" if task.proof else ""
    what = f"{task.task}[{task.id}] in process {task.pid}{since}{proof}."
    if task.ended != "killed":
        return f"{what} Whether it still runs cannot be told from here."
    if task.here and paths:
        return (
            f"{what} What killed it: leakhunt oom-scan, which reads the logs of this machine, where it ran."
        )
    if task.here:
        return f"{what} No log of this machine that can be read says what killed it; a plain kill -9 leaves no trace."
    return (
        f"{what} What killed it: name the worker's log, too, and the kernel's of {task.host or 'its machine'} "
        "(there: journalctl -k -o json > kernel.json)."
    )


def _short(name: str) -> str:
    """Cut the middle out of a name that fills a line, such as a container's id."""
    return (
        name
        if len(name) <= _LONGEST_NAME
        else f"{name[: _LONGEST_NAME // 2]}...{name[-_LONGEST_NAME // 2 :]}"
    )
