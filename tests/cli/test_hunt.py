from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from conftest import Run  # noqa: TC002 - as in every test
from live_tools import bystander, stand_in

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc are Linux's here")
QUICK = ["--for", "50ms", "--warm-up", "50ms"]


def test_a_hunt_prints_what_grew(run: Run, tmp_path: Path) -> None:
    """Two snapshots are taken and compared as by ``leakhunt diff``; tracing is off again, its cost was told."""
    with stand_in(tmp_path) as child:
        result = run(
            ["hunt", str(child.pid), *QUICK, "--frames", "3", "-f", "json", "--source", str(tmp_path)]
        )
        assert result.code == 0
        document = json.loads(result.out)
        assert [shot["traceback_limit"] for shot in document["snapshots"]] == [3, 3]
        assert "tracing slows it down" in result.err
        last = result.err.splitlines()[-1]
        assert last.startswith("Look again: leakhunt diff ")
        assert last.count(f"{tmp_path}/snapshots/") == 2
        assert run([*last.split()[3:], "--source", str(tmp_path)]).code == 0
        assert run(["trace", str(child.pid), "status"]).out.startswith(f"{child.pid}: not tracing")


def test_of_a_pool_the_largest_is_hunted(run: Run, tmp_path: Path) -> None:
    """Of several children the one with the most memory is taken, and that is said."""
    about = {"role": "child", "pool": "prefork", "node": "hunt-test@x"}
    with stand_in(tmp_path / "a", **about) as small, stand_in(tmp_path / "b", **about) as large:
        run(["trace", str(large.pid), "status"])  # each look lets the stand-in grow
        result = run(["hunt", "--celery", "hunt-test", *QUICK, "--source", str(tmp_path)])
        assert result.code == 0
        why = f"the larger of 2 pool children; for the other: leakhunt hunt {small.pid}"
        assert f"{large.pid} (hunt-test@x): {why}\n" in result.err


def test_what_cannot_be_hunted_is_told(run: Run) -> None:
    """A process into which no agent can come, and none at all, are errors with exit code 2."""
    with bystander("sh", "-c", "echo ready; read line") as pid:
        result = run(["hunt", str(pid)])
    assert (result.code, result.out) == (2, "")
    assert f"process {pid} has no leakhunt agent, and shows no sign of CPython" in result.err
    result = run(["hunt", "celery@x"])
    assert (result.code, result.out) == (2, "")
    assert "'celery@x' is not a PID: write the number that ps shows" in result.err
    result = run(["hunt"])
    assert result.code == 2
    assert "name processes in one way: PID, or --celery" in result.err


def test_options_that_do_not_go_together_are_told_before_the_wait(run: Run, tmp_path: Path) -> None:
    """Bad options for the difference are refused at once, and the process is not asked."""
    with stand_in(tmp_path) as child:
        result = run(["hunt", str(child.pid), "--for", "1h", "--cumulative", "-g", "task"])
        assert (result.code, result.out) == (2, "")
        assert "--cumulative does not go with --group-by task" in result.err
        assert not list((tmp_path / "snapshots").iterdir())
