"""Forms of logs that do not come one record a line, brought into that form."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from leakhunt.readers.kernel_log.metadata import CONTAINER_FIELDS, UNIT_FIELDS

MESSAGE_KEYS = ("MESSAGE", "message", "msg", "log", "textPayload")
CRI_LINE = re.compile(rb"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d) (stdout|stderr) ([FP])\S* ")
_LONGEST_VALUE = 16 << 20
_BLOCK = 1 << 18
_LONGEST_LINE = 1 << 20
_MOST_FAULTS = 200
# What is kept of an entry of the journal's export format.
FIELDS = frozenset(
    {
        "MESSAGE", "__REALTIME_TIMESTAMP", "__MONOTONIC_TIMESTAMP", "_SOURCE_MONOTONIC_TIMESTAMP",
        "_SOURCE_REALTIME_TIMESTAMP", "_BOOT_ID", "_TRANSPORT", "_HOSTNAME", "_PID", "SYSLOG_IDENTIFIER",
        *UNIT_FIELDS, *CONTAINER_FIELDS,
    }
)  # fmt: skip
_FOLDS = re.compile(r"#012|\\x0a|\\n")
_INSIDE_COMM = re.compile(r"(?:process \d{1,10} \([^)]{0,64}|,task=[^,]{0,64})$")


def export_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Turn the journal's export format into JSON lines."""
    buffer = b""
    entry: dict[str, str] = {}
    for chunk in chunks:
        if not chunk:
            yield b""
            continue
        buffer += chunk
        at = 0
        found = []
        while (field := _export_field(buffer, at)) is not None:
            name, value, at = field
            if name in FIELDS:
                entry[name] = value.decode("utf-8", "backslashreplace")
            elif not name and entry:
                found.append(json.dumps(entry).encode())
                entry.clear()
        buffer = buffer[at:] if len(buffer) - at < _LONGEST_VALUE else b""
        yield b"".join(line + b"\n" for line in found) or b"\n"
    if entry:
        yield json.dumps(entry).encode() + b"\n"


def _export_field(buffer: bytes, at: int) -> tuple[str, bytes, int] | None:
    """Return a field's name and value and where the next begins, or None where it is not complete."""
    end = buffer.find(b"\n", at)
    if end < 0:
        return None
    name, equals, value = buffer[at:end].partition(b"=")
    if name and not equals:
        size = int.from_bytes(buffer[end + 1 : end + 9], "little")
        if size <= _LONGEST_VALUE:  # more is damage, and read on as lines
            last = end + 9 + size
            if len(buffer) <= last:
                return None
            value, end = buffer[end + 9 : last], last
    return name.decode("ascii", "replace"), value, end + 1


def value_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Turn JSON objects, in whatever layout and however deep in arrays, into one a line: those that hold a message.

    What is no JSON, or one object beyond all measure, passes as it is.
    """
    decode = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode
    text, enough = "", _BLOCK
    for chunk in chunks:
        text += decode(chunk)
        if len(text) < enough:
            continue
        found, text = _decoded(text)
        yield found
        enough = max(_BLOCK, 2 * len(text))  # an object that is not complete is not tried for every chunk
        if len(text) > _LONGEST_VALUE:
            yield text.encode()
            text, enough = "", _BLOCK
    text += decode(b"", final=True)
    for _ in range(_MOST_FAULTS):
        found, text = _decoded(text)
        yield found
        if not text:
            return
        yield text[:1].encode()
        text = text[1:]
    yield text.encode()


def _decoded(text: str) -> tuple[bytes, str]:
    """Return the messages of the objects at the start of a text, one a line, and the text that remains."""
    decoder = json.JSONDecoder()
    lines: list[bytes] = []
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return b"".join(lines), text[at:]
        lines.extend(json.dumps(message).encode() + b"\n" for message in _with_messages(value))
        at = text.find("{", end)
    return b"".join(lines), ""


def _with_messages(value: object) -> Iterator[dict[str, Any]]:
    """Yield the objects that hold a message, from outside in."""
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            if any(key in one for key in (*MESSAGE_KEYS, "jsonPayload")):
                yield one
                continue
            todo.extend(reversed(list(one.values())))
        elif isinstance(one, list):
            todo.extend(reversed(one))


def joined_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Join the partial lines of a container runtime's log; each leaves an empty line, so that counts stay right."""
    rest = b""
    parts: dict[bytes, bytes] = {}
    for chunk in chunks:
        data = rest + chunk
        end = data.rfind(b"\n") + 1
        data, rest = data[:end], data[end:]
        if parts or b" P " in data:
            data = b"\n".join(_joined(line, parts) for line in data.split(b"\n"))
        if data or not chunk:
            yield data
    if rest:
        yield _joined(rest, parts)


def _joined(line: bytes, parts: dict[bytes, bytes]) -> bytes:
    """Return a line with the parts in front of it, or nothing while there is more to come."""
    match = CRI_LINE.match(line)
    if match is None:
        return line
    stream = match[1]
    kept = parts.pop(stream, b"")
    whole = kept + line[match.end() :] if kept else line
    if match[2] == b"P" and len(whole) < _LONGEST_LINE:
        parts[stream] = whole
        return b""
    return whole


def unfolded(text: str) -> list[str]:
    """Split a text whose newlines were written as escapes, except inside the name of a process."""
    if "#012" not in text and "\\" not in text:
        return [text]
    parts: list[str] = []
    start = 0
    for fold in _FOLDS.finditer(text):
        if not _INSIDE_COMM.search(text, max(start, fold.start() - 90), fold.start()):
            parts.append(text[start : fold.start()])
            start = fold.end()
    parts.append(text[start:])
    return parts
