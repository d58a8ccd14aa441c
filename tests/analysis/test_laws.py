"""Laws of comparing, for any snapshots, and agreement with the standard library."""

from __future__ import annotations

import os
import tempfile
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable

import pytest
from conftest import Blocks, snapshot_of
from hypothesis import given, settings
from hypothesis import strategies as st

import leakhunt
from leakhunt.analysis.diff import Ranker, Ranking
from leakhunt.analysis.filters import Filters
from leakhunt.analysis.grouping import CUMULATIVE_GROUPINGS, GROUPINGS, Sites
from leakhunt.analysis.ordering import SORTS_DIFF
from leakhunt.model.snapshot import Snapshot
from leakhunt.model.task import Attribution, TaskRef

FILES = (
    "/srv/app/shop/a.py",
    "/srv/app/shop/b.py",
    "/srv/app/c.py",
    "<frozen importlib._bootstrap>",
    "<unknown>",
)

frames = st.tuples(st.sampled_from(FILES), st.integers(1, 3))
stacks = st.lists(frames, min_size=1, max_size=4).map(tuple)
blocks = st.builds(
    Blocks, stack=stacks, size=st.integers(0, 1 << 40), count=st.integers(1, 5), domain=st.integers(0, 1)
)
snapshots = st.lists(blocks, max_size=8).map(lambda rows: snapshot_of(*rows))
series = st.lists(snapshots, min_size=2, max_size=4)
filters = st.builds(
    Filters,
    include=st.sampled_from([(), ("*/shop/*",), ("shop.a", "c:1")]),
    exclude=st.sampled_from([(), ("shop.b",), ("*:2",)]),
    default_excludes=st.sampled_from([(), ("<unknown>",)]),
    all_frames=st.booleans(),
    domain=st.sampled_from([None, 0]),
)
EVERYTHING = Filters(default_excludes=())


def package_of(filename: str) -> str:
    """Name a module for its file; a few files share one."""
    return filename.rpartition("/")[0] or filename


def task_of(snapshot: Snapshot, stack: tuple[int, ...]) -> Attribution | None:
    """Say that a stack that begins in a.py is one task, in b.py another, any other none."""
    filename, lineno = snapshot.frames[stack[0]]
    return (
        Attribution(TaskRef(filename, filename, 1), "source") if "/shop/" in filename and lineno < 3 else None
    )


def ranked(
    compared: list[Snapshot],
    group_by: str,
    *,
    cumulative: bool = False,
    chosen: Filters = EVERYTHING,
    sort: str = "growth",
    limit: int = 0,
) -> Ranking:
    """Rank snapshots as the API does, without any source tree."""
    sites = Sites(group_by, cumulative=cumulative, name_of=package_of, task_of=task_of)
    return Ranker(compared, sites, chosen).rank(sort=sort, limit=limit)


@pytest.mark.parametrize("group_by", GROUPINGS)
@given(snapshots, filters)
@settings(deadline=None, max_examples=15)
def test_equal_snapshots_have_no_difference(group_by: str, snapshot: Snapshot, chosen: Filters) -> None:
    """A snapshot compared with itself has no rows and no growth."""
    ranking = ranked([snapshot, snapshot, snapshot], group_by, chosen=chosen)
    assert (ranking.rows, ranking.omitted, ranking.whole, ranking.largest) == ((), 0, 0, 0)
    assert (ranking.totals.size_diff, ranking.hidden.size_diff) == (0, 0)


@pytest.mark.parametrize("group_by", GROUPINGS)
@given(series)
@settings(deadline=None, max_examples=25)
def test_differences_sum_to_the_change_of_the_totals(group_by: str, compared: list[Snapshot]) -> None:
    """Without filters, rows of every grouping sum to what the snapshots grew, in bytes and blocks."""
    ranking = ranked(compared, group_by)
    old, new = compared[0], compared[-1]
    assert sum(row.size_diff for row in ranking.rows) == new.size - old.size == ranking.totals.size_diff
    assert sum(row.count_diff for row in ranking.rows) == new.blocks - old.blocks == ranking.totals.count_diff
    assert (ranking.totals.size, ranking.totals.count) == (new.size, new.blocks)


