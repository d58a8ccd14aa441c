"""How much memory this process holds now, and the most it held during a task."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress

from leakhunt.capture.record.numbered import OpenFile, close_file, is_still, open_file

_PAGE = resource.getpagesize()
_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
_FLOOR = 1 << 20  # a mark that stands so far above what is resident after a reset is an earlier program's
_MOST_TASKS = 1_000
_NEAR = (
    64 << 10
)  # a mark so little above what is resident is not set back: a peak is that much too high at most
_RESET = b"5"  # proc(5): sets the high-water mark to what is resident now


class HighWater:
    """Reads RSS, and the kernel's mark of its peak, which is set back at the start of a task where that is allowed.

    Args:
        reset: whether the mark may be set back.

    Attributes:
        may_reset: likewise.
        resets: whether it can be.
    """

    def __init__(self, *, reset: bool) -> None:
        self.may_reset = reset
        self._by_status = False
        self._statm: OpenFile | None = None
        self._clear: OpenFile | None = None
        self._marks: dict[object, tuple[int, int]] = {}
        self.resets = False

    def open(self) -> None:
        """Open what is read, and find out whether the mark can be set back and where that shows."""
        self.close()
        self._statm = open_file("/proc/self/statm", os.O_RDONLY)
        rss = self.rss()
        self.resets = self._by_status = False
        if not self.may_reset or rss is None:
            return
        self._clear = open_file("/proc/self/clear_refs", os.O_WRONLY)
        if self._clear is not None:
            with suppress(OSError):
                self.resets = os.pwrite(self._clear.fd, _RESET, 0) == len(_RESET)
                # getrusage never falls below what was resident before an exec
                self._by_status = self.resets and self._mark() - rss > _FLOOR

    def close(self) -> None:
        """Close it."""
        close_file(self._statm)
        close_file(self._clear)
        self._statm = self._clear = None

    def rss(self) -> int | None:
        """Return what is resident now, in bytes; None where that is unknown."""
        if self._statm is None:
            return None
        try:
            return int(os.pread(self._statm.fd, 80, 0).split(None, 2)[1]) * _PAGE
        except (OSError, ValueError, IndexError):  # somebody closed it
            self._statm = open_file("/proc/self/statm", os.O_RDONLY)
            return None

    def begin(self, task: object, rss: int | None) -> None:
        """Begin to watch a task.

        Args:
            task: its id.
            rss: what is resident now.
        """
        if len(self._marks) >= _MOST_TASKS:
            self._marks.clear()
        mark = self._mark()
        if not self.resets:
            self._marks[task] = (mark, rss or 0)
        elif rss is not None and mark - rss <= _NEAR:  # it stands where a reset would put it, or lower
            self._marks[task] = (-1, rss)
        elif self._clear is not None and is_still(self._clear):
            os.pwrite(self._clear.fd, _RESET, 0)
            self._marks[task] = (-1, rss or 0)

    def end(self, task: object, rss: int | None) -> int | None:
        """Return the most that was resident during a task; None where the mark stood above that, or nobody watched.

        Args:
            task: its id.
            rss: what is resident now.
        """
        before, first = self._marks.pop(task, (None, 0))
        if before is None:
            return None
        mark = self._mark()
        return max(mark, first, rss or 0) if mark > before else None

    def _mark(self) -> int:
        if not self._by_status:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
        with open("/proc/self/status", "rb") as file:
            return int(file.read().partition(b"VmHWM:")[2].split(None, 1)[0]) * 1024
