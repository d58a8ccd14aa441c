"""An agent's place in the folder: made when it starts, given up when it leaves, and cleared of the dead."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from leakhunt.capture.facts.identity import Identity
from leakhunt.capture.folder import Folder
from leakhunt.capture.letters import Registration
from leakhunt.capture.mailbox import AGENTS, Box, boxes
from leakhunt.capture.procfs import start_ticks
from leakhunt.errors import LeakhuntError

_MANY = 64  # boxes from which on it is worth looking for dead ones
_ABANDONED = 30 * 86_400.0  # seconds after which a box of another machine is taken for dead


def register(folder: Folder, who: Identity, **more: object) -> Box:
    """Take, or take again, this process's place in the folder.

    Args:
        folder: the one that holds everything.
        who: the process.
        more: the rest of what the registration tells.

    Raises:
        LeakhuntError: it cannot be written.
        OSError: likewise.
    """
    told = Registration(
        pid=who.pid,
        start=start_ticks(who.pid),
        namespace=namespace(),
        role=who.role,
        pool=who.pool,
        node=who.node,
        name=who.name,
        host=who.host,
        **more,  # type: ignore[arg-type]
    )
    folder.sub(AGENTS, told.folder)
    box = Box(folder.path, told.folder)
    box.register(told)
    return box


def namespace() -> int:
    """Return which pid namespace this process is in; 0 where unknown."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def leave(box: Box) -> None:
    """Remove a box with all that is in it."""
    with suppress(OSError):
        for name in os.listdir(box.path):
            with suppress(OSError):
                os.unlink(os.path.join(box.path, name))
        os.rmdir(box.path)


def clear(folder: str) -> None:
    """Remove the boxes of processes that are no more, once there are many; others' namespaces are left alone."""
    found = boxes(folder)
    if len(found) < _MANY:
        return
    here = namespace()
    host = os.uname().nodename
    for box in found:
        try:
            theirs: Registration | None = box.registration()
        except LeakhuntError:
            theirs = None
        if _is_dead(box, theirs, here, host):
            leave(box)


def _is_dead(box: Box, theirs: Registration | None, here: int, host: str) -> bool:
    if theirs is not None and here and (theirs.namespace, theirs.host) == (here, host):
        return start_ticks(theirs.pid) != theirs.start
    try:
        age = time.time() - os.stat(box.path).st_mtime
    except OSError:
        return False
    return age > _ABANDONED
