from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from record_tools import BEGAN, end, process, start, written

import leakhunt
from leakhunt.model.oom import OomKill
from leakhunt.present.oom_next import next_step

Lines = list[dict[str, Any]]
TASK = "shop.tasks.export_all"
KILL = (
    "{when}+00:00 {host} kernel: Memory cgroup out of memory: Killed process {pid} (celery) "
    "total-vm:900000kB, anon-rss:204800kB, file-rss:4096kB, shmem-rss:0kB, UID:0 pgtables:500kB oom_score_adj:0\n"
)
WORKER = (
    "[{when},100: ERROR/MainProcess] Process 'ForkPoolWorker-1' pid:{pid} exited with 'signal 9 (SIGKILL)'\n"
)
MIB = 1 << 20
KILLED = 30  # seconds after BEGAN


def scanned(folder: Path, *records: Lines, log: str = "", worker: str = "") -> list[OomKill]:
    """Return the kills that logs and records in a folder tell of."""
    for number, lines in enumerate(records):
        written(folder / f"records/w-{number}.jsonl", lines)
    if log:
        (folder / "kern.log").write_text(log)
    if worker:
        (folder / "worker.log").write_text(worker)
    return list(leakhunt.oom_scan([folder]).kills)


def record(task_id: str = "one", t: float = BEGAN + 20, *, ended: bool = False, **known: object) -> Lines:
    """Return a record that ends in a task, or behind it."""
    lines = [process(**known), start(TASK, task_id, t)]
    return [*lines, end(TASK, task_id, t + 1)] if ended else lines


def when(seconds: float, between: str) -> str:
    """Return a moment so many seconds after BEGAN."""
    return datetime.fromtimestamp(BEGAN + seconds, timezone.utc).strftime(f"%Y-%m-%d{between}%H:%M:%S")


def kill(pid: int = 4242, seconds: float = KILLED, host: str = "worker-1") -> str:
    """Return the kernel's line."""
    return KILL.format(pid=pid, when=when(seconds, "T"), host=host)


def test_a_real_kill_is_told_with_its_task() -> None:
    """Of a real OOM kill, the kernel's lines and the record of the killed process name the task for certain."""
    (found,) = leakhunt.oom_scan([ROOT / "fixtures/records/killed"]).kills
    assert found.task is not None
    assert (found.task.name, found.task.how) == (TASK, "recorded")
    assert found.worker is not None
    assert (found.worker.name, found.worker.confidence) == ("ForkPoolWorker-3", "certain")
    assert any("60 executions before" in note for note in found.notes)
    assert any("delivered that task before" in note for note in found.notes)
    assert any(TASK in line.text for line in found.evidence)


def test_a_record_names_the_task_of_a_kill(tmp_path: Path) -> None:
    """The same pid on the same host, begun before and never ended: the task is certain."""
    (found,) = scanned(tmp_path, record(), log=kill())
    assert found.task is not None
    assert (found.task.name, found.task.id, found.task.how) == (TASK, "one", "recorded")
    assert found.worker is not None
    assert (found.worker.confidence, found.worker.node) == ("certain", "celery@shop-1")


@pytest.mark.parametrize(
    ("lines", "log"),
    [
        (record(pid=4300), kill()),
        (record(host="another"), kill()),
        (record(), kill(seconds=10)),
        ([*record(), {"e": "exit", "t": BEGAN + 25, "code": 0}], kill()),
        ([*record(ended=True), start(TASK, "two", BEGAN + 300)], kill()),
    ],
    ids=["another pid", "another host", "killed before it began", "it left by itself", "it lived on"],
)
def test_a_record_of_another_process_names_nothing(tmp_path: Path, lines: Lines, log: str) -> None:
    """A record that cannot be the killed process's says nothing of its task."""
    (found,) = scanned(tmp_path, lines, log=log)
    assert found.task is None


def test_an_idle_child_was_running_nothing(tmp_path: Path) -> None:
    """A record whose last task had ended says that no task was lost."""
    (found,) = scanned(tmp_path, record(ended=True), log=kill())
    assert found.task is None
    assert "its flight record says that it was running no task" in found.notes


def test_a_pid_in_a_container_is_not_the_kernel_s(tmp_path: Path) -> None:
    """A number that a container's own namespace gave proves nothing about the kernel's line."""
    (found,) = scanned(tmp_path, record(pid_ns=4026532000, host="7d9f0a1b2c3d"), log=kill())
    assert found.task is None


@pytest.mark.parametrize(
    ("rss", "known", "took", "single"),
    [
        (60 * MIB, {}, 144 * MIB, True),
        (180 * MIB, {}, 24 * MIB, False),
        (260 * MIB, {}, -56 * MIB, False),
        (60 * MIB, {"shared": True}, None, False),
        (None, {}, None, False),
    ],
    ids=["one execution", "those before it", "swapped out", "several at once", "not known"],
)
def test_memory_of_one_execution_is_no_leak(
    tmp_path: Path, rss: int | None, known: dict[str, object], took: int | None, *, single: bool
) -> None:
    """Where one execution took most of what a killed process held, the advice is about its size; else a leak is sought."""
    (found,) = scanned(tmp_path, [process(**known), start(TASK, "one", BEGAN + 20, rss)], log=kill())
    assert found.task is not None
    assert found.task.took == took
    step = next_step(found, ())
    assert step is not None
    if single:
        assert step == (
            f"this execution took 144 MiB of the 204 MiB resident: give {TASK} a queue of its own, or smaller input",
            "",
        )
    else:
        assert step.command == "leakhunt hunt --celery --include=shop"


def test_a_worker_s_log_and_a_record_agree(tmp_path: Path) -> None:
    """Without a kernel's line, the child that the worker's log calls dead is the record's by name, pid and node."""
    worker = WORKER.format(pid=7, when=when(KILLED, " "))
    (found,) = scanned(tmp_path, record(pid=7, pids=[7], pid_ns=4026532000, node=None), worker=worker)
    assert found.task is not None
    assert (found.task.id, found.task.how) == ("one", "recorded")


def test_the_later_of_two_processes_of_one_pid_was_killed(tmp_path: Path) -> None:
    """A number that was given twice is the later process's."""
    old = record("old", BEGAN + 1, start=1000)
    (found,) = scanned(tmp_path, old, record("new"), log=kill())
    assert found.task is not None
    assert found.task.id == "new"


def test_a_poison_task_is_a_loop(tmp_path: Path) -> None:
    """A task that two killed children were running is told as a loop, and as begun again."""
    first = record(pid=4242, t=BEGAN + 2)
    second = record(pid=4243, name="ForkPoolWorker-2", t=BEGAN + 15, start=5100)
    for number, lines in enumerate((first, second)):
        written(tmp_path / f"records/w-{number}.jsonl", lines)
    (tmp_path / "kern.log").write_text(kill(4242, 10) + kill(4243, 30))
    result = leakhunt.oom_scan([tmp_path])
    (loop,) = result.loops
    assert (loop.name, loop.id, loop.kills) == (TASK, "one", 2)
    assert [(one.id, one.outcome) for one in result.twice] == [("one", "received")]


def test_records_alone_tell_of_no_kill(tmp_path: Path) -> None:
    """A record that ends in a task is no proof of a kill."""
    assert not scanned(tmp_path, record())
