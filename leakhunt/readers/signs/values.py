"""Fields of documents that strangers wrote: every one may be missing, or of any type."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any

from leakhunt.readers.kernel_log.months import MONTHS, ZONES

Value = Any  # what JSON or YAML holds
_LONGEST = 4096
_CONTAINER_ID = re.compile(r"(?:[a-z-]{1,40}://)?([0-9a-f]{12,64})")
_QUANTITY = re.compile(r"(\d{1,18})(?:\.(\d{1,9}))?(?:e(\d{1,2})|([KMGTPE]i?|[kmun])?)")
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?: ?(Z|UTC|[+-]\d\d:?\d\d))?(?: [+-]\d{4})?"
)
_MAIL_TIME = re.compile(r"\w{3}, (\d\d?) (\w{3}) (\d{4}) (\d\d):(\d\d):(\d\d) ([+-]\d{4})")
_SYSTEMD_TIME = re.compile(
    r"\w{2,5} (\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d) ([A-Z]{3,5}|[+-]\d\d)(?=;|$| )"
)
_FACTORS = {"": 1, "k": 1000, **{unit: 1000 ** (n + 1) for n, unit in enumerate("KMGTPE")}}
_FACTORS.update({f"{unit}i": 1024 ** (n + 1) for n, unit in enumerate("KMGTPE")})


def at(value: Value, *path: str) -> Value:
    """Return the value at a path of keys, or None."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def text_at(value: Value, *path: str) -> str | None:
    """Return the text at a path of keys, cut to a sane length, or None."""
    found = at(value, *path)
    return found[:_LONGEST] if isinstance(found, str) and found else None


def number_at(value: Value, *path: str) -> int | None:
    """Return the whole number at a path of keys, written as a number or as a text, or None."""
    found = at(value, *path)
    if isinstance(found, str) and len(found) <= 20:
        digits = found.removeprefix("-")
        return int(found) if digits.isascii() and digits.isdigit() else None
    if isinstance(found, int) and not isinstance(found, bool):
        return found if -(1 << 63) <= found < 1 << 63 else None
    return None


def flag_at(value: Value, *path: str) -> bool:
    """Tell whether the value at a path of keys is true, written as a truth value or as a text."""
    found = at(value, *path)
    return found is True or (isinstance(found, str) and found.lower() == "true")


def items_at(value: Value, *path: str) -> list[Value]:
    """Return the list at a path of keys, or an empty one."""
    found = at(value, *path)
    return found if isinstance(found, list) else []


def container_id_of(text: str | None) -> str | None:
    """Return the digits of a container's id, without the runtime in front."""
    match = _CONTAINER_ID.fullmatch(text or "")
    return match[1] if match else None


def bytes_of(quantity: Value) -> int | None:
    """Return a quantity of memory as Kubernetes writes it, in bytes."""
    if isinstance(quantity, int) and not isinstance(quantity, bool):
        return quantity if 0 < quantity < 1 << 63 else None
    match = _QUANTITY.fullmatch(quantity.strip()) if isinstance(quantity, str) else None
    if match is None:
        return None
    whole, part, exponent, unit = match[1], match[2] or "", match[3], match[4] or ""
    if unit in {"m", "u", "n"}:
        return int(whole) // {"m": 10**3, "u": 10**6, "n": 10**9}[unit] or None
    factor = 10 ** int(exponent) if exponent else _FACTORS[unit]
    size = int(whole) * factor + (int(part) * factor // 10 ** len(part) if part else 0)
    return size if 0 < size < 1 << 63 else None


def time_of(text: Value, tz: tzinfo = timezone.utc) -> tuple[datetime | None, float | None]:
    """Read a moment as Kubernetes, Docker or systemd write it.

    Args:
        text: what they wrote; ``0001-01-01T00:00:00Z`` is Go's word for never.
        tz: the zone of moments without one.

    Returns:
        The moment in UTC and its doubt in seconds, or nothing twice.
    """
    if not isinstance(text, str):
        return None, None
    text = text.strip()[:80]
    try:
        if match := _TIME.match(text):
            return _iso(match, tz)
        if match := _MAIL_TIME.match(text):
            month = MONTHS[match[2].lower()]
            moment = datetime(
                int(match[3]), month, int(match[1]), int(match[4]), int(match[5]), int(match[6]), tzinfo=tz
            )
            return _moved(moment, _offset(match[7])), 1.0
        if match := _SYSTEMD_TIME.match(text):
            clock = [int(part) for part in match.groups()[:6]]
            moment = datetime(clock[0], clock[1], clock[2], clock[3], clock[4], clock[5], tzinfo=tz)
            minutes = ZONES.get(match[7]) if match[7].isalpha() else _offset(f"{match[7]}00")
            return _moved(moment, minutes), 1.0
    except (ValueError, OverflowError, KeyError):
        pass
    return None, None


def _iso(match: re.Match[str], tz: tzinfo) -> tuple[datetime | None, float | None]:
    if int(match[1]) < 1970:
        return None, None
    fraction = match[7] or ""
    clock = [int(part) for part in match.groups()[:6]]
    micro = int(fraction[:6].ljust(6, "0")) if fraction else 0
    moment = datetime(clock[0], clock[1], clock[2], clock[3], clock[4], min(clock[5], 59), micro, tz)
    minutes = 0 if match[8] in {"Z", "UTC"} else _offset(match[8]) if match[8] else None
    return _moved(moment, minutes), 10.0 ** -min(len(fraction), 6) if fraction else 1.0


def _offset(text: str) -> int:
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    return -minutes if text[0] == "-" else minutes


def _moved(moment: datetime, minutes: int | None) -> datetime:
    """Return a moment in UTC, from a zone so many minutes east of it or from its own."""
    if minutes is not None:
        moment = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    return moment.astimezone(timezone.utc)


def shown(value: Value, most: int = 2048) -> str:
    """Return a value as JSON, for evidence; a long one is cut."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str)[:most]
    except (ValueError, RecursionError):
        return ""
