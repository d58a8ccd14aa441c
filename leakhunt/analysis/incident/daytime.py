"""Days for deaths whose log stamps its lines with the time of day alone, as RQ's does."""

from __future__ import annotations

import os.path
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone

from leakhunt.analysis.incident.pairs import KILLED, is_worker_name
from leakhunt.analysis.incident.places import kinship, place_of
from leakhunt.model.incident import WorkerDeath
from leakhunt.model.oom import OomKill
from leakhunt.units import count_of

_STAMP = re.compile(r"\W{0,8}([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?!\d)")
_DAY_S = 86_400
_EARLY_S = 1
_LONGEST_S = 60  # more than that apart, an equal time of day says nothing
_MOST_DEATHS = 1_000
_MOST_ALIKE = 64


def with_days(
    kills: Sequence[OomKill], deaths: Sequence[WorkerDeath], window_s: float
) -> tuple[tuple[WorkerDeath, ...], frozenset[int]]:
    """Give a death without a date the day of the kill that alone fits its time of day, which is taken for UTC.

    Args:
        kills: with their times.
        deaths: what workers' logs tell.
        window_s: how many seconds after a kill a worker may tell of it.

    Returns:
        The deaths, and the places of those whose day is taken from a kill.
    """
    undated = [at for at, death in enumerate(deaths) if _second(death) is not None][:_MOST_DEATHS]
    if not undated:
        return tuple(deaths), frozenset()
    by_second: dict[int, list[OomKill]] = defaultdict(list)
    for kill in kills:
        if kill.when is not None and (kill.uncertainty_s or 0.0) <= _EARLY_S:
            by_second[int(kill.when.timestamp()) % _DAY_S].append(kill)
    found = list(deaths)
    given = set()
    for at in undated:
        when = _day(deaths[at], by_second, min(int(window_s), _LONGEST_S))
        if when is not None:
            found[at] = replace(deaths[at], when=when, uncertainty_s=1.0)
            given.add(at)
    return tuple(found), frozenset(given)


def dayless(deaths: Sequence[WorkerDeath]) -> Iterator[str]:
    """Yield a sentence for each log of deaths that found no kill, as its stamps have no date."""
    counts: dict[str, int] = defaultdict(int)
    for death in deaths:
        if _second(death) is not None:
            counts[death.evidence[0].source] += 1
    for source, count in counts.items():
        name = os.path.basename(source)
        yield (
            f"the stamps of {name} have no date, so {count_of(count, 'death')} in it can be put to a kill only by the "
            "time of day in UTC, and only where a single one fits"
        )


def _second(death: WorkerDeath) -> int | None:
    """Return the second of the day at which a worker says that it was killed; None where there is more, or nothing."""
    if death.when is not None or death.cause not in KILLED or not death.evidence:
        return None
    match = _STAMP.match(death.evidence[0].text)
    return None if match is None else int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3])


def _day(death: WorkerDeath, by_second: dict[int, list[OomKill]], window: int) -> datetime | None:
    """Return when a death was by the one kill whose time of day it follows; None where none or several do."""
    second = _second(death) or 0
    near: list[tuple[OomKill, int]] = []
    for late in range(-_EARLY_S, window + 1):
        near += [(kill, late) for kill in by_second.get((second - late) % _DAY_S, ())]
        if len(near) > _MOST_ALIKE:
            return None
    fitting = [(kill, late) for kill, late in near if _may_be(kill, death)]
    if len(fitting) != 1:
        return None
    kill, late = fitting[0]
    if kill.when is None:
        return None
    try:
        return datetime.fromtimestamp(int(kill.when.timestamp()) + late, timezone.utc)
    except (OverflowError, ValueError, OSError):  # on the last day of all
        return None


def _may_be(kill: OomKill, death: WorkerDeath) -> bool:
    named = kill.comm is not None and is_worker_name(kill.comm, death)
    return named and kinship(place_of(kill), death.place) is not None
