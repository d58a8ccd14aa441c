from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_tools import SECONDS
from celery_tools import eventually
from conftest import ROOT, subprocess_environment

from leakhunt.capture.letters import SnapshotRequest
from leakhunt.capture.mailbox import boxes
from leakhunt.control.answers import snapshot
from leakhunt.control.find import everyone, find
from leakhunt.control.process import read_process
from leakhunt.errors import LeakhuntError

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="processes are found through /proc"
)

APP = """
def app(environ, start):
    start("200 OK", [])
    return [b""]
"""
LIGHT = SnapshotRequest(deep=False, timeout=SECONDS)
NOBODY = 65534


def _without_control_socket() -> tuple[str, ...]:
    """Return the option of newer versions that does without a socket, which only root could make where it is."""
    told = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--help"], capture_output=True, text=True, check=True
    ).stdout
    return ("--no-control-socket",) if "--no-control-socket" in told else ()


class Server:
    """A gunicorn that runs.

    Attributes:
        process: its arbiter.
        workers: the numbers of its workers.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.workers: list[int] = []
        assert process.stderr is not None
        while len(self.workers) < 2:
            line = process.stderr.readline()
            assert line, "gunicorn has ended"
            found = re.search(r"Booting worker with pid: (\d+)", line)
            if found:
                self.workers.append(int(found[1]))

    def stop(self) -> str:
        """End it as ``kill`` does, and return what it said meanwhile."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.stderr is not None
        rest = self.process.stderr.read()
        assert self.process.wait(SECONDS) == 0
        return rest


@contextlib.contextmanager
def gunicorn(folder: Path, *options: str, **variables: str) -> Iterator[Server]:
    """Run gunicorn under the bootstrap, with two workers; it is gone on leaving."""
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    (folder / "shop.py").write_text(APP, encoding="utf-8")
    path = os.pathsep.join([str(ROOT / "leakhunt" / "capture" / "bootstrap"), str(folder)])
    environ = {**subprocess_environment(**variables), "PYTHONPATH": path}
    argv = [sys.executable, "-m", "gunicorn", "-w", "2", "-b", f"unix:{folder}/s", *options, "shop:app"]
    with subprocess.Popen(argv, cwd=folder, env=environ, stderr=subprocess.PIPE, text=True) as process:
        watchdog = threading.Timer(SECONDS, process.kill)
        watchdog.start()
        try:
            yield Server(process)
        finally:
            watchdog.cancel()
            watchdog.join()
            process.kill()


def told(path: str) -> dict[str, Any]:
    """Return what a snapshot tells of its process."""
    facts = tracemalloc.Snapshot.load(path).leakhunt  # type: ignore[attr-defined]
    assert isinstance(facts, dict)
    return facts


def test_gunicorns_workers_have_agents(tmp_path: Path) -> None:
    """The arbiter of gunicorn and each worker answer; a worker says that what the arbiter allocated is included."""
    state = str(tmp_path / "leakhunt")
    variables = {"LEAKHUNT_DIR": state, "LEAKHUNT_TRACE": "1", "LEAKHUNT_FRAMES": "3"}
    with gunicorn(tmp_path, "--preload", **variables) as server:
        arbiter = server.process.pid
        assert {box.registration().pid for box in boxes(state)} == {arbiter}
        pids = {arbiter, *server.workers}
        assert pids <= {agent.pid for agent in everyone().agents}
        assert {box.registration().pid for box in boxes(state)} == pids
        for pid in pids:
            facts = told(snapshot(find(pid), LIGHT).path)
            assert facts["pid"] == pid
            assert facts["tracing"]["inherited"] == ("none" if pid == arbiter else "included")
        assert "leakhunt" not in server.stop()
    assert boxes(state) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("owner", [0, NOBODY], ids=["root", "nobody"])
def test_workers_that_become_another_user(tmp_path: Path, owner: int) -> None:
    """Workers that left root behind answer in a folder of their user; where it is root's, this is said, and what to do."""
    place = tempfile.mkdtemp(prefix="leakhunt-test-")  # where others can get to
    try:
        os.chown(place, owner, -1)
        options = ("--preload", "--user", str(NOBODY), *_without_control_socket())
        with gunicorn(tmp_path, *options, LEAKHUNT_DIR=place, LEAKHUNT_AGENT="1") as server:
            for pid in server.workers:
                eventually(lambda pid=pid: read_process(pid).uid == NOBODY)  # type: ignore[misc]
                if owner == NOBODY:
                    assert os.stat(snapshot(find(pid), LIGHT).path).st_uid == NOBODY
                else:
                    with pytest.raises(
                        LeakhuntError, match=f"agent's folder {place}, which belongs to root"
                    ) as caught:
                        find(pid)
                    assert "LEAKHUNT_DIR" in caught.value.hint
            server.stop()
    finally:
        shutil.rmtree(place)
