"""Ask an agent for evidence: a request in its folder, a signal, and a bounded wait for the answer."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from leakhunt.capture.letters import Request, parse_object
from leakhunt.capture.mailbox import LIMIT, open_folder
from leakhunt.capture.settings import parse_signal
from leakhunt.control import process as system
from leakhunt.control.find import Agent
from leakhunt.control.hold import DiedError, held
from leakhunt.control.process import Process
from leakhunt.errors import LeakhuntError
from leakhunt.units import format_duration

_POLLS_S = (0.005, 0.01, 0.02, 0.05)  # an answer is there within milliseconds, or takes its time
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_AGAIN_S = 0.25  # a signal is sent again after so long, then after twice that, and so on
_LONGEST_TEXT = 2000

Waiting = Callable[[float], None]


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
        waiting: called with the seconds passed, several times a second.

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
            answer = _awaited(
                agent, nonce, timeout, _Line(lambda: system.alive(process), lambda: send(number)), waiting
            )
        finally:
            with system.acting_as(agent.process):
                agent.box.withdraw(nonce)
                _forget(agent, nonce)
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
        still_runs: whether it runs.
        ring: signals it.
    """

    still_runs: Callable[[], bool]
    ring: Callable[[], None]


def _awaited(
    agent: Agent, nonce: str, timeout: float, line: _Line, waiting: Waiting | None
) -> dict[str, Any]:
    """Wait for the last word of an answer."""
    began = time.monotonic()
    looks = 0
    writing = False
    again = _AGAIN_S
    while True:
        runs = line.still_runs()  # asked first: what it wrote before its end is found below
        with system.acting_as(agent.process):
            answer, lost = _look(agent, nonce)
        writing = writing or answer.get("state") == "writing"
        if answer and answer.get("state") != "writing":
            return answer
        if lost:
            raise LeakhuntError(
                f"{agent.title}: the snapshot was lost while it was written{_late(answer)}",
                "it runs in a process of its own, so the worker goes on; see 'leakhunt oom-scan', or ask for less: --light",
            )
        if not runs and not writing:
            raise DiedError(
                f"process {agent.title} ended before it answered", "what killed it: leakhunt oom-scan"
            )
        passed = time.monotonic() - began
        if passed >= timeout:
            raise _silent(agent, timeout, writing=writing, nonce=nonce)
        if passed >= again:
            again *= 2
            if _unread(agent, nonce):
                line.ring()
        if waiting is not None:
            waiting(passed)
        time.sleep(min(_POLLS_S[min(looks // 4, len(_POLLS_S) - 1)], timeout - passed))
        looks += 1


def _unread(agent: Agent, nonce: str) -> bool:
    """Whether a request lies there still: a signal that arrives just before a long system call wakes nobody."""
    with system.acting_as(agent.process), contextlib.suppress(OSError), _inside(agent) as folder:
        os.stat(f"ask-{nonce}.json", dir_fd=folder, follow_symlinks=False)
        return True
    return False


def _silent(agent: Agent, timeout: float, *, writing: bool, nonce: str) -> LeakhuntError:
    """Word that no answer came in time."""
    waited = format_duration(timeout)
    if writing:
        return LeakhuntError(
            f"{agent.title}: the snapshot was not written within {waited}",
            "it may still be finished in the worker's folder; wait longer: --timeout, or ask for less: --light",
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


def _look(agent: Agent, nonce: str) -> tuple[dict[str, Any], bool]:
    """Read an answer as far as it is there.

    Returns:
        the answer, empty while there is none, and whether its writer ended without a last word.
    """
    for last in (False, True):
        try:
            fd = _open_answer(agent, nonce)
        except FileNotFoundError:
            return {}, False
        except OSError as error:
            reason = error.strerror or str(error)
            raise LeakhuntError(f"{agent.title}: its answer cannot be read: {reason}") from None
        try:
            answer = _parsed(agent, fd)
            if answer.get("state") != "writing" or not _let_go(fd):
                return answer, False
            if last:
                return answer, True
        finally:
            os.close(fd)
    raise AssertionError  # the second look returns


def _let_go(fd: int) -> bool:
    """Whether the writer of an answer holds its lock no more, which the kernel takes from it however it ends."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
    return True


@contextlib.contextmanager
def _inside(agent: Agent) -> Iterator[int]:
    """Give a descriptor of an agent's folder.

    Raises:
        OSError: it cannot be opened.
    """
    folder = open_folder(agent.box)
    try:
        yield folder
    finally:
        os.close(folder)


def _open_answer(agent: Agent, nonce: str) -> int:
    with _inside(agent) as folder:
        return os.open(f"answer-{nonce}.json", _READ_FLAGS, dir_fd=folder)


def _parsed(agent: Agent, fd: int) -> dict[str, Any]:
    data = os.read(fd, LIMIT + 1) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    found = parse_object(data) if len(data) <= LIMIT else None
    if found is None or not (isinstance(found.get("ok"), bool) or found.get("state") == "writing"):
        raise LeakhuntError(
            f"{agent.title}: its answer is none that leakhunt knows", "use the same version at both ends"
        )
    return found


def _forget(agent: Agent, nonce: str) -> None:
    """Remove an answer, if there is one."""
    with contextlib.suppress(OSError), _inside(agent) as folder:
        os.unlink(f"answer-{nonce}.json", dir_fd=folder)


def text(answer: Mapping[str, Any], name: str) -> str:
    """Return a text of an answer, or an empty one where it has none of that name."""
    value = answer.get(name)
    return value[:_LONGEST_TEXT] if isinstance(value, str) else ""


def number(answer: Mapping[str, Any], name: str) -> float | None:
    """Return a number of an answer, or None where it has none of that name."""
    value = answer.get(name)
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15
    return float(value) if known and value is not None else None
