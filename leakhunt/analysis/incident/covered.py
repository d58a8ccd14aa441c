"""What the logs that were read leave open: kills without a date, and SIGKILLs that a kernel log does not know."""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from leakhunt.model.oom import OomKill, SourceSummary
from leakhunt.units import count_of

SILENT = "covers that time and tells of no kill"


def with_silence(kills: Iterable[OomKill], sources: Sequence[SourceSummary]) -> Iterator[OomKill]:
    """Yield kills; a bare SIGKILL at a time that a kernel's log covers without a word is said to be one."""
    kernel = [source for source in sources if source.boots]
    for kill in kills:
        if kill.confidence != "possible" or kill.when is None:
            yield kill
            continue
        silent = next(
            (one for one in kernel if one.first and one.last and one.first <= kill.when <= one.last), None
        )
        if silent is None:
            yield kill
            continue
        name = os.path.basename(silent.source)
        note = f"{name} {SILENT}: if it is that machine's, this was no OOM kill"
        yield replace(kill, notes=(*kill.notes, note))


def undated(kills: Iterable[OomKill]) -> Iterator[str]:
    """Yield what would date the kills that have no time."""
    without = [kill for kill in kills if kill.when is None]
    counted = sum(kill.monotonic is not None for kill in without)
    if counted:
        have = "has" if counted == 1 else "have"
        yield f"{count_of(counted, 'kill')} {have} no date, as the log counts seconds since boot: add --boot-time WHEN"
