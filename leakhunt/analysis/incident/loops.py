"""Tasks that kill worker after worker, and tasks that ran twice because their worker died."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone

from leakhunt.model.incident import TaskAgain, WorkerDeath
from leakhunt.model.oom import OomKill
from leakhunt.model.verdict import RanTwice, TaskLoop

_AFTER = ("succeeded", "failed", "lost", "received")
_NEVER_YET = datetime.min.replace(tzinfo=timezone.utc)


def loops_of(kills: Sequence[OomKill], deaths: Iterable[WorkerDeath]) -> tuple[TaskLoop, ...]:
    """Return the tasks that were killed more than once: by their id, or by their name and equal arguments."""
    in_flight = {task.id: task for death in deaths for task in death.tasks if task.id}
    by_id: dict[str, list[int]] = defaultdict(list)
    by_arguments: dict[tuple[str, str], list[int]] = defaultdict(list)
    for task_id, at in _killed(kills):
        by_id[task_id].append(at)
        taken = in_flight.get(task_id)
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


def _killed(kills: Sequence[OomKill]) -> Iterator[tuple[str, int]]:
    """Yield the id of each task that was killed, and the place of the kill."""
    reports: set[tuple[object, ...]] = set()
    for at, kill in enumerate(kills):
        task = kill.task
        if task is None or task.id is None:
            continue
        report = (task.id, kill.episode, kill.evidence[0].source) if kill.group else (at,)
        if report in reports:  # a group that was killed as a whole is one kill of the task
            continue
        reports.add(report)
        yield task.id, at


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


def ran_twice(again: Iterable[TaskAgain], kills: Sequence[OomKill] = ()) -> tuple[RanTwice, ...]:
    """Return each task that began again after its worker died, once, with what became of it in the end.

    Args:
        again: the signs of it.
        kills: which may show more runs of it, and how they ended.
    """
    found: dict[str, list[TaskAgain]] = defaultdict(list)
    for one in again:
        found[one.id].append(one)
    killed: dict[str, list[int]] = defaultdict(list)
    if found:
        for task_id, at in _killed(kills):
            killed[task_id].append(at)
    return tuple(
        _twice(task_id, signs, [kills[at].when for at in killed[task_id]]) for task_id, signs in found.items()
    )


def _twice(task_id: str, signs: Sequence[TaskAgain], killed: Sequence[datetime | None]) -> RanTwice:
    """Put the signs of one task's further runs together with the kills of it."""
    times = sorted(when for one in signs for when in (one.again, one.last) if when is not None)
    last = times[-1] if times else None
    begun = 1 + max(_times(signs, recorded=False), _times(signs, recorded=True))
    outcome = min((one.outcome for one in signs), key=_AFTER.index)
    if outcome == "lost":
        outcome = max(
            signs, key=lambda one: (one.last or one.again or _NEVER_YET, one.outcome == "lost")
        ).outcome
    dead = max((when for when in killed if when is not None), default=None)
    if outcome == "received" and len(killed) >= begun and (dead is None or last is None or dead >= last):
        outcome = "lost"
    return RanTwice(
        next((one.name for one in signs if one.name), None),
        task_id,
        outcome,
        min((one.first for one in signs if one.first is not None), default=None),
        times[0] if times else None,
        last,
        max(2, begun, len(killed)),
    )


def _times(signs: Sequence[TaskAgain], *, recorded: bool) -> int:
    """Count how often a task began again; what two copies of a log tell of one moment counts once."""
    found: dict[datetime | None, int] = {}
    for one in signs:
        if one.recorded == recorded:
            found[one.again] = max(found.get(one.again, 0), one.times)
    return sum(found.values())
