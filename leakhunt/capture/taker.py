"""Snapshots of this process, with what is known of it."""

from __future__ import annotations

import _thread
import gc
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from leakhunt.capture import earlier
from leakhunt.capture.facts import memory
from leakhunt.capture.facts.collecting import collect
from leakhunt.capture.facts.identity import Identity
from leakhunt.capture.folder import Folder
from leakhunt.capture.letters import SnapshotRequest
from leakhunt.capture.settings import Settings
from leakhunt.capture.snapshots import snapshot
from leakhunt.capture.tracing import Tracing
from leakhunt.errors import LeakhuntError

Tasks = Mapping[str, Mapping[str, object]]
TIMEOUT = 120.0  # seconds that a snapshot may take which nobody waits for
_begun = [0, 0]  # the process, and how many snapshots of it were begun: names of files have the number
_at_work: set[int] = set()  # the threads in which a snapshot is taken, by their numbers


def forks() -> bool:
    """Tell, in a child right after a fork, whether it was forked to write a snapshot."""
    return _thread.get_ident() in _at_work


def after_fork() -> None:
    """In a child of the program's: no snapshot is taken in it, and the system gives the threads' numbers to others."""
    _at_work.clear()


class Taker:
    """Takes the snapshots of one process.

    Attributes:
        refused: why the last one was refused; empty when it was not.
    """

    def __init__(
        self,
        folder: Folder,
        settings: Settings,
        identity: Identity,
        *,
        tracing: Tracing,
        executions: Mapping[str, int],
        tasks: Callable[[], Tasks],
        place: Callable[[], str],
    ) -> None:
        """Prepare to take snapshots.

        Args:
            folder: where they are kept.
            settings: how many of them, and how.
            identity: who the process is.
            tracing: the state of tracing.
            executions: how often each task ran until now; it goes on changing.
            tasks: gives the registry of tasks; asked in the process that writes.
            place: gives the agent's place in the folder, where one snapshot leaves word for the next; empty without.
        """
        self._folder = folder
        self._settings = settings
        self._identity = identity
        self._tracing = tracing
        self._executions = executions
        self._tasks = tasks
        self._place = place
        self._answers = False  # whether somebody waits for the last one that was begun
        if _begun[0] != identity.pid:
            _begun[:] = [identity.pid, 0]
        self.refused = ""

    @property
    def number(self) -> int:
        """How many snapshots of this process were begun, by those that took them before, too."""
        return _begun[1]

    @property
    def is_awaited(self) -> bool:
        """Whether a snapshot is being written that somebody has asked for."""
        return self._answers and snapshot.is_writing()

    def take(
        self, reason: str, asked: SnapshotRequest | None = None, answer: tuple[Folder, str] | None = None
    ) -> snapshot.Outcome:
        """Take a snapshot; not in the handler of a signal.

        Args:
            reason: why.
            asked: how; by default as the settings say.
            answer: where to tell how it went.
        """
        begun = time.perf_counter()
        known = self._settings
        light = reason == "exit"  # whoever waits for the process to leave does not wait for long
        how = asked or SnapshotRequest(
            deep=not light,
            retainers=known.retainers and not light,
            trim=known.trim and not light,
            force=known.force,
            timeout=TIMEOUT,
        )
        request = snapshot.Request(
            reason=reason,
            deep=how.deep,
            force=how.force,
            answer=answer,
            timeout=how.timeout,
        )
        _begun[1] += 1
        here = _thread.get_ident()
        _at_work.add(here)
        try:
            outcome = snapshot.capture(
                self._folder,
                request,
                self._facts(how, reason),
                number=self.number,
                shelf=snapshot.Shelf(known.keep, known.budget, known.total),
                begun=begun,
            )
        finally:
            _at_work.discard(here)
        self.refused = outcome.refused or ""
        if outcome.refused is None:
            self._answers = answer is not None
        return outcome

    def _facts(self, how: SnapshotRequest, reason: str) -> snapshot.Facts:
        """Return what gives a snapshot's metadata, in the process that writes it; what the fork changes is read now."""
        executions = dict(self._executions)
        tracing = self._tracing.told()
        deadline = time.monotonic() + how.timeout
        number = self.number
        collecting = gc.isenabled()
        shared = memory.sharing(self._identity.pid)
        place, since = self._place(), self._tracing.since

        def facts(deep: bool) -> Mapping[str, object]:  # noqa: FBT001 - as capture() asks for it
            tasks: Tasks = {}
            with suppress(Exception):  # the program's own registry may be anything
                tasks = self._tasks()

            def leave(sizes: Mapping[earlier.Line, int]) -> None:
                with suppress(OSError, LeakhuntError):  # the snapshot is worth having without
                    earlier.leave(place, since, sizes)

            return collect(
                self._identity,
                tracing,
                executions,
                tasks,
                deep=deep,
                retainers=how.retainers,
                trim=how.trim,
                deadline=deadline,
                number=number,
                reason=reason,
                gc_enabled=collecting,
                shared=shared,
                earlier=earlier.read(place, since) if deep else None,
                sized=leave,
            )

        return facts
