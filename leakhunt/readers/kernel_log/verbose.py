"""``journalctl -o verbose``, in the form of the journal's JSON: a line with time and cursor, and a field a line below it.

As ``output_verbose`` of systemd's ``src/shared/logs-show.c`` writes it; a message of several lines goes on below itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from leakhunt.readers.kernel_log.exports import FIELDS

_HEAD = re.compile(
    rb"((?:\w{2,12}\.? )?\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?(?: [^\s\[]{1,12})?) \[(s=[0-9a-f]{1,40};i=[^\]\s]{1,200})\]"
)
_FIELD = re.compile(rb"(?: {4}|\t)([A-Z_][A-Z0-9_]{0,63})=")
_TIME = re.compile(rb";t=([0-9a-f]{1,16})(?:;|$)")
_SINCE = 10**15  # microseconds: 2001; a cursor of a machine without a clock says less than the words
_LONGEST_MESSAGE = 1 << 16
_LONGEST_LINE = 1 << 20


def is_verbose(head: bytes) -> bool:
    """Tell whether a log that begins so is one."""
    return _HEAD.match(head) is not None


def verbose_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Turn the entries into JSON lines; what is no part of an entry is left out."""
    reader, rest = _Entries(), b""
    for chunk in chunks:
        if not chunk:
            yield b""
            continue
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            reader.take(line.rstrip(b"\r"))
        rest = rest if len(rest) < _LONGEST_LINE else b""
        yield reader.fetch() or b"\n"
    reader.take(rest)
    reader.end()
    yield reader.fetch()


class _Entries:
    """Gathers the fields of one entry after another."""

    def __init__(self) -> None:
        self._found: list[bytes] = []
        self._entry: dict[str, str] = {}
        self._indent = 0  # of the lines that go on with the message

    def fetch(self) -> bytes:
        """Return the entries that are complete, as lines."""
        found, self._found = self._found, []
        return b"".join(found)

    def end(self) -> None:
        """Take the entry for complete."""
        if self._entry:
            self._found.append(json.dumps(self._entry).encode() + b"\n")
        self._entry, self._indent = {}, 0

    def take(self, line: bytes) -> None:
        """Take a line."""
        if match := _FIELD.match(line):
            name = match[1].decode()
            self._indent = match.end() if name == "MESSAGE" else 0
            if name in FIELDS:
                self._entry[name] = _text(line[match.end() :])
        elif head := _HEAD.match(line):
            self.end()
            time = _TIME.search(head[2])
            real = int(time[1], 16) if time else 0
            if real >= _SINCE:
                self._entry["__REALTIME_TIMESTAMP"] = str(real)
            else:
                self._entry["time"] = _text(head[1])
        elif self._indent and line[: self._indent].isspace():
            message = self._entry.get("MESSAGE", "")
            if len(message) < _LONGEST_MESSAGE:
                self._entry["MESSAGE"] = f"{message}\n{_text(line[self._indent :])}"


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
