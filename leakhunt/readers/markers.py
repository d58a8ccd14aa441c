"""Where the first of several byte strings stands, and how many lines lie before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from leakhunt.readers.compiled import fast

_STRETCH = 1 << 18  # stays in the processor's cache while several markers are searched


def count_lines(data: bytes, start: int, end: int) -> int:
    """Count the newlines between two places."""
    return _count(data, start, end)


def _count_plainly(data: bytes, start: int, end: int) -> int:
    return data.count(b"\n", max(start, 0), end) if end > 0 else 0


_count: Callable[[bytes, int, int], int] = _count_plainly if fast is None else fast.count_lines


class _Finder(Protocol):
    def first(self, data: bytes, start: int, end: int, /) -> int: ...


class Markers:
    """Byte strings that are looked for together.

    Args:
        markers: what to look for; none is empty.
    """

    def __init__(self, markers: Iterable[bytes]) -> None:
        finder: _Finder = fast.Markers(markers) if fast is not None else _PlainFinder(markers)
        self._first = finder.first

    def first(self, data: bytes, start: int, end: int) -> int:
        """Return where the first marker begins, or -1.

        Args:
            data: the bytes to look in.
            start: where to begin.
            end: a marker begins before this; it may go on behind it, as far as there is data.
        """
        return self._first(data, start, end)


class _PlainFinder:
    """Looks for one marker after the other."""

    def __init__(self, markers: Iterable[bytes]) -> None:
        self._markers = tuple(markers)
        if not all(self._markers):
            raise ValueError("an empty marker stands everywhere")

    def first(self, data: bytes, start: int, end: int, /) -> int:
        """Return where the first marker begins, or -1."""
        start, end = max(start, 0), min(end, len(data))
        while start < end:
            stop = limit = min(start + _STRETCH, end)
            for marker in self._markers:
                hit = data.find(marker, start, limit + len(marker) - 1)
                if hit >= 0:
                    limit = hit
            if limit < stop:
                return limit
            start = stop
        return -1
