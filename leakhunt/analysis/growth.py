"""What the sizes of one site over several snapshots say about it."""

from __future__ import annotations

from collections.abc import Sequence

EVERY_INTERVAL = "grows in every interval"
ONCE = "grew once"
UNSTEADY = "unsteady"
SHRINKS = "shrinks"

_FLAT = 0.05


def trend(sizes: Sequence[int]) -> str | None:
    """Put a word to a series of sizes in bytes, oldest first; None for fewer than three.

    An interval whose change is below a twentieth of the series' largest counts as flat, so that a cache that fills
    and then only trembles grew once.
    """
    if len(sizes) < 3:
        return None
    steps = [after - before for before, after in zip(sizes, sizes[1:])]
    floor = max(map(abs, steps)) * _FLAT
    rises = sum(step > 0 and step >= floor for step in steps)
    falls = sum(step < 0 and -step >= floor for step in steps)
    if sizes[-1] < sizes[0]:
        return SHRINKS
    if rises == len(steps):
        return EVERY_INTERVAL
    return ONCE if rises == 1 and not falls else UNSTEADY
