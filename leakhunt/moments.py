"""Moments and time zones: parsed from what people type, printed in UTC."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone, tzinfo

from leakhunt.errors import LeakhuntError
from leakhunt.units import parse_duration

UTC = timezone.utc
NEVER = datetime.max.replace(tzinfo=UTC)  # sorts what has no time behind all that has
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?([0-5]\d))?")
_AGO = re.compile(r"-?\s*(\S.{0,30}?)(?:\s+ago)?")
_MOMENT = re.compile(
    r"(\d{4})-(\d\d?)-(\d\d?)(?:[T ](\d\d?):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)?\s*(Z|UTC|[+-]\d\d:?\d\d)?"
)
_UNIX = re.compile(r"@(\d{1,11}(?:\.\d{1,9})?)")


def parse_zone(text: str) -> tzinfo:
    """Read a time zone: ``UTC``, ``local``, ``+02:00`` or a name such as ``Europe/Berlin``.

    Raises:
        LeakhuntError: the text is no zone that this machine knows.
    """
    if text.upper() in {"UTC", "Z", "GMT"}:
        return UTC
    if text.lower() == "local":
        return _local_zone()
    if match := _OFFSET.fullmatch(text):
        minutes = int(match[2]) * 60 + int(match[3] or 0)
        if minutes < 24 * 60:
            return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))
    return _named(text)


def _named(text: str) -> tzinfo:
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - slow to import, seldom wanted

    try:
        return ZoneInfo(text)
    except (ValueError, OSError, KeyError) as error:  # not a key, a folder, or unknown
        raise LeakhuntError(
            f"{text!r} is no time zone known here", "write UTC, local, +02:00 or a name such as Europe/Berlin"
        ) from error


def _local_zone() -> tzinfo:
    """Return this machine's zone by name where that can be told, with its changes to summer time."""
    import os  # noqa: PLC0415 - for this alone

    for name in (os.environ.get("TZ", "").lstrip(":"), os.path.realpath("/etc/localtime")):
        if name:
            try:
                return _named(name.partition("zoneinfo/")[2] or name)
            except LeakhuntError:
                continue
    return datetime.now(UTC).astimezone().tzinfo or UTC


def parse_moment(text: str, zone: tzinfo, now: datetime) -> datetime:
    """Read a moment: ``2026-11-21``, ``2026-11-21 03:10[:42]``, with a zone or in ``zone``; ``2h`` for that long ago;
    ``@1795230642``; ``now``, ``today``, ``yesterday``.

    Args:
        text: what was typed.
        zone: of what has none.
        now: the present, aware.

    Raises:
        LeakhuntError: the text is no moment.
    """  # noqa: D205 - the forms belong together
    text = text.strip()
    midnight = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    words = {"now": now, "today": midnight, "yesterday": midnight - timedelta(days=1)}
    if text.lower() in words:
        return words[text.lower()].astimezone(UTC)
    try:
        if match := _UNIX.fullmatch(text):
            return datetime.fromtimestamp(float(match[1]), UTC)
        if match := _MOMENT.fullmatch(text):
            return _moment(match, zone)
        if match := _AGO.fullmatch(text):
            return now.astimezone(UTC) - timedelta(seconds=parse_duration(match[1]))
    except (LeakhuntError, ValueError, OverflowError):
        pass
    raise LeakhuntError(
        f"{text!r} is no moment", "write for example '2026-11-21 03:10', 2h (ago) or yesterday"
    )


def _moment(match: re.Match[str], zone: tzinfo) -> datetime:
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    micro = int((match[7] or "0")[:6].ljust(6, "0"))
    if match[8]:
        zone = UTC if match[8] in {"Z", "UTC"} else parse_zone(match[8])
    return datetime(year, month, day, hour, minute, second, micro, zone).astimezone(UTC)


def format_moment(moment: datetime, *, seconds: bool = True) -> str:
    """Print a moment in UTC, without the zone: ``2026-11-21 03:10:42``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")


def iso(moment: datetime | None) -> str | None:
    """Return a moment as ISO 8601 in UTC, as JSON has it, to the microsecond where that is known."""
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
