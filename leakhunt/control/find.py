"""Which processes have an agent, and where its folder is."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from leakhunt.capture.letters import Registration
from leakhunt.capture.mailbox import Box, boxes, open_folder
from leakhunt.capture.place import default_path
from leakhunt.control import process as system
from leakhunt.control.folders import folder_of, folders
from leakhunt.control.missing import why_none
from leakhunt.control.process import Process
from leakhunt.control.waking import waits, wake
from leakhunt.errors import LeakhuntError

_LONGEST_TEXT = 200
_PREFORK = "prefork"


class Agent(NamedTuple):
    """A process that has an agent.

    Attributes:
        process: the process.
        box: the agent's folder.
        registration: who the agent says it is; texts in it may be anything, and are short.
    """

    process: Process
    box: Box
    registration: Registration

    @property
    def pid(self) -> int:
        """The process's number as seen from here."""
        return self.process.pid

    @property
    def title(self) -> str:
        """Its number, with its name in Celery where it has one."""
        names = " ".join(filter(None, (self.registration.node, self.registration.name)))
        return f"{self.pid} ({names})" if names else str(self.pid)

    @property
    def runs_tasks(self) -> bool:
        """Whether it is the process of a Celery worker in which tasks run."""
        known = self.registration
        return known.role == "child" or (known.role == "main" and known.pool not in {None, "", _PREFORK})


class Found(NamedTuple):
    """The agents of a machine.

    Attributes:
        agents: those that were found, by number.
        closed: how many processes may not be looked at, since they are another user's.
    """

    agents: tuple[Agent, ...]
    closed: int


def find(pid: int) -> Agent:
    """Find the agent of one process.

    Args:
        pid: its number as seen from here.

    Raises:
        LeakhuntError: there is no such process, it has no agent, or its files may not be read.
    """
    process = system.read_process(pid)
    agent = _agent_of(process)
    if agent is not None:
        return agent
    woken = _woken([process])
    if woken:
        return woken[0]
    raise why_none(process)


def everyone() -> Found:
    """Find the agents of all processes of this machine that may be looked at; those that wait are woken."""
    found, others = _registered()
    return found._replace(agents=(*found.agents, *_woken(others)))


def _registered() -> tuple[Found, list[Process]]:
    """Find the agents that have a place in a folder, and the processes that are not among theirs."""
    if not system.HAS_PROC:
        return Found(tuple(_without_proc()), 0), []
    agents = []
    others = []
    closed = 0
    for pid in system.pids():
        try:
            process = system.read_process(pid)
        except LeakhuntError:
            continue
        if process.uid != os.geteuid() and os.geteuid() != 0:
            closed += 1
            continue
        agent = _agent_of(process)
        if agent is not None:
            agents.append(agent)
        else:
            others.append(process)
    return Found(tuple(agents), closed), others


def of_celery(node: str = "") -> Found:
    """Find the processes of Celery workers in which tasks run: a pool's children, or the one process of other pools.

    Args:
        node: a glob that the node's name must match, such as ``celery@web-*``; what stands before the ``@`` suffices.
    """
    found, _ = _registered()
    pattern = node or "*"
    globs = (pattern, f"{pattern}@*") if "@" not in pattern else (pattern,)
    agents = (
        agent
        for agent in found.agents
        if agent.runs_tasks
        and any(fnmatch.fnmatchcase(agent.registration.node or "", glob) for glob in globs)
    )
    return found._replace(agents=tuple(agents))


def _agent_of(process: Process) -> Agent | None:
    """Look for the registration of a process in every folder where its agent may keep it."""
    for place in folders(process):
        box = Box(place, f"{process.inner}-{process.start}", process.root)
        try:
            with system.acting_as(process):
                if not _owned(box, process):
                    continue
                registration = box.registration()
        except (LeakhuntError, OSError):
            continue
        return Agent(process, box, _shortened(registration))
    return None


def _woken(processes: Iterable[Process]) -> list[Agent]:
    """Wake the agents that wait in some of these processes."""
    waiting = []
    for process in processes:
        if (process.uid == os.geteuid() or os.geteuid() == 0) and _has_no_box(process):
            above = _agent_above(process)
            number = above.registration.signal if above is not None else 0
            waiting.append((process, waits(process, _variables(process), number)))
    return wake([(process, number) for process, number in waiting if number], _agent_of)


def _variables(process: Process) -> Mapping[str, str]:
    """Return a process's variables; where it hides them, ours have to say what is to be known."""
    theirs = system.environment(process.pid) if system.HAS_PROC else None
    return os.environ if theirs is None else theirs


def _agent_above(process: Process) -> Agent | None:
    """Return the agent of the process that this one may be a fork of."""
    try:
        parent = system.read_process(system.parent(process.pid))
    except LeakhuntError:
        return None
    same = system.program(parent.pid) == system.program(process.pid) != ""
    return _agent_of(parent) if same else None


def _has_no_box(process: Process) -> bool:
    """Whether there is no place of its agent, rather than one that is not as it should be."""
    place = folder_of(process, _variables(process))
    try:
        with system.acting_as(process):
            os.close(open_folder(Box(place, f"{process.inner}-{process.start}", process.root)))
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        pass
    return False


def _owned(box: Box, process: Process) -> bool:
    """Whether an agent's folder belongs to the process's user or to root, so that no third one speaks for it."""
    fd = open_folder(box)
    try:
        return os.fstat(fd).st_uid in {process.uid, 0}
    finally:
        os.close(fd)


def _shortened(registration: Registration) -> Registration:
    """Return a registration whose texts are short enough to be shown."""
    values: dict[str, Any] = {
        name: value[:_LONGEST_TEXT]
        for name, value in registration._asdict().items()
        if isinstance(value, str) and len(value) > _LONGEST_TEXT
    }
    return registration._replace(**values)


def _without_proc() -> Iterator[Agent]:
    """Yield the agents that registered in our own folder and whose processes live."""
    for box in boxes(default_path(os.environ)):
        try:
            registration = box.registration()
            process = system.read_process(registration.pid)
        except LeakhuntError:
            continue
        yield Agent(process, box, _shortened(registration))
