from __future__ import annotations

import csv
import io
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from captured_tools import BASE, CACHE, HELD, MIB, TASK, WHEN, capture, dump
from conftest import Run, celery, document, line, snapshot_of, squeezed

from leakhunt import diff
from leakhunt.present.snapshots import diff_report

LEDGER = {
    "rss": 60 * MIB, "uss": 40 * MIB, "anon": 45 * MIB, "file": 15 * MIB, "shmem": 0, "traced": 2 * MIB,
    "tracer": MIB, "arenas": 12 * MIB, "malloc_used": 20 * MIB, "malloc_free": 2 * MIB, "malloc_mmapped": 0,
}  # fmt: skip
GARBAGE = {
    "objects": 12,
    "bytes": 40 * MIB,
    "types": [["frame", 4, 2000], ["bytearray", 4, 40 * MIB]],
    "sites": [[CACHE[0], 20, 7, 40 * MIB]],
}
GROUPINGS = ("lineno", "filename", "traceback", "module", "package", "task")


def grown(**mib: int) -> dict[str, int]:
    """Return the memory of a worker after parts of it grew by so many MiB."""
    return {name: size + mib.get(name, 0) * MIB for name, size in LEDGER.items()}


@pytest.fixture
def leak(tmp_path: Path) -> list[str]:
    """Return three snapshots of a worker whose task leaves two blocks in a cache with each execution."""
    return [
        dump(tmp_path / "before.bin", 0, capture(0, 100, memory=LEDGER)),
        dump(tmp_path / "after.bin", 2400, capture(1, 1300, memory=grown(rss=3), retainers=[HELD]), other=30),
        dump(tmp_path / "later.bin", 4800, capture(2, 2500, memory=grown(rss=6), retainers=[HELD]), other=31),
    ]


def test_the_first_line_names_task_cost_and_holder(run: Run, leak: list[str]) -> None:
    """One sentence says where it grew, in which task, by how much with each execution, and who holds it."""
    headline = run(["diff", *leak], env={"COLUMNS": "400"}).out.splitlines()[0]
    assert headline == (
        "Grew 4.7 MiB in 4,831 blocks from before.bin to later.bin (3 snapshots): >99 % of all growth at "
        f"shop/cache.py:14, task {TASK}, a leak of 2.0 KiB per execution, held by shop.cache._seen (list, 3,812 items)."
    )


def test_the_row_tells_the_proof(run: Run, leak: list[str]) -> None:
    """Below a row stand the word for what is proved, the figures for each execution, and the holder."""
    out = squeezed(run(["diff", *leak]).out)
    assert (
        squeezed("leak: 2.0 KiB and 2.00 blocks per execution (2,400 executions, alike in every interval)")
        in out
    )
    assert squeezed("held by shop.cache._seen (list, 3,812 items)") in out
    assert squeezed("Growth in every interval, in proportion to the tasks run: a leak.") in out
    two = squeezed(run(["diff", *leak[:2]]).out)
    assert squeezed("suspect: 2.0 KiB and 2.00 blocks per execution (1,200 executions)") in two
    assert squeezed("make a suspect") in two


def test_the_process_is_a_fact(run: Run, leak: list[str]) -> None:
    """Which process it was, when the snapshots were taken, how far apart, and what ran between is told."""
    out = run(["diff", *leak[:2]], env={"COLUMNS": "400"}).out
    assert (
        "shop@worker-1, ForkPoolWorker-1, pid 4242: 2026-11-21 03:00:00 to 03:05:00 UTC, 5 min apart, "
        "+28.2 MiB per hour, taken by a fork.\n"
    ) in out
    assert f"1,200 executions of {TASK} between them.\n" in out


def test_json_tells_it_all(run: Run, leak: list[str]) -> None:
    """Verdict, figures for each execution, holder, executions and ledger are data."""
    found = document(run, "diff", *leak)
    row = found["rows"][0]
    assert row["verdict"] == "leak"
    assert row["per_execution"] == {
        "executions": 2400,
        "size": 2048.0,
        "count": 2.0,
        "intervals": [{"executions": 1200, "size": 2048.0, "count": 2.0}] * 2,
    }
    assert row["held_by"][0]["name"] == "shop.cache._seen"
    assert row["held_by"][0]["items"] == 3812
    assert found["rows"][1]["held_by"] is None
    assert found["rows"][1]["per_execution"] is None
    assert found["executions"] == {TASK: [1200, 1200]}
    assert found["ledger"]["rss"] == {"before": 60 * MIB, "after": 66 * MIB, "growth": 6 * MIB}
    assert found["snapshots"][0]["capture"]["node"] == "shop@worker-1"


