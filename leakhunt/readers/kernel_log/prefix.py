"""What stands in front of a kernel's words: stamps, names, levels, in any order and number."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from leakhunt.readers.kernel_log import dates, speakers
from leakhunt.readers.kernel_log.months import MONTHS
from leakhunt.readers.kernel_log.stamps import Stamp, Wall, clock_of, iso_wall, micro_of, said_earlier

_MOST_PREFIXES = 16
_MONOTONIC = re.compile(r"\[ *(\d{1,12}\.\d{3,9})(?:\*| *<[ *+\d.]{1,24}>)?\](?:\[ *([TC]\d{1,10})\])? ?")
_DELTA = re.compile(r"\[(?:<[ \d.]{1,24}>| *\+\d{1,8}\.\d{1,9})\] ?")
_CALLER = re.compile(r"\[ *([TC]\d{1,10})\] ?")
_UNIX = re.compile(r"(\d{9,11}\.\d{3,9}) (?=\S)")
_KERNEL = re.compile(r"kernel: ?")
_MIDWAY = re.compile(r"\[ *(\d{1,12}\.\d{6})\](?:\[ *([TC]\d{1,10})\])? (?=\S)")
_REACH = 300


class _Reader:
    """Takes prefixes off one line."""

    __slots__ = (
        "at",
        "caller",
        "container",
        "dropped",
        "host",
        "kernel",
        "monotonic",
        "pod",
        "rfc",
        "sequence",
        "tag",
        "text",
        "wall",
    )

    def __init__(self, text: str, stamp: Stamp) -> None:
        self.text = text
        self.at = 0
        self.rfc = False
        self.wall, self.monotonic, self.caller, self.host = stamp[:4]
        self.kernel, self.tag, self.dropped, _, self.sequence = stamp[4:9]
        self.container, self.pod = stamp.container, stamp.pod

    def run(self) -> None:
        """Take all there are."""
        for _ in range(_MOST_PREFIXES):
            if not self.step():
                break

    def stamp(self) -> Stamp:
        """Return what was taken."""
        said = (self.kernel, self.tag, self.dropped, None, self.sequence)
        owner = (None, self.container, None, self.pod)
        return Stamp(self.wall, self.monotonic, self.caller, self.host, *said, *owner)

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Match a pattern here and step over it."""
        match = pattern.match(self.text, self.at)
        if match:
            self.at = match.end()
        return match

    def step(self) -> bool:
        """Take one prefix; tells whether there was one."""
        if self.at >= len(self.text):
            return False
        for try_one in _BY_FIRST.get(self.text[self.at], _REST):  # noqa: SIM110 - any() costs as much again
            if try_one(self):
                return True
        return False

    def bracket(self) -> bool:
        """Take what stands in brackets."""
        if match := self.take(_MONOTONIC):
            self.monotonic = float(match[1])
            self.caller = match[2] or self.caller
            self.kernel = True
            return True
        if match := self.take(_CALLER):
            self.caller = match[1]
            return True
        if match := self.take(dates.BRACKET_ISO):
            self.stamped(iso_wall(match))
            return True
        if match := self.take(speakers.POD_PREFIX):
            self.pod, self.container = match[1] or self.pod, match[2] or self.container
            return True
        return self.take(_DELTA) is not None or self.calendar()

    def calendar(self) -> bool:
        """Take a stamp of ``dmesg -T`` or ``-e``, in any language."""
        for pattern, month, day in ((dates.CTIME, 1, 2), (dates.CTIME_DAY_FIRST, 2, 1)):
            match = pattern.match(self.text, self.at)
            if match and (number := MONTHS.get(match[month].lower().rstrip("."))):
                self.at = match.end()
                self.kernel = True
                micro = micro_of(match[6])
                clock = clock_of(match, 3)
                self.stamped(Wall(int(match[7]), number, int(match[day]), *clock, micro, counted=True))
                return True
        match = dates.RELTIME.match(self.text, self.at)
        if match and (number := MONTHS.get(match[1].lower())):
            self.at = match.end()
            self.kernel = True
            moment = (int(match[2]), int(match[3]), int(match[4]))
            self.stamped(Wall(None, number, *moment, resolution=60.0, counted=True))
            return True
        return False

    def level(self) -> bool:
        """Take ``<4>``; RFC 5424 opens with it too."""
        match = self.take(speakers.LEVEL)
        if match:
            self.rfc = match[0].endswith(" ")
        return match is not None

    def number(self) -> bool:
        """Take what begins with a digit."""
        if match := self.take(dates.ISO):
            self.stamped(iso_wall(match))
            return self.named()
        if match := self.take(speakers.KMSG):
            self.kernel = self.kernel or int(match[1]) < 8
            self.sequence = int(match[2])
            self.monotonic = int(match[3]) / 1e6
            for item in match[4].split(","):
                if item.startswith("caller="):
                    self.caller = item[len("caller=") :]
            return True
        if match := self.take(_UNIX):
            self.stamped(Wall(unix=float(match[1]), resolution=1e-6))
            return self.named()
        return False

    def stamped(self, wall: Wall) -> None:
        """Keep the outermost stamp, unless an inner one says more."""
        if self.wall is None or (
            self.wall.offset is None and self.wall.unix is None and wall.offset is not None
        ):
            self.wall = wall

    def logged(self, wall: Wall) -> bool:
        """Take a syslog's stamp and what is behind it; a kernel's line may have been printed again much later."""
        outer = self.wall
        self.stamped(wall)
        self.named()
        if outer is not None and self.kernel:
            self.wall = said_earlier(outer, wall) or self.wall
        return True

    def named(self) -> bool:
        """Take the host and the program behind a log's stamp."""
        if self.rfc:
            self.rfc = False
            if match := self.take(speakers.RFC5424):
                self.host = match[1] if match[1] != "-" else None
                self.tag = match[2]
                self.kernel = self.kernel or match[2] == "kernel"
                return True
        if self.take(speakers.PRIORITY):  # OpenWrt's logread names no host
            if match := self.take(speakers.PROGRAM):
                self.tag = match[1]
                self.kernel = self.kernel or match[1] == "kernel"
        elif self.take(_KERNEL):
            self.kernel, self.tag = True, "kernel"
        elif self.text.startswith(("stdout ", "stderr "), self.at):
            pass
        elif match := self.take(speakers.HOST_TAG):
            self.host = self.host or match[1]
            self.tag = match[2]
            self.kernel = self.kernel or match[2] == "kernel"
        elif match := self.take(speakers.TAG):
            self.tag = match[1]
        elif match := speakers.HOST_MONOTONIC.match(self.text, self.at):
            self.host = self.host or match[1]
            self.at = match.end(1) + 1
        return True

    def word(self) -> bool:
        """Take what begins with a letter."""
        if self.kernel and self.monotonic is not None and self.host is not None:
            return False  # the kernel has begun to speak
        if self.take(_KERNEL):
            self.kernel, self.tag = True, self.tag or "kernel"
            return True
        match = dates.SYSLOG.match(self.text, self.at)
        if match and (number := MONTHS.get(match[1].lower().rstrip("."))):
            self.at = match.end()
            year = match[3] or match[8]
            micro = micro_of(match[7])
            resolution = 1e-6 if match[7] else 1.0
            moment = (int(match[2]), *clock_of(match, 4), micro)
            wall = Wall(int(year) if year else None, number, *moment, resolution=resolution)
            return self.logged(wall)
        if match := self.take(dates.ISO):  # the name of a weekday first
            self.stamped(iso_wall(match))
            return self.named()
        return self.klog() or self.quiet_word()

    def klog(self) -> bool:
        """Take what Kubernetes' programs write, unless somebody has put a stamp in front of theirs."""
        match = self.take(speakers.KLOG)
        if match and self.wall is None:
            moment = (int(match[1]), int(match[2]), *clock_of(match, 3), int(match[6]))
            self.wall = Wall(None, *moment, resolution=1e-6)
        return match is not None

    def quiet_word(self) -> bool:
        """Take a prefix that says nothing."""
        if (
            self.monotonic is not None
            and self.host is None
            and (match := speakers.HOST_KERNEL.match(self.text, self.at))
        ):
            self.host, self.kernel, self.tag = match[1], True, "kernel"
            self.at = match.end()
            return True
        if self.monotonic is not None and not self.tag and (match := self.take(speakers.MONOTONIC_TAG)):
            self.host, self.tag = self.host or match[1], match[2]
            return True
        if match := self.take(speakers.COMPOSE):
            self.container = match[1]
            return True
        if self.wall is None and (match := self.take(speakers.STERN)):
            self.pod, self.container = match[1], match[2]
            return True
        return any(
            self.take(pattern)
            for pattern in (speakers.CRI, speakers.FACILITY, speakers.GUEST, speakers.REPEATED, speakers.GREP)
        )

    def star(self) -> bool:
        """Take the kernel's note that it dropped messages."""
        match = self.take(speakers.DROPPED)
        if match:
            self.dropped += int(match[1])
            self.kernel = True
        return match is not None

    def quote(self) -> bool:
        """Take the sign of a quotation, or of a frame, in front of all else."""
        bare = self.wall is None and self.monotonic is None and not self.tag
        return bare and self.take(speakers.QUOTED) is not None

    def blank(self) -> bool:
        """Take a space."""
        self.at += 1
        return True


