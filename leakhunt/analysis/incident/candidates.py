"""Kills that something else may speak of: found by the moment, by the place or by the pid, never one by one."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from leakhunt.analysis.incident.places import host_of, place_of
from leakhunt.model.evidence import Place
from leakhunt.model.oom import OomKill

_VAGUE_S = 120.0  # a clock that is so far off finds nothing by the moment
_MOST_NEAR = 32  # of many kills at once, the nearest are looked at
_MOST_ALIKE = 16  # of many at one place, the last


class Candidates:
    """The places of kills in a list, by time and by what they are called."""

    def __init__(self, kills: Sequence[OomKill]) -> None:
        self._kills = tuple(kills)  # as they are now
        self._known = False  # where nothing is looked for, nothing is put in order

    def _learn(self) -> None:
        """Put the kills in order."""
        kills, self._known = self._kills, True
        dated = sorted(
            (kill.when.timestamp(), at)
            for at, kill in enumerate(kills)
            if kill.when is not None and (kill.uncertainty_s or 0.0) <= _VAGUE_S
        )
        self._times = [time for time, _ in dated]
        self._places = [at for _, at in dated]
        self._doubt = max((kills[at].uncertainty_s or 0.0 for at in self._places), default=0.0)
        self._named: dict[tuple[str, object], list[int]] = defaultdict(list)
        for at, kill in enumerate(kills):
            for key in (*_keys(place_of(kill)), ("pid", kill.pid), ("pid", kill.tgid)):
                if key[1] is not None:
                    self._named[key].append(at)

    def of(self, place: Place, pid: int | None, span: tuple[float, float] | None) -> Iterable[int]:
        """Return the places of the kills that may be meant, each once.

        Args:
            place: where it was.
            pid: of the process, if that is known.
            span: the seconds since 1970 between which it was, doubt included; None where no clock is known.
        """
        if not self._known:
            self._learn()
        found = dict.fromkeys(self._near(span) if span is not None else ())
        for key in (*_keys(place), ("pid", pid)):
            alike = self._named.get(key) if key[1] is not None else None
            if alike:
                found.update(dict.fromkeys(_around(alike, found)))
        return found

    def _near(self, span: tuple[float, float]) -> Iterator[int]:
        """Yield those nearest to the end of a span: what tells of a death comes soon after it."""
        first = bisect_left(self._times, span[0] - self._doubt)
        last = bisect_right(self._times, span[1] + self._doubt)
        yield from self._places[max(first, last - _MOST_NEAR) : last]


def _around(alike: Sequence[int], found: dict[int, None]) -> Iterator[int]:
    """Yield the last of those that are called alike and were not found yet."""
    yield from islice((at for at in reversed(alike) if at not in found), _MOST_ALIKE)


def _keys(place: Place) -> Iterator[tuple[str, object]]:
    """Yield what a place can be found by."""
    yield "id", place.container_id[:12] if place.container_id else None
    host = host_of(place)
    yield "id", host if host and len(host) == 12 else None
    yield "pod", place.pod_uid
    yield "pod", place.pod.rpartition("/")[2] if place.pod else None
    yield "unit", place.unit
