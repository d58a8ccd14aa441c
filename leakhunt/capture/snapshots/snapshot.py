"""A snapshot of this process: a forked child takes it, so that the pause is that of a fork.

The answer to a request is a file in the folder of the agent, JSON, each time whole:

1. ``{"state": "writing", "pid", "pids", "deadline", "how": "fork"}``, from the child, which holds an exclusive
   ``flock`` on that file as long as it lives. Who waits tries ``LOCK_SH | LOCK_NB`` on it: having got it, the child is
   gone, and if the file that now has the name still says "writing", the snapshot is lost.
2. ``{"state": "done", "ok": true, "path", "how", "size", "blocks", "traced", "pause", "took", "left_out", "number"}``
   or ``{"state": "done", "ok": false, "why", "hint", "busy"}``, from the child, or from this process where no child
   was forked.
"""

from __future__ import annotations

import _thread
import os
import sys
import time

from leakhunt.capture.aside import is_aside
from leakhunt.capture.folder import Folder
from leakhunt.capture.snapshots import forking, headroom, orphan, taking
from leakhunt.capture.snapshots.request import FORK, Facts, Outcome, Request
from leakhunt.capture.snapshots.shelf import Owner, Shelf
from leakhunt.capture.snapshots.slots import BusyError, take_slot
from leakhunt.capture.undisturbed import is_ours
from leakhunt.errors import LeakhuntError
from leakhunt.units import format_size

__all__ = ["Facts", "Outcome", "Request", "Shelf", "capture", "is_writing"]

_BUSY = Outcome(
    refused="a snapshot of this process is being written already",
    hint="ask again when it is there",
    busy=True,
)
_WARY = Outcome(
    refused="the last one was stuck in a fork hook of the program: none is taken unasked for a while",
    hint="leakhunt snap takes one all the same",
)
_WARY_S = 600.0
_ASKED = frozenset({"asked", "api"})
_FORCE = "--force takes it all the same; the kernel may then kill the process"
_OBJECTS = "counts of objects, garbage, who holds what"
# Tried: a finalizer that waits, run by a collection of garbage, switches to the program's greenlets.
_GREENLETS = "greenlets of the program could come to run in the child, as what is collected there may wait"


class _State:
    """What this process is at; a process forked by the program begins anew."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = _thread.allocate_lock()
        self.child: orphan.Orphan | None = None
        self.wary_until = 0.0  # by time.monotonic: a child was stuck in a fork hook, and the worker waited

    def is_busy(self) -> bool:
        """Tell whether a child is at work."""
        if self.child is not None and not self.child.lives():
            self.child = None
        return self.child is not None


_states = [_State()]


def capture(
    folder: Folder, request: Request, facts: Facts, *, number: int, shelf: Shelf, begun: float | None = None
) -> Outcome:
    """Take a snapshot, as harmlessly as it can be done here.

    Not to be called by the handler of a signal, which may have interrupted the holder of a lock that ``os.fork`` waits
    for; a thread that the handler starts or wakes may. Nothing of ours is raised; what a handler of the program raises
    meanwhile, as a time limit does, is not ours to keep.

    Args:
        folder: where the file goes.
        request: what is asked for.
        facts: gives the metadata, deep or not; called in the child where there is one.
        number: how many snapshots of this process there were, this one included.
        shelf: what may stay in the folder.
        begun: since when the caller works for it, by ``time.perf_counter``, where that is not just now.
    """
    begun = time.perf_counter() if begun is None else begun
    try:
        outcome = _capture(
            taking.Plan(folder, request, facts, number, shelf, Owner.here(), time.time(), begun)
        )
    except Exception as error:
        if not is_ours(error.__traceback__):
            raise
        outcome = taking.failed(error, folder.path)
    if not outcome.pause:
        outcome = outcome._replace(pause=time.perf_counter() - begun)
    if outcome.refused is not None:
        taking.reply(request, taking.no(outcome))
    return outcome


def is_writing() -> bool:
    """Tell whether a child of this process is writing a snapshot."""
    return _state().is_busy()


def is_ours_to_reap() -> bool:
    """Tell whether the child that writes is this process's to reap, since nobody else would."""
    child = _state().child
    return child is not None and child.ours and child.lives()


def _state() -> _State:
    if _states[0].pid != os.getpid():
        _states[0] = _State()
    return _states[0]


