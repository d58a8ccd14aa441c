from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest
from agent_tools import SECONDS
from conftest import ROOT, subprocess_environment

from leakhunt.capture.letters import SnapshotRequest
from leakhunt.capture.mailbox import boxes
from leakhunt.control.answers import snapshot
from leakhunt.control.find import find

APP = """
def app(environ, start):
    start("200 OK", [])
    return [b""]
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are found through /proc")
def test_gunicorns_workers_have_agents(tmp_path: Path) -> None:
    """Under the bootstrap, gunicorn's arbiter and each worker answer; a worker leaves out what the arbiter allocated."""
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    (tmp_path / "shop.py").write_text(APP, encoding="utf-8")
    path = os.pathsep.join([str(ROOT / "leakhunt" / "capture" / "bootstrap"), str(tmp_path)])
    environ = subprocess_environment(
        LEAKHUNT_DIR=str(tmp_path / "leakhunt"), LEAKHUNT_TRACE="1", LEAKHUNT_FRAMES="3"
    )
    argv = [sys.executable, "-m", "gunicorn", "--preload", "-w", "2", "-b", f"unix:{tmp_path}/s", "shop:app"]
    with subprocess.Popen(
        argv, cwd=tmp_path, env={**environ, "PYTHONPATH": path}, stderr=subprocess.PIPE, text=True
    ) as process:
        watchdog = threading.Timer(SECONDS, process.kill)
        watchdog.start()
        try:
            assert process.stderr is not None
            booted = 0
            while booted < 2:
                line = process.stderr.readline()
                assert line, "gunicorn has ended"
                booted += "Booting worker" in line
            pids = {box.registration().pid for box in boxes(str(tmp_path / "leakhunt"))}
            assert process.pid in pids
            assert len(pids) == 3
            for pid in pids:
                taken = snapshot(find(pid), SnapshotRequest(deep=False, timeout=SECONDS))
                facts = tracemalloc.Snapshot.load(taken.path).leakhunt  # type: ignore[attr-defined]
                assert facts["pid"] == pid
                assert facts["tracing"]["inherited"] == ("none" if pid == process.pid else "left out")
            process.send_signal(signal.SIGTERM)
            rest = process.stderr.read()
            assert process.wait(SECONDS) == 0
            assert "leakhunt" not in rest
        finally:
            watchdog.cancel()
            watchdog.join()
            process.kill()
    assert boxes(str(tmp_path / "leakhunt")) == []
