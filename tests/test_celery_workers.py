from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery_tools import SECONDS, Running, entry_point, eventually, redis_server, worker
from conftest import ROOT

from leakhunt.capture.letters import SnapshotRequest
from leakhunt.control.answers import snapshot, status
from leakhunt.control.find import Agent

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or importlib.util.find_spec("celery") is None,
    reason="celery is not installed, or this is not Linux",
)

LIGHT = SnapshotRequest(deep=False, timeout=SECONDS)
EVERYTHING = {"TRACE": "1", "FRAMES": "5", "RECORD": "1"}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    """Return the address of a Redis of its own."""
    with redis_server(tmp_path) as url:
        yield url


def children(running: Running) -> list[Agent]:
    """Return the agents of a pool's children."""
    return [agent for agent in running.agents() if agent.registration.role == "child"]


def counted(running: Running, executions: int) -> None:
    """Wait until the agents have counted so many executions: a result is there before its task has ended."""
    eventually(
        lambda: sum(status(agent, SECONDS).ran for agent in running.agents()) == executions,
    )


def told(path: str) -> dict[str, Any]:
    """Return what a snapshot, which the standard library loads, tells of its process."""
    facts = tracemalloc.Snapshot.load(path).leakhunt  # type: ignore[attr-defined]
    assert isinstance(facts, dict)
    return facts


def events(running: Running, pid: int) -> list[dict[str, Any]]:
    """Return the lines of a process's record; each of them is whole."""
    (record,) = (running.folder / "records").glob(f"*-{pid}-*.jsonl")
    return [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]


def test_children_give_snapshots_that_are_their_own(redis: str, tmp_path: Path) -> None:
    """Each child of a pool traces from its start, counts its executions, and knows where the tasks are written."""
    with worker(tmp_path, redis, "-c", "2", variables=EVERYTHING) as running:
        eventually(lambda: len(running.agents()) == 3)  # the worker may be ready before its children are
        names = {agent.registration.name for agent in running.agents()}
        assert names == {"ForkPoolWorker-1", "ForkPoolWorker-2", "MainProcess"}
        ran = [running.call("shop.keep", 1 << 20) for _ in range(6)]
        counted(running, 6)
        for child in children(running):
            facts = told(snapshot(child, LIGHT).path)
            assert facts["executions"].get("shop.keep", 0) == ran.count(child.pid)
            assert (facts["role"], facts["pool"], facts["node"]) == ("child", "prefork", "shop@here")
            assert facts["tasks"]["shop.keep"]["file"] == str(tmp_path / "shop_project.py")
            assert facts["tracing"]["frames"] == 5
        (main,) = (agent for agent in running.agents() if agent.registration.role == "main")
        assert not status(main, SECONDS).tracing
        assert told(snapshot(main, LIGHT).path)["role"] == "main"
        assert running.call("shop.keep", 1) in ran
        assert running.stop() == 0
    assert running.agents() == []


@pytest.mark.parametrize("pool", ["solo", "threads", "gevent"])
def test_other_pools_have_their_agent_in_the_main_process(redis: str, tmp_path: Path, pool: str) -> None:
    """With a pool that does not fork, the main process counts, traces and records; what it cannot give is said once."""
    if pool == "gevent":
        pytest.importorskip("gevent", reason="gevent is not installed")
    with worker(tmp_path, redis, "-P", pool, "-c", "2", variables=EVERYTHING | {"EVERY": "5"}) as running:
        (agent,) = running.agents()
        assert (agent.registration.role, agent.registration.pool) == ("main", pool)
        assert {running.call("shop.keep", 1 << 20) for _ in range(5)} == {agent.pid}
        eventually(lambda: len(list((running.folder / "snapshots").glob("*.bin"))) == 1)
        facts = told(snapshot(agent, LIGHT).path)
        assert facts["executions"] == {"shop.keep": 5}
        assert facts["memory"]["traced"] > 5 << 20
        assert running.call("shop.fail") == {"raised": "ValueError"}
        counted(running, 6)
        assert running.stop() == 0
    said = [line for line in running.lines if line.startswith("leakhunt:")]
    expected = (
        [] if pool == "solo" else [f"leakhunt: pool {pool}: several tasks run in one process at once, "]
    )
    assert [line[: len(text)] for line, text in zip(said, expected)] == expected
    assert len(said) == len(expected)
    head, *lines = events(running, agent.pid)
    assert head["shared"] is (pool != "solo")
    assert "shop.keep" in head["tasks"]
    # With threads a result is there before the task's end is written: the next may begin in between.
    assert Counter(line["e"] for line in lines) == {"start": 6, "end": 6, "exit": 1}
    assert lines[-1]["e"] == "exit"
    assert Counter(line.get("state") for line in lines if line["e"] == "end") == {"SUCCESS": 5, "FAILURE": 1}


