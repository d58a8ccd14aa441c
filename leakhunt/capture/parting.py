"""How a process that leaves waits for the snapshots that are being written: not for long, and never against a signal."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from leakhunt.capture import procfs
from leakhunt.capture.snapshots import snapshot
from leakhunt.capture.snapshots.orphan import sleep

_SECONDS = 5.0
_SECONDS_FOR_ALL = 10.0  # where all that is left is killed with this process; Kubernetes kills after 30
_WRITER = "leakhunt-snap"
_MOST = 100_000  # processes of a machine that are looked at
_POLL = 0.01
_GROUP, _START, _STAT_WORDS = 2, 19, 20  # of /proc/<pid>/stat, behind the name
_HARMLESS = frozenset({signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT})


def patience(*, outlived: bool) -> float:
    """Return for how many seconds a process waits until its snapshot is written.

    Args:
        outlived: whether another process of the program outlives it, and the snapshot's writer with that.
    """
    if os.getpid() == 1 or snapshot.is_ours_to_reap():
        return _SECONDS_FOR_ALL
    return 0.0 if outlived else _SECONDS


def ours() -> bool:
    """Tell whether a snapshot of this process is being written."""
    return snapshot.is_writing()


def writers() -> Callable[[], bool]:
    """Look for what writes snapshots of the processes that this one forked; return what tells whether any still does."""
    group = os.getpgrp()
    names = procfs.names("/proc", _MOST)
    found = {name: start for name in names if name.isdecimal() and (start := _writing(name, group))}

    def goes_on() -> bool:
        for name, start in list(found.items()):
            if _writing(name, group) != start:
                del found[name]
        return bool(found)

    return goes_on


def _writing(name: str, group: int) -> str:
    """Return when a process was started that writes a snapshot and belongs to a group; empty for any other."""
    command, _, rest = procfs.read(f"/proc/{name}/stat", 4096).rpartition(")")
    words = rest.split()
    if not command.endswith(f"({_WRITER}") or len(words) < _STAT_WORDS:
        return ""
    return words[_START] if words[0] != "Z" and words[_GROUP] == str(group) else ""


class Parting:
    """The last that is done in a process, until a signal comes: with the program's signals as it has them.

    What a handler of the program raises meanwhile is dropped: it wants the process to leave, which is what comes next.
    """

    def __init__(self) -> None:
        self._read = self._write = self._before = -1
        self._hurried = False

    def __enter__(self) -> Parting:  # noqa: PYI034 - Self is not in the library of 3.9
        with suppress(OSError, ValueError):  # not the main thread, or no more files
            self._read, self._write = os.pipe()
            os.set_blocking(self._read, False)
            os.set_blocking(self._write, False)
            self._before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
            if self._before >= 0:  # the program itself wants to know
                signal.set_wakeup_fd(self._before)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError, ValueError):
            if self._before < 0:
                signal.set_wakeup_fd(-1)
        for fd in (self._read, self._write):
            if fd >= 0:
                os.close(fd)

    def do(self, work: Callable[[], object]) -> None:
        """Do something."""
        try:
            work()
        except BaseException:  # noqa: BLE001 - a handler's, see above
            self._hurried = True

    def wait(self, goes_on: Callable[[], bool], seconds: Callable[[], float]) -> None:
        """Wait while something goes on, so many seconds at most; after a signal not at all."""

        def work() -> None:
            end = time.monotonic() + seconds()
            while time.monotonic() < end and not self._is_hurried() and goes_on():
                sleep(_POLL)

        self.do(work)

    def _is_hurried(self) -> bool:
        """Tell whether a signal came that may want something."""
        with suppress(OSError):  # none
            self._hurried = bool(set(os.read(self._read, 4096)) - _HARMLESS) or self._hurried
        return self._hurried
