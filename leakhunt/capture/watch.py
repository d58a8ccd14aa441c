"""A thread that looks at the clock and at the memory while no task ends; it sleeps almost always."""

from __future__ import annotations

import _thread
import os
import time
from collections.abc import Callable
from contextlib import suppress

from leakhunt.capture import aside
from leakhunt.capture.snapshots.orphan import sleep

_PERIOD = 1.0
_SHORTEST = 0.05
_PATIENCE = 0.05  # seconds that a fork is held up at most
_POLL = 0.000_1


class Watch:
    """A thread that looks again and again, until it is stopped or there is nothing more to look for.

    It is no part of a fork: Python 3.12 and later warn a program that forks while it has threads. So it ends before the
    program forks, and another one goes on from there.

    Attributes:
        looks: whether it still does.
        due: when it looks next, by ``time.monotonic``.
    """

    def __init__(self, look: Callable[[], bool], period: float = _PERIOD, due: float | None = None) -> None:
        """Begin.

        Args:
            look: what it does each time; false when there is nothing more to look for.
            period: seconds between two looks; at most one, so that memory is seen in time.
            due: when it looks first; by default after a period.
        """
        self._look = look
        self._period = max(_SHORTEST, min(_PERIOD, period))
        self.due = time.monotonic() + self._period if due is None else due
        self._thread = 0
        self._ends = aside.allocate_lock()
        self._ends.acquire()
        self.looks = True
        self.looks = aside.begin(self._run)

    def stop(self) -> None:
        """Let it end; nobody waits for it."""
        self.looks = False
        with suppress(RuntimeError):  # it was stopped before
            self._ends.release()

    def end(self) -> None:
        """Stop it and wait, though not long, until the system has one thread less."""
        self.stop()
        latest = time.monotonic() + _PATIENCE
        while not self._thread or os.path.exists(f"/proc/self/task/{self._thread}"):
            if time.monotonic() > latest:
                return
            sleep(_POLL)

    def _run(self) -> None:
        self._thread = _thread.get_native_id()
        while not self._ends.acquire(timeout=max(0.0, self.due - time.monotonic())) and self.looks:
            with suppress(Exception):
                self.looks = self._look() and self.looks
            self.due = time.monotonic() + self._period
