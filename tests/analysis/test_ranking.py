from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from conftest import Blocks, line, snapshot_of

from leakhunt.analysis.diff import Ranker
from leakhunt.analysis.filters import Filters
from leakhunt.analysis.grouping import Sites
from leakhunt.model.snapshot import Frame, Snapshot
from leakhunt.model.statistics import StatisticDiff
from leakhunt.model.task import Attribution, TaskRef

MIB = 1 << 20


def no_task(_: Snapshot, __: tuple[int, ...]) -> Attribution | None:
    """Find no task at all."""
    return None


def snapshots(series: Mapping[str, Sequence[int]]) -> list[Snapshot]:
    """Return snapshots of one line for each name, with its sizes one after the other; 0 is absent."""
    moments = range(len(next(iter(series.values()))))
    return [
        snapshot_of(*(line(f"/srv/{name}.py", 1, sizes[at]) for name, sizes in series.items() if sizes[at]))
        for at in moments
    ]


def order(series: Mapping[str, Sequence[int]], sort: str = "growth") -> list[str]:
    """Return the names in the order of their rows."""
    sites = Sites("lineno", cumulative=False, name_of=str, task_of=no_task)
    rows = Ranker(snapshots(series), sites, Filters()).rank(sort=sort, limit=0).rows
    return [row.traceback[0].filename[len("/srv/") : -len(".py")] for row in rows]


def test_growth_stands_before_shrinkage() -> None:
    """A big shrink, which the standard library ranks first, stands behind every growth."""
    assert order({"shrinks": (9 * MIB, MIB), "grows": (0, 10), "grows_more": (5, 500)}) == [
        "grows_more",
        "grows",
        "shrinks",
    ]


def test_steady_growth_stands_before_a_bigger_jump() -> None:
    """A site that grows in every interval outranks a bigger one that grew once."""
    assert order({"once": (0, 9 * MIB, 9 * MIB), "steady": (0, MIB, 2 * MIB)}) == ["steady", "once"]


def test_steady_growth_of_no_weight_is_not_promoted() -> None:
    """Steady growth below a thousandth of all growth keeps its place by size."""
    assert order({"once": (0, 9 * MIB, 9 * MIB), "steady": (0, 1000, 2000)}) == ["once", "steady"]


def test_a_change_without_a_difference_stands_between() -> None:
    """A site that came and went ranks behind growth and before shrinkage."""
    assert order({"gone": (9, 5, 3), "came": (7, 9 * MIB, 7), "grew": (1, 1, 2)}) == ["grew", "came", "gone"]


def test_two_snapshots_promote_nothing() -> None:
    """With two snapshots there is no steady growth, so size alone decides."""
    assert order({"small": (0, 10), "large": (0, 20)}) == ["large", "small"]


@pytest.mark.parametrize(
    ("sort", "expected"), [("name", ["a", "b", "c"]), ("size", ["c", "a", "b"]), ("growth", ["b", "a", "c"])]
)
def test_rows_are_sorted_as_asked(sort: str, expected: list[str]) -> None:
    """Names ascend, sizes and growth descend."""
    assert order({"b": (0, 50), "a": (60, 100), "c": (200, 150)}, sort) == expected


def test_equal_rows_are_in_the_order_of_their_names() -> None:
    """Rows that grew alike are listed by name, so that results are the same each time."""
    assert order(dict.fromkeys("dacb", (0, 10))) == ["a", "b", "c", "d"]


def test_a_share_is_of_all_growth() -> None:
    """A row's share is its part of the sum of all growth; shrinkage has none and takes none away."""
    sites = Sites("lineno", cumulative=False, name_of=str, task_of=no_task)
    compared = snapshots({"a": (0, 300), "b": (0, 100), "c": (500, 1)})
    ranking = Ranker(compared, sites, Filters()).rank(sort="growth", limit=0)
    assert [row.share for row in ranking.rows] == [0.75, 0.25, None]
    assert (ranking.whole, ranking.largest) == (400, 300)


# The task of a row


def tasks_by_first_frame(snapshot: Snapshot, stack: tuple[int, ...]) -> Attribution | None:
    """Take the oldest frame's file for the task."""
    filename = snapshot.frames[stack[0]].filename
    return Attribution(TaskRef(filename, filename, 1), "source") if filename != "none" else None


def row_of(before: dict[str, int], after: dict[str, int], group_by: str = "lineno") -> StatisticDiff:
    """Return the row of one shared line that some tasks allocated at."""
    compared = [
        snapshot_of(*(Blocks(((task, 1), ("/shared.py", 7)), size) for task, size in sizes.items()))
        for sizes in (before, after)
    ]
    sites = Sites(group_by, cumulative=False, name_of=str, task_of=tasks_by_first_frame)
    return Ranker(compared, sites, Filters()).rank(sort="growth", limit=0).rows[0]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 10, "b": 900}, {"a": 500, "b": 1000}, "a"),
        ({"a": 10}, {"a": 20, "b": 500}, "b"),
        ({"a": 900, "b": 10}, {"a": 100, "b": 20}, "a"),
        ({"none": 10, "a": 10}, {"none": 900, "a": 20}, None),
        ({}, {"none": 50, "a": 50}, "a"),
    ],
)
def test_a_line_that_tasks_share_is_of_the_one_that_grew_it_most(
    before: dict[str, int], after: dict[str, int], expected: str | None
) -> None:
    """The task of a shared line is the one with most of its growth, or of its shrinkage where it shrank."""
    task = row_of(before, after).task
    assert (task.task.name if task else None) == expected


def test_a_task_s_row_has_its_place() -> None:
    """Grouped by task, the key is the task's name and the traceback its function's first line."""
    row = row_of({}, {"a": 50}, "task")
    assert (row.key, row.traceback, row.named) == ("a", (Frame("a", 1),), True)


def test_blocks_of_no_task_are_one_row() -> None:
    """Grouped by task, what belongs to none is one row without a name or a place."""
    row = row_of({}, {"none": 50}, "task")
    assert (row.key, row.traceback, row.named, row.task) == (None, (), True, None)
