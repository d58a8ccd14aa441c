from __future__ import annotations

import os
import signal
import sys
import tracemalloc
from pathlib import Path

import pytest
from agent_tools import SECONDS, program
from celery_tools import eventually

from leakhunt.capture.letters import StatusRequest
from leakhunt.capture.mailbox import boxes
from leakhunt.control import process as system
from leakhunt.control.ask import ask
from leakhunt.control.find import everyone, find
from leakhunt.control.process import Process
from leakhunt.control.waking import waits

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="processes are found through /proc"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return where agents write."""
    return tmp_path / "leakhunt"


def test_a_fork_that_becomes_another_program_costs_nothing(folder: Path) -> None:
    """Between fork and exec nothing is written, begun or cleared, however much is traced and recorded."""
    code = """
import subprocess
agents.start(Settings(agent=True, trace=True, record=True, frames=1))
def look():
    before = len(os.listdir("/proc/self/task")), tracemalloc.get_traced_memory()[0] > 1_000_000
    say(*before, agents.agent().here, agents.agent().recorder)
kept = [bytearray(1000) for _ in range(1000)]
subprocess.run(["true"], preexec_fn=look, check=True)
folder = os.environ["LEAKHUNT_DIR"]
say([int(name.split("-")[0]) == os.getpid() for name in os.listdir(folder + "/agents")])
"""
    with program(code, folder) as running:
        assert running.end() == (0, "1 True False None\n[True]\n", "")


def test_children_of_multiprocessing_are_found(folder: Path) -> None:
    """A child that multiprocessing forks is among all, and when it was asked, it is a process with an agent."""
    code = """
import multiprocessing
agents.start(Settings(agent=True))
def work(pipe):
    pipe.recv()
here, there = multiprocessing.Pipe()
child = multiprocessing.get_context("fork").Process(target=work, args=(there,))
child.start()
say(child.pid)
wait()
here.send(None)
child.join()
"""
    with program(code, folder, LEAKHUNT_AGENT="1") as running:
        child = int(running.hear())
        assert {running.pid, child} <= {agent.pid for agent in everyone().agents}
        assert ask(find(child), StatusRequest(), SECONDS)["executions"] == {}
        running.tell()
        assert running.end() == (0, "", "")


def test_a_fork_of_a_fork_is_found(folder: Path) -> None:
    """A process whose parent is gone, as a daemon's, is found by its variables."""
    code = """
agents.start(Settings(agent=True))
if os.fork() == 0:
    if os.fork() == 0:
        say(os.getpid())
        wait()
    os._exit(0)
os.wait()
os._exit(0)
"""
    with program(code, folder, LEAKHUNT_AGENT="1") as running:
        child = int(running.hear())
        running.process.wait(SECONDS)
        agent = find(child)
        assert agent.registration.pid == child
        running.tell()


def test_a_task_makes_a_forked_process_begin(folder: Path) -> None:
    """What counts a task in a forked process has an agent there, with nobody's asking."""
    code = """
agents.start(Settings(agent=True, record=True))
if os.fork() == 0:
    agents.agent().task_ended("shop.a")
    say(agents.agent().here, agents.agent().executions)
    os._exit(0)
os.wait()
"""
    with program(code, folder) as running:
        assert running.end() == (0, "True {'shop.a': 1}\n", "")


def test_growth_of_a_forked_process_gives_a_snapshot(folder: Path) -> None:
    """A forked process that waits watches its own growth; only a snapshot makes it take its place."""
    code = """
agents.start(Settings(each_growth=32 << 20))
if os.fork() == 0:
    say(os.getpid(), agents.agent().here)
    kept = b"x" * (64 << 20)
    wait()
    os._exit(0)
os.wait()
"""
    with program(code, folder) as running:
        child, here = running.hear().split()
        assert here == "False"
        eventually(lambda: bool(list((folder / "snapshots").glob(f"*-{child}-*.bin"))))
        assert int(child) in {box.registration().pid for box in boxes(str(folder))}
        running.tell()
        assert running.end() == (0, "", "")
    (path,) = (folder / "snapshots").glob("*.bin")
    assert tracemalloc.Snapshot.load(str(path)).leakhunt["reason"] == "growth"  # type: ignore[attr-defined]


