"""A moving window over a stream of bytes."""

from __future__ import annotations

import re
from collections.abc import Callable


class Cut(Exception):  # noqa: N818 - a state of the input, not a mistake
    """The input ended inside a value."""


class Window:
    """Bytes read so far and not yet used, refilled on demand.

    Attributes:
        data: the bytes at hand.
        pos: how many of them are used.
    """

    __slots__ = ("_base", "_read", "data", "pos")

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._base = 0
        self.data = b""
        self.pos = 0

    @property
    def offset(self) -> int:
        """Bytes used since the start of the stream."""
        return self._base + self.pos

    def fill(self, need: int) -> None:
        """Have at least ``need`` unused bytes at hand.

        Raises:
            Cut: the stream ends before; what there is stays at hand.
        """
        parts = [self.data[self.pos :]]
        have = len(parts[0])
        self._base += self.pos
        self.pos = 0
        while have < need:
            chunk = self._read()
            if not chunk:
                self.data = b"".join(parts)
                raise Cut
            parts.append(chunk)
            have += len(chunk)
        self.data = b"".join(parts)

    def take(self, size: int) -> bytes:
        """Use the next ``size`` bytes; raises Cut where there are fewer."""
        if len(self.data) - self.pos < size:
            self.fill(size)
        start = self.pos
        self.pos = start + size
        return self.data[start : self.pos]

    def take_run(self, run: re.Pattern[bytes]) -> int:
        """Use what stands next and matches, as far as it is at hand, and return how many bytes that are.

        Args:
            run: repeats of one byte.

        Raises:
            Cut: nothing follows at all.
        """
        if self.pos == len(self.data):
            self.fill(1)
        start = self.pos
        match = run.match(self.data, start)
        self.pos = match.end() if match else start
        return self.pos - start

    def take_line(self, limit: int) -> bytes:
        """Use the bytes up to the next newline, without it; raises Cut when none follows within ``limit`` bytes."""
        size = 0
        while True:
            end = self.data.find(b"\n", self.pos + size, self.pos + limit)
            if end >= 0:
                line = self.data[self.pos : end]
                self.pos = end + 1
                return line
            size = len(self.data) - self.pos
            if size >= limit:
                raise Cut
            self.fill(size + 1)
