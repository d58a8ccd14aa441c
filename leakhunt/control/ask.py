"""Ask an agent for evidence: a request in its folder, a signal, and a bounded wait for the answer."""

from __future__ import annotations

import contextlib
import enum
import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from leakhunt.capture.letters import Request, SnapshotRequest
from leakhunt.capture.settings import parse_signal
from leakhunt.control import process as system
from leakhunt.control.find import Agent
from leakhunt.control.hold import DiedError, held
from leakhunt.control.process import Process
from leakhunt.control.reply import forget, inside, look, number, text
from leakhunt.errors import LeakhuntError
from leakhunt.units import format_duration

_POLLS_S = (0.005, 0.01, 0.02, 0.05)  # an answer is there within milliseconds, or takes its time
_AGAIN_S = 0.25  # a signal is sent again after so long, then after twice that, and so on


class Stage(enum.Enum):
    """What is waited for, in words that follow a process's name.

    Attributes:
        is_news: whether it is worth more than a line that passes.
        is_written: whether the process has forked, and a snapshot is being written.
    """

    ASKED = "waiting for its answer"
    STOPPED = "it is stopped (SIGSTOP, or a debugger), and answers when it goes on"
    BUSY = "another snapshot of it is being written"
    LIGHT = "its fork writes the snapshot"
    DEEP = "its fork writes the snapshot (holders; --light is quicker)"
    OUTLIVED = "it has ended; the fork that writes its snapshot lives on, and is waited for"

    @property
    def is_news(self) -> bool:
        """Whether it is worth more than a line that passes."""
        return self in {Stage.STOPPED, Stage.OUTLIVED}

    @property
    def is_written(self) -> bool:
        """Whether the process has forked, and a snapshot is being written."""
        return self in {Stage.LIGHT, Stage.DEEP, Stage.OUTLIVED}


Waiting = Callable[[float, Stage], None]


class RefusedError(LeakhuntError):
    """The agent gave a reason why it does not do what it was asked.

    Attributes:
        busy: whether it is doing the like already, and may be asked again.
    """

    def __init__(self, message: str, hint: str = "", *, busy: bool = False) -> None:
        super().__init__(message, hint)
        self.busy = busy


def ask(agent: Agent, request: Request, timeout: float, waiting: Waiting | None = None) -> dict[str, Any]:
    """Leave a request, signal the process, and wait for the answer.

    Args:
        agent: whom to ask.
        request: what is asked for.
        timeout: how many seconds to wait.
        waiting: called with the seconds passed and what is waited for, several times a second.

    Returns:
        the answer, which is a yes; nothing in it has been checked.

    Raises:
        DiedError: the process has ended.
        RefusedError: the agent had a reason not to.
        LeakhuntError: it cannot be asked, or does not answer.
    """
    with held(agent) as (process, send):
        number = _signal_of(agent, process)
        with system.acting_as(agent.process):
            nonce = agent.box.ask(request)
        try:
            send(number)
            line = _Line(
                process, lambda: send(number), deep=isinstance(request, SnapshotRequest) and request.deep
            )
            answer = _awaited(agent, nonce, timeout, line, waiting)
        finally:
            with system.acting_as(agent.process):
                agent.box.withdraw(nonce)
                forget(agent, nonce)
    if answer.get("ok") is not True:
        raise RefusedError(
            f"{agent.title}: {text(answer, 'why') or 'refused, without a reason'}",
            text(answer, "hint"),
            busy=answer.get("busy") is True,
        )
    return answer


def _signal_of(agent: Agent, process: Process) -> int:
    """Return the signal that an agent listens to.

    Args:
        agent: whom to ask.
        process: its process as it is now.

    Raises:
        LeakhuntError: its process has no handler for it, or needs it for something else.
    """
    number = parse_signal(str(agent.registration.signal))
    if process.catches(number):
        return number
    raise LeakhuntError(
        f"process {agent.title} does not catch {signal.Signals(number).name}, so it is left alone: "
        "its handler was replaced, or the agent is not started yet",
        "start it as 'leakhunt run -- COMMAND', or call leakhunt.celery.install(app) in it; if it uses that signal "
        "itself, choose another: leakhunt run --signal WINCH",
    )