@pytest.mark.parametrize("group_by", GROUPINGS)
def test_every_grouping_divides_and_names_the_holder(run: Run, leak: list[str], group_by: str) -> None:
    """Whatever a row is, it is divided by its task's executions and has the holder of its frames."""
    row = document(run, "diff", *leak, "--group-by", group_by, "--top", "1")["rows"][0]
    assert row["verdict"] == "leak"
    assert row["per_execution"]["count"] == 2.0
    assert row["held_by"][0]["name"] == "shop.cache._seen"


def test_blocks_of_no_task_have_a_row_without_figures(run: Run, leak: list[str]) -> None:
    """Grouped by task, what no task allocated stands apart, and nothing is divided."""
    row = document(run, "diff", *leak, "--group-by", "task")["rows"][1]
    assert (row["key"], row["per_execution"], row["task"]) == (None, None, None)
    assert "(no task)" in run(["diff", *leak, "--group-by", "task"]).out


def test_csv_and_markdown_have_columns_for_it(run: Run, leak: list[str]) -> None:
    """Formats with columns have one for each new figure, raw in CSV."""
    (first, second) = csv.DictReader(io.StringIO(run(["diff", *leak, "-f", "csv"]).out))
    assert [first[key] for key in ("verdict", "executions", "size_per_execution", "count_per_execution")] == [
        "leak", "2400", "2048", "2.0",
    ]  # fmt: skip
    assert first["held_by"] == "shop.cache._seen (list, 3,812 items)"
    assert [second[key] for key in ("verdict", "executions", "held_by")] == ["growth", "", ""] or second[
        "verdict"
    ]
    assert (
        "| verdict | executions | per execution | blocks each | held by |"
        in run(["diff", *leak, "-f", "markdown"]).out
    )


def test_an_annotation_carries_it(run: Run, leak: list[str]) -> None:
    """A remark on a line tells the proof and the holder."""
    out = run(["diff", *leak, "-f", "github"]).out
    assert f"in task {TASK}: leak, 2.0 KiB and 2.00 blocks per execution, held by shop.cache._seen" in out


def test_plain_dumps_have_none_of_it(run: Run) -> None:
    """Where no snapshot is leakhunt's own, the keys are not there."""
    found = document(run, "diff", *celery("callbacks"))
    assert {"ledger", "executions"}.isdisjoint(found)
    assert {"verdict", "per_execution", "held_by"}.isdisjoint(found["rows"][0])


def test_a_plain_dump_beside_is_compared(run: Run, leak: list[str]) -> None:
    """One snapshot of leakhunt's and one plain dump are compared without figures for each execution."""
    found = document(run, "diff", *celery("callbacks", "before"), leak[1])
    assert found["executions"] == {}
    assert found["ledger"] is None
    assert all(row["per_execution"] is None for row in found["rows"])


LEAKED = {"rss": 40, "uss": 40, "anon": 40, "traced": 39, "malloc_used": 39}
KINDS: dict[str, tuple[dict[str, int], dict[str, Any], str]] = {
    "retained": ({"rss": 400, "uss": 400, "anon": 400, "malloc_free": 390}, {}, "fragmentation, not a leak"),
    "native": ({"rss": 400, "uss": 400, "anon": 400, "malloc_used": 390}, {}, "native memory"),
    "copy-on-write": ({"uss": 20}, {}, "copy-on-write, not a leak"),
    "garbage": (LEAKED, {"gc": {"garbage": GARBAGE}}, "deferred garbage"),
    "python": (LEAKED, {}, "39.0 MiB of it is Python memory"),
    "flat": ({}, {}, "RSS did not grow"),
}


