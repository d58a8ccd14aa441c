"""Tasks that kill worker after worker, and tasks that ran twice because their worker died."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from leakhunt.model.incident import TaskAgain, WorkerDeath
from leakhunt.model.oom import OomKill
from leakhunt.model.verdict import RanTwice, TaskLoop

_AFTER = ("succeeded", "failed", "lost", "received")


def loops_of(kills: Sequence[OomKill], deaths: Iterable[WorkerDeath]) -> tuple[TaskLoop, ...]:
    """Return the tasks that were killed more than once: by their id, or by their name and equal arguments."""
    in_flight = {task.id: task for death in deaths for task in death.tasks if task.id}
    by_id: dict[str, list[int]] = defaultdict(list)
    by_arguments: dict[tuple[str, str], list[int]] = defaultdict(list)
    reports: set[tuple[object, ...]] = set()
    for at, kill in enumerate(kills):
        task = kill.task
        if task is None or task.id is None:
            continue
        report = (task.id, kill.episode, kill.evidence[0].source) if kill.group else (at,)
        if report in reports:  # a group that was killed as a whole is one kill of the task
            continue
        reports.add(report)
        by_id[task.id].append(at)
        taken = in_flight.get(task.id)
        if taken is not None and taken.name and taken.arguments:
            by_arguments[taken.name, taken.arguments].append(at)
    loops = [
        _loop(
            kills, task_id, members, "same id", in_flight[task_id].deliveries if task_id in in_flight else 1
        )
        for task_id, members in by_id.items()
        if len(members) > 1
    ]
    told = {at for loop in loops for at in loop.members}
    loops += [
        _loop(kills, None, members, "same arguments", len(members))
        for members in by_arguments.values()
        if len(members) > 1 and not told.issuperset(members)
    ]
    return tuple(sorted(loops, key=lambda loop: -loop.kills))


def _loop(
    kills: Sequence[OomKill], task_id: str | None, members: Sequence[int], how: str, deliveries: int
) -> TaskLoop:
    task = kills[members[0]].task
    dated = sorted(when for when in (kills[at].when for at in members) if when is not None)
    return TaskLoop(
        name=task.name if task is not None else None,
        id=task_id,
        kills=len(members),
        deliveries=max(deliveries, len(members)),
        how=how,
        first=dated[0] if dated else None,
        last=dated[-1] if dated else None,
        members=tuple(members),
    )


def ran_twice(again: Iterable[TaskAgain]) -> tuple[RanTwice, ...]:
    """Return each task that began again after its worker died, once, with what became of it in the end."""
    found: dict[str, RanTwice] = {}
    for one in again:
        before = found.get(one.id)
        outcome = one.outcome
        if before is not None and _AFTER.index(before.outcome) < _AFTER.index(outcome):
            outcome = before.outcome
        found[one.id] = RanTwice(
            one.name or (before.name if before else None),
            one.id,
            outcome,
            before.first if before else one.first,
            one.again or (before.again if before else None),
        )
    return tuple(found.values())
