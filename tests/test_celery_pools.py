"""What the user of a worker observes in each of Celery's pools is the same with leakhunt as without."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import sys
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from celery_tools import SECONDS, Running, eventually, redis_server, worker
from oom_tools import memory_cgroup, why_not

from leakhunt.capture.letters import SnapshotRequest
from leakhunt.control.answers import snapshot

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or importlib.util.find_spec("celery") is None,
    reason="celery is not installed, or this is not Linux",
)

LIGHT = SnapshotRequest(deep=False, timeout=SECONDS)
EVERYTHING = {"TRACE": "1", "FRAMES": "5", "RECORD": "1", "AT_EXIT": "1"}
LIMIT = 320 << 20  # of memory: shop.eat wants more

_LOGGED = re.compile(r"\[[-0-9]{10} [:,0-9]{12}: (.*)")
_VARIES = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|0x[0-9a-f]+|\d+(\.\d+)?(e-\d+)?")


class Pool(NamedTuple):
    """A pool, and which of the things that Celery has for pools of processes it has, too.

    Attributes:
        name: as ``celery worker -P`` knows it.
        forks: children run its tasks, and are replaced after so many.
        soft: a soft time limit reaches its task.
        hard: a hard one ends it.
        restores: a worker that starts at once runs what one that was killed had not acknowledged; with Redis, Celery's
            event loop sees to that, which gevent goes without.
    """

    name: str
    forks: bool = False
    soft: bool = False
    hard: bool = False
    restores: bool = True


POOLS = (
    Pool("prefork", forks=True, soft=True, hard=True),
    Pool("threads"),
    Pool("solo"),
    Pool("gevent", hard=True, restores=False),
)
each_pool = pytest.mark.parametrize("pool", POOLS, ids=[pool.name for pool in POOLS])


class Life(NamedTuple):
    """A worker's life.

    Attributes:
        seen: what its user observes; equal where nothing is different.
        pids: which processes ran tasks.
        lost: the id of the task that a process ran when it was killed.
        agents: the agents' folder.
    """

    seen: dict[str, object]
    pids: list[int]
    lost: dict[int, str]
    agents: Path


Record = list[dict[str, Any]]
Live = Callable[[Path, str, Pool, dict[str, str]], Life]


def compared(folder: Path, pool: Pool, live: Live) -> tuple[Life, dict[int, Record]]:
    """Live a life without leakhunt and at once with it; the same is seen, and what leakhunt wrote is whole.

    Args:
        folder: for both.
        pool: the worker's pool.
        live: starts a worker in a folder, with a broker, a pool and variables.

    Returns:
        The life with leakhunt, and the records of its processes.
    """
    if pool.name == "gevent":
        pytest.importorskip("gevent", reason="gevent is not installed")

    def alone(name: str, variables: dict[str, str]) -> Life:
        (folder / name).mkdir()
        with redis_server(folder / name) as url:
            return live(folder / name, url, pool, variables)

    with ThreadPoolExecutor(2) as both:
        without, life = both.map(alone, ("without", "with"), ({}, EVERYTHING))
    assert life.seen == without.seen
    assert not without.agents.exists()
    snapshots = list((life.agents / "snapshots").glob("*.bin"))
    assert snapshots
    for path in snapshots:
        tracemalloc.Snapshot.load(str(path))
    records = dict(map(read, (life.agents / "records").glob("*.jsonl")))
    for pid, record in records.items():
        assert_whole(record, life.lost.get(pid))
    return life, records


def read(path: Path) -> tuple[int, Record]:
    """Return a process and its record, each line of which is whole."""
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    record = [json.loads(line) for line in text.splitlines()]
    return record[0]["pid"], record


def assert_whole(record: Record, lost: str | None) -> None:
    """Assert that a record ends as its process did, killed in a task or not, and that what began in it has ended."""
    head, *lines = record
    assert head["e"] == "process"
    begun, ended = ({line["id"] for line in lines if line["e"] == kind} for kind in ("start", "end"))
    assert ended <= begun <= ended | {lost}
    assert lines[-1]["e"] == "exit" or lines[-1]["id"] == lost


def waits(running: Running) -> int:
    """Return where the task runs that waits."""
    return int(running.until("waiting in").split()[-1])


def look(running: Running, pid: int) -> None:
    """Take a snapshot of a process where it has an agent."""
    for agent in running.agents():
        if agent.pid == pid:
            snapshot(agent, LIGHT)


def ranks(running: Running, pids: list[int]) -> list[object]:
    """Return which of some processes are the same; the worker itself is named."""
    return ["main" if pid == running.process.pid else pids.index(pid) for pid in pids]


def logged(running: Running) -> list[str]:
    """Return what a worker logged, sorted, without what differs each time, and without what names a handler."""
    found = [_LOGGED.match(line.replace(str(running.folder.parent), "")) for line in running.lines]
    return sorted(
        _VARIES.sub("_", line[1]) for line in found if line is not None and "shop.handlers" not in line[1]
    )


def children(pid: int) -> int:
    """Return how many children a process has."""
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split())


def a_day(folder: Path, url: str, pool: Pool, variables: dict[str, str]) -> Life:
    """Run tasks that return, fail and exceed limits, more than a child may run; ask it to end while one runs."""
    lost: dict[int, str] = {}
    options = ("-P", pool.name, "-c", "1", "--max-tasks-per-child", "3")
    with worker(folder, url, *options, variables=variables) as running:
        handlers = running.call("shop.handlers")
        assert ("leakhunt" in handlers.pop("SIGURG")) is bool(variables)
        seen: dict[str, object] = {name: _VARIES.sub("_", text) for name, text in handlers.items()}
        seen["failed"] = running.call("shop.fail")
        pids = [running.call("shop.who") for _ in range(3)]
        task = running.send("shop.patient", None if pool.soft else 1.5)
        look(running, waits(running))
        seen["soft limit"] = running.result(task)
        task = running.send("shop.stubborn", None if pool.hard else 1.5)
        pids.append(waits(running))
        seen["hard limit"] = running.result(task)
        if pool.forks:
            lost[pids[-1]] = task
            running.until("exited with")
        task = running.send("shop.linger", str(folder / "go"))
        pids.append(waits(running))
        eventually(lambda: children(running.process.pid) == pool.forks)
        running.process.terminate()
        running.until("Warm shutdown")
        look(running, pids[-1])
        (folder / "go").touch()
        seen["code"] = running.process.wait(SECONDS)
        pids.append(running.result(task))
    assert running.agents() == []
    return Life({**seen, "pids": ranks(running, pids), "log": logged(running)}, pids, lost, running.folder)


def in_haste(*argv: str) -> list[str]:
    """Return a command for a worker whose tasks are given to another when they are not acknowledged soon."""
    return ["env", "SHOP_VISIBILITY=0.5", *argv]


def killed(folder: Path, url: str, pool: Pool, variables: dict[str, str]) -> Life:
    """Kill the process that runs a task; where that is the worker itself, start another."""
    options = ("-P", pool.name, "-c", "1")
    with worker(folder, url, *options, variables=variables, before=in_haste) as running:
        task = running.send("shop.linger", str(folder / "go"))
        pids = [waits(running)]
        look(running, pids[0])
        os.kill(pids[0], signal.SIGKILL)
        seen: dict[str, object] = {"pids": ranks(running, pids)}
        seen.update(survived(running, task, pids))
    seen["log"] = logged(running)
    if not pool.forks and pool.restores:
        (folder / "go").touch()
        with worker(folder, url, *options, variables=variables, before=in_haste) as running:
            pids.append(running.result(task))
            seen["restored to"] = ranks(running, pids[1:])
            seen["its code"] = running.stop()
        seen["its log"] = logged(running)
    assert running.agents() == []
    return Life(seen, pids, {pids[0]: task}, running.folder)


def out_of_memory(folder: Path, url: str, pool: Pool, variables: dict[str, str]) -> Life:
    """Have the kernel kill the process that runs a task."""
    with (
        memory_cgroup(LIMIT) as group,
        worker(folder, url, "-P", pool.name, "-c", "1", variables=variables, before=group.entered) as running,
    ):
        pids = [running.call("shop.who")]
        look(running, pids[0])
        task = running.send("shop.eat")
        seen: dict[str, object] = {"pids": ranks(running, pids)}
        seen.update(survived(running, task, pids))
    assert running.agents() == []
    return Life({**seen, "log": logged(running)}, pids, {pids[0]: task}, running.folder)


def survived(running: Running, task: str, pids: list[int]) -> dict[str, object]:
    """Return what is seen of a worker after the process that ran a task was killed, which may be the worker."""
    seen: dict[str, object] = {}
    if pids[0] != running.process.pid:
        running.until("exited with 'signal 9 (SIGKILL)'")
        seen["result"] = running.result(task)
        pids.append(running.call("shop.who"))
        seen["another"] = ranks(running, pids)
        running.process.terminate()
    seen["code"] = running.process.wait(SECONDS)
    return seen


@each_pool
def test_a_worker_works_and_ends_as_without_leakhunt(tmp_path: Path, pool: Pool) -> None:
    """Results, handlers, time limits, replaced children, log and warm shutdown are as without; a record says why."""
    life, records = compared(tmp_path, pool, a_day)
    assert life.seen["failed"] == {"raised": "ValueError"}
    assert life.seen["soft limit"] == ("asked to stop" if pool.soft else "ended by itself")
    assert life.seen["hard limit"] == ({"raised": "TimeLimitExceeded"} if pool.hard else "ended by itself")
    assert life.seen["pids"] == ([0, 1, 1, 3, 4, 4] if pool.forks else ["main"] * 6)
    assert life.seen["code"] == 0
    (last,) = (
        line for line in records[life.pids[-1]] if line["e"] == "end" and line["task"] == "shop.linger"
    )
    assert last["state"] == "SUCCESS"
    if pool.forks:
        for pid in life.pids[:2]:
            *_, why, left = record = records[pid]
            assert [line["e"] for line in record] == ["process", *["start", "end"] * 3, "recycle", "exit"]
            assert (why["why"], left["code"]) == ("tasks", 155)
    newest = max((life.agents / "snapshots").glob(f"*-{life.pids[-1]}-*.bin"))
    facts = tracemalloc.Snapshot.load(str(newest)).leakhunt  # type: ignore[attr-defined]
    assert (facts["reason"], facts["executions"]["shop.linger"]) == ("exit", 1)


@each_pool
def test_after_kill_9_all_is_as_without_leakhunt(tmp_path: Path, pool: Pool) -> None:
    """The record ends with the task that ran; it fails, or is run by the next worker, as it would without."""
    life, records = compared(tmp_path, pool, killed)
    assert life.seen["code"] == (0 if pool.forks else -signal.SIGKILL)
    assert life.seen.get("result") == ({"raised": "WorkerLostError"} if pool.forks else None)
    assert_lost(life, records, "shop.linger")
    if not pool.forks and pool.restores:
        again = records[life.pids[1]][1]
        assert (again["id"], again["redelivered"]) == (life.lost[life.pids[0]], True)


@each_pool
def test_after_an_oom_kill_all_is_as_without_leakhunt(tmp_path: Path, pool: Pool) -> None:
    """When the kernel kills the process that runs a task for want of memory, its record ends with that task."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    life, records = compared(tmp_path, pool, out_of_memory)
    assert life.seen["code"] == (0 if pool.forks else -signal.SIGKILL)
    assert_lost(life, records, "shop.eat")
    assert records[life.pids[0]][0]["limit"] == LIMIT


def assert_lost(life: Life, records: dict[int, Record], name: str) -> None:
    """Assert that the record of the process that was killed ends where its task begins."""
    last = records[life.pids[0]][-1]
    task = life.lost[life.pids[0]]
    assert (last["e"], last["task"], last["id"], last["acks_late"]) == ("start", name, task, True)
