"""Whether an end that a log tells is of the run that a death may have cut short, or of a later delivery's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta

from leakhunt.readers.worker_log.death import Again, Death
from leakhunt.readers.worker_log.flight import Flight
from leakhunt.readers.worker_log.pool import Taken

_RUNTIME = re.compile(rb"\] succeeded in (\d{1,9}(?:\.\d{1,20})?(?:e-\d{1,3})?)s")
_LONGEST_NAME = 500  # bytes of a task's name and id, behind which stands how long it took
_CLOCKS_S = 1.0  # a log may stamp its lines in whole seconds


def deliver(death: Death, task: Taken, flight: Flight) -> None:
    """Note that a task that may have died by a death is delivered again: of all that may have it is the likeliest.

    Args:
        death: with candidates.
        task: as it is delivered now.
        flight: keeps its line.
    """
    if task.id not in death.ids:
        return
    if task.id not in death.again:
        flight.keep(task)
        death.again[task.id] = Again(task)
        death.candidates.sort(key=lambda one: one.task.id != task.id)
    death.again[task.id].open += 1


def is_later(task: Taken, death: Death) -> bool:
    """Tell whether a task is a later delivery of one that may have died by a death."""
    return task.id in death.again and all(one.task is not task for one in death.candidates)


def end(deaths: Iterable[Death], id_: bytes, at: int, flight: Flight) -> None:
    """Note that a run of a task ended: if it had begun before the task was delivered again, the death spared it.

    Where the log does not tell when it began, each delivery since the death explains one end.

    Args:
        deaths: those of which more may be said.
        id_: the task's.
        at: where the line stands that tells of the end.
        flight: the tasks.
    """
    waiting = [(death, death.again[id_]) for death in deaths if id_ in death.again]
    began = _began(at, flight) if waiting else None
    for death, again in waiting:
        anew = flight.said(again.task).when if began is not None else None
        earlier = began is not None and anew is not None and (anew - began).total_seconds() > _CLOCKS_S
        if earlier or not again.open:
            death.survived.add(id_)
        else:
            again.open -= 1


def _began(at: int, flight: Flight) -> datetime | None:
    """Return when the run began that a line tells the end of; None where it does not say how long that took."""
    stop = min(at + _LONGEST_NAME, flight.chunk.bounds(at)[1])
    took = _RUNTIME.search(flight.chunk.data, at, stop)
    when = flight.said_at(at).when if took is not None else None
    if took is not None and when is not None:
        with suppress(OverflowError):  # before the first year
            return when - timedelta(seconds=float(took[1]))
    return None
