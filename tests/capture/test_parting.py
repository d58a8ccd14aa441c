from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from agent_tools import program
from celery_tools import eventually

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it looks into /proc")

# What writes the snapshot stands still where the tasks are asked for, until the test lets it go on.
BEGIN = """
from leakhunt.capture import parting

def stand_still():
    with open(os.environ["FIFO"], "rb") as fifo:
        fifo.read()
    return {}

def begin(*who):
    agents.start(Settings(at_exit=True), Who(*who), tasks=stand_still)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return where agents write."""
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "leakhunt"


def let_go_on(folder: Path) -> None:
    """Let what writes a snapshot go on."""
    with open(folder.parent / "fifo", "wb"):
        pass


def is_there(folder: Path) -> bool:
    """Whether the snapshot is written."""
    return len(list((folder / "snapshots").glob("*.bin"))) == 1


def test_a_pool_s_child_does_not_wait_for_its_last_snapshot(folder: Path) -> None:
    """A child leaves at once; its snapshot is written all the same, after its parent's end and against PDEATHSIG too."""
    code = """
import ctypes
parting._SECONDS = parting._SECONDS_FOR_ALL = 3600.0
pid = os.fork()
if pid == 0:
    assert ctypes.CDLL(None).prctl(1, int(signal.SIGKILL)) == 0
    begin("child", "prefork")
    agents.agent().leave(155)
    os._exit(0)
os.waitpid(pid, 0)
"""
    with program(BEGIN + code, folder, FIFO=str(folder.parent / "fifo")) as running:
        assert running.process.wait() == 0
    assert not is_there(folder)
    let_go_on(folder)
    eventually(lambda: is_there(folder))


AT_EXIT = pytest.mark.skipif(
    sys.version_info[:2] == (3, 12),
    reason="3.12 does not fork at exit, so that the process itself writes its last snapshot",
)


@AT_EXIT
def test_a_process_waits_a_few_seconds(folder: Path) -> None:
    """A process that nobody outlives waits for its last snapshot, but not longer than it may."""
    code = """
parting._SECONDS = 0.2
begin()
"""
    with program(BEGIN + code, folder, FIFO=str(folder.parent / "fifo")) as running:
        assert running.end() == (0, "", "")
    assert not is_there(folder)
    let_go_on(folder)
    eventually(lambda: is_there(folder))


@AT_EXIT
@pytest.mark.parametrize(
    ("handler", "said"),
    [
        ("lambda *_: say('handled')", "handled\n"),
        ("lambda *_: sys.exit(3)", ""),
        ("signal.default_int_handler", ""),
    ],
)
def test_a_signal_ends_the_wait(folder: Path, handler: str, said: str) -> None:
    """The program's handlers run while it waits, and whatever they do, it waits no longer."""
    code = f"""
parting._SECONDS = 3600.0
signal.signal(signal.SIGTERM, {handler})
begin()
patience = parting.patience
def told(**known):
    say("leaving")
    return patience(**known)
parting.patience = told
"""
    with program(BEGIN + code, folder, FIFO=str(folder.parent / "fifo")) as running:
        assert running.hear() == "leaving"
        eventually(lambda: (folder / "snapshots").is_dir() and _writers(running.pid))
        running.process.send_signal(signal.SIGTERM)
        code_, out, err = running.end()
    assert (code_, out.replace("leaving\n", ""), err) == (0, said, "")
    let_go_on(folder)
    eventually(lambda: is_there(folder))


def _writers(pid: int) -> bool:
    """Whether a process of a process's group writes a snapshot."""
    group = os.getpgid(pid)
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            text = Path(f"/proc/{name}/stat").read_text(encoding="utf-8")
        except OSError:
            continue
        head, _, rest = text.rpartition(")")
        if head.endswith("(leakhunt-snap") and int(rest.split()[2]) == group:
            return True
    return False


def test_the_main_process_waits_for_its_children_s_snapshots(folder: Path) -> None:
    """A pool's main process, whose end may end everything, leaves when the snapshots of its children are written."""
    code = """
parting._SECONDS = 3600.0
pid = os.fork()
if pid == 0:
    begin("child", "prefork")
    agents.agent().leave(0)
    os._exit(0)
os.waitpid(pid, 0)
begin("main", "prefork")
say("leaving")
"""
    # In a group of its own, so that no other test's snapshot is waited for.
    with program("os.setpgid(0, 0)\n" + BEGIN + code, folder, FIFO=str(folder.parent / "fifo")) as running:
        assert running.hear() == "leaving"
        let_go_on(folder)
        assert running.end() == (0, "", "")
        assert is_there(folder)


def test_a_last_snapshot_is_light(folder: Path) -> None:
    """At exit not all objects are looked at, since that takes its time."""
    code = """
from leakhunt.capture.taker import Taker
facts = Taker._facts
def told(taker, how, reason):
    say(reason, how.deep, how.retainers, how.trim)
    return facts(taker, how, reason)
Taker._facts = told
agents.start(Settings(at_exit=True, trim=True))
agents.agent().snapshot()
parting.Parting().wait(parting.ours, lambda: 60)
"""
    with program(BEGIN + code, folder, FIFO="") as running:
        assert running.end() == (0, "api True True True\nexit False False False\n", "")
