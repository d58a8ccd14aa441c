"""How a process with an agent is going, in a few figures."""

from __future__ import annotations

import os
from itertools import islice
from typing import NamedTuple

from leakhunt.control import process as system
from leakhunt.control.answers import SNAPSHOTS, Status, status
from leakhunt.control.ask import Waiting
from leakhunt.control.find import Agent
from leakhunt.errors import LeakhuntError

_MOST_FILES = 100_000
_ROLES = {"child": "pool child", "main": "worker"}


class Listed(NamedTuple):
    """A process with an agent.

    Attributes:
        agent: its agent.
        status: what the agent says; None where it does not answer.
        snapshots: how many of its snapshots are kept; None where that may not be seen.
        silent: why it does not answer; empty where it does.
    """

    agent: Agent
    status: Status | None
    snapshots: int | None
    silent: str

    @property
    def role(self) -> str:
        """What the process is."""
        known = self.agent.registration
        role = _ROLES.get(known.role, "process")
        return f"{role}, {known.pool}" if known.role == "main" and known.pool else role


def listed(agent: Agent, timeout: float, waiting: Waiting | None = None) -> Listed | None:
    """Ask a process how it is going; None where it has ended meanwhile.

    Args:
        agent: its agent.
        timeout: how many seconds to wait for the answer.
        waiting: called with the seconds passed and what is waited for, several times a second.
    """
    said, silent = None, ""
    try:
        said = status(agent, timeout, waiting)
    except LeakhuntError as error:
        if not system.alive(agent.process):
            return None
        silent = error.message
    return Listed(agent, said, _kept(agent), silent)


def _kept(agent: Agent) -> int | None:
    """Count the snapshots of a process that are kept; None where they may not be seen."""
    mark = f"-{agent.registration.folder}-"
    try:
        with (
            system.acting_as(agent.process),
            os.scandir(agent.box.root + os.path.join(agent.box.folder, SNAPSHOTS)) as entries,
        ):
            names = (entry.name for entry in islice(entries, _MOST_FILES))
            return sum(mark in name and name.endswith(".bin") and not name.startswith(".") for name in names)
    except OSError:
        return None
