from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from record_tools import BEGAN, end, process, start, written

import leakhunt
from leakhunt.model.oom import OomKill
from leakhunt.present.oom import oom_report
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
ELSEWHERE: dict[str, Any] = {"boot": "9a1f7c52-0e8d-4b3a-8c66-1d2e3f405162"}  # no machine that runs the tests


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
        sizes = "144 MiB of the 204 MiB resident (200 MiB of them anonymous)"
        assert (
            step.purpose == f"this execution took {sizes}: give {TASK} a queue of its own, or smaller input"
        )
        assert not step.command
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


def test_what_no_kill_accounts_for_is_told(tmp_path: Path) -> None:
    """A task without an end whose process is gone is told where no kill explains it, and is not where one does."""
    written(
        tmp_path / "main.jsonl",
        [process(4000, role="main", **ELSEWHERE), {"e": "exit", "t": BEGAN + 60, "code": 0}],
    )
    scanned(tmp_path, record(**ELSEWHERE), record("two", pid=4243, name="ForkPoolWorker-2", **ELSEWHERE))
    found = leakhunt.oom_scan([tmp_path])
    assert {(task.id, task.ended) for task in found.unended} == {("one", "killed"), ("two", "killed")}
    (tmp_path / "kern.log").write_text(kill())
    found = leakhunt.oom_scan([tmp_path])
    assert [task.id for task in found.unended] == ["two"]
    report = oom_report(found)
    assert any("two] in process 4243" in line and "worker-1" in line for line in report.advice)


def test_records_alone_say_what_ended_without_a_word(tmp_path: Path) -> None:
    """The first line on records without a log names the task whose process is gone."""
    written(
        tmp_path / "main.jsonl",
        [process(4000, role="main", **ELSEWHERE), {"e": "exit", "t": BEGAN + 60, "code": 0}],
    )
    written(tmp_path / "w.jsonl", record(**ELSEWHERE))
    headline = oom_report(leakhunt.oom_scan([tmp_path])).headline
    assert headline == (
        f"No OOM kill in 2 sources, but {TASK} was running when its process 4242 ended without a word."
    )


def test_a_sigkill_beside_a_record_still_has_a_next_step(tmp_path: Path) -> None:
    """What the record tells of a SIGKILL is no kernel log: where to get one is still said."""
    (found,) = scanned(tmp_path, record(**ELSEWHERE), worker=WORKER.format(when=when(KILLED, " "), pid=4242))
    step = next_step(found, [str(tmp_path)])
    assert step is not None
    assert step.command.startswith("journalctl -k -o json > kernel.json; ")
    step = next_step(replace(found, here=True), [str(tmp_path)])
    assert step is not None
    assert step.command == "leakhunt oom-scan"


def test_a_snapshot_of_the_killed_process_is_the_next_step(tmp_path: Path) -> None:
    """A snapshot beside the record, named by its process and written before the kill, is what to look at."""
    written(tmp_path / "records/w-4242-5000.jsonl", record(**ELSEWHERE))
    folder = tmp_path / "snapshots"
    folder.mkdir()
    stamp = datetime.fromtimestamp(BEGAN + KILLED - 5, timezone.utc).strftime("%Y%m%dT%H%M%S")
    for name in (f"w-4242-5000-{stamp}-2.bin", f"w-4242-5000-{stamp}-1.bin", f"w-4242-50001-{stamp}-3.bin"):
        (folder / name).write_bytes(b"")
    (tmp_path / "kern.log").write_text(kill())
    (found,) = leakhunt.oom_scan([tmp_path / "kern.log", tmp_path / "records"]).kills
    assert found.snapshot == str(folder / f"w-4242-5000-{stamp}-2.bin")
    step = next_step(found, [])
    assert step is not None
    assert step.command == f"leakhunt top {found.snapshot}"
    assert ", 5 s before," in step.purpose
    late = next_step(replace(found, when=datetime.fromtimestamp(BEGAN, timezone.utc)), [])
    assert late is None or "top" not in late.command
