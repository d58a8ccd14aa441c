"""One line of a flight record: what it says, as leakhunt's recorder writes it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from leakhunt.model.record import Begun, ProcessKey, RecordedProcess
from leakhunt.readers.streams import Stream

_MARK = b'{"e":"'
_KINDS = tuple(_MARK + kind + b'"' for kind in (b"process", b"start", b"end", b"lost", b"recycle", b"exit"))
_LONGEST_LINE = 1 << 20
_SHOWN = 400
_MOST_SIZE = 1 << 60
_LATEST = 253_402_300_000.0  # the year 9999


def is_record(head: bytes) -> bool:
    """Tell by its first bytes whether a file is a flight record."""
    return head.lstrip(b"\n").startswith(_KINDS)


def record_lines(stream: Stream) -> Iterator[tuple[int, bytes, bool]]:
    """Yield a record's lines with their numbers, and whether each is whole; one without an end is not.

    Raises:
        LeakhuntError: the disk refused, or a small compressed file unfolds without end.
    """
    number, rest, too_long = 1, b"", False
    while data := stream.read():
        *lines, rest = (rest + data.replace(b"\0", b"")).split(b"\n")
        for line in lines:
            yield number, b"" if too_long else line, not too_long and len(line) <= _LONGEST_LINE
            number, too_long = number + 1, False
        if len(rest) > _LONGEST_LINE:
            rest, too_long = b"", True
    if rest:
        yield number, rest, False


def parse_line(line: bytes) -> dict[str, Any] | None:
    """Read one line of a record; None where it is none."""
    if not line.startswith(_MARK):
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or moment(value.get("t")) is None:
        return None
    return value


def moment(value: object) -> float | None:
    """Return a time in epoch seconds, if it is one."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    return float(value) if 0 < value < _LATEST and math.isfinite(value) else None


def utc(seconds: float) -> datetime:
    """Return epoch seconds as a moment."""
    return datetime.fromtimestamp(seconds, timezone.utc)


def describe(line: dict[str, Any]) -> RecordedProcess:
    """Return the process that a line of kind ``process`` is about."""
    pid = as_count(line.get("pid")) or 0
    pids = line.get("pids")
    numbers = [as_count(one) for one in pids[:32]] if isinstance(pids, list) else []
    key = ProcessKey(
        as_text(line.get("host")) or "", as_text(line.get("boot")), pid, as_count(line.get("start")) or 0
    )
    return RecordedProcess(
        key,
        pids=tuple(number for number in numbers if number is not None) or (pid,),
        pid_ns=as_count(line.get("pid_ns")),
        ppid=as_count(line.get("ppid")),
        limit=as_count(line.get("limit")),
        shared=line.get("shared") is True,
        began=utc(line["t"]),
        **{
            name: as_text(line.get(name))
            for name in ("role", "pool", "node", "name", "cgroup", "container", "pod")
        },
    )


def begun(line: dict[str, Any], source: str, number: int, raw: bytes) -> Begun | None:
    """Return the task that a line of kind ``start`` is about; None where it does not say."""
    task, task_id = as_text(line.get("task")), as_text(line.get("id"))
    if task is None or task_id is None:
        return None
    return Begun(
        task,
        task_id,
        float(line["t"]),
        as_text(line.get("queue")),
        as_count(line.get("retries")) or 0,
        line.get("redelivered") is True,
        as_count(line.get("args_size")),
        as_text(line.get("args_hash")),
        as_count(line.get("rss")),
        source,
        number,
        raw[:_SHOWN].decode("utf-8", "replace"),
        as_count(line.get("traced")),
        line.get("anew") is True,
    )


def as_count(value: object) -> int | None:
    """Return a whole number that is neither negative nor absurd."""
    return value if type(value) is int and 0 <= value < _MOST_SIZE else None


def as_text(value: object) -> str | None:
    """Return a text that is not empty, up to a length."""
    return value[:_SHOWN] if isinstance(value, str) and value else None