def test_a_pool_of_threads_and_pipes_leaves_the_signal_alone(tmp_path: Path) -> None:
    """In the pool of brokers without an event loop, which replaces most handlers, a child answers all the same."""
    for name in ("queue", "control"):
        (tmp_path / name).mkdir()
    pytest.importorskip("redis", reason="redis is not installed")
    with worker(tmp_path, "filesystem://", "-c", "1", variables=EVERYTHING) as running:
        eventually(lambda: len(children(running)) == 1)  # this pool is ready before its children are
        (child,) = children(running)
        assert told(snapshot(child, LIGHT).path)["name"] == "ForkPoolWorker-1"
        assert running.stop() == 0


def test_settings_that_are_broken_stop_no_worker(redis: str, tmp_path: Path) -> None:
    """A variable that is not understood is one line, and the worker works."""
    with worker(tmp_path, redis, "-c", "1", variables={"AT_RSS": "lots"}) as running:
        assert running.call("shop.who") != running.process.pid
        assert running.agents() == []
        assert running.stop() == 0
    (said,) = (line for line in running.lines if "leakhunt" in line)
    assert "'lots'" in said
    assert "nothing is watched" in said


def test_the_bootstrap_finds_the_worker_by_itself(redis: str, tmp_path: Path) -> None:
    """Where Celery does not see the entry point, the folder on PYTHONPATH is enough; imports are not traced."""
    bootstrap = ROOT / "leakhunt" / "capture" / "bootstrap"
    path = str(bootstrap)
    with worker(tmp_path, redis, "-c", "1", variables=EVERYTHING, path=path) as running:
        assert [
            agent.registration.tracing for agent in running.agents() if agent.registration.role == "main"
        ] == [False]
        pid = running.call("shop.who")
        counted(running, 1)
        (child,) = children(running)
        assert child.pid == pid
        assert status(child, SECONDS).executions == {"shop.who": 1}
        assert running.stop() == 0


def test_one_line_of_code_is_enough(redis: str, tmp_path: Path) -> None:
    """``install(app)`` in the project does what the variables do, and calling it twice changes nothing."""
    more = (
        "import leakhunt.celery\nfor _ in range(2):\n    leakhunt.celery.install(app, trace=True, frames=3)\n"
    )
    (tmp_path / "extra.py").write_text(f"from shop_project import app\n{more}", encoding="utf-8")
    with worker(tmp_path, redis, "-c", "1", "--include", "extra", path=str(ROOT)) as running:
        running.call("shop.who")
        counted(running, 1)
        (child,) = children(running)
        found = status(child, SECONDS)
        assert (found.tracing, found.frames, found.executions) == (True, 3, {"shop.who": 1})
        assert running.stop() == 0


def test_an_agent_is_brought_into_a_child_that_runs(redis: str, tmp_path: Path) -> None:
    """Attached in a child that was started without it, the agent finds out what it is in, and counts from then on."""
    with worker(tmp_path, redis, "-c", "1", path=str(ROOT)) as running:
        pid = running.call("shop.who")
        assert running.agents() == []
        assert running.call("shop.attach") is None
        assert running.call("shop.keep", 1) == pid
        eventually(lambda: status(children(running)[0], SECONDS).executions.get("shop.keep") == 1)
        (child,) = children(running)
        assert (child.pid, child.registration.name) == (pid, "ForkPoolWorker-1")
        assert "shop.keep" in told(snapshot(child, LIGHT).path)["tasks"]
        assert running.stop() == 0
    assert running.agents() == []


def test_the_entry_point_loads_nothing_unless_asked(tmp_path: Path) -> None:
    """In a worker that nobody watches, Celery's looking for commands loads three small modules, and no agent."""
    code = """
import sys
import celery.bin.celery
before = set(sys.modules)
import leakhunt.celery
command = leakhunt.celery.command
print(sorted(set(sys.modules) - before | {name for name in sys.modules if name.startswith("leakhunt")}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
    )
    assert done.stdout.splitlines() == ["['leakhunt', 'leakhunt.celery', 'leakhunt.version']"]


def test_celery_lists_the_command(tmp_path: Path) -> None:
    """``celery leakhunt`` says how to watch."""
    environ = {"PYTHONPATH": entry_point(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-m", "celery", "leakhunt"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=environ,
    )
    assert "LEAKHUNT_AGENT=1" in done.stdout
