"""Hold a process, so that a signal reaches it and no other."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

from leakhunt.control import process as system
from leakhunt.control.find import Agent
from leakhunt.control.process import Process
from leakhunt.errors import LeakhuntError


class DiedError(LeakhuntError):
    """The process that was asked has ended."""


@contextlib.contextmanager
def held(agent: Agent) -> Iterator[tuple[Process, Callable[[int], None]]]:
    """Hold a process by more than its number, which may be another's a moment later.

    Yields:
        the process as it is now, and what sends it a signal.

    Raises:
        DiedError: it has ended.
        LeakhuntError: it may not be signalled.
    """
    process = agent.process
    try:
        fd = os.pidfd_open(process.pid)  # type: ignore[attr-defined,unused-ignore]  # Linux only
    except (AttributeError, OSError):
        fd = -1
    try:
        now = _now(agent)  # if it is the same, the descriptor is of this process, and of no later one

        def send(number: int) -> None:
            try:
                if fd >= 0:
                    signal.pidfd_send_signal(fd, number)  # type: ignore[attr-defined,unused-ignore]
                else:
                    os.kill(process.pid, number)
            except ProcessLookupError:
                raise DiedError(f"process {agent.title} has ended") from None
            except PermissionError:
                raise LeakhuntError(
                    f"process {agent.title} may not be signalled by this user",
                    f"run this as the user {system.user_name(process.uid)}, or as root",
                ) from None

        yield now, send
    finally:
        if fd >= 0:
            os.close(fd)


def _now(agent: Agent) -> Process:
    """Read an agent's process anew.

    Raises:
        DiedError: it has ended.
    """
    try:
        now = system.read_process(agent.pid)
    except LeakhuntError:
        now = None
    if now is None or now.start != agent.process.start:
        raise DiedError(f"process {agent.title} has ended")
    return now
