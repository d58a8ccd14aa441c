from __future__ import annotations

from typing import Any

import pytest
from captured_tools import TASK, capture
from hypothesis import given
from hypothesis import strategies as st

from leakhunt.analysis.executions import per_execution, runs_between, same_process, verdict
from leakhunt.analysis.growth import trend
from leakhunt.model.capture_reading import parse_capture
from leakhunt.model.statistics import GROWTH, LEAK, SUSPECT, Amount


def series(*counts: int, each: int = 100) -> list[Amount]:
    """Return blocks of a size at each moment."""
    return [Amount(count * each, count) for count in counts]


def judged(counts: list[int], runs: list[int]) -> str | None:
    """Return the verdict on blocks of 100 bytes."""
    amounts = series(*counts)
    return verdict(amounts, trend([amount.size for amount in amounts]), per_execution(amounts, runs))


def test_growth_is_divided_by_the_executions() -> None:
    """Bytes and blocks are those of one execution, over all and in each interval."""
    each = per_execution(series(0, 1200, 3000), [600, 900])
    assert each is not None
    assert (each.executions, each.size, each.count) == (1500, 200, 2)
    assert [(one.executions, one.count) for one in each.intervals] == [(600, 2), (900, 2)]


def test_what_never_ran_divides_nothing() -> None:
    """Without an execution there is no figure, and an interval without one has none."""
    assert per_execution(series(0, 5), [0]) is None
    each = per_execution(series(0, 5, 10), [0, 5])
    assert each is not None
    assert (each.intervals[0].count, each.intervals[1].count) == (None, 1)


@pytest.mark.parametrize(
    ("counts", "runs", "expected"),
    [
        ([0, 1200, 2400], [600, 600], LEAK),
        ([0, 1200, 1300], [600, 50], LEAK),  # twice as many blocks because of more executions
        ([0, 120, 250, 360], [60, 60, 60], LEAK),
        ([0, 1200, 1900], [600, 600], SUSPECT),  # slower, like a cache that fills
        ([0, 1200, 2400], [600, 5], SUSPECT),  # hardly ran, and grew all the same
        ([0, 1200, 2400], [600, 0], SUSPECT),
        ([0, 5, 10], [600, 600], SUSPECT),  # too few blocks to see a proportion
        ([0, 1200, 1200], [600, 600], GROWTH),
        ([0, 1200, 1100], [600, 600], GROWTH),
        ([1200, 600, 0], [600, 600], None),
        ([7, 7, 7], [600, 600], None),
        ([0, 1200], [600], SUSPECT),
        ([0, 1201], [600], SUSPECT),
        ([0, 1320], [600], GROWTH),  # 2.2 blocks each
        ([0, 30], [600], GROWTH),
        ([0, 20], [10], GROWTH),  # too few executions
        ([1200, 0], [600], None),
    ],
)
def test_growth_has_a_word_for_what_it_proves(
    counts: list[int], runs: list[int], expected: str | None
) -> None:
    """A leak grows in every interval in proportion to the executions; less proof is a suspect, or growth."""
    assert judged(counts, runs) == expected


def test_without_executions_two_snapshots_show_growth_and_three_a_suspect() -> None:
    """Where nobody counted, growth in every interval is a suspect at most."""
    assert verdict(series(0, 5), None, None) == GROWTH
    assert verdict(series(0, 5, 9), "grows in every interval", None) == SUSPECT


@given(st.integers(1, 50), st.lists(st.integers(10, 10_000), min_size=2, max_size=6), st.integers(0, 10**6))
def test_blocks_of_every_execution_are_a_leak(blocks: int, runs: list[int], start: int) -> None:
    """What leaves the same blocks with each execution is a leak, however often it ran in which interval."""
    counts = [start]
    for ran in runs:
        counts.append(counts[-1] + ran * blocks)
    word = trend([count * 100 for count in counts])
    each = per_execution(series(*counts), runs)
    assert each is not None
    assert each.count == pytest.approx(blocks)
    expected = LEAK if word == "grows in every interval" else GROWTH
    assert verdict(series(*counts), word, each) == expected