_Step = Callable[[_Reader], bool]
_BY_FIRST: dict[str, tuple[_Step, ...]] = {
    "[": (_Reader.bracket,),
    "<": (_Reader.level,),
    "*": (_Reader.star,),
    **dict.fromkeys(">|\u2502", (_Reader.quote,)),
    " ": (_Reader.blank,),
    "\t": (_Reader.blank,),
    "\x1e": (_Reader.blank,),
    **dict.fromkeys("0123456789", (_Reader.number, _Reader.word)),
}
_REST: tuple[_Step, ...] = (_Reader.word,)


def strip(text: str) -> tuple[Stamp, str]:
    """Take all prefixes off a line: what they say, and the text that remains."""
    end = text.find(" kernel: ", 0, _REACH) + len(" kernel: ")
    stamp = _strip_head(text[:end]) if end >= len(" kernel: ") else None
    if stamp is not None and stamp.host is not None and (match := speakers.SPEAKS.match(text, end)):
        spoken = text[match.end() :]  # what follows the stamp has no prefix of its own
        return Stamp(stamp.wall, float(match[1]), *stamp[2:]), spoken
    reader = _Reader(text, stamp or Stamp())
    reader.at = end if stamp else 0  # lines of one second open alike
    reader.run()
    text = text[reader.at :]
    if reader.monotonic is None and (
        match := _MIDWAY.search(text, 0, _REACH)
    ):  # a console's text, then the kernel's
        reader.monotonic = float(match[1])
        reader.caller = match[2] or reader.caller
        text = text[match.end() :]
    return reader.stamp(), text


@lru_cache(maxsize=64)
def _strip_head(text: str) -> Stamp | None:
    """Read a log's own prefix, up to the kernel's name; None where that is not all there is."""
    if (match := speakers.USUAL_HEAD.fullmatch(text)) and (month := MONTHS.get(match[1].lower())):
        wall = Wall(None, month, int(match[2]), *clock_of(match, 3))
        return Stamp(wall, host=match[6], kernel=True, tag="kernel")
    reader = _Reader(text, Stamp())
    reader.run()
    return reader.stamp() if reader.at == len(text) and reader.kernel else None
