"""From stamps to moments: years, zones and boot times that the log does not say are found where that can be done."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone, tzinfo
from typing import NamedTuple

from leakhunt.readers.kernel_log.stamps import Stamp, Wall

UTC = timezone.utc
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FALL_BACK_S = 5.0  # lines of one boot may be out of order by less
_LATE_S = 35.0  # how late a syslog daemon was seen to stamp in a real out-of-memory minute
_WHILE_S = 1800.0
_MONOTONIC_ONLY_S = 2.0


class Moment(NamedTuple):
    """A time in UTC, how far off it may be, and the boot it lies in.

    Attributes:
        drifts: whether it was counted from the start of the machine alone: nobody knows how far such a time is off.
    """

    when: datetime | None
    uncertainty_s: float | None
    boot_number: int
    drifts: bool = False


@dataclass
class _Boot:
    """What is known of one boot of one host.

    The wall clock less the kernel's seconds since boot gives the boot's moment, but for lines that were stamped late. The
    earliest of the last while counts: over weeks the two clocks drift apart by minutes, and the wall clock may be set.
    """

    number: int
    base: datetime | None = None  # the earliest wall - monotonic of the last while
    latest: datetime | None = None
    resolution: float = 1.0
    pairs: int = 0
    monotonic: float = 0.0
    boot_id: str | None = None
    start: datetime | None = None  # the first that was known
    _former: datetime | None = None  # of the while before
    _newer: datetime | None = None  # of the present one
    _since: float = 0.0  # when that began

    def learn(self, base: datetime, monotonic: float, resolution: float) -> None:
        """Take what a line says of the boot's moment."""
        self.pairs += 1
        if self.base is not None and (base - self.base).total_seconds() > _LATE_S:  # no line is so late
            self._former = self._newer = self.latest = None
            self._since = monotonic
        elif monotonic - self._since > _WHILE_S:
            self._former, self._newer, self.latest = self._newer, None, None
            self._since = monotonic
        if self._newer is None or base < self._newer:
            self._newer = base
            self.resolution = resolution
        self.base = self._newer if self._former is None else min(self._former, self._newer)
        self.start = self.start or self.base
        if self.latest is None or base > self.latest:
            self.latest = base


@dataclass
class Clock:
    """Places the stamps of one source.

    Attributes:
        tz: the zone of stamps without one.
        reference: a moment that no line can lie behind, such as the file's last change; it tells the year.
        boot_time: when the machine was started, where the user knows.
    """

    tz: tzinfo = UTC
    reference: datetime | None = None
    boot_time: datetime | None = None
    first: datetime | None = None
    last: datetime | None = None
    _known: tuple[Wall, tuple[datetime | None, float]] = (
        Wall(),
        (None, 0.0),
    )  # lines of one second follow each other
    _boots: dict[str | None, _Boot] = field(default_factory=dict)
    _all: list[_Boot] = field(default_factory=list)

    def note(self, stamp: Stamp) -> None:
        """Learn from a line's stamp; lines are noted in the order of the source."""
        when, doubt = self._wall(stamp.wall) if stamp.wall else (None, 0.0)
        if when is not None:
            self.first = when if self.first is None or when < self.first else self.first
            self.last = when if self.last is None or when > self.last else self.last
        if stamp.monotonic is None:
            return
        boot = self._boot(stamp)
        boot.monotonic = stamp.monotonic
        if when is None or stamp.wall is None or not stamp.kernel:
            return
        try:
            base = when - timedelta(seconds=stamp.monotonic)
        except OverflowError:
            return
        boot.learn(base, stamp.monotonic, doubt)

    def place(self, stamp: Stamp) -> Moment:
        """Say when a noted line was written by the kernel, as well as is known by now."""
        known = self._boots.get(stamp.host)
        number = known.number if known else 0
        if stamp.monotonic is not None and known is not None and known.base is not None:
            lateness = max(0.0, (known.latest - known.base).total_seconds()) if known.latest else 0.0
            doubt = min(lateness, _LATE_S) if known.pairs > 1 else 0.0
            when = _later(known.base, stamp.monotonic)
            return Moment(when, known.resolution + doubt, number)
        if stamp.wall is not None:
            when, doubt = self._wall(stamp.wall)
            if when is not None:
                return Moment(when, doubt, number, stamp.wall.counted)
        if stamp.monotonic is not None and self.boot_time is not None and number == 0:
            return Moment(_later(self.boot_time, stamp.monotonic), _MONOTONIC_ONLY_S, number, drifts=True)
        return Moment(None, None, number)

    @property
    def boots(self) -> tuple[datetime | None, ...]:
        """When each boot began, or None where nothing tells."""
        return tuple(boot.start for boot in self._all)

    def _boot(self, stamp: Stamp) -> _Boot:
        """Return the boot that a stamp lies in; a clock that falls back is a new one."""
        known = self._boots.get(stamp.host)
        monotonic = stamp.monotonic or 0.0
        fresh = known is None or (
            known.boot_id != stamp.boot
            if stamp.boot is not None and known.boot_id is not None
            else monotonic < known.monotonic - _FALL_BACK_S
        )
        if known is None or fresh:
            known = _Boot(len(self._all))
            self._all.append(known)
            self._boots[stamp.host] = known
        known.boot_id = stamp.boot or known.boot_id
        return known

    def _wall(self, wall: Wall) -> tuple[datetime | None, float]:
        """Return a stamp's moment in UTC and its doubt in seconds."""
        if self._known[0] != wall:
            self._known = wall, self._placed(wall)
        return self._known[1]

    def _placed(self, wall: Wall) -> tuple[datetime | None, float]:
        try:
            if wall.unix is not None:
                return _EPOCH + timedelta(seconds=wall.unix), wall.resolution
            year = wall.year
            zone = self.tz if wall.offset is None else timezone(timedelta(minutes=wall.offset))
            if year is None:
                return self._without_year(wall, zone)
            return _local(wall, year, zone)
        except (ValueError, OverflowError):
            return None, 0.0

    def _without_year(self, wall: Wall, zone: tzinfo) -> tuple[datetime | None, float]:
        """Take the latest year that does not lie behind the reference."""
        if self.reference is None:
            return None, 0.0
        bound = self.reference + timedelta(days=1)
        latest = bound.year + (wall.month == 1)  # no zone is so far off that it could be later
        for year in range(latest, bound.year - 9, -1):
            try:
                when, doubt = _local(wall, year, zone)
            except ValueError:  # the 29th of February
                continue
            if when <= bound:
                return when, doubt
        return None, 0.0


def _local(wall: Wall, year: int, zone: tzinfo) -> tuple[datetime, float]:
    """Return a local time in UTC; where clocks were set back it is one of two, and the doubt says so."""
    second = min(wall.second, 59)  # a leap second
    naive = datetime(year, wall.month, wall.day, wall.hour, wall.minute, second, wall.microsecond, zone)
    if zone is UTC:
        return naive, wall.resolution
    early = naive.astimezone(UTC)
    if isinstance(zone, timezone):  # the same all year round
        return early, wall.resolution
    late = naive.replace(fold=1).astimezone(UTC)
    return early, wall.resolution + abs((late - early).total_seconds())


def _later(moment: datetime, seconds: float) -> datetime | None:
    try:
        return moment + timedelta(seconds=seconds)
    except OverflowError:
        return None
