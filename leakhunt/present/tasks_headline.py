"""What task types do to memory, in the first sentence: what was killed, what keeps memory, and what spikes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from leakhunt.model.record import Suspicion, TaskMemory, TasksResult
from leakhunt.units import count_of, format_count, format_size

NAMED = 2  # of each verdict
_SUSPECTS = 4  # of which one keeps memory
_RAN = {
    "in turns": "they always ran in turns, which RSS cannot tell apart",
    "in step": "they always ran in step, which RSS cannot tell apart",
    "alike": "they ran in much the same mix all the time, which RSS cannot tell apart",
    "too few": "too few executions to tell them apart",
}


def headline(result: TasksResult) -> str:
    """Answer: what was killed, what keeps memory, what spikes, or that nothing does or can be told."""
    said = [*_killed(result), *_keeping(result), *_spiking(result)]
    if said:
        return f"{'; '.join(said)}."
    executions = sum(task.executions for task in result.tasks)
    counted = f"{count_of(executions, 'execution')} of {count_of(len(result.tasks), 'task type')}"
    ran = [process.process.shared for process in result.processes if process.executions]
    if not executions:
        where = count_of(len(result.processes), "process") if result.processes else "any process"
        return f"No execution ended in {where}."
    if ran and all(ran):
        several = "1 process ran" if len(ran) == 1 else f"{format_count(len(ran))} processes ran"
        return (
            f"Cannot tell of {counted}: {several} several tasks at once (threads, or coroutines), and that memory is no "
            "single task's; leakhunt hunt names the lines that keep it."
        )
    if all(task.verdict == "too few" for task in result.tasks):
        uneven = any(task.why for task in result.tasks)
        return f"{'Cannot tell yet' if uneven else 'Too few executions to tell'}: {counted}."
    return f"No task type keeps memory or spikes: {counted}."


def _killed(result: TasksResult) -> Iterator[str]:
    killed = [task for task in result.running if task.ended == "killed"]
    names = sorted({task.task for task in killed})
    if len(names) == 1:
        times = f", {count_of(len(killed), 'time')}" if len(killed) > 1 else ""
        yield f"{names[0]} was killed while running{times}"
    elif killed:
        yield f"{count_of(len(killed), 'task')} were killed while running ({_listed(names, 'and')})"


def _keeping(result: TasksResult) -> Iterator[str]:
    keeps = [task for task in result.tasks if task.verdict == "keeps"]
    for task in keeps[:NAMED]:
        each = f"{_about(task)}{format_size(task.kept.median if task.kept else 0)} per execution"
        measured = _of(task.counted, task.executions)
        yield f"{task.name} keeps {each} ({format_size(task.kept_total or 0)} over {measured})"
    if len(keeps) > NAMED:
        yield f"{count_of(len(keeps) - NAMED, 'task type')} more that keep memory"
    for one in suspicions(result)[:1]:
        yield _suspicion(one)


def _spiking(result: TasksResult) -> Iterator[str]:
    spikes = [task for task in result.tasks if task.verdict == "spikes"]
    for task in spikes[:NAMED]:
        if task.peak:
            yield f"{task.name} spikes to {format_size(task.peak.max)} above its start"
    more = len(spikes) - NAMED
    if more > 0:
        yield f"{count_of(more, 'more task type')} spike{'s' * (more == 1)}"


def suspicions(result: TasksResult) -> list[tuple[Suspicion, list[TaskMemory]]]:
    """Return the groups of task types of which some keep memory, and nobody can say which."""
    groups: dict[tuple[str, ...], tuple[Suspicion, list[TaskMemory]]] = {}
    for task in result.tasks:
        if task.suspected is not None:
            groups.setdefault(task.suspected.tasks, (task.suspected, []))[1].append(task)
    return list(groups.values())


def which(suspicion: Suspicion) -> str:
    """Ask which of the suspected ones it is."""
    if len(suspicion.tasks) == 1:
        return "To be sure"
    if len(suspicion.tasks) > _SUSPECTS:
        return f"Which of these {format_count(len(suspicion.tasks))} it is"
    return f"Which of {_listed(suspicion.tasks, 'and')} it is"


def _suspicion(group: tuple[Suspicion, list[TaskMemory]]) -> str:
    """Word a suspicion: no name comes without the others."""
    suspicion, tasks = group
    sizes = sorted({format_size(task.suspected.each) for task in tasks if task.suspected is not None})
    each = f"{sizes[0]} per execution" if len(sizes) == 1 else "memory"
    executions = sum(task.executions for task in tasks)
    counted = f"{format_size(suspicion.total)} over {_of(suspicion.executions, executions)}"
    if len(suspicion.tasks) == 1:
        return f"{suspicion.tasks[0]} may keep {each} (too few executions to be sure: {counted})"
    names = suspicion.tasks
    one = f"one of {format_count(len(names))} task types" if len(names) > _SUSPECTS else _listed(names, "or")
    return f"{one} keeps {each} ({_RAN[suspicion.ran]}: {counted})"


def _listed(names: Sequence[str], word: str) -> str:
    """Name a few, and how many there are beyond."""
    shown = list(names[:_SUSPECTS])
    if len(names) > _SUSPECTS:
        shown.append(f"{format_count(len(names) - _SUSPECTS)} more")
    return f"{', '.join(shown[:-1])} {word} {shown[-1]}" if len(shown) > 1 else shown[0]


def _about(task: TaskMemory) -> str:
    """Say that a size is no exact one: only what is traced is."""
    return "" if task.measured == "traced" else "about "


def _of(counted: int, executions: int) -> str:
    """Say how many executions the figures are of, where these are not all."""
    if counted == executions:
        return count_of(counted, "execution")
    return f"{format_count(counted)} of {count_of(executions, 'execution')}"
