from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, subprocess_environment
from live_tools import Child, stand_in

from leakhunt.capture.letters import SnapshotRequest, TraceRequest
from leakhunt.control.answers import snapshot, trace
from leakhunt.control.find import find
from leakhunt.errors import LeakhuntError

NOBODY = 65534
QUICK = SnapshotRequest(timeout=20.0)
root_only = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root can become another user"
)


@pytest.fixture
def theirs() -> Iterator[Path]:
    """Return a folder of another user's, which that user can reach."""
    folder = tempfile.mkdtemp(prefix="leakhunt-test-")
    os.chown(folder, NOBODY, NOBODY)
    yield Path(folder)
    shutil.rmtree(folder)


# This Python itself may lie where only root can read, so everything is imported before root is left.
_AS_NOBODY = f"""
import os, sys, leakhunt.cli.snap
from leakhunt.cli import run
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
sys.exit(run(sys.argv[1:]))
"""


def as_nobody(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run leakhunt as another user."""
    return subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, *words],
        env=subprocess_environment(HOME="/nonexistent", **environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@root_only
def test_root_asks_another_user_s_process(theirs: Path) -> None:
    """Root gets a snapshot of another user's process; request and snapshot are that user's, and root is root again."""
    with stand_in(theirs / "state", uid=NOBODY) as child:
        agent = find(child.pid)
        assert (agent.process.uid, agent.process.root) == (NOBODY, "")
        trace(agent, TraceRequest(on=True), 20.0)
        taken = snapshot(agent, QUICK)
        assert os.stat(taken.path).st_uid == NOBODY
        assert os.geteuid() == 0
        assert os.getegid() == os.getgid()


@root_only
def test_a_planted_link_cannot_make_root_write_elsewhere(theirs: Path, tmp_path: Path) -> None:
    """Where a user's folder is a link into root's own, root finds no agent there and writes nothing."""
    with stand_in(theirs / "state", uid=NOBODY) as child:
        agents = theirs / "state" / "agents"
        box = find(child.pid).box.name
        shutil.copytree(agents, tmp_path / "agents")
        agents.rename(theirs / "state" / "away")
        agents.symlink_to(tmp_path / "agents")
        os.chmod(tmp_path, 0o700)
        with pytest.raises(LeakhuntError, match="has no leakhunt agent"):
            find(child.pid)
        assert os.listdir(tmp_path / "agents" / box) == ["agent.json"]


@root_only
def test_another_user_is_told_so(tmp_path: Path) -> None:
    """Who is neither root nor the process's user is told whose it is, with exit code 2."""
    with stand_in(tmp_path) as child:
        done = as_nobody("snap", str(child.pid))
        assert (done.returncode, done.stdout) == (2, "")
        assert f"process {child.pid} belongs to the user root" in done.stderr
        assert "run this as that user, or as root" in done.stderr
        assert "Traceback" not in done.stderr


@root_only
def test_a_user_asks_its_own(theirs: Path) -> None:
    """A user without any privilege gets a snapshot of its own process, even of one that was root before.

    Such a process hides its variables, so the folder has to be said; without it the reason is told.
    """
    folder = str(theirs / "state")
    with stand_in(theirs / "state", uid=NOBODY) as child:
        trace(find(child.pid), TraceRequest(on=True), 20.0)
        done = as_nobody("snap", str(child.pid))
        assert (done.returncode, done.stdout) == (2, "")
        assert "set LEAKHUNT_DIR to that folder" in done.stderr
        done = as_nobody("snap", str(child.pid), LEAKHUNT_DIR=folder)
        assert (done.returncode, done.stderr.count("\n")) == (0, 2), done.stderr
        assert os.path.isfile(done.stdout.rstrip("\n"))


def _unshared(*options: str) -> list[str]:
    words = ["unshare", *options]
    try:
        works = subprocess.run([*words, "true"], check=False, capture_output=True, timeout=20).returncode == 0
    except OSError:
        works = False
    if not works:
        pytest.skip(f"{' '.join(words)} does not work here")
    return words


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
def test_a_process_in_a_container_is_asked(tmp_path: Path) -> None:
    """A process in pid and mount namespaces of its own is found by its number here, and its snapshot is reached."""
    words = _unshared(
        "--user", "--map-root-user", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"
    )
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    inside = 'mount -t tmpfs none "$1" && exec "$2" "$3" "$1/state" obey'
    script = ROOT / "tests" / "stand_in.py"
    command = [*words, "sh", "-c", inside, "sh", str(hidden), sys.executable, str(script)]
    with Child(command, LEAKHUNT_DIR=str(hidden / "state")) as outer:
        (pid,) = map(
            int, Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text(encoding="ascii").split()
        )
        agent = find(pid)
        assert (agent.process.inner, agent.registration.pid) == (1, 1)
        assert agent.process.root == f"/proc/{pid}/root"
        trace(agent, TraceRequest(on=True), 20.0)
        taken = snapshot(agent, QUICK)
        assert taken.path.startswith(f"/proc/{pid}/root{hidden}/state/snapshots/")
        assert os.path.getsize(taken.path) > 0
        assert os.listdir(hidden) == []
