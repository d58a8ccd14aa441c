from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from live_tools import bystander, let_go, stand_in

from leakhunt.capture.enrol import leave
from leakhunt.capture.letters import SnapshotRequest, TraceRequest
from leakhunt.control.answers import snapshot, status, trace
from leakhunt.control.ask import RefusedError, Stage, Waiting
from leakhunt.control.find import Agent, find
from leakhunt.control.hold import DiedError
from leakhunt.control.process import read_process
from leakhunt.errors import LeakhuntError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc are Linux's here")
QUICK = SnapshotRequest(timeout=20.0)
BRIEF = SnapshotRequest(timeout=0.2)


def left(agent: Agent) -> list[str]:
    """Return what lies in an agent's folder beside its registration."""
    return sorted(set(os.listdir(agent.box.path)) - {"agent.json"})


def test_a_snapshot_is_taken_and_found(tmp_path: Path) -> None:
    """A process that is asked for a snapshot answers with a file that is there, and with what it cost."""
    with stand_in(tmp_path) as child:
        agent = find(child.pid)
        trace(agent, TraceRequest(on=True, frames=3), 20.0)
        taken = snapshot(agent, QUICK)
        assert Path(taken.path).parent == tmp_path / "snapshots"
        assert Path(taken.path).stat().st_size > 0
        assert (taken.how, taken.pause, taken.blocks) == ("fork", 0.004, 12)
        assert taken.left_out == ("the number of open files",)
        assert left(agent) == []


def test_tracing_is_switched_and_told(tmp_path: Path) -> None:
    """Tracing is switched on with the frames that are asked for, and off again."""
    with stand_in(tmp_path) as child:
        agent = find(child.pid)
        on = trace(agent, TraceRequest(on=True, frames=7), 20.0)
        assert (on.tracing, on.frames, on.warning) == (True, 7, "tracing slows it down")
        off = trace(agent, TraceRequest(on=False), 20.0)
        assert (off.tracing, off.frames, off.warning) == (False, 0, "")
        now = status(agent, 20.0)
        assert now.executions == {"shop.tasks.sync": 20}
        assert now.ran == 20


def test_a_refusal_keeps_its_reason(tmp_path: Path) -> None:
    """A refusal arrives with its numbers and its hint, and leaves nothing behind."""
    with stand_in(tmp_path, "refuse") as child:
        agent = find(child.pid)
        with pytest.raises(RefusedError, match="12 MiB are free, 40 MiB needed") as caught:
            snapshot(agent, QUICK)
        assert caught.value.hint == "wait, or use --force"
        assert left(agent) == []


def test_a_process_without_a_handler_is_left_alone(tmp_path: Path) -> None:
    """A process whose caught-signals mask lacks the signal is not signalled, and nothing is written for it."""
    with stand_in(tmp_path, "deaf") as child:
        agent = find(child.pid)
        with pytest.raises(LeakhuntError, match="does not catch SIGURG") as caught:
            snapshot(agent, QUICK)
        assert "leakhunt run" in caught.value.hint
        assert left(agent) == []


@pytest.mark.parametrize("number", [9, 10, 12, 0, 4096])
def test_a_registration_cannot_name_a_deadly_signal(tmp_path: Path, number: int) -> None:
    """A signal that kills, or that Celery needs, is never sent, whatever a registration says."""
    with stand_in(tmp_path, signal=number) as child:
        with pytest.raises(LeakhuntError, match=r"signal|not free"):
            snapshot(find(child.pid), QUICK)
        child.tell("grow 1")


def test_death_is_told_at_once(tmp_path: Path) -> None:
    """A process that ends while it is asked is reported long before the time is up."""
    with stand_in(tmp_path, "die") as child, pytest.raises(DiedError, match="ended before it answered"):
        snapshot(find(child.pid), SnapshotRequest(timeout=600.0))


def test_a_process_that_ended_before_is_not_asked(tmp_path: Path) -> None:
    """A process that ended between the search and the question is not signalled: its number may be another's."""
    with stand_in(tmp_path) as child:
        agent = find(child.pid)
        child.tell("die", "")
        child.wait()
        with pytest.raises(DiedError, match="has ended"):
            snapshot(agent, QUICK)
        assert left(agent) == []


def let_go_when(folder: Path, wanted: Stage, heard: list[Stage]) -> Waiting:
    """Make the FIFO that a stand-in's child waits at, and return what lets it go on as soon as a stage is heard of."""
    os.mkfifo(folder / "go")

    def waiting(_: float, stage: Stage) -> None:
        if stage is wanted:
            let_go(folder / "go")
        heard.append(stage)

    return waiting


