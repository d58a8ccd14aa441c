from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Callable

import pytest
from live_tools import let_go, stand_in

from leakhunt.capture.letters import SnapshotRequest, TraceRequest
from leakhunt.control.answers import Taken, status, trace
from leakhunt.control.find import Agent, find
from leakhunt.control.hold import DiedError
from leakhunt.control.hunt import Listener, Plan, hunt
from leakhunt.errors import LeakhuntError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc are Linux's here")
QUICK = SnapshotRequest(timeout=20.0)


class Log:
    """What a hunt told."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.notes: list[str] = []
        self.taken: list[Taken] = []

    def listener(self, on_phase: Callable[[str], object] = str) -> Listener:
        """Return who is told; the function is called with each phase too."""

        def phase(what: str, passed: float, seconds: float | None) -> None:
            assert seconds is None or passed <= seconds
            self.phases.append(what)
            on_phase(what)

        return Listener(phase, self.notes.append, self.taken.append)


def tracing(agent: Agent) -> bool:
    """Whether a process traces its allocations now."""
    return status(agent, 20.0).tracing


def test_a_hunt_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    """Tracing is on from the first snapshot to the second, and off afterwards; its cost is told."""
    with stand_in(tmp_path) as child:
        agent, log = find(child.pid), Log()
        hunt(agent, Plan(0.05, frames=5, warm_up=0.05, request=QUICK), log.listener())
        assert len({taken.path for taken in log.taken}) == 2
        assert log.notes == ["tracing slows it down"]
        assert {"warming up", "at work"} <= set(log.phases)
        assert not tracing(agent)


def test_what_was_traced_stays_traced(tmp_path: Path) -> None:
    """Tracing that was on is left on with its frames, and needs no warm-up."""
    with stand_in(tmp_path) as child:
        agent, log = find(child.pid), Log()
        trace(agent, TraceRequest(on=True, frames=3), 20.0)
        hunt(agent, Plan(0.05, frames=25, warm_up=60.0, request=QUICK), log.listener())
        assert log.notes == ["it is traced already, with 3 frames; that is left as it is"]
        assert status(agent, 20.0).frames == 3


def test_tracing_that_ended_in_between_is_told(tmp_path: Path) -> None:
    """Where somebody else switched tracing off, the snapshots are not compared."""
    with stand_in(tmp_path) as child:
        agent, log = find(child.pid), Log()

        def switch_off(what: str) -> None:
            if what == "at work":
                trace(agent, TraceRequest(on=False), 20.0)

        with pytest.raises(LeakhuntError, match="tracing ended while it was hunted"):
            hunt(agent, Plan(0.05, frames=5, warm_up=0.0, request=QUICK), log.listener(switch_off))


def test_two_snapshots_of_what_is_not_traced_are_refused(tmp_path: Path) -> None:
    """Before the wait, not after it."""
    with stand_in(tmp_path) as child, pytest.raises(LeakhuntError, match="nothing is traced in it"):
        hunt(find(child.pid), Plan(600.0, request=QUICK), Log().listener())


@pytest.mark.parametrize("when", ["at work", "warming up"])
def test_ctrl_c_leaves_the_process_as_it_was(tmp_path: Path, when: str) -> None:
    """Ctrl-C at work gives the second snapshot at once, before that none; either way tracing is off again."""

    def interrupt(what: str) -> None:
        if what == when:
            raise KeyboardInterrupt

    with stand_in(tmp_path) as child:
        agent, log = find(child.pid), Log()
        plan = Plan(600.0, frames=5, warm_up=0.05 if when == "at work" else 600.0, request=QUICK)
        if when == "at work":
            hunt(agent, plan, log.listener(interrupt))
        else:
            with pytest.raises(KeyboardInterrupt):
                hunt(agent, plan, log.listener(interrupt))
        assert len(log.taken) == (2 if when == "at work" else 0)
        assert not tracing(agent)


def test_a_hunt_counts_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends when as many tasks ran as are wanted, long before the time is up."""
    monkeypatch.setattr("leakhunt.control.hunt._COUNTING_S", 0.0)
    with stand_in(tmp_path) as child:
        log = Log()
        hunt(find(child.pid), Plan(600.0, tasks=25, frames=5, request=QUICK), log.listener())
        assert [what for what in log.phases if "tasks" in what][-1] == "30 of 25 tasks"
        assert len(log.taken) == 2


def test_the_time_runs_while_the_first_snapshot_is_written(tmp_path: Path) -> None:
    """The wait counts from the first fork: a first snapshot that takes longer is told, and followed by the second at once."""
    os.mkfifo(tmp_path / "go")
    with stand_in(tmp_path, "slow") as child:
        log = Log()

        def phase(what: str) -> None:
            if (
                what.startswith("first snapshot: its fork writes") and len(log.notes) > 1 and not log.taken
            ) or what.startswith("second snapshot: "):
                let_go(tmp_path / "go")

        hunt(find(child.pid), Plan(0.05, frames=5, request=QUICK), log.listener(phase))
        assert log.notes[1:] == ["the second snapshot is due; it waits until the first one is written"]
        assert len(log.taken) == 2
        assert "at work" not in log.phases


def test_a_death_in_between_tells_what_is_left(tmp_path: Path) -> None:
    """When the process ends between the snapshots, the first is named, and where to look for the killer."""
    with stand_in(tmp_path) as child:
        log = Log()

        def kill(what: str) -> None:
            if what == "at work" and child.pid:
                child.tell("die", "")
                child.wait()

        with pytest.raises(DiedError, match="has ended, after its first snapshot") as caught:
            hunt(find(child.pid), Plan(600.0, frames=5, request=QUICK), log.listener(kill))
        assert (
            caught.value.hint
            == f"what it held then: leakhunt top {log.taken[0].path}; what killed it: leakhunt oom-scan"
        )
