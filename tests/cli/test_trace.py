from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import Run  # noqa: TC002 - as in every test
from live_tools import stand_in

from leakhunt.control.answers import Status

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc are Linux's here")


def test_tracing_is_switched(run: Run, tmp_path: Path) -> None:
    """``on`` prints how it traces now and says what that costs; ``status`` and ``off`` say how it goes."""
    with stand_in(tmp_path) as child:
        on = run(["trace", str(child.pid), "on", "--frames", "7", "--for", "10m"])
        assert (on.code, on.out) == (0, f"{child.pid}: tracing with 7 frames\n")
        assert on.err == f"{child.pid}: tracing slows it down\n"
        status = run(["trace", str(child.pid), "status"])
        assert (status.code, status.err) == (0, "")
        assert status.out == f"{child.pid}: tracing with 7 frames, 1 B traced, RSS 4.0 KiB, 10 tasks run\n"
        off = run(["trace", str(child.pid), "off"])
        assert (off.code, off.out, off.err) == (0, f"{child.pid}: not tracing\n", "")


def test_the_cost_is_told_once(run: Run, tmp_path: Path) -> None:
    """What holds for all processes stands below their lines, once."""
    with stand_in(tmp_path / "a") as one, stand_in(tmp_path / "b") as two:
        result = run(["trace", str(one.pid), str(two.pid), "on"])
    assert result.out == f"{one.pid}: tracing with 25 frames\n{two.pid}: tracing with 25 frames\n"
    assert result.err == "each of these 2: tracing slows it down\n"


def test_a_refused_snapshot_is_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``status`` says why the last snapshot that a process was to take by itself is not there."""
    told = Status(
        tracing=False,
        frames=0,
        until=None,
        executions={},
        rss=None,
        traced=None,
        refused="the memory limit leaves 1 MiB",
        warning="",
    )
    monkeypatch.setattr("leakhunt.cli.trace.status", lambda *_: told)
    with stand_in(tmp_path) as child:
        result = run(["trace", str(child.pid), "status"])
    assert result.err == f"{child.pid}: its last snapshot was refused: the memory limit leaves 1 MiB\n"


def test_celery_may_stand_before_the_action(run: Run, tmp_path: Path) -> None:
    """``--celery on`` means every node, ``--celery NODE on`` that one."""
    about = {"role": "child", "pool": "prefork", "node": "trace-test@x"}
    with stand_in(tmp_path, **about) as child:
        assert f"{child.pid} (trace-test@x): " in run(["trace", "--celery", "status"]).out
        one = run(["trace", "--celery", "trace-test", "status"])
        assert (one.code, one.out.count("\n")) == (0, 1)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "say what to do"),
        (["42"], "say what to do"),
        (["42", "maybe"], "say what to do"),
        (["on"], "name processes in one way"),
        (["x", "on"], "'x' is not a PID"),
        (["42", "off", "--frames", "3"], "go with 'on'"),
        (["42", "status", "--for", "3m"], "go with 'on'"),
    ],
)
def test_bad_usage_is_told(run: Run, words: list[str], complaint: str) -> None:
    """What cannot be meant is refused before anything is asked."""
    result = run(["trace", *words])
    assert (result.code, result.out) == (2, "")
    assert complaint in result.err
