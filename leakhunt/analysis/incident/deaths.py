"""Which killed process was which worker child, and what it was running."""

from __future__ import annotations

import os.path
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from leakhunt.analysis.incident.daytime import dayless, with_days
from leakhunt.analysis.incident.evidence import with_more
from leakhunt.analysis.incident.groups import owner_name
from leakhunt.analysis.incident.pairs import KILLED, PROMPT_S, UNKNOWN, WINDOW_S, Pair, pairs_of
from leakhunt.analysis.incident.places import in_container
from leakhunt.analysis.incident.rivals import Rivals, named
from leakhunt.analysis.incident.zones import zone_hint
from leakhunt.model.evidence import Evidence
from leakhunt.model.incident import WorkerDeath
from leakhunt.model.oom import Candidate, LostTask, NotAKill, OomKill, Process, WorkerRef
from leakhunt.moments import NEVER
from leakhunt.units import format_duration

_MOST_DOUBTS = 3
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
    told = sorted(deaths, key=_order)
    deaths, given = with_days(found, told, window_s)
    joined: set[int] = set()
    taken: set[int] = set()
    pairs = list(pairs_of(found, deaths, window_s))
    wholes = _Wholes(found)
    matched = _matched(pairs)
    rivals = Rivals(kills, pairs, matched, wholes.__getitem__)
    passed: dict[int, list[str]] = defaultdict(list)  # what else kills without a worker may be
    for pair in matched:
        if pair.kill in taken:  # with the group that it was a part of
            continue
        death = deaths[pair.death]
        alone, as_good = rivals.none(pair), rivals.as_good(pair)
        joined.add(pair.death)
        for at in wholes.all_of(pair.kill) if pair.silent else (pair.kill,):
            if at not in taken:
                taken.add(at)
                found[at] = _with(found[at], death, pair, alone=alone and not as_good, placed=not as_good)
                if pair.death in given:
                    found[at] = _of_that_day(found[at], death)
        if as_good:
            rivals_of_it = f"{named([kills[at] for at in as_good])} that worker as well"
            found[pair.kill] = _noted(found[pair.kill], rivals_of_it)
            owner = " ".join(owner_name(kills[pair.kill]))
            for at in as_good:
                passed[at].append(f"as well as the kill of {owner}, this one fits {_shown(death)}")
    for at in passed.keys() - taken:
        found[at] = _noted(found[at], *passed[at][:_MOST_DOUBTS])
    left = [death for at, death in enumerate(told) if at not in joined]
    found += [_kill_of(death) for death in left if death.cause in KILLED]
    not_kills = tuple(
        _no_kill(death)
        for death in left
        if death.cause not in KILLED and not (death.cause == "vanished" and death.until is None)
    )
    return tuple(found), not_kills, (*zone_hint(kills, left, window_s), *(dayless(left) if kills else ()))


def _order(death: WorkerDeath) -> tuple[object, ...]:
    """Return what puts deaths in an order of their own, so that the order of the files decides nothing."""
    return death.when or NEVER, death.pid or 0, death.name or "", str(death.place)


def _matched(pairs: Sequence[Pair]) -> list[Pair]:
    """Choose pairs so that each kill and each death is in one at most: the surest first, and none left over in vain.

    A line that tells of the very child says more than the silence of the whole worker.
    """
    by_kill: dict[int, Pair] = {}
    by_death: dict[int, Pair] = {}
    others: dict[int, list[Pair]] = defaultdict(list)
    ordered = sorted(pairs, key=lambda pair: (pair.silent, -pair.score, pair.distance, pair.kill, pair.death))
    for pair in ordered:
        others[pair.death].append(pair)
        if pair.kill not in by_kill and pair.death not in by_death:
            by_kill[pair.kill] = by_death[pair.death] = pair
    # A death without a kill takes one from a death that has a second choice at the same place.
    for pair in ordered:
        holder = by_kill.get(pair.kill)
        if pair.death in by_death or pair.silent or not pair.same_place or holder is None:
            continue
        second = next(
            (one for one in others[holder.death] if one.kill not in by_kill and one.same_place), None
        )
        if second is not None:
            by_kill[second.kill] = by_death[holder.death] = second
            by_kill[pair.kill] = by_death[pair.death] = pair
    chosen = set(map(id, by_kill.values()))
    return [pair for pair in ordered if id(pair) in chosen]


