"""Snapshots ranked: what is in one, what grew between several."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import sub
from typing import Optional

from leakhunt.analysis.executions import per_execution, verdict
from leakhunt.analysis.filters import Filters, kept
from leakhunt.analysis.findings import finding, in_one_word
from leakhunt.analysis.freeable import Garbage, freeable_growth, garbage_of_sites
from leakhunt.analysis.grouping import NAMED_GROUPINGS, Sites
from leakhunt.analysis.growth import trend
from leakhunt.analysis.ordering import Site, order
from leakhunt.model.capture import Holder, Retained
from leakhunt.model.snapshot import Frame, Snapshot
from leakhunt.model.statistics import (
    GROWTH,
    Amount,
    Finding,
    StatisticDiff,
    Totals,
    is_mostly_freeable,
)
from leakhunt.model.task import Attribution, TaskRef

CodeOf = Callable[[Frame], tuple[Optional[str], Optional[str]]]

_ITS_OWN = 0.9  # what a task must have of a site's growth, to be divided by its executions
_ROWS_OF_FINDING = (
    30  # looked at for rows that are one finding, so that it does not hang on how many are listed
)


@dataclass(frozen=True)
class Ranking:
    """The rows of a result and what stands beside them.

    Attributes:
        rows: the sites listed, best first.
        omitted: how many more there are.
        totals: all rows, before filters.
        hidden: the rows that the filters took.
        whole: what shares are parts of: the positive differences kept, or for one snapshot the bytes kept.
        largest: the largest difference of any one site kept.
        leading: what the first row is part of, or None where nothing grew.
    """

    rows: tuple[StatisticDiff, ...]
    omitted: int
    totals: Totals
    hidden: Totals
    whole: int
    largest: int
    leading: Finding | None


@dataclass(frozen=True)
class Beside:
    """What the process itself told beside its traces.

    Attributes:
        runs: for each task, how often it ran in each interval.
        retained: who holds what was allocated at a frame.
        garbage: what a collection would have freed at the first and at the last snapshot, by frame; None is unknown.
        one_series: whether the snapshots are of one process under one tracing, so that their sizes have a trend.
    """

    runs: Mapping[str, Sequence[int]]
    retained: Mapping[Frame, Retained]
    garbage: tuple[Garbage | None, Garbage | None] = (None, None)
    one_series: bool = True


NOTHING_BESIDE = Beside({}, {})


@dataclass(frozen=True)
class _Owner:
    """The task of a site, and whether all but all of its growth is that task's."""

    task: Attribution | None
    alone: bool


