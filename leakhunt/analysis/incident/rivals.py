"""What else a kill or a worker's death may belong to, beside what it was put to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from leakhunt.analysis.incident.groups import owner_name
from leakhunt.analysis.incident.pairs import Pair
from leakhunt.analysis.incident.places import IDENTITY, kinship, place_of
from leakhunt.model.oom import OomKill
from leakhunt.units import format_count

_MOST_NAMED = 3


class Rivals:
    """Pairs that were possible, against those that were chosen.

    Args:
        kills: all.
        pairs: all that are possible.
        chosen: those that were chosen.
        whole: gives the first kill of the group that a kill is a part of.
    """

    def __init__(
        self,
        kills: Sequence[OomKill],
        pairs: Iterable[Pair],
        chosen: Iterable[Pair],
        whole: Callable[[int], int],
    ) -> None:
        self._kills, self._whole = kills, whole
        self._of_kill: dict[int, list[Pair]] = defaultdict(list)
        self._of_death: dict[int, list[Pair]] = defaultdict(list)
        for pair in pairs:
            self._of_kill[whole(pair.kill)].append(pair)
            self._of_death[pair.death].append(pair)
        self._by_kill: dict[int, Pair] = {}
        self._by_death: dict[int, Pair] = {}
        for pair in chosen:
            self._by_kill[pair.kill] = self._by_death[pair.death] = pair

    def none(self, pair: Pair) -> bool:
        """Tell whether nothing else is left that the kill or the death of a chosen pair may belong to."""
        return not any(self._left(pair))

    def as_good(self, pair: Pair) -> list[int]:
        """Return kills elsewhere that fit the death of a chosen pair as well, unless its place or its pid decides."""
        if pair.same_pid or pair.same_place:
            return []
        found: dict[int, None] = {}
        for other in self._of_death[pair.death]:
            own = self._by_kill.get(other.kill)
            better = own is not None and own.death != pair.death and own.score > other.score
            if other.score >= pair.score and not better and self._apart(other.kill, pair.kill):
                found[self._whole(other.kill)] = None
        return list(found)

    def _left(self, pair: Pair) -> Iterator[Pair]:
        """Yield other pairs of this kill or this death, but for those whose own partner, at the same place, fits better."""
        for other in self._of_death[pair.death]:
            if other.silent == pair.silent and self._whole(other.kill) != self._whole(pair.kill):
                own = self._by_kill.get(other.kill)
                if own is None or own.score <= other.score or not self._same_place(other.kill, pair.kill):
                    yield other
        for other in self._of_kill[self._whole(pair.kill)]:
            if other.silent == pair.silent and other.death != pair.death:
                own = self._by_death.get(other.death)
                if own is None or own.score <= other.score or not self._same_place(own.kill, pair.kill):
                    yield other

    def _same_place(self, one: int, other: int) -> bool:
        """Tell whether two kills are known to be of one container or unit."""
        same = kinship(place_of(self._kills[one]), place_of(self._kills[other]))
        return same is not None and same.score >= IDENTITY

    def _apart(self, one: int, other: int) -> bool:
        """Tell whether two kills are known to be of different places."""
        return kinship(place_of(self._kills[one]), place_of(self._kills[other])) is None


def named(kills: Sequence[OomKill]) -> str:
    """Name whose kills these are: ``the kill of container 77bc... fits``."""
    owners = list(dict.fromkeys(" ".join(owner_name(kill)) for kill in kills))
    more = len(owners) - _MOST_NAMED
    listed = [*owners[:_MOST_NAMED], *([f"{format_count(more)} more"] if more > 0 else [])]
    words = listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"
    return f"the kill of {words} fits" if len(owners) == 1 else f"the kills of {words} fit"
