"""Hold a process, so that a signal reaches it and no other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from leakhunt.control import process as system
from leakhunt.control.find import Agent
from leakhunt.control.process import Process
from leakhunt.errors import LeakhuntError


class DiedError(LeakhuntError):
    """The process that was asked has ended."""


@contextlib.contextmanager
def held(agent: Agent) -> Iterator[tuple[Process, Callable[[int], None]]]:
    """Hold the process of an agent, and no other that has its number by now.

    Yields:
        the process as it is now, and what sends it a signal.

    Raises:
        DiedError: it has ended.
        LeakhuntError: it may not be signalled.
    """
    process = agent.process
    with system.line_to(process.pid) as line:
        now = _now(agent)

        def send(number: int) -> None:
            try:
                line(number)
            except ProcessLookupError:
                raise DiedError(f"process {agent.title} has ended") from None
            except PermissionError:
                raise LeakhuntError(
                    f"process {agent.title} may not be signalled by this user",
                    f"run this as the user {system.user_name(process.uid)}, or as root",
                ) from None

        yield now, send


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
