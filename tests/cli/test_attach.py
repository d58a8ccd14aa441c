from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import ROOT, Run
from live_tools import Child, bystander

from leakhunt.capture.settings import Settings
from leakhunt.control.find import Agent
from leakhunt.errors import LeakhuntError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="attach is Linux's")
REACHABLE = sys.executable if sys.version_info >= (3, 14) else shutil.which("python3.14")
PROGRAM = """
import select, sys
kept = []
print("ready", flush=True)
while True:
    if select.select([sys.stdin], [], [], 0.01)[0]:
        kept.extend(bytes(1000) for _ in range(int(sys.stdin.readline())))
        print("done", flush=True)
"""
STUCK = """
import hashlib, sys
print("ready", flush=True)
sys.stdin.readline()
print("done", flush=True)
hashlib.pbkdf2_hmac("sha256", b"x", b"y", 1 << 30)
"""
real = pytest.mark.skipif(REACHABLE is None, reason="needs Python 3.14 or later, here or on the PATH")


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="this Python can be reached")
def test_an_older_python_is_refused(run: Run) -> None:
    """Below Python 3.14 nothing is touched, and what to do instead is told."""
    with bystander() as pid:
        result = run(["attach", str(pid)])
    assert (result.code, result.out) == (2, "")
    assert f"error: process {pid} runs Python 3." in result.err
    assert "hint: start it as 'leakhunt run -- COMMAND'" in result.err


def test_variables_count_where_no_option_says_otherwise(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an option does not say, LEAKHUNT_ variables do, tracing and recording too; a folder is made absolute."""
    seen: list[Settings] = []

    def bring(_: int, settings: Settings, **__: object) -> Agent:
        seen.append(settings)
        raise LeakhuntError("seen")

    monkeypatch.setattr("leakhunt.cli.attach.bring", bring)
    variables = {"LEAKHUNT_TRACE": "1", "LEAKHUNT_FRAMES": "7", "LEAKHUNT_DIR": "/elsewhere"}
    run(["attach", "4242", "--record", "--dir", "here"], env=variables)
    assert seen == [Settings(trace=True, record=True, frames=7, folder=str(ROOT / "here"))]


@real
def test_a_running_process_gets_an_agent(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent is brought into a process that was started without, once; then snap and trace reach it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Child([str(REACHABLE), "-c", PROGRAM], PYTHONPATH="", LEAKHUNT_DIR=str(tmp_path / "state")) as child:
        for _ in range(2):
            result = run(["attach", str(child.pid)], env={"LEAKHUNT_DIR": str(tmp_path / "state")})
            assert (result.code, result.out) == (0, ""), result.err
            assert f"{child.pid}: the agent is in it, not tracing yet" in result.err
        assert run(["trace", str(child.pid), "on"]).code == 0
        child.tell("5000")
        result = run(["snap", str(child.pid), "--light"])
        assert result.code == 0, result.err
        assert os.path.isfile(result.out.rstrip("\n"))
    assert os.listdir(tmp_path) == ["state"]


@real
def test_a_stuck_process_is_left_as_it_was(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that does not come to it in time gets nothing later on, and its reason is told."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Child([str(REACHABLE), "-c", STUCK], PYTHONPATH="") as child:
        child.tell("go")
        result = run(["attach", str(child.pid), "--timeout", "200ms"])
        assert (result.code, result.out) == (2, "")
        assert "did not come to it within 0.2 s: its main thread is in C code, or blocked" in result.err
        assert "nothing is loaded later on" in result.err