@pytest.mark.parametrize(
    ("size", "words"), [(0, "of it is live Python memory"), (MIB, "of it is Python memory")]
)
def test_memory_is_called_live_where_little_of_it_is_garbage(
    run: Run, tmp_path: Path, size: int, words: str
) -> None:
    """Whether traced memory is alive is said only where a collection was tried and would free hardly any of it."""
    before = dump(tmp_path / "a.bin", 0, capture(0, 0, memory=LEDGER))
    told = {"garbage": {"objects": 1, "bytes": size, "types": [], "sites": []}}
    last = dump(tmp_path / "b.bin", 10, capture(1, 5, memory=grown(**LEAKED), gc=told))
    assert words in run(["diff", before, last], env={"COLUMNS": "400"}).out


@pytest.mark.parametrize(
    ("after", "sentence"),
    [
        (
            {"rss": 5, "uss": 5, "anon": 5, "tracer": 11, "malloc_used": 11, "malloc_free": -2},
            (
                "RSS grew 5.0 MiB from a.bin to b.bin: +11.0 MiB is the tracer's own cost, gone when tracing stops; "
                "all else -6.0 MiB; traced blocks grew 10.0 KiB."
            ),
        ),
        (
            {"rss": 2, "uss": 7},
            (
                "Its own memory (USS) grew 7.0 MiB from a.bin to b.bin: 5.0 MiB of it was shared with the parent and has "
                "been copied by writing: copy-on-write, not a leak; traced blocks grew 10.0 KiB."
            ),
        ),
    ],
)
def test_no_part_is_larger_than_its_whole(
    run: Run, tmp_path: Path, after: dict[str, int], sentence: str
) -> None:
    """A part that grew more than the whole is told with what shrank; what was copied is part of what is its own."""
    before = dump(tmp_path / "a.bin", 0, capture(0, 0, memory=LEDGER))
    last = dump(tmp_path / "b.bin", 10, capture(1, 5, memory=grown(**after)))
    out = run(["diff", before, last], env={"COLUMNS": "400"}).out
    assert out.splitlines()[0] == sentence
    if "tracer" in sentence:
        assert "The tracer itself takes 12.0 MiB: trace with fewer frames, or only for a while." in out


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_growth_is_told(run: Run, tmp_path: Path, kind: str) -> None:
    """RSS is taken apart, and what most of its growth is stands in a sentence, in JSON as a word."""
    after, more, words = KINDS[kind]
    before = dump(tmp_path / "a.bin", 0, capture(0, 0, memory=LEDGER))
    last = dump(tmp_path / "b.bin", 10, capture(1, 5, memory=grown(**after), **more))
    assert document(run, "diff", before, last)["ledger"]["kind"] == kind
    for output_format in ("table", "markdown"):
        out = run(["diff", before, last, "-f", output_format], env={"COLUMNS": "400"}).out
        assert words in out


def test_little_growth_is_called_little(run: Run, tmp_path: Path) -> None:
    """Growth of RSS too small to be a kind of its own is told as little, beside rows that grew as much, and not denied."""
    before = dump(tmp_path / "a.bin", 0, capture(0, 0, memory=LEDGER))
    last = dump(tmp_path / "b.bin", 10, capture(1, 5, memory={**LEDGER, "rss": LEDGER["rss"] + 500 * 1024}))
    out = run(["diff", before, last], env={"COLUMNS": "400"}).out
    assert "RSS grew little (+500 KiB to 60.5 MiB)" in out
    assert "hardly" not in out


def test_growth_beside_the_rows_is_in_the_first_line(run: Run, tmp_path: Path) -> None:
    """Where RSS grew by what no row explains, the headline begins with it, in annotations too."""
    before = dump(tmp_path / "a.bin", 0, capture(0, 0, memory=LEDGER))
    after = grown(rss=400, uss=400, anon=400, malloc_free=390)
    last = dump(
        tmp_path / "b.bin",
        10,
        capture(1, 5, memory={**after, "trim": {"rss_after": 1, "returned": 371 * MIB}}),
    )
    for output_format in ("table", "github"):
        result = run(["diff", before, last, "-f", output_format], env={"COLUMNS": "400"})
        assert (
            "RSS grew 400 MiB from a.bin to b.bin: 390 MiB of it is free memory" in result.out.splitlines()[0]
        )
    out = run(["diff", before, last], env={"COLUMNS": "400"}).out
    assert "A trial malloc_trim gave 371 MiB back.\n" in out
    assert "malloc_trim(0) between tasks (tried here), MALLOC_ARENA_MAX=2, jemalloc" in out


