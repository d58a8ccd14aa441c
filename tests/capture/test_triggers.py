from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakhunt.capture.settings import Level, Settings
from leakhunt.capture.triggers import Triggers, level_of, rss_now

MIB = 1 << 20


def triggers(settings: Settings, limit: int | None = None, rss: int | None = 10 * MIB) -> Triggers:
    """Begin to watch at the moment 0."""
    return Triggers(settings, limit=limit, now=0.0, rss=rss)


@given(st.integers(1, 50), st.integers(0, 500))
def test_every_nth_execution_is_due(every: int, executions: int) -> None:
    """Of so many executions, every Nth gives a snapshot, and no other."""
    watch = triggers(Settings(every=every))
    due = [watch.after_task(0.0, None) for _ in range(executions)]
    assert [number for number, reason in enumerate(due, 1) if reason] == list(
        range(every, executions + 1, every)
    )


def test_an_interval_begins_anew_with_each_snapshot() -> None:
    """A snapshot is due when the interval has passed since the last one."""
    watch = triggers(Settings(interval=10.0))
    assert [watch.at(moment, None) for moment in (9.0, 10.0, 15.0, 19.9, 20.0)] == [
        None,
        "interval",
        None,
        None,
        "interval",
    ]


def test_a_level_counts_again_only_after_rss_fell_well_below() -> None:
    """RSS that swings around its level gives one snapshot, RSS that comes back from far below another."""
    watch = triggers(Settings(at_rss=Level(share=0.8)), limit=100 * MIB)
    sizes = (79, 80, 95, 79, 81, 73, 82, 71, 80)
    assert [watch.at(0.0, size * MIB) for size in sizes] == [None, "rss", *[None] * 6, "rss"]


def test_a_share_is_reached_by_the_whole_group() -> None:
    """Eight children at a tenth each come to 80% of their limit; each gives one snapshot until the group fell well below."""
    watch = triggers(Settings(at_rss=Level(share=0.8)), limit=100 * MIB)
    sizes = (79, 80, 95, 79, 71, 80)
    due = [watch.at(0.0, 10 * MIB, size * MIB) for size in sizes]
    assert due == [None, "rss", None, None, None, "rss"]
    watch.missed("rss")
    assert watch.after_task(0.0, 10 * MIB) == "rss"
    assert watch.at(0.0, 85 * MIB, 85 * MIB) is None


def test_a_process_that_begins_in_a_full_group_has_not_filled_it() -> None:
    """A child that is forked while its group is above the level gives no snapshot for that, but for its own memory."""
    watch = triggers(Settings(at_rss=Level(share=0.8)), limit=100 * MIB)
    assert [watch.at(0.0, 10 * MIB, size * MIB) for size in (85, 90, 70, 81)] == [None, None, None, "rss"]
    watch = triggers(Settings(at_rss=Level(share=0.8)), limit=100 * MIB)
    assert watch.at(0.0, 82 * MIB, 85 * MIB) == "rss"


def test_a_size_is_reached_by_the_process_alone() -> None:
    """A level in bytes needs no look at the control group."""
    assert triggers(Settings(at_rss=Level(size=80 * MIB)), limit=100 * MIB).group_from == 0
    assert triggers(Settings(at_rss=Level(share=0.8)), limit=100 * MIB).group_from == 72 * MIB


def test_growth_is_measured_from_the_last_snapshot() -> None:
    """Each further step gives one snapshot; what falls and rises to the same height again gives none."""
    watch = triggers(Settings(each_growth=256 * MIB), rss=100 * MIB)
    sizes = (300, 356, 500, 100, 600, 612, 1200)
    assert [watch.at(0.0, size * MIB) for size in sizes] == [
        None,
        "growth",
        None,
        None,
        None,
        "growth",
        "growth",
    ]


def test_what_was_missed_for_another_snapshot_is_due_again() -> None:
    """Where a snapshot was refused because another was being written, its level or step of memory still counts."""
    watch = triggers(Settings(at_rss=Level(size=20 * MIB)))
    assert (watch.at(1.0, 25 * MIB), watch.at(2.0, 25 * MIB)) == ("rss", None)
    watch.missed("rss")
    assert watch.at(3.0, 25 * MIB) == "rss"
    watch = triggers(Settings(each_growth=10 * MIB))
    assert (watch.at(1.0, 21 * MIB), watch.at(2.0, 22 * MIB)) == ("growth", None)
    watch.missed("growth")
    assert watch.at(3.0, 22 * MIB) == "growth"


def test_rss_that_is_unknown_gives_no_snapshot() -> None:
    """Where there is no /proc, memory triggers stay silent."""
    watch = triggers(Settings(at_rss=Level(size=1), each_growth=1), rss=None)
    assert watch.at(0.0, None) is None
    assert watch.at(0.0, MIB) == "rss"


def test_a_share_without_a_limit_is_no_level() -> None:
    """80% of nothing is never reached."""
    assert level_of(Level(share=0.8), None) == 0
    watch = triggers(Settings(at_rss=Level(share=0.8)))
    assert not watch.watches_memory
    assert watch.at(0.0, 1 << 50) is None


@given(st.lists(st.integers(0, 1000), max_size=100))
def test_growth_fires_at_most_once_per_step(sizes: list[int]) -> None:
    """However RSS moves, there are no more snapshots than steps up to its highest value."""
    watch = triggers(Settings(each_growth=50), rss=0)
    fired = [size for size in sizes if watch.at(0.0, size)]
    assert len(fired) <= max(sizes, default=0) // 50
    assert fired == sorted(fired)


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc here")
def test_rss_is_read_in_bytes() -> None:
    """The process's memory is between a MiB and a TiB."""
    rss = rss_now()
    assert rss is not None
    assert MIB < rss < 1 << 40
