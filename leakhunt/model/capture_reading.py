"""What stands beside the traces of a snapshot, read: a dict of any origin as a :class:`Capture`.

Each value is taken only if it has the form it should have: a wrong type, a bool for a number, a number out of range or
a text with control characters is as if it were not there. Tasks and files alone keep whatever characters they have, as
they must equal those of the traces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import Any, TypeVar

from leakhunt.model.capture import (
    Capture,
    Garbage,
    GarbageSite,
    Holder,
    Memory,
    Retained,
    Tracing,
    Trim,
    TypeCount,
)
from leakhunt.model.snapshot import Frame
from leakhunt.model.task import TaskRef

Value = TypeVar("Value")

_MOST = (1 << 63) - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LATEST = 253_402_300_799  # the last second of the year 9999
_NAME, _PATH = 1_000, 4_096  # the longest text taken, in characters
_SITES, _LISTED, _NAMES = 1_000, 100, 100_000  # the most entries taken


def parse_capture(raw: Mapping[str, Any]) -> Capture:
    """Read what stands beside the traces; whatever has another form than it should is passed over."""
    tracing, collector = _dict(raw.get("tracing")), _dict(raw.get("gc"))
    return Capture(
        when=_moment(raw.get("when")),
        number=_int(raw.get("number")),
        reason=_text(raw.get("reason")),
        how=_text(raw.get("how")),
        left_out=_listed(raw.get("left_out"), _sentence),
        pid=_int(raw.get("pid")),
        started=_moment(raw.get("started")),
        role=_text(raw.get("role")),
        pool=_text(raw.get("pool")),
        node=_text(raw.get("node")),
        name=_text(raw.get("name")),
        host=_text(raw.get("host")),
        boot_id=_text(raw.get("boot_id")),
        tracing=Tracing(
            since=_moment(tracing.get("since")),
            frames=_int(tracing.get("frames")),
            inherited=_text(tracing.get("inherited")),
        ),
        executions=_counts(raw.get("executions")),
        tasks=parse_tasks(raw),
        memory=_memory(_dict(raw.get("memory"))),
        types=_listed(raw.get("types"), _type_count),
        gc_enabled=collector["enabled"] if isinstance(collector.get("enabled"), bool) else None,
        uncollectable=_int(collector.get("uncollectable")),
        garbage=_garbage(collector.get("garbage")),
        retained=_listed(raw.get("retainers"), _retained, _SITES),
        files=_int(raw.get("files")),
        open_files=_listed(raw.get("open_files"), _sentence),
        connections=_counts(raw.get("connections")),
        threads=_listed(raw.get("threads"), _text, _SITES),
    )


def parse_tasks(raw: Mapping[str, Any] | None) -> tuple[TaskRef, ...]:
    """Read the task registry: ``tasks``, name -> ``file``, ``first``, ``last``."""
    tasks = []
    for name, entry in _entries(raw.get("tasks") if raw else None):
        place = _dict(entry)
        filename = _any_text(place.get("file"), _PATH)
        first, last = _int(place.get("first")), _int(place.get("last"))
        if filename is not None and first is not None and last is not None:
            tasks.append(TaskRef(name, filename, first, last))
    return tuple(tasks)


def _int(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= _MOST else None


def _moment(value: object) -> datetime | None:
    """Return seconds since the epoch as a moment; 0 is none."""
    if isinstance(value, (int, float)) and type(value) is not bool and 0 < value <= _LATEST:
        return _EPOCH + timedelta(seconds=value)
    return None


def _share(value: object) -> float | None:
    if isinstance(value, (int, float)) and type(value) is not bool and 0 <= value <= 1:
        return float(value)
    return None


def _text(value: object) -> str | None:
    return text if (text := _any_text(value, _NAME)) is not None and text.isprintable() else None


def _sentence(value: object) -> str | None:
    return text if (text := _any_text(value, _PATH)) is not None and text.isprintable() else None


def _any_text(value: object, most: int) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= most else None


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _entries(value: object) -> Iterator[tuple[str, object]]:
    """Yield the entries of a dict whose names are names."""
    for name, entry in islice(_dict(value).items(), _NAMES):
        if _any_text(name, _NAME) is not None:
            yield name, entry


def _counts(value: object) -> Mapping[str, int] | None:
    if not isinstance(value, dict):
        return None
    return {name: count for name, entry in _entries(value) if (count := _int(entry)) is not None}


def _listed(value: object, parse: Callable[[object], Value | None], most: int = _LISTED) -> tuple[Value, ...]:
    """Read each item of a list, at most so many, and leave out what cannot be."""
    items = islice(value, most) if isinstance(value, (list, tuple)) else ()
    return tuple(parsed for item in items if (parsed := parse(item)) is not None)


def _row(value: object, length: int) -> Sequence[object] | None:
    return value if isinstance(value, (list, tuple)) and len(value) == length else None


def _memory(raw: Mapping[str, Any]) -> Memory:
    trim = _dict(raw.get("trim"))
    sizes = {field.name: _int(raw.get(field.name)) for field in fields(Memory) if field.name != "trim"}
    tried = Trim(_int(trim.get("rss_after")), _int(trim.get("returned")))
    return Memory(**sizes, trim=tried if tried != Trim() else None)


def _type_count(value: object) -> TypeCount | None:
    row = _row(value, 3)
    if row is None:
        return None
    name, count = _text(row[0]), _int(row[1])
    return None if name is None or count is None else TypeCount(name, count, _int(row[2]))


def _frame(filename: object, lineno: object) -> Frame | None:
    file, number = _any_text(filename, _PATH), _int(lineno)
    return None if file is None or number is None else Frame(file, number)


def _garbage(value: object) -> Garbage | None:
    raw = _dict(value)
    objects, size = _int(raw.get("objects")), _int(raw.get("bytes"))
    if objects is None and size is None:
        return None
    return Garbage(
        objects, size, _listed(raw.get("types"), _type_count), _listed(raw.get("sites"), _garbage_site)
    )


def _garbage_site(value: object) -> GarbageSite | None:
    row = _row(value, 4)
    if row is None:
        return None
    frame, count, size = _frame(row[0], row[1]), _int(row[2]), _int(row[3])
    return None if frame is None or count is None or size is None else GarbageSite(frame, count, size)


def _retained(value: object) -> Retained | None:
    raw = _dict(value)
    frame = _frame(raw.get("file"), raw.get("line"))
    holders = sorted(_listed(raw.get("held_by"), _holder), key=lambda holder: -(holder.share or 0))
    return None if frame is None else Retained(frame, _int(raw.get("sampled")), tuple(holders))


def _holder(value: object) -> Holder | None:
    raw = _dict(value)
    name = _text(raw.get("name"))
    if name is None:
        return None
    return Holder(
        name,
        _text(raw.get("type")),
        _int(raw.get("len")),
        _share(raw.get("share")),
        _listed(raw.get("chain"), _sentence),
    )