def _capture(plan: taking.Plan) -> Outcome:
    state = _state()
    if not state.lock.acquire(blocking=False):
        return _BUSY
    try:
        if state.is_busy():
            return _BUSY
        asked = plan.request.reason in _ASKED
        if state.wary_until > time.monotonic() and not asked:
            return _WARY
        slot = take_slot(plan.folder, asked=asked)
        try:
            return _capture_in_turn(state, plan._replace(slot=slot))
        finally:
            forking.drop(slot)
    except BusyError as error:
        return Outcome(refused=error.message, hint=error.hint, busy=True)
    finally:
        state.lock.release()


def _capture_in_turn(state: _State, plan: taking.Plan) -> Outcome:
    """Take a snapshot while no other one of this process, and few of others, is being written."""
    budget = min(plan.shelf.budget, plan.shelf.total)
    plan = _affordable(plan)._replace(limit=min(budget, _disk(plan.folder)))
    if plan.deep and _has_greenlets() and not plan.request.force:
        plan = plan._replace(deep=False, left_out=(*plan.left_out, f"{_OBJECTS}: {_GREENLETS}"))
    why = _no_fork()
    if not why:
        try:
            state.child = _fork(plan)
        except orphan.StuckError:
            state.wary_until = time.monotonic() + _WARY_S
            raise
        except (OSError, RuntimeError) as error:
            why = f"the system refuses another process: {error}"
        else:
            pause = state.child.page.pause or 0.0
            return Outcome(plan.path, FORK, state.child.pid, pause=pause, left_out=plan.left_out)
    return taking.in_process(_without_objects(plan, why))


def _fork(plan: taking.Plan) -> orphan.Orphan:
    child = orphan.start(lambda page: taking.in_child(plan, page), plan.request.timeout)
    # Beside the program, all that it feels is the fork; what waits for the rest is a thread of ours.
    child.page.pause = child.stall if is_aside() else time.perf_counter() - plan.begun
    return child


def _no_fork() -> str:
    """Return why this process must not be forked; empty where it may be."""
    has_gil = getattr(sys, "_is_gil_enabled", None)
    if has_gil is not None and not has_gil():
        return (
            "this Python runs threads side by side, any of which may be in the middle of something at a fork"
        )
    return ""


def _has_greenlets() -> bool:
    """Tell whether gevent or eventlet have replaced parts of the standard library."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    return bool(getattr(gevent, "saved", None) or getattr(eventlet, "already_patched", None))


def _without_objects(plan: taking.Plan, why: str) -> taking.Plan:
    """Return a plan for here and now: what would keep the program waiting for long only where it is insisted on."""
    deep = plan.deep and plan.request.force
    left_out = (
        plan.left_out if deep or not plan.deep else (*plan.left_out, f"{_OBJECTS}: not in the process itself")
    )
    return plan._replace(
        deep=deep, left_out=(*left_out, f"taken in the process itself, not in a fork: {why}")
    )


def _affordable(plan: taking.Plan) -> taking.Plan:
    """Return a plan with as much in it as there is memory for.

    Raises:
        LeakhuntError: there is not enough memory for anything.
    """
    room = headroom.room()
    plan = plan._replace(deep=plan.request.deep)
    if plan.request.force or room.size is None:
        return plan
    need = headroom.need()
    left = f"{room.by} leaves {format_size(room.size)}"
    if room.size < need.plain:
        raise LeakhuntError(f"a snapshot may take {format_size(need.plain)} of memory, and {left}", _FORCE)
    if plan.deep and room.size < need.deep:
        why = f"looking at all objects may take {format_size(need.deep)} of memory, and {left}"
        plan = plan._replace(deep=False, left_out=(f"{_OBJECTS}: {why}",))
    copied = need.copied_deep if plan.deep else need.copied
    return plan._replace(room=room.size - copied, plain=room.size < need.light)


def _disk(folder: Folder) -> int:
    """Return how large the file may be.

    Raises:
        LeakhuntError: no file fits, or the folder is not what it was.
    """
    try:
        size = headroom.disk(folder)
    except OSError as error:
        raise LeakhuntError(
            f"{folder.path}: {error.strerror}", "choose another folder with LEAKHUNT_DIR"
        ) from error
    if not size:
        raise LeakhuntError(
            f"{folder.path}: the disk is full but for a reserve",
            "make room there, or choose another folder with LEAKHUNT_DIR",
        )
    return size
