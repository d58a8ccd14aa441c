from __future__ import annotations

import os
import signal
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
from conftest import Run, document
from live_tools import stand_in

from leakhunt.model.agents import AskedProcess
from leakhunt.present.agents import agents_report

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc are Linux's here")
# A node of its own for each test that asks for all of a node: others may run beside it.
ABOUT = {"role": "child", "pool": "prefork", "node": "agents-test@x", "name": "W-1"}


def test_processes_with_an_agent_are_listed(run: Run, tmp_path: Path) -> None:
    """Each process is a line: its memory, what it ran, whether it is traced, its snapshots, and what it is."""
    with stand_in(tmp_path / "a", **ABOUT) as child, stand_in(tmp_path / "b") as other:
        (box,) = (tmp_path / "a" / "agents").iterdir()
        (tmp_path / "a" / "snapshots" / f"here-{box.name}-20260101T000000-1.bin").touch()
        (tmp_path / "a" / "snapshots" / "here-1-1-20260101T000000-1.bin").touch()
        assert run(["trace", str(child.pid), "on", "--frames", "7"]).code == 0
        result = run(["agents"])
        assert result.code == 0  # other tests' processes are listed, too
        lines = [line.split() for line in result.out.splitlines()]
        assert " ".join(lines[0][1:]).startswith("processes can be asked for snapshots; ")
        assert lines[2] == ["RSS", "tasks", "run", "frames", "traced", "snapshots", "process"]
        (at,) = (at for at, line in enumerate(lines) if line[-3:] == [str(child.pid), "agents-test@x", "W-1"])
        assert lines[at][3:-3] == ["7", "1", "B", "1"]
        assert lines[at + 1] == ["pool", "child"]
        (at,) = (at for at, line in enumerate(lines) if line[-1:] == [str(other.pid)])
        assert lines[at][3:-1] == ["0"]
        assert lines[at + 1] == ["process"]


def test_a_program_reads_the_same(run: Run, tmp_path: Path) -> None:
    """The JSON has every figure under the name that its schema gives it, and a CSV a row for each process."""
    about = {**ABOUT, "node": "agents-json@x"}
    chosen = ["--celery", "agents-json", "--timeout", "300ms"]
    with stand_in(tmp_path / "a", **about) as child, stand_in(tmp_path / "b", **about) as other:
        os.kill(other.pid, signal.SIGSTOP)
        os.waitpid(other.pid, os.WUNTRACED)
        parsed = document(run, "agents", *chosen)
        rows = run(["agents", *chosen, "--format", "csv"])
    found = {process["pid"]: process for process in parsed["processes"]}
    assert set(found) == {child.pid, other.pid}
    told = found[child.pid]
    assert (told["role"], told["node"], told["silent"]) == ("child", "agents-json@x", None)
    assert told["executions"] == {"shop.tasks.sync": told["ran"]}
    assert told["rss"] == 4096 + told["ran"]
    assert "is stopped" in found[other.pid]["silent"]
    assert found[other.pid]["executions"] is None
    assert [line.partition(",")[0] for line in rows.out.splitlines()] == ["pid", *map(str, sorted(found))]
    assert "is stopped" in rows.err


def test_of_celery_only_what_runs_tasks_is_listed(run: Run, tmp_path: Path) -> None:
    """With a node nothing but its processes is listed; where there is none, that is an error."""
    with stand_in(tmp_path / "a", **{**ABOUT, "node": "agents-only@x"}) as child, stand_in(tmp_path / "b"):
        result = run(["agents", "--celery", "agents-only"])
        assert result.out.startswith("1 process can be asked for snapshots; it is ")
        assert f"{child.pid} agents-only@x W-1" in result.out
    result = run(["agents", "--celery", "agents-only"])
    assert (result.code, result.out) == (2, "")
    assert "no Celery worker with an agent whose node matches 'agents-only' runs here" in result.err


def test_who_does_not_answer_is_listed_all_the_same(run: Run, tmp_path: Path) -> None:
    """What a stopped process would have said is left empty, and why is told below."""
    with stand_in(tmp_path, **{**ABOUT, "node": "agents-stopped@x"}) as child:
        os.kill(child.pid, signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)
        result = run(["agents", "--celery", "agents-stopped", "--timeout", "300ms"])
        assert result.code == 0
        assert result.out.startswith("1 process with leakhunt's agent, and it does not answer.\n")
        assert result.err == ""
        lines = [line.split() for line in result.out.splitlines()]
        at = lines.index(["0", str(child.pid), "agents-stopped@x", "W-1"])
        assert lines[at + 2] == ["does", "not", "answer"]
        assert f"warning: {child.pid} (agents-stopped@x W-1) is stopped" in result.out


def test_what_an_agent_adds_stands_below_its_line() -> None:
    """When tracing stops by itself, and why the last snapshot was refused, are told; who ran most is to be looked at."""
    until = datetime(2026, 11, 21, 3, 10, 42, tzinfo=timezone.utc)
    busy = AskedProcess(
        *(7, "child", "prefork", "celery@x", "W-1"), tracing=True, frames=25, until=until, executions={"a": 3},
        rss=1 << 20, refused="12 MiB are free, 40 MiB needed",
    )  # fmt: skip
    idle = AskedProcess(8, "main", "prefork", "celery@x", None, tracing=False, frames=0, rss=1 << 30)
    report = agents_report([busy, idle])
    assert [detail.text for detail in report.tables[0].lines[0].details] == [
        "pool child",
        "tracing stops at 2026-11-21 03:10:42",
        "its last snapshot was refused: 12 MiB are free, 40 MiB needed",
    ]
    assert report.advice == ("What the largest (1.0 MiB) keeps: leakhunt snap 7 --before-after 5m",)
    assert agents_report([idle]).advice == (
        "What the largest (1.0 GiB) keeps: leakhunt hunt 8, which traces it meanwhile.",
    )
