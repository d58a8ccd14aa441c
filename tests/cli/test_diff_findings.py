from __future__ import annotations

import shlex
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from captured_tools import APP, CACHE, WHEN, capture, dump
from conftest import Run, document

TASK_LINE = (f"{APP}/tasks/pricing.py", 14)
APPENDED, EXCEPTION = (f"{APP}/cache.py", 15), (f"{APP}/errors.py", 28)
LIVE = {"name": "shop.Context._live", "type": "dict", "len": 400, "share": 1.0, "chain": []}
LOCAL = "local R of build.<locals>.trace_task (trace.py:454)"
KIB = 1024

Lines = dict[tuple[str, int], tuple[int, int]]


def written(path: Path, lines: Lines, told: dict[str, Any]) -> str:
    """Write a snapshot with so many blocks of so many bytes at some lines that a task calls; return its name."""
    traces = [
        (0, size, (line, TASK_LINE if line != EXCEPTION else (f"{APP}/worker.py", 9)), 2)
        for line, (count, size) in lines.items()
        for _ in range(count)
    ]
    snapshot = tracemalloc.Snapshot([*traces, (0, 100, ((f"{APP}/main.py", 3),), 1)], 10)
    snapshot.leakhunt = told  # type: ignore[attr-defined]
    snapshot.dump(str(path))
    return str(path)


def held(*lines: tuple[str, int], by: tuple[dict[str, Any], ...] = (LIVE,)) -> list[dict[str, Any]]:
    """Return who holds what was allocated at some lines."""
    return [
        {"file": file, "line": line, "size": 1, "count": 1, "sampled": 12, "held_by": list(by)}
        for file, line in lines
    ]


def garbage(size: int, *lines: tuple[str, int]) -> dict[str, Any]:
    """Return what a collection would free, all of it at each of the lines."""
    sites = [[file, line, 9, size] for file, line in lines]
    return {"garbage": {"objects": 9, "bytes": size, "types": [["tuple", 9, size]], "sites": sites}}


def printed(run: Run, *arguments: str) -> str:
    """Return what ``leakhunt diff`` prints on a wide console."""
    return run(["diff", *arguments], env={"COLUMNS": "600"}).out


@pytest.fixture
def two(tmp_path: Path) -> list[str]:
    """Return snapshots between which a task leaks over two lines, and exceptions wait for a collection at a third."""
    after: Lines = {CACHE: (400, 4 * KIB), APPENDED: (8100, 40), EXCEPTION: (1000, 2 * KIB)}
    told = capture(1, 300, retainers=held(CACHE, APPENDED), gc=garbage(1900 * KIB, EXCEPTION))
    return [
        written(tmp_path / "a.bin", {CACHE: (200, 4 * KIB)}, capture(0, 100, gc=garbage(0))),
        written(tmp_path / "b.bin", after, told),
    ]


def test_what_a_collection_would_free_does_not_lead(run: Run, two: list[str]) -> None:
    """The largest growth is garbage: the headline, the first row and the advice are about the leak all the same."""
    out = printed(run, *two)
    assert "shop.Context._live" in out.splitlines()[0]
    assert "errors.py" not in out.splitlines()[0]
    assert f"--include {CACHE[0]}:{CACHE[1]}" in out
    rows = document(run, "diff", *two)["rows"]
    by_line = {row["traceback"][0]["lineno"]: row for row in rows}
    assert max(rows, key=lambda row: int(row["size_diff"]))["traceback"][0]["lineno"] == EXCEPTION[1]
    assert [row["traceback"][0]["lineno"] for row in rows][:3] == [CACHE[1], APPENDED[1], EXCEPTION[1]]
    assert by_line[EXCEPTION[1]]["freeable"] == 1900 * KIB
    assert by_line[CACHE[1]]["freeable"] == 0
    assert "a gc.collect() would free 1.9 MiB of it" in out


