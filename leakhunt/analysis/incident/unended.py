"""Tasks that began and did not end, by the flight records, and that no kill accounts for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from leakhunt.analysis.endings import endings, unended
from leakhunt.analysis.incident.choose import Choice
from leakhunt.model.oom import OomKill
from leakhunt.model.record import Alive, Life, RunningTask

_ENDED = frozenset({"killed", "unknown"})


def unexplained(
    lives: Sequence[Life], kills: Sequence[OomKill], alive: Alive | None, choice: Choice
) -> Iterator[RunningTask]:
    """Yield the tasks of processes that are gone, or may be, without a kill that says why.

    Args:
        lives: of all records.
        kills: with what the records tell of them.
        alive: who runs on this machine; None where that is not known.
        choice: tasks that began at other times are left out.
    """
    lost = [kill.task for kill in kills if kill.task is not None]
    told = {task.id for task in lost} | {one.id for task in lost for one in task.candidates}
    became = endings(lives, alive)
    for life in lives:
        for task in unended(life, became[life.process.key], alive):
            if task.ended not in _ENDED or task.id in told:
                continue
            if choice.takes_time(task.since):
                yield task
