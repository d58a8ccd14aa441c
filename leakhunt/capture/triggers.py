"""When a snapshot is due by itself: decided from counts, clocks and sizes alone."""

from __future__ import annotations

import os
import resource

from leakhunt.capture.settings import Level, Settings

_REARM = 0.9  # of a level: memory has to fall below it before the level counts as reached again
_PAGE = resource.getpagesize()


class Triggers:
    """Decides when a snapshot is due.

    Attributes:
        watches_memory: whether any of the conditions needs the RSS.
        group_from: from how many bytes on the use of the control group has to be known; 0 where it need not be.
        watches_time: whether any of them may come true while no task ends.
    """

    def __init__(self, settings: Settings, *, limit: int | None, now: float, rss: int | None) -> None:
        """Begin to watch.

        Args:
            settings: the conditions.
            limit: of the control group, in bytes; None where there is none.
            now: seconds of a clock that only goes forward.
            rss: the process's memory now; None where unknown.
        """
        self._every = settings.every
        self._interval = settings.interval
        self._step = settings.each_growth
        self._level = level_of(settings.at_rss, limit)
        self._executions = 0
        self._last = now
        self._base = self._before = rss
        self._armed = True
        self._group: int | None = None
        is_share = settings.at_rss is not None and settings.at_rss.share is not None
        self.group_from = int(self._level * _REARM) if is_share else 0
        self.watches_memory = bool(self._level or self._step)
        self.watches_time = self.watches_memory or bool(self._interval)

    def after_task(self, now: float, rss: int | None) -> str | None:
        """Count an execution, and return why a snapshot is due, or None."""
        self._executions += 1
        due = "every" if self._every and self._executions % self._every == 0 else None
        return self.at(now, rss) or due

    def at(self, now: float, rss: int | None, group: int | None = None) -> str | None:
        """Return why a snapshot is due at a moment, or None.

        Args:
            now: seconds of the clock.
            rss: the process's memory; None where unknown.
            group: what its control group uses; None where nobody has looked.
        """
        due = None
        if self._interval and now - self._last >= self._interval:
            self._last = now
            due = "interval"
        if rss is None:
            return due
        if self._step:
            if self._base is None:
                self._base = rss
            elif rss - self._base >= self._step:
                self._before, self._base = self._base, rss
                due = "growth"
        if self._level and self._reaches(rss, group):
            due = "rss"
        return due

    def _reaches(self, rss: int, group: int | None) -> bool:
        """Tell whether memory has come to the level; where the group was there before the process, that says nothing."""
        found_so = self._group is None and group is not None and rss < self._level
        self._group = self._group if group is None else group
        size = max(rss, self._group or 0)
        if size < self._level:
            self._armed = self._armed or size < self._level * _REARM
            return False
        due = self._armed and not found_so
        self._armed = False
        return due

    def missed(self, reason: str) -> None:
        """Have what was due be due again, as another snapshot was being written then; memory may not wait for long."""
        if reason == "rss":
            self._armed = True
        elif reason == "growth":
            self._base = self._before


def level_of(level: Level | None, limit: int | None) -> int:
    """Return a level of memory in bytes; 0 where there is none, or none can be had without a limit."""
    if level is None:
        return 0
    if level.share is None:
        return level.size or 0
    return int(limit * level.share) if limit else 0


def rss_now() -> int | None:
    """Return this process's resident memory in bytes; None where that is not known."""
    try:
        fd = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return int(os.read(fd, 80).split(None, 2)[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return None
    finally:
        os.close(fd)
