from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

from leakhunt.analysis.incident.groups import group
from leakhunt.analysis.incident.story import join
from leakhunt.model.evidence import Evidence, Place
from leakhunt.model.incident import Sign, WorkerDeath
from leakhunt.model.oom import OomKill, WorkerRef

AT = datetime(2026, 11, 21, 3, 10, 42, tzinfo=timezone.utc)
KILL = OomKill(pid=4242, comm="celery", when=AT, uncertainty_s=0.0)
DEATH = WorkerDeath(
    "celery",
    "sigkill",
    (Evidence("c.log", 2, "worker-1  | Process 'ForkPoolWorker-1' pid:12 exited with 'signal 9 (SIGKILL)'"),),
    place=Place(container="worker-1"),
    name="ForkPoolWorker-1",
    pid=12,
    when=AT + timedelta(seconds=0.1),
)
EXIT = Sign(
    "sigkill", "docker", Evidence("c.log", 9, "exited with code 137"), place=Place(container="worker-1")
)


def test_a_bare_exit_of_a_container_that_was_killed_is_no_second_kill() -> None:
    """An exit by SIGKILL without a time is told by the kill of that container's worker, and by no other's."""
    assert [kill.pid for kill in join([KILL], [EXIT], [DEATH], []).kills] == [4242]
    assert len(join([KILL], [replace(EXIT, place=Place(container="web-1"))], [DEATH], []).kills) == 2
    assert len(join([KILL], [EXIT, replace(EXIT, when=AT + timedelta(days=1))], [DEATH], []).kills) == 2
    assert len(join([], [EXIT], [], []).kills) == 1


def test_what_a_shell_tells_of_is_not_called_shell() -> None:
    """Processes whose death only a shell tells of are grouped by their own names, or as unnamed."""
    dead = OomKill(pid=None, comm=None, killer="unknown", confidence="possible")
    named = replace(dead, pid=7, worker=WorkerRef("celery", 7, program="shell"))
    bare = replace(dead, worker=WorkerRef(None, program="shell"))
    assert {(one.kind, one.name) for one in group([named, bare])} == {("comm", "celery"), ("comm", "unknown")}
