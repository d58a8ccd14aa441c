"""Which growth a collection would free: deferred garbage is no leak."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from leakhunt.analysis.grouping import RowSites
from leakhunt.model.snapshot import Frame, Snapshot

_ITS_OWN = 0.9  # what a site must have of a line's bytes, for the line's garbage to be its own

Garbage = Mapping[Frame, int]


def garbage_of_sites(
    garbage: Garbage, snapshot: Snapshot, sites: RowSites, wanted: Sequence[bool], total: int
) -> dict[int, int]:
    """Return the bytes of each site that a collection would free; a line that sites share is nobody's.

    Args:
        garbage: bytes that were allocated at a frame and only wait for a collection.
        snapshot: the snapshot.
        sites: to which one site each of its rows belongs.
        wanted: which rows count.
        total: how many sites there are.
    """
    frames = {index for index, frame in enumerate(snapshot.frames) if frame in garbage}
    if not frames:
        return {}
    stacks, sizes = snapshot.rows.stacks, snapshot.rows.sizes
    here = [want and stack[-1] in frames for want, stack in zip(wanted, stacks)]
    parts: dict[Frame, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for row, numbers in sites.at(frozenset(range(total)), here):
        for number in numbers:
            parts[snapshot.frames[stacks[row][-1]]][number] += sizes[row]
    found: dict[int, int] = defaultdict(int)
    for frame, of_sites in parts.items():
        number, size = max(of_sites.items(), key=lambda item: (item[1], -item[0]))
        if size >= _ITS_OWN * sum(of_sites.values()):
            found[number] += min(garbage[frame], size)
    return found


def freeable_growth(size_diff: int, before: int, after: int) -> int:
    """Return how many bytes of a site's growth are garbage that was not there before."""
    return min(max(after - before, 0), max(size_diff, 0))
