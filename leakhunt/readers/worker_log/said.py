"""One line of a worker, read in full: when, where, and what it says of a task's arguments."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any, NamedTuple

from leakhunt.model.evidence import Evidence, Place
from leakhunt.readers.kernel_log.listener import Reading
from leakhunt.readers.kernel_log.prefix import strip
from leakhunt.readers.kernel_log.stamps import Stamp
from leakhunt.readers.places import place_of
from leakhunt.readers.worker_log.wording import COLOURS

_EVIDENCE_TEXT = 1 << 11
_TOGETHER_S = 15.0  # lines of one death lie 0.01 to 11 s apart
_TOGETHER_LINES = 400  # where no time is known
_STAMPS = ("asctime", "timestamp", "time", "@timestamp", "ts", "datetime")
_TEXTS = ("message", "event", "msg")


class Said(NamedTuple):
    """What a line says beside its words.

    Attributes:
        when: in UTC; None where no clock is known.
        uncertainty_s: how far off that may be, in seconds.
        place: where it was written.
        evidence: the line without its stamps; a record in JSON by its message.
        arguments: a short hash of a task's arguments.
    """

    when: datetime | None
    uncertainty_s: float | None
    place: Place
    evidence: Evidence
    arguments: str | None = None


def read_line(reading: Reading, base: Place, raw: bytes, number: int) -> Said:
    """Read a line in full.

    Args:
        reading: the source.
        base: what the source's name tells of the place.
        raw: the line.
        number: of the line, from 1.
    """
    if b"[" in raw:
        raw = COLOURS.sub(b"", raw)
    stamp, text = Stamp(), ""
    for stamp, text in reading.unwrap(raw):  # noqa: B007 - the first text, or the last stamp
        if text.strip():
            break
    value = _object(text) or (_object(raw.decode("utf-8", "replace")) if raw.lstrip()[:1] == b"{" else None)
    arguments = None
    if value is not None:
        if stamp.wall is None:
            stamp = _stamped(stamp, value)
        if text.lstrip()[:1] in {"{", ""}:
            text = next((value[key] for key in _TEXTS if isinstance(value.get(key), str)), text)
        arguments = _arguments(value)
    moment = reading.clock.place(stamp)
    evidence = Evidence(reading.source, number, text[:_EVIDENCE_TEXT])
    return Said(moment.when, moment.uncertainty_s, place_of(stamp, base), evidence, arguments)


def apart(one: datetime | None, other: datetime | None) -> float | None:
    """Return how far apart two moments are, in seconds; None where that is not known."""
    return None if one is None or other is None else abs((other - one).total_seconds())


def near(one: Said, other: Said, seconds: float = _TOGETHER_S) -> bool:
    """Tell whether two lines may be of one death."""
    gap = apart(one.when, other.when)
    return abs(other.evidence.line - one.evidence.line) <= _TOGETHER_LINES if gap is None else gap <= seconds


def hashed(args: str, kwargs: str) -> str:
    """Return a short hash of a task's arguments as a worker shows them."""
    return hashlib.sha256(f"{args}\0{kwargs}".encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _object(text: str) -> dict[str, Any] | None:
    text = text.strip()
    if not text.startswith("{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _stamped(stamp: Stamp, value: dict[str, Any]) -> Stamp:
    """Add the time that a record in JSON tells."""
    for key in _STAMPS:
        time = value.get(key)
        if isinstance(time, str) and (wall := strip(f"{time[:64]} ")[0].wall) is not None:
            return stamp._replace(wall=wall)
    return stamp


def _arguments(value: dict[str, Any]) -> str | None:
    data = value.get("data")
    if not isinstance(data, dict) or "args" not in data:
        return None
    args, kwargs = data["args"], data.get("kwargs", "{}")
    return hashed(
        *(item if isinstance(item, str) else json.dumps(item, sort_keys=True) for item in (args, kwargs))
    )
