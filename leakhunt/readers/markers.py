"""Where the first of several byte strings stands, and how many lines lie before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from types import ModuleType
from typing import Protocol

from leakhunt.readers.compiled import fast

_OPENING = 6  # bytes; markers that open alike are looked for one by one only where there is any of them
_STRETCH = 1 << 18  # stays in the processor's cache while several markers are searched


def _count_plainly(data: bytes, start: int, end: int) -> int:
    return data.count(b"\n", max(start, 0), end) if end > 0 else 0


count_lines: Callable[[bytes, int, int], int] = _count_plainly if fast is None else fast.count_lines
"""Count the newlines in bytes between two places."""


class _Finder(Protocol):
    def first(self, data: bytes, start: int, end: int, /) -> int: ...


class Markers:
    """Byte strings that are looked for together.

    Args:
        markers: what to look for; none is empty.

    Attributes:
        first: returns where the first marker begins in some bytes, from a place on and before another, or -1; it may go
            on behind that, as far as there is data.
    """

    def __init__(self, markers: Iterable[bytes]) -> None:
        self.first = _finder(fast, tuple(markers)).first


class Groups:
    """Groups of byte strings that are looked for together: which of the groups occur.

    Args:
        groups: up to 32; none of their markers is empty.
    """

    def __init__(self, groups: Sequence[Sequence[bytes]]) -> None:
        bits: dict[bytes, int] = {}
        for number, markers in enumerate(groups):
            for marker in markers:
                bits[marker] = bits.get(marker, 0) | 1 << number
        if not all(bits):
            raise ValueError("an empty marker stands everywhere")
        alike: dict[bytes, list[bytes]] = {}
        for marker in bits:
            alike.setdefault(marker[:_OPENING], []).append(marker)
        self._alike = [
            (opening if len(some) > 1 else some[0], [(marker, bits[marker]) for marker in some])
            for opening, some in alike.items()
        ]
        self._of = (
            self._of_plainly if fast is None else fast.Markers(tuple(bits), tuple(bits.values())).groups
        )

    def of(self, data: bytes) -> int:
        """Return a bit for each group of which a marker occurs, the lowest for the first group."""
        return self._of(data)

    def _of_plainly(self, data: bytes) -> int:
        found = 0
        for opening, alike in self._alike:
            wanted = [(marker, bits) for marker, bits in alike if bits & ~found]
            if wanted and opening in data:
                for marker, bits in wanted:
                    found |= bits if marker in data else 0
        return found


@lru_cache(maxsize=64)
def _finder(compiled: ModuleType | None, markers: tuple[bytes, ...]) -> _Finder:
    """Return what looks for markers; those that a reader looks for are few, and asked for again and again."""
    finder: _Finder = _PlainFinder(markers) if compiled is None else compiled.Markers(markers)
    return finder


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