def test_the_fork_of_a_process_that_has_ended_is_waited_for(tmp_path: Path) -> None:
    """That the process is gone is told at once; its snapshot is taken all the same, as its fork lives on."""
    heard: list[Stage] = []
    with stand_in(tmp_path, "orphan") as child:
        agent = find(child.pid)
        trace(agent, TraceRequest(on=True, frames=3), 20.0)
        waiting = let_go_when(tmp_path, Stage.OUTLIVED, heard)
        taken = snapshot(agent, SnapshotRequest(timeout=600.0), waiting)
        assert Path(taken.path).is_file()
        assert Stage.OUTLIVED in heard
        child.wait()


def test_the_end_of_a_process_and_of_its_fork_is_told_at_once(tmp_path: Path) -> None:
    """When neither the process nor its fork is there any more, nobody waits for the time to be up."""
    heard: list[Stage] = []
    with stand_in(tmp_path, "orphans") as child:
        agent = find(child.pid)
        waiting = let_go_when(tmp_path, Stage.OUTLIVED, heard)
        with pytest.raises(DiedError, match="ended, and so did the fork that was writing its snapshot"):
            snapshot(agent, SnapshotRequest(timeout=600.0), waiting)


def test_an_answer_that_is_gone_with_its_process_is_not_waited_for(tmp_path: Path) -> None:
    """A process that took its place in the folder with it is told to have ended, and where its snapshot may be."""
    os.mkfifo(tmp_path / "go")
    with stand_in(tmp_path, "orphan") as child:
        agent = find(child.pid)

        def clear(_: float, stage: Stage) -> None:
            if stage is Stage.OUTLIVED:
                leave(agent.box)

        with pytest.raises(DiedError, match="ended while a fork was writing its snapshot") as caught:
            snapshot(agent, SnapshotRequest(timeout=600.0), clear)
        assert f"ls -t {tmp_path}/snapshots" in caught.value.hint
        assert let_go(tmp_path / "go")


def test_a_stopped_process_is_told(tmp_path: Path) -> None:
    """A process that was stopped is said to be so, while it is waited for and when the time is up."""
    heard: list[Stage] = []
    with stand_in(tmp_path) as child:
        agent = find(child.pid)
        os.kill(child.pid, signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)
        with pytest.raises(LeakhuntError, match="is stopped") as caught:
            snapshot(agent, SnapshotRequest(timeout=0.6), lambda _, stage: heard.append(stage))
        assert caught.value.hint == f"let it go on, as by kill -CONT {child.pid}, and ask again"
        assert heard[-1] is Stage.STOPPED


def test_a_blocked_process_is_told_apart_from_a_slow_one(tmp_path: Path) -> None:
    """A process that never looks is said to be in C code or blocked; one that looked is said to have taken it."""
    with stand_in(tmp_path / "a", "blocked") as blocked, stand_in(tmp_path / "b", "ignore") as slow:
        agent = find(blocked.pid)
        with pytest.raises(LeakhuntError, match="did not look at the request within") as caught:
            snapshot(agent, BRIEF)
        assert "--timeout" in caught.value.hint
        assert left(agent) == []
        with pytest.raises(LeakhuntError, match="took the request and did not answer"):
            snapshot(find(slow.pid), BRIEF)


def test_a_lost_writer_is_told(tmp_path: Path) -> None:
    """A snapshot whose writer was killed is reported as lost at once, and the worker is said to go on."""
    with stand_in(tmp_path, "lose") as child:
        agent = find(child.pid)
        with pytest.raises(LeakhuntError, match="lost while it was written: its writer was killed") as caught:
            snapshot(agent, SnapshotRequest(timeout=600.0))
        assert "the worker goes on" in caught.value.hint
        assert left(agent) == []


@pytest.mark.parametrize(
    ("behaviour", "words"), [("babble", "none that leakhunt knows"), ("lie", "no such file")]
)
def test_an_answer_is_not_trusted(tmp_path: Path, behaviour: str, words: str) -> None:
    """An answer that is no JSON, or names a file elsewhere, is refused in words."""
    with stand_in(tmp_path, behaviour) as child, pytest.raises(LeakhuntError, match=words):
        snapshot(find(child.pid), QUICK)


def test_an_interruption_leaves_nothing_behind(tmp_path: Path) -> None:
    """Ctrl-C while it waits takes the request back."""

    def interrupt(_: float, __: Stage) -> None:
        raise KeyboardInterrupt

    with stand_in(tmp_path, "blocked") as child:
        agent = find(child.pid)
        with pytest.raises(KeyboardInterrupt):
            snapshot(agent, QUICK, interrupt)
        assert left(agent) == []


def test_the_caught_signals_are_read() -> None:
    """A process catches what it has a handler for, and nothing else."""
    with bystander() as pid:
        process = read_process(pid)
        assert process.catches(signal.SIGINT) is (signal.getsignal(signal.SIGINT) is not signal.SIG_IGN)
        assert not process.catches(23)