class _Line(NamedTuple):
    """The way to a process.

    Attributes:
        process: the process, as it was when this began.
        ring: signals it.
        deep: whether what it is asked for takes its time.
    """

    process: Process
    ring: Callable[[], None]
    deep: bool

    def stage(self, *, runs: bool, writing: bool, stopped: bool) -> Stage:
        """Return what is waited for."""
        if writing:
            return (Stage.DEEP if self.deep else Stage.LIGHT) if runs else Stage.OUTLIVED
        return Stage.STOPPED if stopped else Stage.ASKED


def _awaited(
    agent: Agent, nonce: str, timeout: float, line: _Line, waiting: Waiting | None
) -> dict[str, Any]:
    """Wait for the last word of an answer; after the process's end as long as a fork lives that writes it."""
    began = time.monotonic()
    looks = 0
    writing = stopped = False
    again = _AGAIN_S
    while True:
        runs = system.alive(line.process)  # asked first: what it wrote before its end is found below
        with system.acting_as(agent.process):
            answer, lost = look(agent, nonce)
        writing = writing or answer.get("state") == "writing"
        if answer and answer.get("state") != "writing":
            return answer
        if not runs and (lost or not answer):
            raise _ended(agent, lost=lost, writing=writing)
        if lost:
            raise LeakhuntError(
                f"{agent.title}: the snapshot was lost while it was written{_late(answer)}",
                "it runs in a process of its own, so the worker goes on; see 'leakhunt oom-scan', or ask for less: --light",
            )
        passed = time.monotonic() - began
        if passed >= timeout:
            stopped = not writing and system.stopped(line.process)
            raise _silent(agent, timeout, nonce, line.stage(runs=runs, writing=writing, stopped=stopped))
        if passed >= again:
            again *= 2
            stopped = not writing and system.stopped(line.process)
            if _unread(agent, nonce):
                line.ring()
        if waiting is not None:
            waiting(passed, line.stage(runs=runs, writing=writing, stopped=stopped))
        time.sleep(min(_POLLS_S[min(looks // 4, len(_POLLS_S) - 1)], timeout - passed))
        looks += 1


def _ended(agent: Agent, *, lost: bool, writing: bool) -> DiedError:
    """Word that a process has ended, and what became of its snapshot."""
    if lost:
        return DiedError(
            f"process {agent.title} ended, and so did the fork that was writing its snapshot",
            "what killed them: leakhunt oom-scan",
        )
    if writing:
        place = os.path.join(agent.box.root + agent.box.folder, "snapshots")
        return DiedError(
            f"process {agent.title} ended while a fork was writing its snapshot, and its place in the folder is gone",
            f"the snapshot may be finished all the same: ls -t {place}; what killed it: leakhunt oom-scan",
        )
    return DiedError(f"process {agent.title} ended before it answered", "what killed it: leakhunt oom-scan")


def _unread(agent: Agent, nonce: str) -> bool:
    """Whether a request lies there still: a signal that arrives just before a long system call wakes nobody."""
    with system.acting_as(agent.process), contextlib.suppress(OSError), inside(agent) as folder:
        os.stat(f"ask-{nonce}.json", dir_fd=folder, follow_symlinks=False)
        return True
    return False


def _silent(agent: Agent, timeout: float, nonce: str, stage: Stage) -> LeakhuntError:
    """Word that no answer came in time."""
    waited = format_duration(timeout)
    if stage.is_written:
        ended = "; the process has ended" if stage is Stage.OUTLIVED else ""
        return LeakhuntError(
            f"{agent.title}: the snapshot was not written within {waited}{ended}",
            "wait longer: --timeout, or ask for less: --light",
        )
    if stage is Stage.STOPPED:
        return LeakhuntError(
            f"{agent.title} is stopped (SIGSTOP, or a debugger), and did not answer within {waited}",
            f"let it go on, as by kill -CONT {agent.pid}, and ask again",
        )
    with system.acting_as(agent.process):
        unread = agent.box.withdraw(nonce)
    if unread:
        return LeakhuntError(
            f"{agent.title} did not look at the request within {waited}: its main thread is in C code, or blocked",
            "ask again, or wait longer: --timeout",
        )
    return LeakhuntError(
        f"{agent.title} took the request and did not answer within {waited}",
        "ask again, or wait longer: --timeout",
    )


def _late(answer: Mapping[str, Any]) -> str:
    deadline = number(answer, "deadline")
    if deadline is not None and time.time() >= deadline:
        return ": it took too long, and was ended"
    return ": its writer was killed, perhaps for want of memory"
