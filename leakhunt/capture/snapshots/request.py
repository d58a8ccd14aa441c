"""What is asked of a snapshot, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from leakhunt.capture.folder import Folder

Facts = Callable[[bool], Mapping[str, object]]

FORK, IN_PROCESS = "fork", "in process"


class Request(NamedTuple):
    """What is asked for.

    Attributes:
        reason: what asks: ``asked``, ``every``, ``interval``, ``rss``, ``growth``, ``exit``, ``api``.
        deep: look at all objects too.
        force: take it even where memory may not suffice.
        answer: the folder and the name of the file for the answer; None where nobody waits for one.
        timeout: seconds after which the child is ended.
    """

    reason: str
    deep: bool = True
    force: bool = False
    answer: tuple[Folder, str] | None = None
    timeout: float = 120.0


class Outcome(NamedTuple):
    """What became of a request, as far as it is known when the worker goes on.

    Attributes:
        path: the file; it is there when the child, if there is one, has done its work. Empty where there is none.
        how: ``fork`` or ``in process``; empty where nothing was done.
        pid: the child's; None where there is none.
        refused: why nothing was done, or why it failed; None where it did not.
        hint: what to do then.
        pause: for how many seconds this process stood still.
        left_out: what the snapshot will lack, and why.
        busy: whether it was refused because another one is being written.
    """

    path: str = ""
    how: str = ""
    pid: int | None = None
    refused: str | None = None
    hint: str | None = None
    pause: float = 0.0
    left_out: tuple[str, ...] = ()
    busy: bool = False