def test_garbage_is_told_with_its_place(run: Run, tmp_path: Path) -> None:
    """What a collection would free is told with its types and lines, and with the issue that does so in Celery."""
    before = dump(tmp_path / "a.bin", 0, capture(0, 0, memory=LEDGER))
    after = grown(rss=40, uss=40, anon=40, traced=39, malloc_used=39)
    last = dump(tmp_path / "b.bin", 10, capture(1, 5, memory=after, gc={"garbage": GARBAGE}))
    out = run(["diff", before, last, "--details"], env={"COLUMNS": "400"}).out
    assert (
        "A gc.collect() would free 40.0 MiB in 12 objects (frame, bytearray), allocated at shop/cache.py:20."
        in out
    )
    assert "celery/celery#6023" in out
    assert "garbage allocated at" in out


def test_details_tell_types_and_the_way_to_the_holder(run: Run, tmp_path: Path) -> None:
    """--details adds the types that became more and how a holder is reached; without it, neither is there."""
    paths = [
        dump(tmp_path / "a.bin", 0, capture(0, 0, types=[["bytearray", 10, 5000], ["dict", 5, 10]])),
        dump(
            tmp_path / "b.bin",
            20,
            capture(1, 10, types=[["bytearray", 2410, 9000], ["dict", 5, 10]], retainers=[HELD]),
        ),
    ]
    plain, detailed = (
        run(["diff", *paths, *more], env={"COLUMNS": "200"}).out for more in ((), ("--details",))
    )
    assert "by way of list (3812 items) <- module global shop.cache._seen" in detailed
    assert "+3.9 KiB   +2,400  2,410  bytearray" in detailed
    assert "dict" not in detailed
    assert "by way of" not in plain
    assert "bytearray" not in plain


def test_snapshots_of_two_processes_are_not_divided(run: Run, tmp_path: Path) -> None:
    """Another pid is told once, each snapshot has its own line, and neither executions nor RSS are compared."""
    before = dump(tmp_path / "a.bin", 0, capture(0, 100, memory=LEDGER))
    other = {**capture(1, 1300, memory=grown(rss=300)), "pid": 4243, "name": "ForkPoolWorker-2"}
    last = dump(tmp_path / "b.bin", 2400, other)
    found = document(run, "diff", before, last)
    (warning,) = found["warnings"]
    assert warning.startswith("snapshots are of different processes: ")
    assert found["ledger"] is None
    assert found["rows"][0]["per_execution"] is None
    out = run(["diff", before, last], env={"COLUMNS": "200"}).out
    assert "a.bin: shop@worker-1, ForkPoolWorker-1, pid 4242: 2026-11-21 03:00:00 UTC" in out
    assert "b.bin: shop@worker-1, ForkPoolWorker-2, pid 4243: 2026-11-21 03:05:00 UTC" in out
    assert "per hour" not in out


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        (
            {},
            {"tracing": {"since": WHEN + 60}},
            "tracing began between the snapshots, at 2026-11-21 03:01:00 UTC",
        ),
        ({"when": WHEN + 900}, {}, "not in the order in which they were taken"),
        ({}, {"started": BASE["started"] + 9}, "snapshots are of different processes: "),
        ({"tracing": {"inherited": "included"}}, {}, "before the fork is in some of the snapshots only"),
    ],
)
def test_what_makes_growth_doubtful_is_a_warning(
    run: Run, tmp_path: Path, first: dict[str, Any], last: dict[str, Any], words: str
) -> None:
    """Tracing that began between, another order, another start and inherited blocks are told."""
    before = dump(tmp_path / "a.bin", 0, {**capture(0, 100), **first})
    after = dump(tmp_path / "b.bin", 2400, {**capture(1, 1300), **last})
    (warning,) = document(run, "diff", before, after)["warnings"]
    assert words in warning


def test_what_is_left_out_is_told_once(run: Run, tmp_path: Path) -> None:
    """A reason that all snapshots give is one line."""
    left = ["who holds it: no time was left"]
    paths = [dump(tmp_path / f"{n}.bin", 5 * n, capture(n, n, left_out=left)) for n in range(2)]
    out = run(["diff", *paths], env={"COLUMNS": "200"}).out
    assert "2 snapshots leave out: who holds it: no time was left.\n" in out


