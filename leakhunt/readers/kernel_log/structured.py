"""Logs whose messages stand inside JSON, journal entries or records: found out, and unwrapped to stamps and texts."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from leakhunt.readers.kernel_log.exports import (
    CRI_LINE,
    MESSAGE_KEYS,
    export_lines,
    joined_lines,
    value_lines,
)
from leakhunt.readers.kernel_log.metadata import whose
from leakhunt.readers.kernel_log.prefix import strip
from leakhunt.readers.kernel_log.stamps import Stamp, Wall
from leakhunt.readers.kernel_log.verbose import is_verbose, verbose_lines

TEXT, KMSG, CRI = "text", "kmsg", "cri"
JOURNAL_JSON, JOURNAL_EXPORT = "journal-json", "journal-export"
DOCKER_JSON, JSON_LINES, JSON_STREAM, DMESG_JSON = "docker-json", "json-lines", "json", "dmesg-json"
KINDS = (TEXT, KMSG, CRI, JOURNAL_JSON, JOURNAL_EXPORT, DOCKER_JSON, JSON_LINES, JSON_STREAM, DMESG_JSON)
PLAIN = frozenset({TEXT, KMSG, CRI})  # a line is a prefix and a text

_HEAD = 1 << 16
_KMSG = re.compile(rb"\d{1,4},\d{1,20},\d{1,20},[-c+]")
_EXPORT = re.compile(rb"(?:__CURSOR|__REALTIME_TIMESTAMP|__MONOTONIC_TIMESTAMP|_BOOT_ID)=")
_TIMES = ("time", "timestamp", "@timestamp", "ts")
_EPOCHAL = 5e8  # seconds: no machine runs for so long, and no log is from before 1985
_MILLISECONDS = 1e11
_BYTES_MESSAGE = (b'"MESSAGE":[', b'"MESSAGE" : [', b'"MESSAGE": [')

Unwrapped = Iterable[tuple[Stamp, str]]


def identify(chunks: Iterable[bytes], kind: str = "") -> tuple[str, Iterator[bytes]]:
    """Find out what a log is by its first bytes, unless it is known; returns the kind and all of the bytes."""
    rest = iter(chunks)
    head: list[bytes] = []
    if not kind:
        size = 0
        for chunk in rest:
            head.append(chunk)
            size += len(chunk)
            if size >= _HEAD or not chunk or b"\n" in chunk:
                break
        kind = kind_of(b"".join(head))
    return kind, itertools.chain(head, rest)


def kind_of(head: bytes) -> str:  # noqa: PLR0911 - one line a kind
    """Return the kind of a log that begins so."""
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:_HEAD]
    line = head.partition(b"\n")[0].strip()
    if _KMSG.match(line):
        return KMSG
    if CRI_LINE.match(line):
        return CRI
    if _EXPORT.match(line) or is_verbose(line):
        return JOURNAL_EXPORT
    if line.startswith((b"\x1e", b"data: {")):
        return JOURNAL_JSON
    if not line.startswith((b"{", b"[{", b"[")) or (line.startswith(b"[") and line.strip(b"[{ ")):
        return TEXT
    if re.match(rb'\{\s*"dmesg"\s*:', head):
        return DMESG_JSON
    value = _loaded(line)
    if not isinstance(value, dict):
        return JSON_STREAM
    if "MESSAGE" in value or "__REALTIME_TIMESTAMP" in value:
        return JOURNAL_JSON
    if "events" in value or "items" in value:
        return JSON_STREAM
    return DOCKER_JSON if "log" in value and "time" in value else JSON_LINES


def more_markers(kind: str) -> tuple[bytes, ...]:
    """Return what must wake the reader beside the kernel's words."""
    return _BYTES_MESSAGE if kind == JOURNAL_JSON else ()


