"""A thread that looks at the clock and at the memory while no task ends; it sleeps almost always."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from leakhunt.capture import aside
from leakhunt.capture.snapshots.orphan import sleep

_PERIOD = 1.0
_SHORTEST = 0.05


class Watch:
    """A thread that looks again and again, until it is stopped or there is nothing more to look for.

    It does not survive a fork: the child begins its own.

    Attributes:
        looks: whether it still does.
    """

    def __init__(self, look: Callable[[], bool], period: float = _PERIOD) -> None:
        """Begin.

        Args:
            look: what it does each time; false when there is nothing more to look for.
            period: seconds between two looks; at most one, so that memory is seen in time.
        """
        self._look = look
        self._period = max(_SHORTEST, min(_PERIOD, period))
        self.looks = aside.begin(self._run)

    def stop(self) -> None:
        """Let it end at its next look; nobody waits for it."""
        self.looks = False

    def _run(self) -> None:
        sleep(self._period)
        while self.looks:
            with suppress(Exception):
                self.looks = self._look() and self.looks
            sleep(self._period)