def test_path_maps_reach_what_is_told(run: Run, tmp_path: Path) -> None:
    """A mapped path is mapped in the registry, the holders and the garbage, or they would not be found."""
    held = {**HELD, "file": "/old/cache.py"}
    tasks = {TASK: {"file": "/old/tasks.py", "first": 10, "last": 20}}
    told = capture(
        1, 1300, retainers=[held], tasks=tasks, gc={"garbage": {**GARBAGE, "sites": [["/old/x.py", 1, 2, 3]]}}
    )
    paths = [
        dump(tmp_path / "a.bin", 0, capture(0, 100, memory=LEDGER)),
        dump(tmp_path / "b.bin", 2400, told),
    ]
    maps = [
        "--map",
        "/old/cache.py=/srv/app/shop/cache.py",
        "--map",
        "/old/tasks.py=/srv/app/shop/tasks/pricing.py",
    ]
    row = document(run, "diff", *paths, *maps)["rows"][0]
    assert row["task"]["how"] == "registry"
    assert row["held_by"][0]["name"] == "shop.cache._seen"
    assert document(run, "diff", *paths)["rows"][0]["held_by"] is None


def test_a_line_that_two_tasks_share_is_not_divided(run: Run, tmp_path: Path) -> None:
    """Growth of which a second task has a good part is no single task's, so it is not divided."""
    tasks = {
        TASK: {"file": CACHE[0], "first": 100, "last": 200},
        "b": {"file": CACHE[0], "first": 300, "last": 400},
    }
    told = [
        {**capture(n, 100 * n), "tasks": tasks, "executions": {TASK: 100 * n, "b": 100 * n}} for n in range(2)
    ]
    paths = [write_two(tmp_path / f"{n}.bin", 100 * n, one) for n, one in enumerate(told)]
    row = document(run, "diff", *paths)["rows"][0]
    assert row["task"] is not None
    assert row["per_execution"] is None


def write_two(path: Path, count: int, told: dict[str, Any]) -> str:
    """Write a snapshot in which one line has as many blocks from each of two tasks."""
    stacks = [(("/srv/app/shop/row.py", 1), (CACHE[0], line)) for line in (150, 350)]
    traces = [(0, 100, stack, 2) for stack in stacks] * count
    snapshot = tracemalloc.Snapshot(traces, 10)
    snapshot.leakhunt = told  # type: ignore[attr-defined]
    snapshot.dump(str(path))
    return str(path)


@pytest.mark.parametrize("width", ["40", "80", "200"])
def test_lines_keep_to_the_width(run: Run, leak: list[str], width: str) -> None:
    """Neither facts nor details pass the terminal's width."""
    out = run(["diff", *leak, "--details"], env={"COLUMNS": width}).out
    assert max(map(len, out.splitlines())) <= int(width)


HOSTILE = "\x1b[2J\n::error::a|b`c\u202e<img>"


@pytest.mark.parametrize("output_format", ["table", "markdown", "csv", "json", "github"])
def test_a_stranger_s_words_are_shown_not_obeyed(run: Run, tmp_path: Path, output_format: str) -> None:
    """Names with control characters are not taken, and markup in names is text."""
    told = {**capture(1, 9), "node": HOSTILE, "left_out": [HOSTILE], "types": [[HOSTILE, 1, 1]]}
    told["retainers"] = [{**HELD, "held_by": [{"name": "a|b`c<img>", "type": HOSTILE, "chain": [HOSTILE]}]}]
    paths = [dump(tmp_path / "a.bin", 0, {**told, "number": 0}), dump(tmp_path / "b.bin", 50, told)]
    out = run(["diff", *paths, "-f", output_format, "--details"]).out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert not any(line.startswith("::error") for line in out.splitlines())
    if output_format == "markdown":
        assert "<img>" not in out


def test_what_was_not_traced_is_no_answer() -> None:
    """A snapshot without any block says nothing about growth, and the first line says so."""
    empty = snapshot_of(path="empty.bin")
    full = snapshot_of(line("/srv/app/a.py", 1, 100), path="full.bin")
    report = diff_report(diff([full, empty]))
    assert report.headline == (
        "Nothing can be said of what grew from full.bin to empty.bin: nothing was traced in empty.bin."
    )