@pytest.mark.parametrize("group_by", GROUPINGS)
@given(series, filters)
@settings(deadline=None, max_examples=25)
def test_kept_and_hidden_are_the_whole(group_by: str, compared: list[Snapshot], chosen: Filters) -> None:
    """Rows kept and what the filters hide sum to the totals, whatever the filters are."""
    ranking = ranked(compared, group_by, chosen=chosen)
    totals, hidden = ranking.totals, ranking.hidden
    assert sum(row.size_diff for row in ranking.rows) + hidden.size_diff == totals.size_diff
    assert sum(row.count_diff for row in ranking.rows) + hidden.count_diff == totals.count_diff
    assert totals == ranked(compared, group_by).totals


@pytest.mark.parametrize("group_by", GROUPINGS)
@given(snapshots, filters)
@settings(deadline=None, max_examples=15)
def test_one_snapshot_is_kept_and_hidden_whole(group_by: str, snapshot: Snapshot, chosen: Filters) -> None:
    """For one snapshot the sizes of the rows and what is hidden are all bytes and blocks, and shares sum to 1."""
    ranking = ranked([snapshot], group_by, chosen=chosen, sort="size")
    assert sum(row.size for row in ranking.rows) + ranking.hidden.size == snapshot.size
    assert sum(row.count for row in ranking.rows) + ranking.hidden.count == snapshot.blocks
    shares = [row.share for row in ranking.rows if row.share is not None]
    assert not shares or sum(shares) == pytest.approx(1)


@pytest.mark.parametrize("group_by", GROUPINGS)
@given(series, st.integers(1, 5), st.sampled_from(SORTS_DIFF))
@settings(deadline=None, max_examples=15)
def test_a_limit_cuts_the_list_alone(group_by: str, compared: list[Snapshot], limit: int, sort: str) -> None:
    """A limited list is the beginning of the whole one, with the rest counted and all sums the same."""
    whole = ranked(compared, group_by, sort=sort)
    part = ranked(compared, group_by, sort=sort, limit=limit)
    assert part.rows == whole.rows[:limit]
    assert part.omitted == len(whole.rows) - len(part.rows)
    assert (part.totals, part.hidden, part.whole, part.largest) == (
        whole.totals,
        whole.hidden,
        whole.whole,
        whole.largest,
    )


@pytest.mark.parametrize("group_by", GROUPINGS)
@pytest.mark.parametrize("cumulative", [False, True])
@given(series, filters)
@settings(deadline=None, max_examples=15)
def test_no_share_passes_the_whole(
    group_by: str, cumulative: bool, compared: list[Snapshot], chosen: Filters
) -> None:
    """No share is above 1, and cumulative none either; only a row that grows has one."""
    if cumulative and group_by not in CUMULATIVE_GROUPINGS:
        return
    for taken in (compared, compared[:1]):
        for row in ranked(taken, group_by, cumulative=cumulative, chosen=chosen).rows:
            grows = row.size > 0 if len(taken) == 1 else row.size_diff > 0
            assert (row.share is not None) == grows
            assert row.share is None or 0 < row.share <= 1


@pytest.mark.parametrize("group_by", CUMULATIVE_GROUPINGS)
@given(snapshots)
@settings(deadline=None, max_examples=25)
def test_a_block_counts_once_for_each_place_on_its_stack(group_by: str, snapshot: Snapshot) -> None:
    """Cumulative, a site has each block whose stack passes it, once, though it recurs there."""
    expected: dict[object, int] = defaultdict(int)
    for stack, count in zip(snapshot.rows.stacks, snapshot.rows.counts):
        keys = {
            "lineno": lambda frame: (frame,),
            "filename": lambda frame: ((frame[0], 0),),
        }.get(group_by, lambda frame: package_of(frame[0]))
        for key in {keys(tuple(frame)) for frame in snapshot.traceback(stack)}:
            expected[key] += count
    found = ranked([snapshot], group_by, cumulative=True, sort="size").rows
    assert {row.key if row.named else row.traceback: row.count for row in found} == expected


