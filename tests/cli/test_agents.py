from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from conftest import Run  # noqa: TC002 - as in every test
from live_tools import stand_in

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc are Linux's here")
ABOUT = {"role": "child", "pool": "prefork", "node": "agents-test@x", "name": "W-1"}


def test_processes_with_an_agent_are_listed(run: Run, tmp_path: Path) -> None:
    """Each process is a line: what it is, its memory, whether it is traced, what it ran, and its snapshots."""
    with stand_in(tmp_path / "a", **ABOUT) as child, stand_in(tmp_path / "b") as other:
        (box,) = (tmp_path / "a" / "agents").iterdir()
        (tmp_path / "a" / "snapshots" / f"here-{box.name}-20260101T000000-1.bin").touch()
        (tmp_path / "a" / "snapshots" / "here-1-1-20260101T000000-1.bin").touch()
        assert run(["trace", str(child.pid), "on", "--frames", "7"]).code == 0
        result = run(["agents"])
        assert (result.code, result.err) == (0, "")
        rows = [line.split() for line in result.out.splitlines()]
        assert rows[0] == ["PID", "is", "RSS", "tracing", "tasks", "run", "snapshots", "name"]
        told = [
            str(child.pid),
            "pool",
            "child",
            "4.0",
            "KiB",
            "7",
            "frames",
            "10",
            "1",
            "agents-test@x",
            "W-1",
        ]
        assert told in rows
        assert [str(other.pid), "process", "4.0", "KiB", "no", "0", "0"] in rows


def test_of_celery_only_what_runs_tasks_is_listed(run: Run, tmp_path: Path) -> None:
    """With a node nothing but its processes is listed; where there is none, that is an error."""
    with stand_in(tmp_path / "a", **ABOUT) as child, stand_in(tmp_path / "b"):
        result = run(["agents", "--celery", "agents-test"])
        assert [line.split()[0] for line in result.out.splitlines()] == ["PID", str(child.pid)]
    result = run(["agents", "--celery", "agents-test"])
    assert (result.code, result.out) == (2, "")
    assert "no Celery worker with an agent whose node matches 'agents-test' runs here" in result.err


def test_who_does_not_answer_is_listed_all_the_same(run: Run, tmp_path: Path) -> None:
    """What a stopped process would have said is a question mark, and why is told beside."""
    with stand_in(tmp_path, **ABOUT) as child:
        os.kill(child.pid, signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)
        result = run(["agents", "--celery", "agents-test", "--timeout", "300ms"])
        assert result.code == 0
        row = result.out.splitlines()[1].split()
        assert row == [str(child.pid), "pool", "child", "?", "no", "?", "0", "agents-test@x", "W-1"]
        assert f"warning: {child.pid} (agents-test@x W-1) is stopped" in result.err
