"""The work of a snapshot, in a forked child or, where none can be had, in the process itself; and the answer."""

from __future__ import annotations

import errno
import gc
import json
import os
import resource
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from leakhunt.capture import procfs
from leakhunt.capture.folder import Folder
from leakhunt.capture.record.numbered import OpenFile
from leakhunt.capture.snapshots import shelf, traces
from leakhunt.capture.snapshots.page import Page
from leakhunt.capture.snapshots.request import FORK, IN_PROCESS, Facts, Outcome, Request
from leakhunt.capture.snapshots.slots import leave_slot
from leakhunt.errors import LeakhuntError

_HINTS = {
    errno.ENOSPC: "make room there, lower --keep, --budget and --total, or choose another folder with LEAKHUNT_DIR",
    errno.EDQUOT: "make room there, lower --keep, --budget and --total, or choose another folder with LEAKHUNT_DIR",
    errno.EROFS: "choose a folder that can be written to with LEAKHUNT_DIR",
    errno.EACCES: "choose a folder that can be written to with LEAKHUNT_DIR",
}


class Plan(NamedTuple):
    """What is about to be done.

    Attributes:
        folder: where the file goes.
        request: what is asked for.
        facts: gives the metadata.
        number: the snapshot's, in this process.
        shelf: what may stay in the folder.
        owner: the process that is looked at, which is not the one that writes.
        when: seconds since the epoch.
        begun: the same by ``time.perf_counter``.
        limit: how many bytes it may have.
        room: by how many bytes the child may grow; None for no limit.
        plain: whether the traces are written as tracemalloc does, which takes more room on disk and less in memory.
        deep: whether all objects are looked at.
        left_out: what is not looked at, and why.
        slot: the place among those who write into the folder.
    """

    folder: Folder
    request: Request
    facts: Facts
    number: int
    shelf: shelf.Shelf
    owner: shelf.Owner
    when: float
    begun: float
    limit: int = 0
    room: int | None = None
    plain: bool = False
    deep: bool = False
    left_out: tuple[str, ...] = ()
    slot: OpenFile | None = None

    @property
    def name(self) -> str:
        """The file's name."""
        return shelf.name_of(self.owner, self.when, self.number)

    @property
    def path(self) -> str:
        """Where the file will be."""
        return os.path.join(self.folder.path, self.name)


def in_child(plan: Plan, page: Page) -> None:
    """Take the snapshot in a child that has settled, and answer."""
    answer = plan.request.answer
    held = -1
    if answer is not None:
        with suppress(OSError, LeakhuntError):
            held = answer[0].hold(answer[1], _encoded(_being_written(plan)))
    _limit_growth(plan.room)
    try:
        message = _take(plan, FORK)
    except Exception as error:  # noqa: BLE001 - the program never sees it; the answer says it
        message = no(failed(error, plan.folder.path))
    if message["ok"]:
        message["pause"] = page.pause
    if plan.slot is not None:
        leave_slot(plan.slot)  # whoever reads the answer may ask for the next one at once
    reply(plan.request, message)
    del held  # the lock goes with the process


def in_process(plan: Plan) -> Outcome:
    """Take the snapshot here and now; the program stands still for all of it."""
    collecting = gc.isenabled()
    gc.disable()  # a million new tuples would set it off again and again
    try:
        message = _take(plan, IN_PROCESS)
    finally:
        if collecting:
            gc.enable()
    message["pause"] = time.perf_counter() - plan.begun
    reply(plan.request, message)
    return Outcome(str(message["path"]), IN_PROCESS, left_out=plan.left_out)


def failed(error: Exception, folder: str = "") -> Outcome:
    """Say what an exception of ours means."""
    if isinstance(error, LeakhuntError):
        return Outcome(refused=error.message, hint=error.hint or None)
    if isinstance(error, MemoryError):
        return Outcome(
            refused="memory ran out before the snapshot was written",
            hint="take it earlier, or trace with fewer frames (leakhunt trace PID on --frames 5)",
        )
    if isinstance(error, OSError):
        where = f"{folder}: " if folder else ""
        hint = _HINTS.get(error.errno or 0)
        return Outcome(refused=f"{where}{error.strerror or error}", hint=hint)
    return Outcome(refused=f"leakhunt failed: {type(error).__name__}: {error}", hint="please report this")


def no(outcome: Outcome) -> dict[str, object]:
    """Return the answer that says why there is no snapshot."""
    return {
        "state": "done",
        "ok": False,
        "why": outcome.refused,
        "hint": outcome.hint,
        "busy": outcome.busy,
    }


def reply(request: Request, message: Mapping[str, object]) -> None:
    """Write the answer where one is waited for; who waits may be gone, with the folder."""
    if request.answer is not None:
        folder, name = request.answer
        with suppress(OSError, LeakhuntError):
            folder.write(name, _encoded(message))


def _take(plan: Plan, how: str) -> dict[str, object]:
    """Write the snapshot, and return the answer."""
    metadata, left_out = _metadata(plan, how)
    with plan.folder.writing(plan.name) as file:
        write = traces.write if how == FORK and not plan.plain else traces.write_plainly
        written = write(file, metadata, plan.limit)
    with suppress(OSError, LeakhuntError):  # the snapshot is there
        shelf.clear(plan.folder, plan.name, plan.shelf)
    return {
        "state": "done",
        "ok": True,
        "path": plan.path,
        "how": how,
        "size": written.size,
        "blocks": written.blocks,
        "traced": written.size_traced,
        "took": time.perf_counter() - plan.begun,
        "left_out": left_out,
        "number": plan.number,
    }


def _metadata(plan: Plan, how: str) -> tuple[dict[str, object], list[object]]:
    """Gather the facts, as many as can be had."""
    left_out: list[object] = list(plan.left_out)
    facts: Mapping[str, object] = {}
    for deep in (True, False) if plan.deep else (False,):
        try:
            facts = plan.facts(deep) or {}
            break
        except MemoryError:
            left_out.append(
                "counts of objects: memory ran out" if deep else "facts about the process: memory ran out"
            )
        except Exception as error:  # noqa: BLE001 - the traces are worth having without
            left_out.append(f"facts about the process: {type(error).__name__}: {error}")
            break
    told = facts.get("left_out")
    if isinstance(told, (list, tuple)):
        left_out += [each for each in told if each not in left_out]
    metadata = {
        "schema": 1,
        "number": plan.number,
        "reason": plan.request.reason,
        **facts,
        "how": how,
        "left_out": left_out,
    }
    return metadata, left_out


def _being_written(plan: Plan) -> dict[str, object]:
    pids = procfs.fields(procfs.read("/proc/self/status")).get("NSpid", "").split()
    return {
        "state": "writing",
        "pid": os.getpid(),
        "pids": [int(pid) for pid in pids if pid.isdecimal()],
        "deadline": time.time() + plan.request.timeout,
        "how": FORK,
    }


def _limit_growth(room: int | None) -> None:
    """Let this process run out of memory by itself before the group does, where the estimate was too low."""
    words = procfs.read("/proc/self/statm").split()
    if room is not None and words:
        size = int(words[0]) * resource.getpagesize() + room
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        if hard == resource.RLIM_INFINITY or size < hard:
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_AS, (size, hard))


def _encoded(message: Mapping[str, object]) -> bytes:
    return json.dumps(message).encode()