@given(
    st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**9)), min_size=2, max_size=6),
    st.data(),
)
def test_intervals_come_to_the_whole(amounts: list[tuple[int, int]], data: st.DataObject) -> None:
    """What the executions of all intervals left is the growth."""
    found = [Amount(*amount) for amount in amounts]
    runs = [data.draw(st.integers(1, 10**6)) for _ in found[1:]]
    each = per_execution(found, runs)
    assert each is not None
    whole = sum((one.count or 0) * one.executions for one in each.intervals)
    assert whole == pytest.approx(found[-1].count - found[0].count, abs=1e-3)
    assert each.size * each.executions == pytest.approx(found[-1].size - found[0].size, abs=1e-3)
    assert verdict(found, trend([amount.size for amount in found]), each) in {None, GROWTH, SUSPECT, LEAK}


def told(*counts: int, **more: Any) -> list[Any]:  # noqa: ANN401 - plain data
    """Return what a worker told at moments after so many executions."""
    return [parse_capture(capture(number, ran, **more)) for number, ran in enumerate(counts)]


def test_executions_are_counted_in_each_interval() -> None:
    """The counters' differences are the executions; a task that had not run yet had run 0 times."""
    assert runs_between(told(100, 700, 1300)).between == {TASK: (600, 600)}
    first, last = told(100, 700)
    before = parse_capture({**capture(0, 0), "executions": {}})
    assert runs_between([before, first, last]).between == {TASK: (100, 600)}


def test_a_task_that_did_not_run_is_not_listed() -> None:
    """Equal counters are no executions."""
    assert runs_between(told(100, 100)).between == {}


def test_counters_that_fall_divide_nothing() -> None:
    """A counter that falls is told with its task, and nothing is divided by it."""
    runs = runs_between(told(700, 100))
    assert runs.between == {}
    (warning,) = runs.warnings
    assert TASK in warning


@pytest.mark.parametrize(
    "other", [{"pid": 7}, {"started": 1.0}, {"host": "b"}, {"boot_id": "x"}], ids=lambda one: next(iter(one))
)
def test_another_process_divides_nothing(other: dict[str, Any]) -> None:
    """Where the pid, the start, the host or the boot differs, no executions are counted."""
    first = parse_capture({**capture(0, 100), "boot_id": "y"})
    last = parse_capture({**capture(1, 700), "boot_id": "y", **other})
    assert not same_process([first, last])
    assert runs_between([first, last]).between == {}


def test_tracing_that_began_between_divides_nothing() -> None:
    """Executions before the tracing left blocks that no snapshot shows."""
    first, last = told(100, 700)
    late = parse_capture(capture(1, 700, tracing={"since": capture(0, 0)["when"] + 60}))
    assert runs_between([first, last]).between
    assert not runs_between([first, late]).between


@pytest.mark.parametrize("position", [0, 1, 2])
def test_all_must_have_counted(position: int) -> None:
    """One snapshot without counters, or a plain dump, leaves nothing to divide by."""
    known = told(100, 700, 1300)
    for nothing in (None, parse_capture({**capture(0, 0), "executions": None})):
        assert runs_between([*known[:position], nothing, *known[position + 1 :]]).between == {}


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 100)), min_size=2, max_size=4))
def test_executions_are_never_negative(counters: list[dict[str, int]]) -> None:
    """Whatever the counters, an interval has no fewer than 0 executions, and a task listed ran."""
    captures = [parse_capture({**capture(0, 0), "executions": counts}) for counts in counters]
    for task, steps in runs_between(captures).between.items():
        assert sum(steps) > 0
        for (before, after), ran in zip(zip(counters, counters[1:]), steps):
            assert ran == after.get(task, 0) - before.get(task, 0) >= 0