@pytest.mark.parametrize("group_by", ["filename", "module", "package", "task", "traceback"])
def test_every_grouping_knows_what_is_garbage(run: Run, two: list[str], group_by: str) -> None:
    """The bytes that a collection would free are those of the row that has the line, whatever a row is."""
    rows = document(run, "diff", *two, "--group-by", group_by)["rows"]
    assert sum(row["freeable"] for row in rows) == 1900 * KIB
    assert all(0 <= row["freeable"] <= max(row["size_diff"], 0) for row in rows)


def test_garbage_that_was_there_before_is_not_growth(run: Run, tmp_path: Path) -> None:
    """Where as much garbage waited at the first snapshot, the growth is alive, and it leads."""
    lines: Lines = {EXCEPTION: (1000, 2 * KIB)}
    grown: Lines = {EXCEPTION: (3000, 2 * KIB), CACHE: (100, KIB)}
    waits = garbage(1500 * KIB, EXCEPTION)
    paths = [
        written(tmp_path / "a.bin", lines, capture(0, 0, gc=waits)),
        written(tmp_path / "b.bin", grown, capture(1, 50, gc=waits)),
    ]
    first = document(run, "diff", *paths)["rows"][0]
    assert (first["traceback"][0]["lineno"], first["freeable"]) == (EXCEPTION[1], 0)


def test_where_all_is_garbage_the_headline_says_so(run: Run, tmp_path: Path) -> None:
    """With hardly any other growth the garbage leads, called what it is, and no verdict accuses it."""
    told = capture(1, 100, retainers=held(CACHE), gc=garbage(400 * KIB, CACHE))
    paths = [
        written(tmp_path / "a.bin", {}, capture(0, 0)),
        written(tmp_path / "b.bin", {CACHE: (100, 4 * KIB), (f"{APP}/x.py", 1): (1, 50)}, told),
    ]
    out = printed(run, *paths)
    assert out.splitlines()[0].endswith(", garbage that a gc.collect() would free.")
    assert "suspect" not in out
    assert "Garbage is no leak" in out
    assert document(run, "diff", *paths)["rows"][0]["verdict"] == "growth"


def test_lines_of_one_task_and_holder_are_one_finding(run: Run, two: list[str]) -> None:
    """The headline adds up the lines that one task grew and one thing holds, and names the line with most."""
    headline = printed(run, *two).splitlines()[0]
    assert headline == (
        "Grew 3.0 MiB in 9,300 blocks from a.bin to b.bin: 36 % of all growth by task shop.tasks.pricing.quote, "
        "suspect at 5.6 KiB per execution, held by shop.Context._live (dict, 400 items); most at shop/cache.py:14."
    )
    assert printed(run, *two, "--top", "1").splitlines()[0] == headline


def test_one_line_with_all_but_all_of_it_stands_for_itself(run: Run, tmp_path: Path) -> None:
    """Where the other lines of the finding are nothing to the first, the headline names that line."""
    after: Lines = {CACHE: (400, 4 * KIB), APPENDED: (20, 40)}
    paths = [
        written(tmp_path / "a.bin", {}, capture(0, 0)),
        written(tmp_path / "b.bin", after, capture(1, 400, retainers=held(CACHE, APPENDED))),
    ]
    assert "growth at shop/cache.py:14, task shop.tasks.pricing.quote," in printed(run, *paths)


def test_rows_of_one_finding_have_one_word(run: Run, two: list[str]) -> None:
    """A line whose blocks are no whole number is a suspect where another line of its task and holder is one."""
    rows = {row["traceback"][0]["lineno"]: row for row in document(run, "diff", *two)["rows"]}
    assert rows[APPENDED[1]]["per_execution"]["count"] == 40.5
    assert [rows[line[1]]["verdict"] for line in (CACHE, APPENDED)] == ["suspect", "suspect"]
    assert "make a suspect" in printed(run, *two)
    assert document(run, "diff", *two, "--top", "1")["rows"][0]["verdict"] == "suspect"


