"""What stands in front of a line, as values."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from leakhunt.readers.kernel_log.months import ZONES

_LATE_S = 180.0  # what forwards a line at once is never so late
_PROMPT_S = 60.0
_QUARTER_S = 900.0  # all zones are whole quarters of an hour apart


class Wall(NamedTuple):
    """A date and time as written; ``year`` or ``offset`` (minutes east of UTC) may be missing; ``unix`` has all.

    Attributes:
        resolution: of the stamp, in seconds.
        counted: whether it was counted from the start of the machine when somebody looked, as ``dmesg -T`` does.
    """

    year: int | None = None
    month: int = 1
    day: int = 1
    hour: int = 0
    minute: int = 0
    second: int = 0
    microsecond: int = 0
    offset: int | None = None
    resolution: float = 1.0
    unix: float | None = None
    counted: bool = False


class Stamp(NamedTuple):
    """What was in front of a line.

    Attributes:
        wall: the outermost date and time that a log wrote; see ``said_earlier``.
        monotonic: the kernel's stamp in seconds since boot.
        caller: ``T123`` (a thread) or ``C0`` (a processor).
        kernel: whether something says that the line is the kernel's: its name, its stamp or its record.
        tag: the program that the log names, or an empty string.
        dropped: lines that the kernel says it dropped before this one.
        boot: the boot's id.
        sequence: the number of the record.
        unit: the systemd unit that spoke, or was spoken of.
        container: the container's name.
        container_id: 12 to 64 hexadecimal digits.
        pod: the pod's name, with its namespace in front where that is known.
    """

    wall: Wall | None = None
    monotonic: float | None = None
    caller: str | None = None
    host: str | None = None
    kernel: bool = False
    tag: str = ""
    dropped: int = 0
    boot: str | None = None
    sequence: int | None = None
    unit: str | None = None
    container: str | None = None
    container_id: str | None = None
    pod: str | None = None


def said_earlier(outer: Wall, inner: Wall) -> Wall | None:
    """Return the inner of two stamps, with its year, if the line was printed long after it was logged.

    A log's stamp has no zone: where the two are quarters of an hour apart, that is the zone, and the outer one is right.

    Args:
        outer: what somebody's tool put in front of the line, with its zone.
        inner: what the log had written there, without year and zone.
    """
    if outer.year is None or outer.offset is None or inner.year is not None or inner.offset is not None:
        return None
    try:
        printed = datetime(outer.year, *outer[1:6], tzinfo=timezone(timedelta(minutes=outer.offset)))
        year = outer.year - (inner.month > outer.month)
        logged = datetime(year, *inner[1:6], tzinfo=timezone.utc)
    except (ValueError, OverflowError):
        return None
    late = (printed - logged).total_seconds()
    of_zone = abs((late + _QUARTER_S / 2) % _QUARTER_S - _QUARTER_S / 2) <= _PROMPT_S
    return None if late < _LATE_S or of_zone else inner._replace(year=year)


def clock_of(match: re.Match[str], first: int) -> tuple[int, int, int]:
    """Return hour, minute and second from three groups in a row."""
    return int(match[first]), int(match[first + 1]), int(match[first + 2])


def micro_of(fraction: str | None) -> int:
    """Return a fraction of a second in microseconds."""
    return int(fraction[:6].ljust(6, "0")) if fraction else 0


def iso_wall(match: re.Match[str]) -> Wall:
    """Read a date and time in the order of ISO 8601, with or without a zone."""
    zone, name = match[8], match[9]
    offset: int | None = None
    if zone:
        offset = 0 if zone == "Z" else int(zone[1:3]) * 60 + int(zone[-2:])
        offset = -offset if zone[0] == "-" else offset
    elif name:
        offset = ZONES.get(name)
    return Wall(
        int(match[1]),
        int(match[2]),
        int(match[3]),
        *clock_of(match, 4),
        micro_of(match[7]),
        offset,
        10.0 ** -min(len(match[7]), 6) if match[7] else 1.0,
        counted=bool(match[7] and zone and match.string[match.start(7) - 1] == ","),  # as dmesg writes it
    )