# Against the standard library

Trace = tuple[int, int, tuple[tuple[str, int], ...], int]


def traces_of(
    stack_strategy: st.SearchStrategy[tuple[tuple[str, int], ...]],
) -> st.SearchStrategy[list[Trace]]:
    """Return traces as tracemalloc holds them: domain, size, frames most recent first, their total number."""
    return st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 5000), stack_strategy, st.integers(0, 9)).map(
            lambda trace: (trace[0], trace[1], trace[2], len(trace[2]) + trace[3])
        ),
        max_size=10,
    )


def loaded(traces: Iterable[Trace]) -> tuple[tracemalloc.Snapshot, Snapshot]:
    """Return the standard library's snapshot of traces, and ours read from its dump."""
    snapshot = tracemalloc.Snapshot(tuple(traces), 10)
    snapshot.traces._traces = list(snapshot.traces._traces)  # type: ignore[attr-defined]  # as take_snapshot leaves it
    handle, path = tempfile.mkstemp(suffix=".bin")
    try:
        os.close(handle)
        snapshot.dump(path)
        return snapshot, leakhunt.load(path)
    finally:
        os.unlink(path)


def stdlib_key(statistic: tracemalloc.Statistic | tracemalloc.StatisticDiff) -> tuple[tuple[str, int], ...]:
    """Return the frames of a row of the standard library, oldest first."""
    return tuple((frame.filename, frame.lineno) for frame in statistic.traceback)


@pytest.mark.parametrize("group_by", ["lineno", "filename", "traceback"])
@given(traces_of(stacks), traces_of(stacks))
@settings(deadline=None, max_examples=25)
def test_rows_are_those_of_the_standard_library(group_by: str, old: list[Trace], new: list[Trace]) -> None:
    """Sizes, counts and differences of each site equal ``statistics`` and ``compare_to``."""
    (their_old, our_old), (their_new, our_new) = loaded(old), loaded(new)
    statistics = {stdlib_key(row): (row.size, row.count) for row in their_new.statistics(group_by)}
    found = ranked([our_new], group_by, sort="size").rows
    assert {row.traceback: (row.size, row.count) for row in found} == statistics
    differences = {
        stdlib_key(row): (row.size, row.size_diff, row.count, row.count_diff)
        for row in their_new.compare_to(their_old, group_by)
        if row.size_diff or row.count_diff
    }
    rows = ranked([our_old, our_new], group_by).rows
    assert {
        row.traceback: (row.size, row.size_diff, row.count, row.count_diff) for row in rows
    } == differences


@pytest.mark.parametrize(
    ("group_by", "unique"), [("lineno", lambda frame: frame), ("filename", lambda frame: frame[0])]
)
@given(st.data())
@settings(deadline=None, max_examples=25)
def test_cumulative_rows_are_those_of_the_standard_library(
    group_by: str, unique: Callable[[tuple[str, int]], Hashable], data: st.DataObject
) -> None:
    """Where no place recurs on a stack, cumulative rows equal those of the standard library."""
    distinct = st.lists(frames, min_size=1, max_size=4, unique_by=unique).map(tuple)
    (their_old, our_old), (their_new, our_new) = (loaded(data.draw(traces_of(distinct))) for _ in range(2))
    differences = {
        stdlib_key(row): (row.size, row.size_diff, row.count, row.count_diff)
        for row in their_new.compare_to(their_old, group_by, cumulative=True)
        if row.size_diff or row.count_diff
    }
    rows = ranked([our_old, our_new], group_by, cumulative=True).rows
    assert {
        row.traceback: (row.size, row.size_diff, row.count, row.count_diff) for row in rows
    } == differences
