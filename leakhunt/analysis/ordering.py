"""The order in which sites are listed: what grew most and no collection would free comes first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from leakhunt.analysis.grouping import Key
from leakhunt.analysis.growth import EVERY_INTERVAL
from leakhunt.model.snapshot import Frame
from leakhunt.model.statistics import Amount, is_mostly_freeable

SORTS_DIFF = ("growth", "size", "count", "name")
SORTS_TOP = ("size", "count", "name")

_PROMOTED_SHARE = 0.001
_MATTERS = 0.01  # of all growth; where not even so much is live at any site, garbage is the answer


@dataclass(frozen=True)
class Site:
    """What one site had in each snapshot.

    Attributes:
        number: its number among the sites.
        key: a name or None, and frames.
        series: bytes and blocks in each snapshot, oldest first.
        trend: a word for the series, or None.
        freeable: bytes of the growth that a collection would free, or None where that is not known.
    """

    number: int
    key: Key
    series: tuple[Amount, ...]
    trend: str | None
    freeable: int | None

    @property
    def size_diff(self) -> int:
        """Bytes more than at first."""
        return self.series[-1].size - self.series[0].size

    @property
    def count_diff(self) -> int:
        """Blocks more than at first."""
        return self.series[-1].count - self.series[0].count

    @property
    def live(self) -> int:
        """Growth that no collection would free, as far as that is known."""
        return self.size_diff - (self.freeable or 0)

    @property
    def name(self) -> tuple[str, tuple[Frame, ...]]:
        """What tells sites apart that are alike otherwise."""
        return self.key[0] or "", self.key[1]


def order(found: Sequence[Site], sort: str, whole: int, *, single: bool) -> list[Site]:
    """Sort sites, best first.

    By growth, a site that grows in every interval stands before a bigger one that does not, if it is at least a
    thousandth of all growth; growth stands before shrinkage. What a collection would free does not count, unless
    hardly any growth is left without it.

    Args:
        found: the sites.
        sort: one of SORTS_DIFF, or of SORTS_TOP for one snapshot.
        whole: all growth in bytes.
        single: whether there is one snapshot only.
    """
    if single and sort == "growth":
        sort = "size"
    live_matters = any(site.live >= max(whole * _MATTERS, 1) for site in found)
    keys: dict[str, Callable[[Site], tuple[Any, ...]]] = {
        "growth": lambda site: _by_growth(site, whole, live_matters=live_matters),
        "size": lambda site: (-site.series[-1].size, -site.series[-1].count, site.name),
        "count": lambda site: (
            -(site.series[-1].count if single else site.count_diff),
            -site.series[-1].size,
            site.name,
        ),
        "name": lambda site: (site.name,),
    }
    return sorted(found, key=keys[sort])


def _by_growth(site: Site, whole: int, *, live_matters: bool) -> tuple[Any, ...]:
    behind = live_matters and is_mostly_freeable(site.size_diff, site.freeable)
    steady = site.trend == EVERY_INTERVAL and site.size_diff >= whole * _PROMOTED_SHARE
    tier = 0 if steady and not behind else 1 if site.size_diff > 0 else 2 if not site.size_diff else 3
    grown = site.live if live_matters and site.size_diff > 0 else abs(site.size_diff)
    return tier, -grown, -abs(site.size_diff), -abs(site.count_diff), site.name
