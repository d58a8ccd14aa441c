"""Growth fitted to counts by least squares, where no count may shrink it, and few strange rows decide nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

_PASSES = 4
_CLIP = 6.0  # times the median distance from the fit: beyond lies an import, not a habit
_STEPS = 400
_EXACT = 1e-7
_ROUNDING = 4096.0**2 / 6  # the variance that whole pages alone bring into a difference


class Fit(NamedTuple):
    """What a fit comes to.

    Attributes:
        slopes: per column; none is negative.
        left: the sum of the squares of what it leaves.
    """

    slopes: tuple[float, ...]
    left: float


class Rows:
    """Rows of counts, and what each row grew."""

    def __init__(self, counts: Sequence[Sequence[float]], growths: Sequence[float]) -> None:
        self.counts = counts
        self.growths = list(growths)
        self.width = len(counts[0]) if counts else 0
        columns = list(zip(*counts))
        self._products = [[dot(one, other) for other in columns] for one in columns]
        self._columns = columns
        self._sums = [dot(column, self.growths) for column in columns]

    def fit(self, columns: Iterable[int]) -> Fit:
        """Fit the growth to some of the columns: one slope after another, until they stay."""
        chosen = [at for at in columns if self._products[at][at]]
        slopes = [0.0] * self.width
        for _ in range(_STEPS):
            moved = 0.0
            for at in chosen:
                line = self._products[at]
                rest = self._sums[at] - sum(line[other] * slopes[other] for other in chosen if other != at)
                slope = max(0.0, rest / line[at])
                moved = max(moved, abs(slope - slopes[at]) / (slope + 1.0))
                slopes[at] = slope
            if moved < _EXACT:
                break
        left = sum((growth - dot(row, slopes)) ** 2 for row, growth in zip(self.counts, self.growths))
        return Fit(tuple(slopes), left)

    def clipped(self) -> tuple[Rows, Fit]:
        """Return the rows with growth cut off that lies far from what all columns explain, and their fit."""
        rows, every = self, range(self.width)
        found = rows.fit(every)
        for _ in range(_PASSES):
            fitted = [dot(row, found.slopes) for row in self.counts]
            reach = _CLIP * _median([abs(own - said) for own, said in zip(rows.growths, fitted)])
            near = [min(max(own, said - reach), said + reach) for own, said in zip(rows.growths, fitted)]
            if not reach or near == rows.growths:
                break
            rows = Rows(self.counts, near)
            found = rows.fit(every)
        return rows, found

    def variance(self, fit: Fit) -> float:
        """Return the variance of what a fit of all columns leaves; whole pages leave some of their own."""
        return max(_ROUNDING, fit.left / max(1, len(self.growths) - self.width))


def dot(one: Iterable[float], other: Iterable[float]) -> float:
    """Return the sum of the products."""
    return sum(left * right for left, right in zip(one, other))


def _median(values: Iterable[float]) -> float:
    ranked = sorted(values)
    return ranked[len(ranked) // 2]