class Ranker:
    """Gathers the rows of snapshots into sites and ranks them.

    Args:
        snapshots: one or more, oldest first.
        sites: how rows are gathered.
        filters: which rows count.
        code_of: the source line of a frame, and the local file it is from, where they are found.
        beside: what the process told beside its traces.
    """

    def __init__(
        self,
        snapshots: Sequence[Snapshot],
        sites: Sites,
        filters: Filters,
        code_of: CodeOf = lambda _: (None, None),
        beside: Beside = NOTHING_BESIDE,
    ) -> None:
        self._snapshots = snapshots
        self._sites = sites
        self._code_of = code_of
        self._beside = beside
        self._row_sites = [sites.of_rows(snapshot) for snapshot in snapshots]
        self._wanted = [kept(snapshot, filters) for snapshot in snapshots]
        self._single = len(snapshots) == 1

    def rank(self, *, sort: str, limit: int) -> Ranking:
        """Rank the sites that have anything, or with several snapshots those that changed.

        Args:
            sort: as :func:`leakhunt.analysis.ordering.order` takes it.
            limit: how many rows to list; 0 lists all.
        """
        found = self._found()
        whole = self._whole(found)
        ordered = order(found, sort, whole, single=self._single)
        looked_at = ordered[: max(limit, _ROWS_OF_FINDING) if limit else None]
        numbers = frozenset(site.number for site in looked_at)
        owners, held = self._owners(numbers), self._held(numbers)
        rows = in_one_word(
            [
                self._row(rank, site, whole, owners.get(site.number), held.get(site.number))
                for rank, site in enumerate(looked_at, 1)
            ]
        )
        listed = rows[: limit or None]
        return Ranking(
            rows=listed,
            omitted=len(found) - len(listed),
            leading=None if self._single else finding(rows, summed=not self._sites.cumulative),
            totals=self._totals([[True] * len(wanted) for wanted in self._wanted]),
            hidden=self._hidden(),
            whole=whole,
            largest=max((site.size_diff for site in found), default=0),
        )

    def _found(self) -> list[Site]:
        per_snapshot = [
            where.amounts(snapshot.rows, wanted, len(self._sites))
            for snapshot, where, wanted in zip(self._snapshots, self._row_sites, self._wanted)
        ]
        before, after = self._garbage()
        found = []
        for number, key in enumerate(self._sites.keys()):
            series = tuple(Amount(sizes[number], counts[number]) for sizes, counts in per_snapshot)
            if series[0].count if self._single else any(amount != series[0] for amount in series):
                word = trend([amount.size for amount in series]) if self._beside.one_series else None
                grown, old = series[-1].size - series[0].size, before.get(number, 0)
                freeable = None if after is None else freeable_growth(grown, old, after.get(number, 0))
                found.append(Site(number, key, series, word, freeable))
        return found

    def _garbage(self) -> tuple[Mapping[int, int], Mapping[int, int] | None]:
        """Return what a collection would have freed of each site, before and after; None is unknown."""
        before, after = self._beside.garbage
        if self._single or after is None or self._sites.cumulative:
            return {}, None
        of_ends = [
            garbage_of_sites(
                told or {}, self._snapshots[end], self._row_sites[end], self._wanted[end], len(self._sites)
            )
            for end, told in ((0, before), (-1, after))
        ]
        return of_ends[0], of_ends[1]

    def _whole(self, found: list[Site]) -> int:
        if self._single:
            return sum(compress(self._snapshots[0].rows.sizes, self._wanted[0]))
        if not self._sites.cumulative:
            return sum(site.size_diff for site in found if site.size_diff > 0)
        # Cumulative sites share blocks; what they are parts of is the growth of the stacks.
        stacks = self._sites.by_stack()
        ends = ((self._snapshots[end], self._wanted[end]) for end in (0, -1))
        numbered = [(stacks.of_rows(snapshot), snapshot.rows, wanted) for snapshot, wanted in ends]
        (before, _), (after, _) = (
            where.amounts(rows, wanted, len(stacks)) for where, rows, wanted in numbered
        )
        return sum(grown for grown in map(sub, after, before) if grown > 0)

    def _owners(self, listed: frozenset[int]) -> dict[int, _Owner]:
        """Find for each listed site the task that has most of its growth, or of its shrinkage where it shrank."""
        grown: dict[int, dict[TaskRef | None, int]] = defaultdict(lambda: defaultdict(int))
        how: dict[tuple[int, TaskRef | None], Attribution | None] = {}
        ends = {len(self._snapshots) - 1: 1, 0: 1 if self._single else -1}
        for position, sign in ends.items():
            snapshot = self._snapshots[position]
            for row, sites in self._row_sites[position].at(listed, self._wanted[position]):
                attribution = self._sites.task_of(snapshot, snapshot.rows.stacks[row])
                task = attribution.task if attribution else None
                for site in sites:
                    grown[site][task] += sign * snapshot.rows.sizes[row]
                    how.setdefault((site, task), attribution)
        owners = {}
        for site, parts in grown.items():
            task = _most(parts)
            alone = parts[task] >= _ITS_OWN * sum(size for size in parts.values() if size > 0)
            owners[site] = _Owner(how[site, task], alone)
        return owners

    def _held(self, listed: frozenset[int]) -> dict[int, tuple[Holder, ...]]:
        """Find for each listed site who holds what its newest frames allocated, by the frame with most bytes there."""
        retained = self._beside.retained
        if not retained:
            return {}
        snapshot = self._snapshots[-1]
        sizes: dict[int, dict[Frame, int]] = defaultdict(lambda: defaultdict(int))
        for row, sites in self._row_sites[-1].at(listed, self._wanted[-1]):
            frame = snapshot.frames[snapshot.rows.stacks[row][-1]]
            if frame in retained:
                for site in sites:
                    sizes[site][frame] += snapshot.rows.sizes[row]
        return {
            site: retained[max(frames.items(), key=lambda item: (item[1], item[0]))[0]].holders
            for site, frames in sizes.items()
        }

    def _row(
        self, rank: int, site: Site, whole: int, owner: _Owner | None, held: tuple[Holder, ...] | None
    ) -> StatisticDiff:
        key, traceback = site.key
        size, count = site.series[-1].size, site.series[-1].count
        part = size if self._single else site.size_diff
        line = traceback[-1] if traceback else Frame("", 0)
        code, source = self._code_of(line) if line.lineno else (None, None)
        task = owner.task if owner else None
        runs = self._beside.runs.get(task.task.name) if task and owner and owner.alone else None
        each = per_execution(site.series, runs) if runs else None
        return StatisticDiff(
            rank=rank,
            key=key,
            traceback=traceback,
            size=size,
            count=count,
            share=part / whole if part > 0 and whole else None,
            task=task,
            code=code,
            source=source,
            named=self._sites.group_by in NAMED_GROUPINGS,
            held_by=held,
            size_diff=site.size_diff,
            count_diff=site.count_diff,
            trend=site.trend,
            series=site.series,
            per_execution=each,
            verdict=GROWTH
            if is_mostly_freeable(site.size_diff, site.freeable)
            else verdict(site.series, site.trend, each),
            freeable=site.freeable,
        )

    def _totals(self, wanted: Sequence[Sequence[bool]], rows: int = 0) -> Totals:
        old, new = (
            (sum(compress(rows.sizes, flags)), sum(compress(rows.counts, flags)))
            for rows, flags in ((self._snapshots[0].rows, wanted[0]), (self._snapshots[-1].rows, wanted[-1]))
        )
        return Totals(*new, new[0] - old[0], new[1] - old[1], rows)

    def _hidden(self) -> Totals:
        if all(map(all, self._wanted)):
            return Totals(0, 0)
        unwanted = [[not want for want in flags] for flags in self._wanted]
        sites: set[int] = set().union(
            *(where.distinct(flags) for where, flags in zip(self._row_sites, unwanted))
        )
        return self._totals(unwanted, len(sites))


def _most(parts: dict[TaskRef | None, int]) -> TaskRef | None:
    """Return the task with most of the growth, or of the shrinkage where the parts come to one."""
    sign = 1 if sum(parts.values()) >= 0 else -1
    return max(parts.items(), key=lambda part: (sign * part[1], part[0] is not None))[0]
