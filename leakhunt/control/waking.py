"""Make agents known that wait: a process that was forked takes its place in the folder only when our signal comes."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from leakhunt.capture.settings import PREFIX, Settings, parse_signal
from leakhunt.control import process as system
from leakhunt.control.process import Process
from leakhunt.errors import LeakhuntError

SECONDS = 2.0  # that a process is given to answer
_POLL_S = 0.01
_AGAIN_S = 0.25  # a signal is sent again after so long, then after twice that, and so on
_PYTHON = re.compile(r"python|pypy|uwsgi")

Found = TypeVar("Found")


def waits(process: Process, variables: Mapping[str, str], parent: int) -> int:
    """Return the signal for which an agent waits in a process that has no place in the folder; 0 where there is none.

    It is sent to no process that is not seen to catch it, and that is not seen to be Python: others, such as those
    written in Go, catch SIGURG for themselves.

    Args:
        process: the process.
        variables: those that it was started with, or that stand for them.
        parent: the signal that its parent's agent listens to; 0 if there is none.
    """
    number = parent
    if not number and any(name.startswith(PREFIX) for name in variables):
        text = variables.get(f"{PREFIX}SIGNAL", "") or str(Settings().signal)
        with contextlib.suppress(LeakhuntError):
            number = parse_signal(text)
    if not number or process.caught is None or not process.catches(number):
        return 0
    program = os.path.basename(system.program(process.pid))
    return number if parent or _PYTHON.match(program) else 0


def wake(waiting: Iterable[tuple[Process, int]], look: Callable[[Process], Found | None]) -> list[Found]:
    """Signal processes until their agents are found, or it has taken too long.

    Args:
        waiting: the processes, and the signal for each.
        look: finds the agent of a process.
    """
    left = list(waiting)
    found: list[Found] = []
    began = time.monotonic()
    again = 0.0
    while left:
        passed = time.monotonic() - began
        if passed >= again:
            left = [(process, number) for process, number in left if _rang(process, number)]
            again = again * 2 or _AGAIN_S
        agents = [(entry, look(entry[0])) for entry in left]
        found += [agent for _, agent in agents if agent is not None]
        left = [entry for entry, agent in agents if agent is None]
        if passed > SECONDS:
            break
        if left:
            time.sleep(_POLL_S)
    return found


def _rang(process: Process, number: int) -> bool:
    """Signal a process if it is still the same; false where it is gone, or may not be signalled."""
    with system.line_to(process.pid) as line:
        if not system.alive(process):
            return False
        try:
            line(number)
        except OSError:
            return False
        return True
