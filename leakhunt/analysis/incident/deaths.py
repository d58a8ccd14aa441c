"""Which killed process was which worker child, and what it was running."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from leakhunt.analysis.incident.pairs import KILLED, PROMPT_S, UNKNOWN, WINDOW_S, Pair, pairs_of
from leakhunt.analysis.incident.places import filled, in_container
from leakhunt.analysis.incident.zones import zone_hint
from leakhunt.model.incident import WorkerDeath
from leakhunt.model.oom import Candidate, LostTask, NotAKill, OomKill, Process, WorkerRef

_MOST_EVIDENCE = 80
_SURE = frozenset({"accepted", "child", "named"})
_TEXTS = {
    "time-limit": "killed by its main process for running longer than its hard time limit",
    "timeout": "killed by its main process because it did not answer in time",
    "recycled": "replaced on purpose after its share of tasks or memory",
    "terminated": "ended because it was asked to",
    "signal": "ended by another signal or an exit code",
    "vanished": "stopped in mid-sentence and was started again; no kill of it is known",
}


def join_deaths(
    kills: Sequence[OomKill], deaths: Sequence[WorkerDeath], *, window_s: float = WINDOW_S
) -> tuple[tuple[OomKill, ...], tuple[NotAKill, ...], tuple[str, ...]]:
    """Tie kills to the worker processes that died by them.

    Args:
        kills: those that logs of the kernel, of supervisors and runtimes tell of.
        deaths: what workers' logs tell.
        window_s: how many seconds after a kill a worker may tell of it.

    Returns:
        The kills with their workers and tasks, and behind them SIGKILLs that nothing but a worker's log tells of; the
        deaths that are no kills for want of memory; and warnings.
    """
    found = list(kills)
    joined: set[int] = set()
    taken: set[int] = set()
    pairs = list(pairs_of(found, deaths, window_s))
    told = {(_whole(found, pair.kill), pair.death) for pair in pairs if not pair.silent} or {
        (_whole(found, pair.kill), pair.death) for pair in pairs
    }
    rivals = Counter(kill for kill, _ in told)
    choices = Counter(death for _, death in told)
    # A line that tells of the very child says more than the silence of the whole worker.
    for pair in sorted(pairs, key=lambda pair: (pair.silent, -pair.score, pair.distance)):
        if pair.kill in taken or pair.death in joined:
            continue
        alone = rivals[_whole(found, pair.kill)] <= 1 and choices[pair.death] <= 1
        joined.add(pair.death)
        for at in _together(found, pair.kill, deaths[pair.death]):
            if at not in taken:
                taken.add(at)
                found[at] = _with(found[at], deaths[pair.death], pair, alone=alone)
    left = [death for at, death in enumerate(deaths) if at not in joined]
    found += [_kill_of(death) for death in left if death.cause in KILLED]
    not_kills = tuple(
        _no_kill(death)
        for death in left
        if death.cause not in KILLED and not (death.cause == "vanished" and death.until is None)
    )
    return tuple(found), not_kills, tuple(zone_hint(kills, left, window_s))


def _whole(kills: Sequence[OomKill], at: int) -> tuple[object, ...]:
    """Return what a kill is a part of: the group that was killed as a whole, or nothing but itself."""
    kill = kills[at]
    if kill.group is None:
        return (at,)
    return kill.group, kill.episode, kill.evidence[0].source if kill.evidence else ""


def _together(kills: Sequence[OomKill], at: int, death: WorkerDeath) -> list[int]:
    """Return the kills that a death stands for: all of a group, where the worker died as a whole."""
    if death.cause != "vanished":
        return [at]
    whole = _whole(kills, at)
    return [at, *(other for other in range(len(kills)) if other != at and _whole(kills, other) == whole)]


def _with(kill: OomKill, death: WorkerDeath, pair: Pair, *, alone: bool) -> OomKill:
    """Add to a kill which worker it was and what that was running."""
    timed = pair.distance != UNKNOWN
    if timed and (pair.same_pid or (pair.same_place and alone)):
        confidence = "certain"
    elif pair.same_pid or pair.same_place or (alone and pair.distance <= PROMPT_S):
        confidence = "likely"
    else:
        confidence = "possible"
    whole = death.cause == "vanished"
    notes = kill.notes
    if death.busy is False:
        notes = (*notes, "that child was running no task")
    if whole:
        notes = (*notes, "the main process died too, so no line of the worker's tells of it")
    return replace(
        kill,
        worker=_worker(death, confidence, pair.matched),
        task=_task(death),
        place=filled(kill.place, death.place),
        notes=notes,
        confidence="probable" if kill.confidence == "possible" and death.cause == "oom" else kill.confidence,
        evidence=(*kill.evidence, *death.evidence, *(task.evidence for task in death.tasks[:3]))[
            :_MOST_EVIDENCE
        ],
    )


def _worker(death: WorkerDeath, confidence: str, matched: tuple[str, ...]) -> WorkerRef:
    queues = [task.queue for task in death.tasks if task.queue]
    return WorkerRef(
        name=death.name,
        pid=death.pid,
        queue=queues[0] if queues else None,
        program=death.program,
        node=death.place.node,
        whole=death.cause == "vanished",
        confidence=confidence,
        matched=matched,
    )


def _task(death: WorkerDeath) -> LostTask | None:
    """Say which task was lost: one, where that can be said, and else those that it may have been."""
    tasks = death.tasks
    if not tasks:
        return None
    first = tasks[0]
    candidates = tuple(Candidate(task.name, task.id, task.how) for task in tasks) if len(tasks) > 1 else ()
    if death.cause == "vanished" and len(tasks) > 1:  # none was spared
        return LostTask(None, None, "all", candidates, death.tasks_omitted)
    if first.how == "job":
        return LostTask(first.name, first.id, first.how, candidates, death.tasks_omitted)
    if first.how in _SURE or (len(tasks) == 1 and not death.tasks_omitted):
        return LostTask(first.name, first.id, first.how if first.how in _SURE else "only")
    names = {task.name for task in tasks}
    name = names.pop() if len(names) == 1 and not death.tasks_omitted else None
    return LostTask(name, None, "received", candidates, death.tasks_omitted)


def _kill_of(death: WorkerDeath) -> OomKill:
    """Make a kill of a death that only the worker tells of: a SIGKILL is no proof, so it is possible at most."""
    told = death.cause == "oom"
    return OomKill(
        pid=death.pid,
        comm=None,
        when=death.when,
        uncertainty_s=death.uncertainty_s,
        host=None if in_container(death.place) else death.place.host,
        confidence="probable" if told else "possible",
        killer="unknown",
        place=death.place,
        worker=_worker(death, "certain", ("its own log",)),
        task=_task(death),
        complete=False,
        missing=("kernel report",),
        evidence=(*death.evidence, *(task.evidence for task in death.tasks[:3])),
    )


def _no_kill(death: WorkerDeath) -> NotAKill:
    process = Process(death.pid, death.name) if death.name else None
    text = _TEXTS.get(death.cause, "")
    return NotAKill(
        death.cause, death.when, None, death.place.host, process, death.evidence[0], death.place, text
    )
