"""The kernel's kill line where a document quotes it: in an event that the node problem detector has made of it."""

from __future__ import annotations

from dataclasses import replace

from leakhunt.model.evidence import Evidence, Place
from leakhunt.model.oom import OomKill
from leakhunt.readers.kernel_log.grammar import parse
from leakhunt.readers.kernel_log.lines import Kill
from leakhunt.readers.kernel_log.report import Report
from leakhunt.readers.kernel_log.sighting import Sighting
from leakhunt.readers.kernel_log.stamps import Stamp
from leakhunt.readers.kernel_log.times import Moment


def quoted_kill(message: str, place: Place, moment: Moment, evidence: Evidence) -> OomKill | None:
    """Return the kill that a text quotes, as a log that quotes it gives; None where it quotes none.

    Args:
        message: what the document says.
        place: of whom it says so; a kill line is the whole machine's.
        moment: when that was.
        evidence: where the document says so.
    """
    kill = parse(message)
    if not isinstance(kill, Kill):
        return None
    stamp = Stamp(host=place.host)
    report = Report(0, stamp, moment)
    sighting = Sighting(kill, report, stamp, moment, quoted=True, member=False, evidence=[evidence])
    return replace(sighting.value(), place=Place(host=place.host))
