"""What a log's texts mean, one after another: the wordings that are known, weighed by who uses them."""

from __future__ import annotations

import re
from dataclasses import replace

from leakhunt.model.evidence import Evidence, Place
from leakhunt.model.incident import Sign
from leakhunt.readers.kernel_log.prefix import strip
from leakhunt.readers.kernel_log.stamps import Stamp, Wall
from leakhunt.readers.kernel_log.times import Clock
from leakhunt.readers.places import place_of
from leakhunt.readers.signs import cluster, killers, runtimes, systemd
from leakhunt.readers.signs.described import Described
from leakhunt.readers.signs.polite import NEEDLES, Polite
from leakhunt.readers.signs.told import Told, believed, sign_of

_WORDINGS = (*systemd.WORDINGS, *killers.WORDINGS, *runtimes.WORDINGS, *cluster.WORDINGS)
_OWN_TIMES = (
    re.compile(r'\btime="([^"]{10,40})"'),
    re.compile(r"\bTimestamp:(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{1,9} [+-]\d{4}) UTC"),
    re.compile(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) [A-Z] "),
    re.compile(r"\[(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}Z)\]: \[talos\] "),
)


class Ear:
    """Hears the texts of one source, in order.

    Args:
        source: its name.
        clock: places its stamps.
        place: what the source's name tells of where it was written.

    Attributes:
        signs: what was understood and is not fetched yet.
    """

    def __init__(self, source: str, clock: Clock, place: Place) -> None:
        self.signs: list[Sign] = []
        self._clock = clock
        self._place = place
        self._polite = Polite()
        self._asked: Sign | None = None
        self._trusted = False
        self._lambda = runtimes.Lambda()
        self._described = Described(source, clock.tz)

    def hear(self, stamp: Stamp, text: str, evidence: Evidence, *, stamped: bool) -> bool:
        """Take a text.

        Args:
            stamp: what stood in front of it, or in front of the line that it continues.
            text: what was said.
            evidence: the line.
            stamped: whether a log put anything in front of it.

        Returns:
            Whether it meant something.
        """
        if self._heed(stamp, text, evidence, stamped=stamped):
            return True
        if "RequestId" in text:
            self._lambda.report(text)
        told = self._lambda.read(text) or _told(text, stamp.tag, stamped=stamped)
        if told is not None:
            if told.shaped:  # a row of events names the object only above the table
                told = told._replace(place=told.place.filled(self._described.place))
            self.signs.append(self._sign(told, stamp, text, evidence))
            return True
        before = len(self.signs)
        self.signs.extend(self._described.read(text, evidence.line))
        return self._described.open or len(self.signs) > before

    def rest(self) -> None:
        """Let go of what nothing further is expected for."""
        self._release()
        self.signs.extend(self._described.finish())

    def _heed(self, stamp: Stamp, text: str, evidence: Evidence, *, stamped: bool) -> bool:
        """Hear the killers that tell in several lines; says whether one of them spoke."""
        polite = self._polite
        if not any(needle in text for needle in NEEDLES):
            return False
        held, asked = polite.held, self._asked
        if polite.begins(text):
            told = polite.held
            assert told is not None  # noqa: S101 - what begins is held
            weighed = believed(told._replace(kind="killed"), stamp.tag, polite.tags, stamped=stamped)
            self._asked = None
            if asked is not None:
                self._keep(asked, held)
            if weighed is None:
                polite.forget()
                return False
            self._trusted = weighed.kind == "killed"
            self._asked = self._sign(told, stamp, text, evidence)
            return True
        polite.goes_on(text)
        if polite.done:
            self._release()
        return asked is not None

    def _release(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            self._keep(asked, self._polite.held)
        self._polite.forget()

    def _keep(self, asked: Sign, held: Told | None) -> None:
        """Keep a sign with what is known of it by now."""
        if held is None:
            self.signs.append(asked)
            return
        kind = "oom" if held.kind == "killed" and not self._trusted else held.kind
        self.signs.append(
            replace(asked, kind=kind, text=held.text, pid=held.pid, comm=held.comm, rss=held.rss)
        )

    def _sign(self, told: Told, stamp: Stamp, text: str, evidence: Evidence) -> Sign:
        own = _own_time(text)
        if own is not None and (own.offset is not None or stamp.wall is None):
            stamp = stamp._replace(wall=own, monotonic=None)
        return sign_of(told, stamp, self._clock.place(stamp), place_of(stamp, self._place), evidence)


def _told(text: str, tag: str, *, stamped: bool) -> Told | None:
    """Say what a text tells by the first wording that knows it."""
    for wording in _WORDINGS:
        if wording.needle in text:
            told = wording.read(text)
            if told is not None:
                return believed(told, tag, wording.tags, stamped=stamped or _own_time(text) is not None)
    return None


def _own_time(text: str) -> Wall | None:
    """Return the time that a text holds itself, as the logs of Go's programs and of Ray do."""
    for pattern in _OWN_TIMES:
        if match := pattern.search(text, 0, 400):
            return strip(f"{match[1]} ")[0].wall
    return None