def test_other_holders_are_other_findings(run: Run, tmp_path: Path) -> None:
    """Lines of one task that something else holds are not added up."""
    other = {**LIVE, "name": "shop.cache._seen"}
    after: Lines = {CACHE: (400, 4 * KIB), APPENDED: (8100, 40)}
    told = capture(1, 200, retainers=[*held(CACHE), *held(APPENDED, by=(other,))])
    paths = [written(tmp_path / "a.bin", {}, capture(0, 0)), written(tmp_path / "b.bin", after, told)]
    assert "growth at shop/cache.py:14, task" in printed(run, *paths)


def test_one_holder_is_named_once(run: Run, tmp_path: Path) -> None:
    """Locals of a name in several runs of a function are one holder, and the way through frames is cut."""
    ways = (f"{LOCAL}.tb.tb_frame.f_code._co_positions", f"{LOCAL}.tb.tb_next.tb_frame.f_code._co_positions")
    by = tuple(
        {"name": way, "type": "list", "len": 7, "share": 0.25, "chain": []} for way in (*ways, ways[0])
    )
    paths = [
        written(tmp_path / "a.bin", {}, capture(0, 0)),
        written(tmp_path / "b.bin", {CACHE: (9, KIB)}, capture(1, 4, retainers=held(CACHE, by=by))),
    ]
    out = printed(run, *paths)
    assert f"75 % held by {LOCAL}\n" in out
    assert "_co_positions" not in out
    assert len(document(run, "diff", *paths)["rows"][0]["held_by"]) == 3


def test_small_rows_have_no_holder(run: Run, tmp_path: Path) -> None:
    """Below a hundredth of all growth a holder is told with --details only."""
    after: Lines = {CACHE: (400, 4 * KIB), APPENDED: (20, 40)}
    told = capture(1, 400, retainers=[*held(CACHE), *held(APPENDED, by=({**LIVE, "name": "shop.small"},))])
    paths = [written(tmp_path / "a.bin", {}, capture(0, 0)), written(tmp_path / "b.bin", after, told)]
    assert "shop.small" not in printed(run, *paths)
    assert "shop.small" in printed(run, *paths, "--details")


# Several processes, several tracings


def of_pid(path: Path, number: int, pid: int, **more: Any) -> str:  # noqa: ANN401 - plain data of any form
    """Write a process's snapshot of a number, with a hundred blocks more each."""
    return dump(path, 100 * (number + 1) + pid, {**capture(number, 100 * number), "pid": pid, **more})


def test_several_processes_are_told_first(run: Run, tmp_path: Path) -> None:
    """The first words say that it is no growth in time; no trend is told, and each pair has its command."""
    folder = tmp_path / "my snaps"
    folder.mkdir()
    pairs = [[folder / f"{pid}-{number}.bin" for number in (0, 1)] for pid in (7, 8, 9, 10)]
    for pid, pair in zip((7, 8, 9, 10), pairs):
        for number, path in enumerate(pair):
            of_pid(path, number, pid)
    mixed = [str(path) for number in (0, 1) for path in (pair[number] for pair in pairs)]
    out = printed(run, *mixed)
    assert out.startswith(
        "Snapshots of 4 processes (pid 7 and 8 and 9 and 10), so what differs may be work, not growth over time. "
        "10-1.bin holds 103 KiB more than 7-0.bin: "
    )
    assert "every interval" not in out
    commands = [line for line in out.splitlines() if line.startswith("leakhunt diff ")]
    assert [shlex.split(command)[2:] for command in commands] == [list(map(str, pair)) for pair in pairs[:3]]
    assert "Each process by itself:\n" in out
    assert "1 more process likewise.\n" in out
    found = document(run, "diff", *mixed)
    assert {row["trend"] for row in found["rows"]} == {None}
    assert {row["verdict"] for row in found["rows"]} <= {"growth", None}


@pytest.mark.parametrize("width", ["40", "80"])
def test_a_command_is_printed_in_one_piece(run: Run, tmp_path: Path, width: str) -> None:
    """A command is wider than the console rather than broken, so that it can be copied."""
    paths = [of_pid(tmp_path / f"{pid}-{number}.bin", number, pid) for number in (0, 1) for pid in (7, 8)]
    out = run(["diff", *paths], env={"COLUMNS": width}).out
    assert f"\nleakhunt diff {paths[0]} {paths[2]}\n" in out


