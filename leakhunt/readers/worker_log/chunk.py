"""Whole lines of a log as one run of bytes: where a line begins, which number it has, and whose it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable

from leakhunt.readers.compiled import fast
from leakhunt.readers.kernel_log.stamps import Stamp
from leakhunt.readers.markers import Markers

_BLOCK = 1 << 14
_LONGEST_LINE = 1 << 14
_OWNED = 6_000  # bytes of a record in which its owner is looked for
_HEAD = 300  # where a prefix that names a place must have ended

_PREFIX = re.compile(
    rb"\s{0,8}(?:\[((?:pod/)?[\w.-]{1,253}/[\w./-]{1,300})\] |([\w./-]{1,120}) +\| "
    rb"|\w{3,6}\.? {1,2}\d{1,2} [\d:.]{8,15} (\S{1,255} [^\s\[:]{1,80})"
    rb"|\d{4}-\d\d-\d\dT[\d:.]{8,18}(?:Z|[+-]\d\d:?\d\d) ([\w.-]{1,255} [\w./@-]{1,80})(?:\[\d{1,10}\])?: )"
)
_OWNER = re.compile(
    rb'"(?:_SYSTEMD_UNIT|_HOSTNAME|CONTAINER_NAME|CONTAINER_ID|pod_name|pod|container_name|container_id)"'
    rb'\s?:\s?"([^"]{1,255})"'
)
PLAIN = frozenset({b"[2", b'{"', b"{'"})  # how lines begin in a log of one process
_ARRAY = re.compile(rb'"MESSAGE"\s?:\s?\[')

Unwrap = Callable[[bytes], Iterable[tuple[Stamp, str]]]


class Chunk:
    """Lines in one piece.

    Attributes:
        data: whole lines.
        owners: whether lines are JSON that names whose they are.
    """

    def __init__(self, data: bytes, first_line: int, *, owners: bool) -> None:
        self.data = data
        self.owners = owners
        self._first = first_line
        self._counted = [0]  # newlines in front of each block, as far as that was asked for

    def bounds(self, at: int) -> tuple[int, int]:
        """Return where the line around a place begins and ends, the newline left out."""
        start = self.data.rfind(b"\n", 0, at) + 1
        end = self.data.find(b"\n", at)
        return start, len(self.data) if end < 0 else end

    def line(self, at: int) -> bytes:
        """Return the line around a place; of one beyond all measure, what lies around the place."""
        start, end = self.bounds(at)
        if end - start > _LONGEST_LINE:
            start = max(start, at - _LONGEST_LINE // 4)
            end = min(end, start + _LONGEST_LINE)
        return self.data[start:end]

    def number(self, at: int) -> int:
        """Return the number of the line around a place."""
        block = at // _BLOCK
        counted, data = self._counted, self.data
        while len(counted) <= block:
            start = (len(counted) - 1) * _BLOCK
            counted.append(counted[-1] + data.count(b"\n", start, start + _BLOCK))
        return self._first + counted[block] + data.count(b"\n", block * _BLOCK, at)

    def key(self, start: int, end: int) -> bytes:
        """Return what tells whose a line is from those of its neighbours: nothing where one log is of one process.

        Args:
            start: where the line begins.
            end: how far it is looked at, at most.
        """
        data = self.data
        if not self.owners and data[start : start + 2] in PLAIN:
            return b""
        if self.owners:
            return b" ".join(_OWNER.findall(data, start, min(start + _OWNED, self.bounds(start)[1])))
        found = _PREFIX.match(data, start, min(end, start + _HEAD))
        return found[found.lastindex or 0] if found else b""


class Upcoming:
    """The next place of several words in some bytes.

    Where the search is not compiled, each word is searched for once, however often the others occur.

    Args:
        words: none of them empty.
        data: where they are looked for.
        start: from where on.
    """

    def __init__(self, words: tuple[bytes, ...], data: bytes, start: int = 0) -> None:
        self._data = data
        self._next = dict.fromkeys(words, start - 1)
        self._markers = Markers(words) if fast is not None and words else None

    def after(self, at: int) -> int:
        """Return where the first of the words begins from here on, or -1; asked for in rising order."""
        upcoming, data = self._next, self._data
        best = end = len(data)
        if self._markers is not None:
            return self._markers.first(data, at, end)
        for word, known in upcoming.items():
            hit = known
            if hit < at:
                hit = data.find(word, at)
                hit = upcoming[word] = hit if hit >= 0 else end
            best = min(best, hit)
        return best if best < end else -1


def with_texts(data: bytes, unwrap: Unwrap) -> bytes:
    """Write messages that a journal shows as numbers, one for each byte, as texts, in lines of the same number.

    Args:
        data: lines of a journal as JSON.
        unwrap: what makes texts of a line.
    """
    if not _ARRAY.search(data):
        return data
    lines = data.split(b"\n")
    for number, line in enumerate(lines):
        if not _ARRAY.search(line):
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            value["MESSAGE"] = "\n".join(text for _, text in unwrap(line))
            lines[number] = json.dumps(value).encode()
    return b"\n".join(lines)
