from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from captured_tools import CACHE, HELD, MIB, TASK, capture, dump
from conftest import Run, document

MEMORY = {
    "rss": 66 * MIB, "uss": 46 * MIB, "file": 15 * MIB, "shmem": 0, "swap": MIB, "traced": 7 * MIB, "tracer": MIB,
    "malloc_used": 25 * MIB, "malloc_free": 2 * MIB, "malloc_mmapped": 0, "cgroup_usage": 300 * MIB,
    "cgroup_limit": 512 * MIB,
}  # fmt: skip
GARBAGE = {"objects": 3, "bytes": MIB, "types": [["frame", 3, 2000]], "sites": [[CACHE[0], 20, 3, MIB]]}
TOLD = capture(
    2,
    2500,
    memory=MEMORY,
    retainers=[HELD],
    types=[["bytearray", 4810, 5 * MIB], ["dict", 10, None]],
    gc={"enabled": False, "uncollectable": 2, "garbage": GARBAGE},
    files=12,
    open_files=["/srv/app/a.log"],
    connections={"redis:6379": 3},
    threads=["MainThread"],
)


@pytest.fixture
def now(tmp_path: Path) -> str:
    """Return a snapshot of a worker that leakhunt took."""
    return dump(tmp_path / "now.bin", 4800, TOLD)


def test_a_snapshot_of_leakhunt_s_tells_its_process(run: Run, now: str) -> None:
    """Process, tracing, executions, what memory is made of and garbage stand above the rows."""
    out = run(["top", now], env={"COLUMNS": "400"}).out
    for line in (
        (
            f"4.7 MiB in 4,807 blocks in now.bin: >99 % of it at shop/cache.py:14, task {TASK}, held by "
            "shop.cache._seen (list, 3,812 items)."
        ),
        "shop@worker-1, ForkPoolWorker-1, pid 4242: 2026-11-21 03:10:00 UTC, taken by a fork.",
        "Traced since 2026-11-21 02:43:30 UTC, 10 frames deep, without what the parent had allocated before the fork.",
        f"2,500 executions of {TASK} so far.",
        (
            "RSS 66.0 MiB: Python (traced) 7.0 MiB, the tracer itself 1.0 MiB, native (untraced) 17.0 MiB, kept free "
            "by the allocator 2.0 MiB, files and shared memory 15.0 MiB, rest 24.0 MiB; not known: Python's arenas "
            "(free or untraced). Swap 1.0 MiB."
        ),
        "5.0 MiB of it is shared with the parent or its other children.",
        "A gc.collect() would free 1.0 MiB in 3 objects (frame), allocated at shop/cache.py:20.",
        "Its control group used 300 MiB of 512 MiB (59 %).",
    ):
        assert f"{line}\n" in out


def test_details_tell_the_rest(run: Run, now: str) -> None:
    """--details adds types, garbage by line, open files, connections, threads and the collector's state."""
    plain, detailed = (run(["top", now, *more], env={"COLUMNS": "200"}).out for more in ((), ("--details",)))
    for text in (
        "5.0 MiB    4,810  bytearray\n",
        "garbage allocated at\n",
        "12 open files: /srv/app/a.log.\n",
        "3 connections: redis:6379 (3).\n",
        "1 thread: MainThread.\n",
        "The garbage collector is off.\n",
        "2 objects that the garbage collector cannot free.\n",
    ):
        assert text in detailed
        assert text not in plain


def test_json_tells_it_all(run: Run, now: str) -> None:
    """Holder, parts of memory, trim, garbage and control group are data; the rest is what was stored."""
    found = document(run, "top", now)
    assert found["rows"][0]["held_by"][0]["chain"] == ["list (3812 items)", "module global shop.cache._seen"]
    parts = found["ledger"]["parts"]
    assert sum(size for size in parts.values() if size is not None) == found["ledger"]["rss"] == 66 * MIB
    assert parts["arenas"] is None
    assert found["ledger"]["garbage"]["sites"] == [
        {"filename": CACHE[0], "lineno": 20, "count": 3, "size": MIB}
    ]
    assert found["ledger"]["cgroup"] == {"limit": 512 * MIB, "usage": 300 * MIB}
    assert found["snapshots"][0]["capture"]["threads"] == ["MainThread"]


def test_a_plain_dump_has_none_of_it(run: Run) -> None:
    """Where the snapshot is not leakhunt's own, the keys are not there, and --details adds nothing."""
    path = "fixtures/snapshots/pythons/cp314.bin"
    found = document(run, "top", path)
    assert "ledger" not in found
    assert "held_by" not in found["rows"][0]
    assert run(["top", path, "--details"]).out == run(["top", path]).out


def test_csv_has_a_column_for_the_holder(run: Run, now: str) -> None:
    """The holder is a column where somebody is known."""
    head = run(["top", now, "-f", "csv"]).out.splitlines()[0]
    assert head == "size,count,share,place,task,how,held_by"


@pytest.mark.parametrize(
    "told", [{}, {"schema": 7, "memory": {"rss": True}}, {"pid": 5}, {"memory": [], "gc": "x"}]
)
def test_whatever_is_missing_is_not_told(run: Run, tmp_path: Path, told: dict[str, Any]) -> None:
    """A snapshot that tells little or nonsense is ranked all the same."""
    path = dump(tmp_path / "odd.bin", 5, told)
    assert document(run, "top", path, "--group-by", "task")["ledger"] is None
    result = run(["top", path, "--details"])
    assert (result.code, result.err) == (0, "")
