"""What stands in front of a line, as values."""

from __future__ import annotations

import re
from typing import NamedTuple

from leakhunt.readers.kernel_log.months import ZONES


class Wall(NamedTuple):
    """A date and time as written; ``year`` or ``offset`` (minutes east of UTC) may be missing; ``unix`` has all.

    Attributes:
        resolution: of the stamp, in seconds.
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


class Stamp(NamedTuple):
    """What was in front of a line.

    Attributes:
        wall: the outermost date and time that a log wrote.
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
    )