def as_lines(kind: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Turn the kinds that do not come in lines into one JSON text a line; the others pass as they are."""
    if kind == JOURNAL_EXPORT:
        return _of_journal(chunks)
    if kind in {DMESG_JSON, JSON_STREAM}:
        return value_lines(chunks)
    return joined_lines(chunks) if kind == CRI else iter(chunks)


def _of_journal(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Read fields, of which the journal has two forms: for programs, and for people."""
    rest = iter(chunks)
    head: list[bytes] = []
    for chunk in rest:
        head.append(chunk)
        if not chunk or b"\n" in chunk:
            break
    read = verbose_lines if is_verbose(b"".join(head).lstrip()[:_HEAD]) else export_lines
    return read(itertools.chain(head, rest))


def unwrapper(kind: str) -> Callable[[bytes], Unwrapped]:
    """Return what makes stamps and texts of a line."""
    return _plain if kind in PLAIN else _from_json


def _plain(raw: bytes) -> Unwrapped:
    return (strip(raw.decode("utf-8", "backslashreplace").rstrip("\r")),)


def _loaded(raw: bytes | str) -> Any:  # noqa: ANN401 - whatever the JSON holds
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _from_json(raw: bytes) -> Unwrapped:
    line = raw.strip(b"\x1e \r\t,")
    line = line.removeprefix(b"data: ")
    value = _loaded(line.decode("utf-8", "backslashreplace"))
    if not isinstance(value, dict):
        return _plain(raw)
    outer = _stamp_of(value)
    found = []
    for message in _messages(value):
        inner, text = strip(message)
        found.append((_merged(outer, inner), text))
    return found


def _merged(outer: Stamp, inner: Stamp) -> Stamp:
    """Put the stamp of the wrapping and that of the text inside together."""
    return Stamp(
        wall=outer.wall or inner.wall,
        monotonic=inner.monotonic if inner.monotonic is not None else outer.monotonic,
        caller=inner.caller or outer.caller,
        host=outer.host or inner.host,
        kernel=outer.kernel or inner.kernel,
        tag=outer.tag or inner.tag,
        dropped=inner.dropped,
        boot=outer.boot,
        sequence=outer.sequence,
        unit=outer.unit,
        container=outer.container or inner.container,
        container_id=outer.container_id,
        pod=outer.pod or inner.pod,
    )


def _messages(value: dict[str, Any]) -> Iterator[str]:
    """Yield the texts of a value, line by line."""
    payload = value.get("jsonPayload")
    if isinstance(payload, dict):
        value = {**payload, **value}
    for key in (*MESSAGE_KEYS, "line"):
        if key in value:
            for text in _texts(value[key]):
                yield from text.splitlines() or [""]
            return


def _texts(message: object) -> Iterator[str]:
    """Yield a field's texts: it may be a text, bytes as numbers, several of both, or nothing."""
    if isinstance(message, str):
        yield message
    elif isinstance(message, list):
        if message and all(isinstance(item, int) and 0 <= item < 256 for item in message):
            yield bytes(message).decode("utf-8", "backslashreplace")
        else:
            for item in message[:100]:
                if isinstance(item, (str, list)) and item is not message:
                    yield from (item,) if isinstance(item, str) else _numbers(item)


def _numbers(items: list[Any]) -> Iterator[str]:
    if items and all(isinstance(item, int) and 0 <= item < 256 for item in items):
        yield bytes(items).decode("utf-8", "backslashreplace")


def _stamp_of(value: dict[str, Any]) -> Stamp:
    """Read the stamps that a wrapping knows: the journal's, a container log's, a cloud's or the kernel's."""
    wall = None
    real = _number(value.get("_SOURCE_REALTIME_TIMESTAMP")) or _number(value.get("__REALTIME_TIMESTAMP"))
    if real is not None:
        wall = Wall(unix=real / 1e6, resolution=1e-6)
    monotonic = _number(value.get("_SOURCE_MONOTONIC_TIMESTAMP")) or _number(
        value.get("__MONOTONIC_TIMESTAMP")
    )
    if monotonic is not None:
        monotonic /= 1e6
    if wall is None:
        wall = next(filter(None, (_wall_at(value[key]) for key in _TIMES if key in value)), None)
    time = value.get("time")
    if wall is None and "msg" in value and isinstance(time, (int, float)) and not isinstance(time, bool):
        monotonic = float(time)
    identifier = value.get("SYSLOG_IDENTIFIER", value.get("ident"))
    kernel = (
        value.get("_TRANSPORT") == "kernel"
        or ("pri" in value and "msg" in value)
        or value.get("ident") == "kernel"
    )
    boot = value.get("_BOOT_ID")
    owner = whose(value)
    return Stamp(
        wall=wall,
        monotonic=monotonic,
        host=owner.host,
        kernel=kernel,
        tag="kernel" if kernel else (identifier if isinstance(identifier, str) else ""),
        boot=boot if isinstance(boot, str) else None,
        unit=owner.unit,
        container=owner.container,
        container_id=owner.container_id,
        pod=owner.pod,
    )


def _wall_at(time: object) -> Wall | None:
    """Read a moment, as a text or as seconds or milliseconds since 1970."""
    if isinstance(time, str):
        return strip(time + " ")[0].wall
    if not isinstance(time, (int, float)) or isinstance(time, bool) or not _EPOCHAL < time < _EPOCHAL * 1e6:
        return None
    if time > _MILLISECONDS:
        return Wall(unix=time / 1e3, resolution=1e-3)
    return Wall(unix=float(time), resolution=1.0 if isinstance(time, int) else 1e-3)


def _number(value: object) -> float | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return float(value)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
