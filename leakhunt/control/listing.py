"""How a process with an agent is going, in a few figures."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime, timezone
from itertools import islice

from leakhunt.control import process as system
from leakhunt.control.answers import SNAPSHOTS, status
from leakhunt.control.ask import Waiting
from leakhunt.control.find import Agent
from leakhunt.errors import LeakhuntError
from leakhunt.model.agents import AskedProcess

_MOST_FILES = 100_000


def asked(agent: Agent, timeout: float, waiting: Waiting | None = None) -> AskedProcess | None:
    """Ask a process how it is going; None where it has ended meanwhile.

    Args:
        agent: its agent.
        timeout: how many seconds to wait for the answer.
        waiting: called with the seconds passed and what is waited for, several times a second.
    """
    known = agent.registration
    who = (agent.pid, known.role, known.pool, known.node, known.name)
    try:
        said = status(agent, timeout, waiting)
    except LeakhuntError as error:
        if not system.alive(agent.process):
            return None
        return AskedProcess(
            *who,
            tracing=known.tracing,
            frames=known.frames,
            snapshots=_kept(agent),
            silent=error.message,
        )
    return AskedProcess(
        *who,
        tracing=said.tracing,
        frames=said.frames,
        until=_moment(said.until),
        executions=said.executions,
        rss=said.rss,
        traced=said.traced,
        snapshots=_kept(agent),
        refused=said.refused,
    )


def _moment(seconds: float | None) -> datetime | None:
    """Return a time of the epoch; None where there is none, as of an answer that says anything."""
    if seconds is not None:
        with suppress(ValueError, OverflowError, OSError):
            return datetime.fromtimestamp(seconds, timezone.utc)
    return None


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