def test_a_printed_command_says_what_it_promises(run: Run, tmp_path: Path) -> None:
    """The command for a process compares its own snapshots, oldest first, whatever order they were named in."""
    paths = [of_pid(tmp_path / f"{pid}-{number}.bin", number, pid) for number in (1, 0) for pid in (7, 8)]
    command = next(line for line in printed(run, *paths).splitlines() if line.startswith("leakhunt diff "))
    result = run(shlex.split(command)[1:], env={"COLUMNS": "400"})
    assert (result.code, result.out.startswith("Grew 100 KiB in 100 blocks from 7-0.bin to 7-1.bin")) == (
        0,
        True,
    )
    assert "processes" not in result.out


def test_one_snapshot_of_each_process_shows_no_growth(run: Run, tmp_path: Path) -> None:
    """Where no process has two snapshots, no command is printed, and what is missing is told."""
    out = printed(run, *(of_pid(tmp_path / f"{pid}.bin", 0, pid) for pid in (7, 8)))
    assert "Growth shows between two snapshots of one process: take a second" in out
    assert "leakhunt diff" not in out


def test_tracing_that_began_anew_has_no_trend(run: Run, tmp_path: Path) -> None:
    """Sizes under two tracings are no series: that comes first, no trend is told, and no growth by the hour."""
    later = {"tracing": {"since": WHEN + 400, "frames": 10, "inherited": "none"}}
    paths = [of_pid(tmp_path / f"{number}.bin", number, 7) for number in (0, 1)]
    paths += [of_pid(tmp_path / f"{number}.bin", number, 7, **later) for number in (2, 3)]
    out = printed(run, *paths)
    assert out.startswith(
        "Tracing began between these snapshots, at 2026-11-21 03:06:40 UTC, so the last holds nothing of what was "
        "allocated before. Grew 300 KiB"
    )
    assert "every interval" not in out
    assert "per hour" not in out
    assert (
        f"Each tracing by itself:\nleakhunt diff {paths[0]} {paths[1]}\nleakhunt diff {paths[2]} {paths[3]}\n"
        in out
    )


def test_what_only_shrank_has_no_leader(run: Run, tmp_path: Path) -> None:
    """Growth that is nothing to the shrinkage is not in the first sentence, and nothing is advised on it."""
    paths = [
        written(tmp_path / "a.bin", {CACHE: (500, KIB)}, capture(0, 0)),
        written(tmp_path / "b.bin", {APPENDED: (1, 40)}, capture(1, 100)),
    ]
    out = printed(run, *paths)
    assert out.splitlines()[0] == "Shrank 500 KiB in 499 blocks from a.bin to b.bin."
    assert "Who calls it" not in out


def test_a_suspect_is_told_beside_what_shrank(run: Run, tmp_path: Path) -> None:
    """Where a task ran during the first snapshot and let much go, what grew with the executions is named all the same."""
    paths = [
        written(tmp_path / "a.bin", {CACHE: (500, KIB)}, capture(0, 0)),
        written(tmp_path / "b.bin", {APPENDED: (100, 40)}, capture(1, 100)),
    ]
    first, *_, last = printed(run, *paths).splitlines()
    assert first.startswith(
        "Shrank 496 KiB in 400 blocks from a.bin to b.bin; 3.9 KiB grew beside: 100 % of that at"
    )
    assert "suspect at 40 B per execution" in first
    assert "Who calls it" in last


def test_snapshots_have_short_names(run: Run, tmp_path: Path) -> None:
    """Lines about one snapshot name it as the first sentence does."""
    left = {"left_out": ["garbage: the time was over"]}
    out = printed(run, of_pid(tmp_path / "a.bin", 0, 7, **left), of_pid(tmp_path / "b.bin", 1, 8))
    assert "\na.bin: shop@worker-1" in out
    assert "\na.bin leaves out: garbage: the time was over.\n" in out
