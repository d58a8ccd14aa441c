"""Task functions, and how growth was linked to one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TaskRef:
    """One task of a queue: its registered name and the function that is its body.

    Attributes:
        name: the name the queue knows it by, such as ``shop.tasks.process_data``.
        filename: the file of the function, as the evidence names it.
        lineno: the first line of the function, its decorators included; 0 when unknown.
        last_lineno: the last line of the function; 0 when unknown.
    """

    name: str
    filename: str
    lineno: int
    last_lineno: int = 0


@dataclass(frozen=True)
class Attribution:
    """A task and how it was found.

    Attributes:
        task: the task.
        how: ``registry`` (the task registry stored in the snapshot), ``source`` (a frame inside the
            task function of the source tree), ``anchor`` (the frame that the queue's worker called) or
            ``inferred`` (a frame in a function that, by the source, only this task calls).
    """

    task: TaskRef
    how: str
