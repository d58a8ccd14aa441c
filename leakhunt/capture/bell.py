"""The signal that makes an agent look for requests, without taking it from anybody."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from leakhunt.capture import aside
from leakhunt.capture.undisturbed import is_ours

_ONLY_THEN = "snapshots can be asked for at the end of a task only"


class Bell:
    """A signal's handler, in front of the one that was there.

    It only begins a thread, which then looks: what it interrupted may hold any lock. A thousand signals are one: those
    that come meanwhile make that thread look once more.
    """

    def __init__(self, number: int, look: Callable[[], None]) -> None:
        """Prepare a handler.

        Args:
            number: of the signal.
            look: what is done when it comes; in a thread of its own.
        """
        self._number = number
        self._look = look
        self._before: Callable[[int, FrameType | None], object] | None = None
        self._busy = False
        self._again = False

    @property
    def hangs(self) -> bool:
        """Whether the handler is there; the program may have put another in its place."""
        # Asked after each task: before Python 3.12 signal.getsignal() takes 2 us to find that this is no enum's member.
        return bool(_signal.getsignal(self._number) == self._rings)

    def after_fork(self) -> None:
        """In a child: the thread that looked is not there."""
        self._busy = self._again = False

    def hang(self) -> str:
        """Install the handler, and return what stands against it; empty when it hangs."""
        name = signal.Signals(self._number).name
        before = signal.getsignal(self._number)
        if self.hangs:
            return ""
        if before is None:
            return f"{name} is taken by a library: {_ONLY_THEN}"
        if threading.current_thread() is not threading.main_thread():
            return f"{name} cannot be listened to outside of the main thread: {_ONLY_THEN}"
        try:
            signal.signal(self._number, self._rings)
        except (ValueError, OSError):  # not the main interpreter
            return f"{name} cannot be listened to here: {_ONLY_THEN}"
        self._before = before if callable(before) else None
        return ""

    def _rings(self, number: int, frame: FrameType | None) -> None:
        """Be the handler."""
        try:
            self._again = True
            if not self._busy:
                # Before the thread begins: it may have done its work when this goes on.
                self._busy = True
                if not aside.begin(self._answer):
                    self._busy = False
        except Exception as error:
            if not is_ours(error.__traceback__):  # another signal's handler may have run here
                raise
        if self._before is not None:
            self._before(number, frame)

    def _answer(self) -> None:
        """Look, until no signal has come meanwhile."""
        while self._rang():
            with suppress(Exception):
                self._look()
        self._busy = False
        # One that came between these two lines saw somebody at work.
        if self._rang():
            self._look()

    def _rang(self) -> bool:
        rang, self._again = self._again, False
        return rang
