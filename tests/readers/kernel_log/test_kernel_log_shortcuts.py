"""Usual lines are read by one pattern each; what they come to is what the general way would have come to."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from leakhunt.readers.kernel_log import kill_lines, prefix, speakers
from leakhunt.readers.kernel_log.kill_lines import kill_line
from leakhunt.readers.kernel_log.prefix import strip
from leakhunt.readers.kernel_log.stamps import Wall
from leakhunt.readers.kernel_log.times import Clock, _local

NEVER = re.compile(r"(?!)")
KILL = (
    "Memory cgroup out of memory: Killed process 3839 (python) total-vm:1000000kB, anon-rss:400000kB, file-rss:0kB, "
    "shmem-rss:0kB, UID:1000 pgtables:1640kB oom_score_adj:-998"
)
PIECES = st.sampled_from(
    ["Killed process ", "3839", " (", "python", "celery: worker", ") ", ")", "(", " total-vm:", "12kB", ", ", "anon-rss:", "file-rss:",
     ", shmem-rss:", ", UID ", ", UID:", "0", " pgtables:", " oom_score_adj:", "-998", "Out of memory: ", "Memory cgroup out of memory: ", "\n", " "]
)  # fmt: skip
HEADS = st.sampled_from(
    ["Nov 21 03:10:42 ", "Nov  1 03:10:42 ", "Foo 21 03:10:42 ", "NOV 21 03:10:42 ", "Nov 61 03:10:42 ", "web-1 ", "web-1.example.org ",
     "kern.info ", "user.notice ", "Preventing ", "kernel: ", "kernel:", "[12.345678] ", "[ 12.345678] ", "[12.345678]", "[12.345678][T7] ", "[3.2] ",
     "<4>", "2026-11-21T03:10:42Z ", "** 3 printk messages dropped ** ", "Out of memory", "_", "python[7]: ", "stdout "]
)  # fmt: skip


def slowly_killed(text: str) -> object:
    """Read a kill line the general way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kill_lines, "_USUAL", NEVER)
        return kill_line(text)


def slowly_stripped(text: str) -> object:
    """Strip a line the general way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speakers, "USUAL_HEAD", NEVER)
        patch.setattr(speakers, "SPEAKS", NEVER)
        prefix._strip_head.cache_clear()
        try:
            return strip(text)
        finally:
            prefix._strip_head.cache_clear()


@given(st.integers(0, len(KILL)), st.integers(0, 20), st.lists(PIECES, max_size=6).map("".join))
@example(0, 0, "")
def test_a_usual_kill_line_is_read_as_any(at: int, cut: int, more: str) -> None:
    """However a kill line is changed, the pattern for the whole of it says what the parts say."""
    text = KILL[:at] + more + KILL[at + cut :]
    assert kill_line(text) == slowly_killed(text)


@given(st.lists(PIECES, max_size=30).map("".join))
def test_no_mixture_is_mistaken_for_a_usual_kill_line(text: str) -> None:
    """Pieces of kill lines in any order are read as ever."""
    assert kill_line(text) == slowly_killed(text)


def test_the_usual_line_is_known() -> None:
    """What today's kernels print is read by the one pattern."""
    assert kill_lines._USUAL.fullmatch(KILL)
    assert speakers.USUAL_HEAD.fullmatch("Nov 21 03:10:42 web-1 kernel: ")


@given(
    st.lists(HEADS, max_size=8).map("".join),
    st.sampled_from(["", " kernel: ", "kernel: "]),
    st.lists(HEADS, max_size=3).map("".join),
)
@example("Nov 21 03:10:42 web-1", " kernel: ", "[12.345678] Out of memory")
@example("Nov 21 03:10:42 kern.info", " kernel: ", "[12.345678] Out of memory")
@example("Nov 21 03:10:42 web-1", " kernel: ", "[12.345678] _")
@example("Nov 21 03:10:42 stdout ", "kernel: ", "")
def test_a_usual_prefix_is_taken_off_as_any(head: str, kernel: str, rest: str) -> None:
    """Stamp and text are those that one prefix after the other comes to."""
    text = head + kernel + rest
    prefix._strip_head.cache_clear()
    assert strip(text) == slowly_stripped(text)


START = datetime(1975, 1, 1, tzinfo=timezone.utc)
LEAP_YEAR = datetime(2000, 1, 1, tzinfo=timezone.utc)
ZONES = st.sampled_from(
    [timezone.utc, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12)), timezone.utc, ZoneInfo("Europe/Berlin")]
)  # fmt: skip


@given(st.integers(0, 220 * 366 * 86_400), st.integers(0, 366 * 86_400 - 1), ZONES)
@example(int(timedelta(days=365, hours=-1).total_seconds()), 13 * 3600, timezone(timedelta(hours=14)))
def test_the_year_is_the_latest_that_fits(behind: int, second: int, zone: tzinfo) -> None:
    """A stamp without a year gets the latest year in which it does not lie a day behind the reference."""
    reference, written = START + timedelta(seconds=behind), LEAP_YEAR + timedelta(seconds=second)
    wall = Wall(None, written.month, written.day, written.hour, written.minute, written.second)
    found, _ = Clock(zone, reference)._without_year(wall, zone)
    bound = reference + timedelta(days=1)
    fitting = []
    for year in range(bound.year - 8, bound.year + 2):
        try:
            when, _ = _local(wall, year, zone)
        except ValueError:
            continue
        if when <= bound:
            fitting.append(when)
    assert found == max(fitting)