class _Wholes:
    """What each kill is a part of: the group that was killed as a whole, or nothing but itself."""

    def __init__(self, kills: Sequence[OomKill]) -> None:
        groups: dict[tuple[str, int, str], list[int]] = defaultdict(list)
        self._members: dict[int, list[int]] = {}
        for at, kill in enumerate(kills):
            if kill.group is not None:
                source = kill.evidence[0].source if kill.evidence else ""
                members = groups[kill.group, kill.episode, source]
                members.append(at)
                self._members[at] = members

    def __getitem__(self, at: int) -> int:
        """Return the first kill of the same group."""
        return self.all_of(at)[0]

    def all_of(self, at: int) -> Sequence[int]:
        """Return all kills of the same group."""
        return self._members.get(at, (at,))


def _of_that_day(kill: OomKill, death: WorkerDeath) -> OomKill:
    """Say that the day of a worker's death is this kill's, so that it is possible at most."""
    worker = replace(kill.worker, confidence="possible") if kill.worker is not None else None
    name = os.path.basename(death.evidence[0].source)
    note = f"the stamps of {name} have no date: of all kills this is the only one at that time of day in UTC"
    return _noted(replace(kill, worker=worker), note)


def _noted(kill: OomKill, *notes: str) -> OomKill:
    """Say more of a kill."""
    return replace(kill, notes=(*kill.notes, *notes))


def _shown(death: WorkerDeath) -> str:
    """Name a worker that died, and the task that it was running if that is known."""
    task = _task(death)
    name = death.name or f"a {death.program} worker"
    return f"{name} with task {task.name}" if task is not None and task.name is not None else name


def _with(kill: OomKill, death: WorkerDeath, pair: Pair, *, alone: bool, placed: bool = True) -> OomKill:
    """Add to a kill which worker it was and what that was running.

    Args:
        kill: the kill.
        death: the worker's.
        pair: what speaks for both being one.
        alone: whether neither may belong to another.
        placed: whether the worker's place is the kill's.
    """
    timed = pair.distance != UNKNOWN
    ended = death.cause == "vanished" and death.until is None and kill.group is None
    if timed and not ended and (pair.same_pid or (pair.same_place and alone)):
        confidence = "certain"
    elif not ended and (pair.same_pid or pair.same_place or (alone and pair.distance <= PROMPT_S)):
        confidence = "likely"
    else:
        confidence = "possible"
    return replace(
        kill,
        worker=_worker(death, confidence, pair.matched, whole=death.cause == "vanished" and not ended),
        task=_task(death, all_lost=not ended),
        place=kill.place.filled(death.place) if placed else kill.place,
        notes=(*kill.notes, *_notes(death, pair, ended=ended)),
        confidence="probable" if kill.confidence == "possible" and death.cause == "oom" else kill.confidence,
        evidence=with_more(kill.evidence, _evidence(death)),
    )


def _notes(death: WorkerDeath, pair: Pair, *, ended: bool) -> Iterator[str]:
    if death.busy is False:
        yield "that child was running no task"
    if ended:
        yield f"the worker's log ends {format_duration(pair.distance)} before the kill, which it does not tell of"
    elif death.cause == "vanished":
        yield "the main process died too, so no line of the worker's tells of it"


def _evidence(death: WorkerDeath) -> tuple[Evidence, ...]:
    return (*death.evidence, *(task.evidence for task in death.tasks[:3]))


def _worker(
    death: WorkerDeath, confidence: str, matched: tuple[str, ...], *, whole: bool = False
) -> WorkerRef:
    queues = [task.queue for task in death.tasks if task.queue]
    return WorkerRef(
        name=death.name,
        pid=death.pid,
        queue=queues[0] if queues else None,
        program=death.program,
        node=death.place.node,
        whole=whole,
        confidence=confidence,
        matched=matched,
    )


def _task(death: WorkerDeath, *, all_lost: bool = True) -> LostTask | None:
    """Say which task was lost: one, where that can be said, and else those that it may have been."""
    tasks = death.tasks
    if not tasks:
        return None
    first = tasks[0]
    every = tuple(Candidate(task.name, task.id, task.how) for task in tasks)
    candidates = every if len(tasks) > 1 else ()
    if death.cause == "vanished" and (len(tasks) > 1 or not all_lost):
        # None was spared, or any may have been.
        return LostTask(None, None, "all" if all_lost else "received", every, death.tasks_omitted)
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
        evidence=_evidence(death),
    )


def _no_kill(death: WorkerDeath) -> NotAKill:
    process = Process(death.pid, death.name) if death.name else None
    text = _TEXTS.get(death.cause, "")
    return NotAKill(
        death.cause, death.when, None, death.place.host, process, death.evidence[0], death.place, text
    )
