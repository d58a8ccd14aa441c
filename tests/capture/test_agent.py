from __future__ import annotations

import os
import signal
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from agent_tools import SECONDS, program

from leakhunt.capture.letters import SnapshotRequest, StatusRequest, TraceRequest
from leakhunt.capture.mailbox import boxes
from leakhunt.control.answers import snapshot, status, trace
from leakhunt.control.ask import Stage, ask
from leakhunt.control.find import find

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="processes are found through /proc"
)

LIGHT = SnapshotRequest(deep=False, timeout=SECONDS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return where agents write."""
    return tmp_path / "leakhunt"


def told(path: str) -> dict[str, Any]:
    """Return what a snapshot tells of its process."""
    facts = tracemalloc.Snapshot.load(path).leakhunt  # type: ignore[attr-defined]
    assert isinstance(facts, dict)
    return facts


def snapshots(folder: Path) -> list[str]:
    """Return the snapshots in a folder, in the order of their numbers."""
    return sorted(
        map(str, (folder / "snapshots").glob("[!.]*")), key=lambda name: int(name[:-4].rpartition("-")[2])
    )


def test_a_program_answers_while_it_computes(folder: Path) -> None:
    """An agent answers between the bytecodes of a program that never waits, and the program goes on."""
    code = """
agents.start(Settings(agent=True))
say("ready")
while not os.path.exists(os.environ["LEAKHUNT_DIR"] + "/stop"):
    sum(range(1000))
say("done")
"""
    with program(code, folder) as running:
        assert running.hear() == "ready"
        agent = find(running.pid)
        answer = status(agent, SECONDS)
        assert (answer.tracing, answer.frames, answer.executions) == (False, 0, {})
        assert answer.rss is not None
        taken = snapshot(agent, LIGHT)
        assert told(taken.path)["pid"] == running.pid
        (folder / "stop").touch()
        assert running.end() == (0, "done\n", "")


def test_a_program_that_sleeps_answers(folder: Path) -> None:
    """A program that waits in a system call is woken to answer, and waits on."""
    with program('agents.start(Settings(agent=True))\nsay("ready")\nsay("got", wait())', folder) as running:
        assert running.hear() == "ready"
        assert status(find(running.pid), SECONDS).traced == 0
        running.tell("word")
        assert running.end() == (0, "got word\n", "")


def test_why_a_snapshot_was_refused_is_told_later(folder: Path) -> None:
    """Nobody hears of a snapshot that the agent was to take by itself; its status says why there is none."""
    code = """
import leakhunt.capture.snapshots.snapshot as snapshots
from leakhunt.capture.snapshots.headroom import Room
snapshots.headroom.room = lambda: Room(1, "this test")
agents.start(Settings(agent=True))
agents.agent().snapshot("rss")
say("ready")
wait()
"""
    with program(code, folder) as running:
        running.hear()
        assert "this test" in status(find(running.pid), SECONDS).refused
        assert snapshots(folder) == []


def test_tracing_is_switched_on_and_off(folder: Path) -> None:
    """Tracing begins with the frames asked for, and what it costs is said; when it ends, its traces are gone."""
    with program('agents.start(Settings(agent=True))\nsay("ready")\nwait()', folder) as running:
        running.hear()
        agent = find(running.pid)
        on = trace(agent, TraceRequest(on=True, frames=7), SECONDS)
        assert (on.tracing, on.frames, on.until) == (True, 7, None)
        assert "slower" in on.warning
        assert find(running.pid).registration.frames == 7
        again = trace(agent, TraceRequest(on=True, frames=3), SECONDS)
        assert again.frames == 3
        assert "lost" in again.warning
        off = trace(agent, TraceRequest(on=False), SECONDS)
        assert (off.tracing, off.frames) == (False, 0)


def test_tracing_ends_by_itself(folder: Path) -> None:
    """Tracing for a time ends without anybody's asking, though no task ever does."""
    code = """
agents.start(Settings(agent=True))
say("ready")
wait()
while tracemalloc.is_tracing():
    time.sleep(0.01)
say("off")
"""
    with program(code, folder) as running:
        running.hear()
        on = trace(find(running.pid), TraceRequest(on=True, frames=1, seconds=0.2), SECONDS)
        assert on.until is not None
        running.tell()
        assert running.hear() == "off"


def test_a_programs_own_tracing_is_left_alone(folder: Path) -> None:
    """Where the program traces by itself, neither its frames nor its traces change."""
    code = """
tracemalloc.start(2)
agents.start(Settings(agent=True, trace=True, frames=25))
kept = bytearray(1 << 20)
say("ready")
wait()
say(tracemalloc.get_traceback_limit(), tracemalloc.get_traced_memory()[0] > 1 << 20)
"""
    with program(code, folder) as running:
        running.hear()
        agent = find(running.pid)
        on = trace(agent, TraceRequest(on=True, frames=25), SECONDS)
        assert (on.tracing, on.frames) == (True, 2)
        assert "left as it is" in on.warning
        with pytest.raises(Exception, match="left as it is"):
            trace(agent, TraceRequest(on=False), SECONDS)
        running.tell()
        assert running.hear() == "2 True"


def test_a_handler_that_was_there_is_called_too(folder: Path) -> None:
    """The agent stands in front of a handler of the program's, and does not replace it."""
    code = """
signal.signal(signal.SIGURG, lambda number, frame: say("theirs", number))
agents.start(Settings(agent=True))
say("ready")
wait()
"""
    with program(code, folder) as running:
        running.hear()
        status(find(running.pid), SECONDS)
        assert running.hear() == f"theirs {int(signal.SIGURG)}"


def test_what_a_handler_of_the_program_raises_reaches_the_program(folder: Path) -> None:
    """An exception that the program's handler raises is the program's, not the agent's."""
    code = """
class Soft(Exception):
    pass

def theirs(number, frame):
    raise Soft

signal.signal(signal.SIGURG, theirs)
agents.start(Settings(agent=True))
try:
    os.kill(os.getpid(), signal.SIGURG)
    time.sleep(60)
except Soft:
    say("soft")
"""
    with program(code, folder) as running:
        assert running.end() == (0, "soft\n", "")


def test_ten_thousand_signals_do_no_harm(folder: Path) -> None:
    """A flood of signals ends in one answer; the program finishes its work, with a handful of threads at most."""
    code = """
agents.start(Settings(agent=True))
say("ready")
most = total = 0
for number in range(10_000):
    os.kill(os.getpid(), signal.SIGURG)
    total += number
    most = max(most, len(os.listdir("/proc/self/task")))
say(total, most <= 3)
wait()
"""
    with program(code, folder) as running:
        assert running.hear() == "ready"
        assert running.hear() == "49995000 True"
        assert status(find(running.pid), SECONDS).traced == 0
        running.tell()
        assert running.end() == (0, "", "")


def test_signals_during_a_snapshot_do_no_harm(folder: Path) -> None:
    """Signals that come while a snapshot is taken neither break it off nor are lost."""
    with program('agents.start(Settings(agent=True, trace=True))\nsay("ready")\nwait()', folder) as running:
        running.hear()
        agent = find(running.pid)
        taken = snapshot(agent, LIGHT, waiting=lambda *_: os.kill(running.pid, signal.SIGURG))
        assert told(taken.path)["reason"] == "asked"
        assert status(agent, SECONDS).tracing


def test_a_process_that_leaves_lets_its_snapshot_be_finished(folder: Path) -> None:
    """A process may leave while its fork writes: the answer arrives, and the next start clears what it left."""
    code = """
def tasks():
    open(os.environ["LEAKHUNT_DIR"] + "/../go").read()
    return {}

agents.start(Settings(agent=True, trace=True), tasks=tasks)
say("ready")
wait()
"""
    go = folder.parent / "go"
    os.mkfifo(go)
    heard: list[Stage] = []
    with program(code, folder) as running:
        running.hear()

        def waiting(_: float, stage: Stage) -> None:
            if stage is Stage.LIGHT and stage not in heard:
                running.tell()
            if stage is Stage.OUTLIVED and stage not in heard:
                go.write_text("", encoding="utf-8")
            heard.append(stage)

        taken = snapshot(find(running.pid), LIGHT, waiting)
        assert told(taken.path)["reason"] == "asked"
        assert Stage.OUTLIVED in heard


def test_a_child_of_a_fork_is_its_own(folder: Path) -> None:
    """A forked process counts for itself, says that its parent's allocations are included, and is found when it is asked."""
    code = """
agent = agents.start(Settings(agent=True, trace=True, record=True))
agent.task_ended("shop.tasks.one")
kept = [bytearray(1000) for _ in range(1000)]
pid = os.fork()
if pid == 0:
    here = agents.agent()
    say(os.getpid(), here.executions, here.here)
    wait()
    sys.exit()
os.waitpid(pid, 0)
say(agents.agent().executions, tracemalloc.get_traced_memory()[0] > 1_000_000)
"""
    with program(code, folder) as running:
        child, rest = running.hear().split(" ", 1)
        assert rest == "{} False"
        assert {int(box.name.split("-")[0]) for box in boxes(str(folder))} == {running.pid}
        facts = told(snapshot(find(int(child)), LIGHT).path)
        assert (facts["pid"], facts["ppid"]) == (int(child), running.pid)
        assert facts["tracing"]["inherited"] == "included"
        assert {int(box.name.split("-")[0]) for box in boxes(str(folder))} == {running.pid, int(child)}
        running.tell()
        assert running.end() == (0, "{'shop.tasks.one': 1} True\n", "")
    assert boxes(str(folder)) == []


def test_inherited_traces_of_the_programs_own_stay(folder: Path) -> None:
    """A forked process keeps traces that the program itself began, and says that they are included."""
    code = """
tracemalloc.start()
agents.start(Settings(agent=True))
pid = os.fork()
if pid == 0:
    say(agents.agent().tracing.told()["inherited"])
    os._exit(0)
os.waitpid(pid, 0)
"""
    with program(code, folder) as running:
        assert running.end() == (0, "included\n", "")


def test_every_second_execution_gives_a_snapshot(folder: Path) -> None:
    """Snapshots come by themselves after so many executions, and know how often each task ran."""
    code = """
agent = agents.start(Settings(every=2))
for name in ("shop.a", "shop.b", "shop.a", "shop.a"):
    agent.task_ended(name)
    while parting.ours():
        time.sleep(0.01)
"""
    with program("from leakhunt.capture import parting\n" + code, folder) as running:
        assert running.end() == (0, "", "")
    facts = [told(path) for path in snapshots(folder)]
    assert [one["executions"] for one in facts] == [{"shop.a": 1, "shop.b": 1}, {"shop.a": 3, "shop.b": 1}]
    assert {one["reason"] for one in facts} == {"every"}


def test_growth_is_seen_while_no_task_ends(folder: Path) -> None:
    """RSS that grows in a program without tasks gives a snapshot."""
    code = """
agents.start(Settings(each_growth=32 << 20))
kept = b"x" * (64 << 20)
while not any(name.endswith(".bin") for name in os.listdir(os.environ["LEAKHUNT_DIR"] + "/snapshots")):
    time.sleep(0.01)
"""
    with program(code, folder) as running:
        assert running.end() == (0, "", "")
    assert "growth" in {told(path)["reason"] for path in snapshots(folder) if "part" not in path}


def test_a_share_of_the_limit_is_seen_while_others_take_it(folder: Path) -> None:
    """The whole control group's use comes to the level, and this small process gives a snapshot of itself."""
    code = f"""
import pathlib
import leakhunt.capture.resident as resident
group = pathlib.Path({str(folder.parent)!r})
(group / "memory.current").write_text("1000000000", encoding="ascii")
resident.use_of = lambda pid: resident.Use(0, 2_000_000_000, str(group))
agents.start(Settings(at_rss=Level(share=0.8)))
while agents.agent()._triggers._group is None:
    time.sleep(0.01)
(group / "memory.current").write_text("1700000000", encoding="ascii")
while not any(name.endswith(".bin") for name in os.listdir(os.environ["LEAKHUNT_DIR"] + "/snapshots")):
    time.sleep(0.01)
"""
    with program(code, folder) as running:
        assert running.end() == (0, "", "")
    assert [told(path)["reason"] for path in snapshots(folder)] == ["rss"]


def test_the_last_snapshot_is_there_when_the_program_is_gone(folder: Path) -> None:
    """At exit the program waits until its snapshot is written; that it left is recorded only where a task ran."""
    with program("agents.start(Settings(at_exit=True, record=True))", folder) as running:
        assert running.end() == (0, "", "")
    (path,) = snapshots(folder)
    assert told(path)["reason"] == "exit"
    assert list((folder / "records").iterdir()) == []  # no task ran


def test_a_folder_that_cannot_be_used_is_said_once(folder: Path) -> None:
    """Where nothing can be written the program runs on, and one line says so, for all its processes together."""
    folder.touch()
    code = """
agents.start(Settings(agent=True, trace=True, record=True, every=1))
agents.agent().task_ended("shop.a")
if os.fork():
    os.wait()
    say("done")
"""
    with program(code, folder) as running:
        code_, out, err = running.end()
    assert (code_, out) == (0, "done\n")
    assert err.startswith("leakhunt: nothing can be written: ")
    assert err.count("\n") == 1


def test_a_share_of_no_limit_is_said(folder: Path) -> None:
    """A level that is a share of a limit needs a limit, and its want is said."""
    code = """
agent = agents.Agent(Settings(at_rss=Level(share=0.8)))
import leakhunt.capture.resident as resident
resident.use_of = lambda pid: resident.Use()
agent.start(Who())
"""
    with program(code, folder) as running:
        assert running.end() == (
            0,
            "",
            "leakhunt: without a memory limit no share of it is reached: no snapshot is taken for at-rss\n",
        )


def test_attaching_twice_is_attaching_once(folder: Path) -> None:
    """The agent that is brought into a program says what is wrong instead of raising, and comes but once."""
    code = """
say(agents.attach({"LEAKHUNT_FRAMES": "none"}))
say(agents.attach({}))
first = agents.agent()
say(agents.attach({"LEAKHUNT_TRACE": "1", "LEAKHUNT_FRAMES": "3"}), first is agents.agent(), first.tracing.frames)
wait()
"""
    with program(code, folder) as running:
        assert "LEAKHUNT_FRAMES='none' is not understood" in running.hear()
        assert running.hear() == "None"
        assert running.hear() == "None True 3"
        answer = ask(find(running.pid), StatusRequest(), SECONDS)
        assert answer["frames"] == 3


def test_a_foreign_exception_passes_and_ours_does_not(folder: Path) -> None:
    """What leakhunt raises is dropped; what a handler of the program raises meanwhile is not."""
    code = """
from leakhunt.capture.undisturbed import undisturbed
def ours():
    os.listdir("/nowhere")
exec(compile("def theirs():\\n    raise ValueError", "/srv/app/tasks.py", "exec"))
import leakhunt.capture.watch as home
exec(compile("import os\\ndef ours():\\n    os.scandir('/nowhere')", home.__file__, "exec"))
undisturbed(ours)
try:
    undisturbed(theirs)
except ValueError:
    say("theirs")
signal.signal(signal.SIGUSR1, lambda number, frame: say("after"))
def work():
    os.kill(os.getpid(), signal.SIGUSR1)
    say("before")
undisturbed(work)
"""
    with program(code, folder) as running:
        assert running.end() == (0, "theirs\nbefore\nafter\n", "")
