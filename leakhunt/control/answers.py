"""What an agent gives: snapshots, and word of how it is going."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from leakhunt.capture.letters import SnapshotRequest, StatusRequest, TraceRequest
from leakhunt.capture.mailbox import open_below
from leakhunt.control import process as system
from leakhunt.control.ask import RefusedError, Stage, Waiting, ask
from leakhunt.control.find import Agent
from leakhunt.control.reply import number, text
from leakhunt.errors import LeakhuntError

TIMEOUT_S = 120.0
SNAPSHOTS = "snapshots"
_LONGEST_TEXT = 2000
_MOST_TEXTS = 50
_BUSY_S = 0.5  # between two requests to one who writes already
_NAME = re.compile(r"[^A-Za-z0-9._-]", re.ASCII)  # no other is in a name that an agent makes


class Taken(NamedTuple):
    """A snapshot that was taken.

    Attributes:
        path: the file, as seen from here.
        how: ``fork`` or ``in process``.
        pause: for how many seconds the worker stood still; None where unknown.
        took: how many seconds it took until the file was there; None where unknown.
        size: bytes of the file; None where unknown.
        blocks: how many blocks it lists; None where unknown.
        traced: bytes of these blocks; None where unknown.
        left_out: what it lacks, and why.
    """

    path: str
    how: str
    pause: float | None
    took: float | None
    size: int | None
    blocks: int | None
    traced: int | None
    left_out: tuple[str, ...]


class Status(NamedTuple):
    """How an agent is going.

    Attributes:
        tracing: whether allocations are traced.
        frames: how many frames of each; 0 while not traced.
        until: when tracing stops by itself, seconds since the epoch; None if it does not.
        executions: how often each task ran; empty where no tasks run.
        rss: bytes; None where unknown.
        traced: bytes in traced blocks; None where unknown.
        refused: why its last snapshot was refused, by itself or asked for; empty where it was not.
        warning: what the agent wants told, or an empty string.
    """

    tracing: bool
    frames: int
    until: float | None
    executions: Mapping[str, int]
    rss: int | None
    traced: int | None
    refused: str
    warning: str

    @property
    def ran(self) -> int:
        """How many tasks ran."""
        return sum(self.executions.values())


def snapshot(agent: Agent, request: SnapshotRequest, waiting: Waiting | None = None) -> Taken:
    """Have a process take a snapshot, and wait for the file.

    Args:
        agent: whom to ask.
        request: what to take; its ``timeout`` bounds the wait.
        waiting: called with the seconds passed and what is waited for, several times a second.

    Raises:
        DiedError: the process has ended.
        RefusedError: the agent had a reason not to.
        LeakhuntError: it cannot be asked, does not answer, or the snapshot was lost.
    """
    answer = _patiently(agent, request, waiting)
    return Taken(
        path=_file(agent, answer),
        how=text(answer, "how"),
        pause=number(answer, "pause"),
        took=number(answer, "took"),
        size=_whole(answer, "size"),
        blocks=_whole(answer, "blocks"),
        traced=_whole(answer, "traced"),
        left_out=_texts(answer, "left_out") + _texts({"warning": [answer.get("warning")]}, "warning"),
    )


def _patiently(agent: Agent, request: SnapshotRequest, waiting: Waiting | None) -> dict[str, Any]:
    """Ask until no other snapshot is being written, as long as the request's time lasts."""
    end = time.monotonic() + request.timeout
    while True:
        try:
            return ask(agent, request, request.timeout, waiting)
        except RefusedError as error:
            if not error.busy or time.monotonic() > end:
                raise
        if waiting is not None:
            waiting(request.timeout - (end - time.monotonic()), Stage.BUSY)
        time.sleep(_BUSY_S)


def trace(agent: Agent, request: TraceRequest, timeout: float, waiting: Waiting | None = None) -> Status:
    """Have a process trace its allocations, or stop; raises as :func:`snapshot`."""
    return _status(ask(agent, request, timeout, waiting))


def status(agent: Agent, timeout: float, waiting: Waiting | None = None) -> Status:
    """Ask a process how it is going; raises as :func:`snapshot`."""
    return _status(ask(agent, StatusRequest(), timeout, waiting))


def _file(agent: Agent, answer: Mapping[str, Any]) -> str:
    """Return where a snapshot lies as seen from here; only its name is taken from the answer.

    Raises:
        LeakhuntError: it is not there.
    """
    name = _NAME.sub("_", os.path.basename(text(answer, "path")))
    folder = os.path.join(agent.box.folder, SNAPSHOTS)
    path = os.path.join(folder, name)
    try:
        with system.acting_as(agent.process):
            fd = open_below(folder, agent.box.root)
            try:
                about = os.stat(name, dir_fd=fd, follow_symlinks=False)
            finally:
                os.close(fd)
        if not stat.S_ISREG(about.st_mode):
            raise FileNotFoundError
    except (OSError, ValueError):
        raise LeakhuntError(f"{agent.title}: it says it wrote {path}, where there is no such file") from None
    with contextlib.suppress(OSError):
        here = os.stat(path)
        if (here.st_dev, here.st_ino) == (about.st_dev, about.st_ino):
            return path
    return agent.box.root + path


def _status(answer: Mapping[str, Any]) -> Status:
    executions = answer.get("executions")
    counted = executions if isinstance(executions, dict) else {}
    return Status(
        tracing=answer.get("tracing") is True,
        frames=_whole(answer, "frames") or 0,
        until=number(answer, "until"),
        executions={name: count for name, count in counted.items() if type(count) is int and count >= 0},
        rss=_whole(answer, "rss"),
        traced=_whole(answer, "traced"),
        refused=text(answer, "refused"),
        warning=text(answer, "warning"),
    )


def _texts(answer: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = answer.get(name)
    if not isinstance(values, list):
        return ()
    return tuple(value[:_LONGEST_TEXT] for value in values[:_MOST_TEXTS] if isinstance(value, str) and value)


def _whole(answer: Mapping[str, Any], name: str) -> int | None:
    value = answer.get(name)
    return value if type(value) is int and 0 <= value < 1 << 63 else None
