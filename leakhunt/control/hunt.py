"""Two snapshots of a process with its work between them, and the process left as it was."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from leakhunt.capture.letters import SnapshotRequest, TraceRequest
from leakhunt.control import process as system
from leakhunt.control.answers import Status, Taken, snapshot, status, trace
from leakhunt.control.ask import Stage, Waiting
from leakhunt.control.find import Agent
from leakhunt.control.hold import DiedError
from leakhunt.errors import LeakhuntError

_TICK_S = 0.1
_COUNTING_S = 2.0  # each look at the tasks costs the worker a signal
_SPARE_S = 60.0


class Plan(NamedTuple):
    """What is done with a process.

    Attributes:
        seconds: how long it works between the snapshots, from fork to fork, at most.
        tasks: how many tasks it runs between them; 0 does not count them.
        frames: how many frames are traced of each allocation; None leaves tracing as it is.
        warm_up: how many seconds it is traced before the first snapshot.
        request: what is taken.
    """

    seconds: float
    tasks: int = 0
    frames: int | None = None
    warm_up: float = 0.0
    request: SnapshotRequest = SnapshotRequest()


class Listener(NamedTuple):
    """Who is told what happens.

    Attributes:
        phase: called with what happens now, the seconds of it that have passed, and all of them or None.
        note: called with a sentence that is to stay.
        taken: called with each snapshot as soon as it is there.
    """

    phase: Callable[[str, float, float | None], None]
    note: Callable[[str], None]
    taken: Callable[[Taken], None]


def hunt(agent: Agent, plan: Plan, listener: Listener) -> None:
    """Trace a process if wanted, take a snapshot, let it work, and take another.

    Ctrl-C while it works takes the second snapshot at once. However this ends, tracing is off again if it was off.

    Raises:
        DiedError: the process ended; the hint says what is left.
        RefusedError: a snapshot was refused.
        LeakhuntError: the process cannot be asked, or does not answer.
    """
    now = status(agent, plan.request.timeout)
    if plan.frames is None and not now.tracing:
        raise LeakhuntError(
            f"{agent.title}: nothing is traced in it, so that two snapshots would show nothing",
            f"leakhunt trace {agent.pid} on, before; or let 'leakhunt hunt {agent.pid}' do all of it",
        )
    if now.until is not None:
        listener.note("it is traced for a while only, as by another hunt: what that ends is lost here")
    first: Taken | None = None
    try:
        with _traced(agent, plan, now, listener):
            if plan.frames is not None and not now.tracing:
                _work(agent, "warming up", listener, plan.warm_up)
            begun = _First(agent, plan, listener)
            first = begun.take()
            listener.taken(first)
            with contextlib.suppress(KeyboardInterrupt):
                _work(agent, "at work", listener, plan.seconds, began=begun.began, enough=begun.enough())
            _still_traced(agent, plan, now)
            listener.taken(snapshot(agent, plan.request, _told(listener, "second snapshot")))
    except DiedError as error:
        if first is None:
            raise
        recycled = (
            "; or its pool recycled it (max_tasks_per_child)" if agent.registration.role == "child" else ""
        )
        raise DiedError(
            f"{error.message}, after its first snapshot",
            f"what it held then: leakhunt top {first.path}; what killed it: leakhunt oom-scan{recycled}",
        ) from None


def _still_traced(agent: Agent, plan: Plan, before: Status) -> None:
    """Refuse to compare what was traced with what was not.

    Raises:
        LeakhuntError: somebody has switched tracing off.
    """
    now = status(agent, plan.request.timeout)
    if not now.tracing:
        by = "its time was over" if before.until is not None else "somebody switched it off"
        raise LeakhuntError(
            f"{agent.title}: tracing ended while it was hunted: {by}", "hunt it again, one at a time"
        )


@contextlib.contextmanager
def _traced(agent: Agent, plan: Plan, before: Status, listener: Listener) -> Iterator[None]:
    """Have allocations traced, and stop that at the end, unless they were traced before."""
    if plan.frames is None or before.tracing:
        if plan.frames is not None and before.frames < plan.frames:
            listener.note(f"it is traced already, with {before.frames} frames; that is left as it is")
        yield
        return
    timeout = plan.request.timeout
    longest = plan.warm_up + plan.seconds + 2 * timeout + _SPARE_S  # it stops by itself if we are killed
    try:
        began = trace(agent, TraceRequest(on=True, frames=plan.frames, seconds=longest), timeout)
    except KeyboardInterrupt:  # it may have been switched on already
        _stop(agent, timeout, listener)
        raise
    try:
        if began.warning:
            listener.note(began.warning)
        yield
    finally:
        if system.alive(agent.process):
            _stop(agent, timeout, listener)


def _stop(agent: Agent, timeout: float, listener: Listener) -> None:
    """Stop tracing, even if somebody is impatient; what goes wrong is told, since the hunt itself has its own end."""
    try:
        try:
            trace(agent, TraceRequest(on=False), timeout)
        except KeyboardInterrupt:
            trace(agent, TraceRequest(on=False), timeout)
    except DiedError:
        return
    except LeakhuntError as error:
        listener.note(
            f"tracing could not be switched off ({error.message}); it stops by itself later, or by: leakhunt trace {agent.pid} off"
        )


def _told(listener: Listener, what: str) -> Waiting:
    """Return who tells how a snapshot is waited for."""
    said: set[Stage] = set()

    def waiting(passed: float, stage: Stage) -> None:
        if stage.is_news and stage not in said:
            said.add(stage)
            listener.note(stage.value)
        listener.phase(f"{what}: {stage.value}" if stage.is_written else what, passed, None)

    return waiting


class _First:
    """The first snapshot, and the work since the moment that it shows: its fork's, long before the file is there.

    Attributes:
        began: that moment, by ``time.monotonic``; where the process forks for none, when the snapshot was there.
    """

    def __init__(self, agent: Agent, plan: Plan, listener: Listener) -> None:
        self._agent, self._plan, self._listener = agent, plan, listener
        self._ran = 0
        self._is_late = False
        self.began: float | None = None

    def take(self) -> Taken:
        """Take it, and wait until it is there."""
        tell = _told(self._listener, "first snapshot")

        def waiting(passed: float, stage: Stage) -> None:
            if stage.is_written:
                self._begin()
            if self.began is not None and time.monotonic() - self.began >= self._plan.seconds:
                self._be_late()
            tell(passed, stage)

        taken = snapshot(self._agent, self._plan.request, waiting)
        self._begin()
        return taken

    def enough(self) -> Callable[[], bool] | None:
        """Return what tells whether as many tasks ran as are wanted; None if nobody counts."""
        if not self._plan.tasks:
            return None
        looked = 0.0

        def ran() -> bool:
            nonlocal looked
            if time.monotonic() - looked < _COUNTING_S:
                return False
            count = status(self._agent, self._plan.request.timeout).ran - self._ran
            looked = time.monotonic()
            self._listener.phase(f"{count} of {self._plan.tasks} tasks", 0.0, None)
            return count >= self._plan.tasks

        return ran

    def _begin(self) -> None:
        """Note the time, and how many tasks have run."""
        if self.began is None:
            self.began = time.monotonic()
            if self._plan.tasks:
                with contextlib.suppress(DiedError):  # which is told where it is waited for
                    self._ran = status(self._agent, self._plan.request.timeout).ran

    def _be_late(self) -> None:
        if not self._is_late:
            self._is_late = True
            self._listener.note("the second snapshot is due; it waits until the first one is written")


def _work(
    agent: Agent,
    what: str,
    listener: Listener,
    seconds: float,
    *,
    began: float | None = None,
    enough: Callable[[], bool] | None = None,
) -> None:
    """Let the process work for a while, from now on or since it began, or until it is enough.

    Raises:
        DiedError: it ended.
    """
    began = time.monotonic() if began is None else began
    while (passed := time.monotonic() - began) < seconds:
        if not system.alive(agent.process):
            raise DiedError(f"process {agent.title} has ended")
        if enough is not None and enough():
            return
        listener.phase(what, passed, seconds)
        time.sleep(min(_TICK_S, seconds - passed))
