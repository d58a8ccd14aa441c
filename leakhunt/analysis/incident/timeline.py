"""Kills in the order of time, to be found by the moment of something else."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime

from leakhunt.model.oom import OomKill


class Timeline:
    """The places of kills in a list, by time."""

    def __init__(self, kills: Sequence[OomKill]) -> None:
        dated = sorted((kill.when.timestamp(), at) for at, kill in enumerate(kills) if kill.when is not None)
        self._times = [time for time, _ in dated]
        self._places = [at for _, at in dated]
        self._doubt = max((kill.uncertainty_s or 0.0 for kill in kills), default=0.0)

    def between(self, first: datetime, last: datetime, doubt: float = 0.0) -> Iterator[int]:
        """Yield the places of the kills that may have happened between two moments.

        Args:
            first: the earlier moment.
            last: the later one.
            doubt: how far off both may be, in seconds; the doubt of the kills is added.
        """
        slack = doubt + self._doubt
        start = bisect_left(self._times, first.timestamp() - slack)
        stop = bisect_right(self._times, last.timestamp() + slack)
        yield from self._places[start:stop]