def test_no_thread_of_ours_stands_by_while_the_program_forks(folder: Path) -> None:
    """Python warns of forks beside threads: ours is gone when the program forks, and there again afterwards."""
    code = """
def count():
    say(len(os.listdir("/proc/self/task")))
os.register_at_fork(before=count)
agents.start(Settings(interval=3600.0))
for _ in range(3):
    if os.fork() == 0:
        os._exit(0)
    os.wait()
while len(os.listdir("/proc/self/task")) < 2:
    time.sleep(0.001)
"""
    with program(code, folder) as running:
        assert running.end() == (0, "1\n1\n1\n", "")


def test_what_is_due_is_due_however_often_the_program_forks(folder: Path) -> None:
    """A program that forks again and again keeps its clock: the next look is not put off."""
    code = """
agents.start(Settings(interval=0.2))
for _ in range(5000):
    if os.fork() == 0:
        os._exit(0)
    os.wait()
    if any(name.endswith(".bin") for name in os.listdir(os.environ["LEAKHUNT_DIR"] + "/snapshots")):
        say("taken")
        break
"""
    with program(code, folder) as running:
        assert running.end() == (0, "taken\n", "")


def test_numbers_of_threads_are_not_carried_over(folder: Path) -> None:
    """A thread that takes a snapshot while the program forks is not there in the child, nor is its number."""
    code = """
from leakhunt.capture import aside, taker
agents.start(Settings(agent=True))
entered, left = threading.Event(), threading.Event()
def work():
    taker._at_work.add(threading.get_ident())
    entered.set()
    left.wait()
aside.begin(work)
entered.wait()
pid = os.fork()
if pid == 0:
    say(taker._at_work, aside._threads)
    os._exit(0)
os.waitpid(pid, 0)
say(len(taker._at_work), len(aside._threads))
left.set()
"""
    with program("import warnings\nwarnings.simplefilter('ignore')\n" + code, folder) as running:
        assert running.end() == (0, "set() set()\n1 1\n", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_that_is_lost_with_the_user_is_said_once(folder: Path) -> None:
    """A program that becomes another user, who may not write where it did, is told so once."""
    code = """
agents.start(Settings(agent=True))
os.seteuid(65534)
say(repr(agents.agent().snapshot()), repr(agents.agent().snapshot()))
os.seteuid(0)
say(bool(agents.agent().snapshot()))
"""
    os.chmod(folder.parent, 0o700)
    with program(code, folder) as running:
        code_, out, err = running.end()
    assert (code_, out) == (0, "'' ''\nTrue\n")
    assert "runs as the user 65534" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "variables", "parent", "expected"),
    [
        ("python3.12", {"LEAKHUNT_AGENT": "1"}, 0, signal.SIGURG),
        ("uwsgi", {"LEAKHUNT_AGENT": "1", "LEAKHUNT_SIGNAL": "WINCH"}, 0, signal.SIGWINCH),
        ("python3.12", {"LEAKHUNT_AGENT": "1", "LEAKHUNT_SIGNAL": "TERM"}, 0, 0),
        ("python3.12", {"LEAKHUNT_AGENT": "1", "LEAKHUNT_SIGNAL": "CONT"}, 0, 0),
        ("python3.12", {}, 0, 0),
        ("frozen-shop", {}, signal.SIGURG, signal.SIGURG),
        ("minio", {"LEAKHUNT_AGENT": "1"}, 0, 0),
    ],
)
def test_only_what_is_seen_to_wait_is_signalled(
    monkeypatch: pytest.MonkeyPatch, name: str, variables: dict[str, str], parent: int, expected: int
) -> None:
    """A signal goes to Python with our variables, or to a fork of a process with an agent, and only where it is caught."""
    monkeypatch.setattr(system, "program", lambda _: f"/usr/bin/{name}")
    caught = sum(1 << (number - 1) for number in (signal.SIGTERM, signal.SIGURG, signal.SIGWINCH))
    assert waits(Process(4242, 4242, 1, 0, 0, caught, ""), variables, parent) == expected
