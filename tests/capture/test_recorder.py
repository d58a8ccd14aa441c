from __future__ import annotations

import json
import mmap
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakhunt.capture.record import journal, room
from leakhunt.capture.record.arguments import hash_of, size_of
from leakhunt.capture.record.recorder import Recorder
from leakhunt.capture.record.room import Room
from leakhunt.capture.record.salt import SIZE, salt_of

MIB = 1 << 20
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="what /proc tells is Linux's")
HEAD = {"role": "child", "node": "celery@shop-1", "name": "ForkPoolWorker-1"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a private folder."""
    path = tmp_path / "records"
    path.mkdir(mode=0o700)
    return path


def opened(folder: Path, head: Mapping[str, object] = HEAD, *, reset_peak: bool = True) -> Recorder:
    """Open a recorder."""
    recorder = Recorder.open(str(folder), head, reset_peak=reset_peak)
    assert recorder is not None
    return recorder


def lines(folder: Path) -> list[dict[str, Any]]:
    """Return all whole lines of all records, the rotated first."""
    files = sorted(folder.glob("*.jsonl*"), key=lambda path: (path.suffix != ".1", path.name))
    text = "\n".join(path.read_text(encoding="ascii") for path in files)
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def kinds(folder: Path) -> list[str]:
    """Return the kinds of the lines."""
    return [line["e"] for line in lines(folder)]


def touch(size: int) -> None:
    """Have so many bytes more for a moment, whatever the allocator has in store."""
    with mmap.mmap(-1, size) as held:
        for at in range(0, size, mmap.PAGESIZE):
            held[at] = 1


def executes(recorder: Recorder, task_id: str, work: Callable[[], object] = lambda: None) -> None:
    """Run something as a task."""
    recorder.started("a.b", task_id, args=(7,), kwargs={})
    work()
    recorder.ended("a.b", task_id, "SUCCESS")


def forked(work: Callable[[], object]) -> int:
    """Run something in a child, and return its status."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


def test_an_execution_is_two_lines(folder: Path) -> None:
    """A task that begins and ends leaves two lines behind the process's, with what was known at the time."""
    recorder = opened(folder)
    recorder.started(
        "shop.tasks.render",
        "id-1",
        queue="default",
        retries=2,
        redelivered=True,
        acks_late=True,
        reject_lost=True,
        args=("x" * 1000,),
        kwargs={},
        argsrepr="('secret',)",
        kwargsrepr="{}",
    )
    recorder.ended("shop.tasks.render", "id-1", "SUCCESS")
    recorder.exited(0)
    process, start, end, leave = lines(folder)
    assert (process["e"], process["v"], process["pid"], process["name"]) == (
        "process", 1, os.getpid(), "ForkPoolWorker-1",
    )  # fmt: skip
    assert {key: start[key] for key in ("task", "id", "queue", "retries", "redelivered")} == {
        "task": "shop.tasks.render", "id": "id-1", "queue": "default", "retries": 2, "redelivered": True,
    }  # fmt: skip
    assert start["acks_late"] is start["reject_lost"] is True
    assert 1000 <= start["args_size"] < 1100
    assert re.fullmatch(r"[0-9a-f]{16}", start["args_hash"])
    assert (end["e"], end["id"], end["state"]) == ("end", "id-1", "SUCCESS")
    assert (leave["e"], leave["code"]) == ("exit", 0)
    assert "secret" not in "".join(path.read_text() for path in folder.iterdir())


def test_only_its_user_may_read_a_record(folder: Path) -> None:
    """A record's file is readable and writable by its user alone."""
    opened(folder).started("a.b", "id-1")
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


@LINUX
def test_a_killed_process_leaves_its_task(folder: Path) -> None:
    """After a SIGKILL the record ends with the task that was running, whole."""

    def dies() -> None:
        opened(folder).started("shop.tasks.render", "id-1")
        os.kill(os.getpid(), signal.SIGKILL)

    assert forked(dies) == signal.SIGKILL
    assert kinds(folder) == ["process", "start"]


@LINUX
def test_the_peak_is_of_the_task(folder: Path) -> None:
    """What a task needed for a moment is its peak; the next, smaller one has a lower peak again."""
    recorder = opened(folder)
    for number, size in enumerate((64 * MIB, 8 * MIB)):
        recorder.started("a.b", f"id-{number}")
        touch(size)
        recorder.ended("a.b", f"id-{number}", "SUCCESS")
    _, first, high, second, low = lines(folder)
    assert 60 * MIB < high["peak"] - first["rss"] < 80 * MIB
    assert 6 * MIB < low["peak"] - second["rss"] < 24 * MIB


@LINUX
def test_what_is_needed_between_tasks_is_no_task_s_peak(folder: Path) -> None:
    """Memory that was needed after one task had ended, to send its result for instance, is not the next one's peak."""
    recorder = opened(folder)
    executes(recorder, "id-1")
    touch(64 * MIB)
    executes(recorder, "id-2")
    ends = [line for line in lines(folder) if line["e"] == "end"]
    assert ends[1]["peak"] - ends[1]["rss"] < 24 * MIB


@LINUX
def test_the_mark_is_left_alone_where_the_pool_reads_it(folder: Path) -> None:
    """With ``reset_peak`` off the process's peak never falls, and a task that does not raise it has none."""

    def works() -> None:
        touch(256 * MIB)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        recorder = opened(folder, reset_peak=False)
        for number, size in enumerate((8 * MIB, 512 * MIB)):
            recorder.started("a.b", f"id-{number}")
            touch(size)
            recorder.ended("a.b", f"id-{number}", "SUCCESS")
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before:
            recorder.exited(99)

    forked(works)
    ends = [line for line in lines(folder) if line["e"] == "end"]
    assert ends[0]["peak"] is None
    assert ends[1]["peak"] > 500 * MIB
    assert "exit" not in kinds(folder)


def test_what_is_traced_is_noted_while_it_is(folder: Path) -> None:
    """Both lines of an execution have the traced bytes while tracemalloc traces, and none of the recorder's own."""
    recorder, held = opened(folder), []
    executes(recorder, "before")
    tracemalloc.start()
    try:
        for number in range(3):
            executes(recorder, f"traced-{number}", lambda: held.append(bytearray(1 << 16)))
        executes(recorder, "small")
    finally:
        tracemalloc.stop()
    executes(recorder, "after")
    found = {(line["e"], line["id"]): line for line in lines(folder) if line["e"] in {"start", "end"}}
    assert not any("traced" in found[kind, name] for kind in ("start", "end") for name in ("before", "after"))
    for number in range(3):
        begun, ended = found["start", f"traced-{number}"], found["end", f"traced-{number}"]
        assert begun.get("anew", False) is (number == 0)
        assert (1 << 16) <= ended["traced"] - begun["traced"] < (1 << 16) + 1024
    assert abs(found["end", "small"]["traced"] - found["start", "small"]["traced"]) < 256


def test_tracing_that_begins_anew_is_noted(folder: Path) -> None:
    """Where tracing began anew between two tasks the next line says so; where it did in a task, its end has no figure."""
    recorder, held = opened(folder), []

    def again() -> None:
        tracemalloc.stop()
        tracemalloc.start()

    tracemalloc.start()
    try:
        executes(recorder, "first", lambda: held.append(bytearray(1 << 20)))
        again()
        executes(recorder, "second", lambda: held.append(bytearray(1 << 20)))
        executes(recorder, "third", again)
        executes(recorder, "fourth")
    finally:
        tracemalloc.stop()
    starts = [line for line in lines(folder) if line["e"] == "start"]
    ends = [line for line in lines(folder) if line["e"] == "end"]
    assert [line.get("anew", False) for line in starts] == [True, True, False, True]
    assert ["traced" in line for line in ends] == [True, True, False, True]


def test_shared_memory_is_not_traced(folder: Path) -> None:
    """Where several tasks run at once, what is traced is no single task's, and is not noted."""
    recorder = opened(folder, {**HEAD, "shared": True})
    tracemalloc.start()
    try:
        executes(recorder, "one")
    finally:
        tracemalloc.stop()
    assert not any("traced" in line for line in lines(folder))


def test_shared_memory_has_no_peak(folder: Path) -> None:
    """Where several tasks run at once, no task is given a peak."""
    recorder = opened(folder, {**HEAD, "shared": True})
    recorder.started("a.b", "id-1")
    recorder.started("a.b", "id-2")
    recorder.ended("a.b", "id-1", "SUCCESS")
    assert lines(folder)[-1]["peak"] is None


def test_a_child_writes_its_own_record(folder: Path) -> None:
    """A process that was forked from a recorded one writes a file of its own, and not to its parent's."""
    recorder = opened(folder)

    def works() -> None:
        recorder.started("a.b", "child")
        recorder.ended("a.b", "child", "SUCCESS")

    forked(works)
    recorder.started("a.b", "parent")
    by_process = [
        [json.loads(line) for line in path.read_text().splitlines()] for path in sorted(folder.iterdir())
    ]
    assert len(by_process) == 2
    (child,) = [found for found in by_process if found[0]["role"] == "forked"]
    assert child[0]["forked_from"] == os.getpid() != child[0]["pid"]
    assert [line.get("id") for line in child] == [None, "child", "child"]
    assert "name" not in child[0]


def test_a_stolen_descriptor_is_not_written_to(folder: Path, tmp_path: Path) -> None:
    """A program that closes every descriptor and opens others finds none of the recorder's lines in them."""

    def works() -> None:
        recorder = opened(folder)
        os.closerange(3, 4096)
        files = [open(tmp_path / f"own-{number}", "w+b") for number in range(8)]  # noqa: SIM115 - they stay open
        recorder.started("a.b", "id-1")
        recorder.ended("a.b", "id-1", "SUCCESS")
        for file in files:
            file.close()

    forked(works)
    assert [path.read_bytes() for path in tmp_path.glob("own-*")] == [b""] * 8
    assert kinds(folder) == ["process", "process", "start", "end"]


def test_a_record_that_was_removed_is_begun_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that somebody removed is written anew, from the line about the process on, by the next look at it."""
    monkeypatch.setattr(journal, "_TRUSTED_S", 0.0)
    recorder = opened(folder)
    recorder.started("a.b", "id-1")
    for path in folder.iterdir():
        path.unlink()
    recorder.ended("a.b", "id-1", "SUCCESS")
    assert kinds(folder) == ["process", "end"]


def test_a_file_is_looked_at_now_and_then(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks at the file its being where the last line left it will do, and every line is there."""
    monkeypatch.setattr(journal, "_TRUSTED_S", 3600.0)
    recorder = opened(folder)
    executes(recorder, "first")
    looks = counted(monkeypatch, journal, "look")
    for number in range(50):
        executes(recorder, f"id-{number}")
    assert looks == []
    assert kinds(folder) == ["process"] + ["start", "end"] * 51


class _Failing:
    """Stands in for ``os.write`` on a disk that is full for a while."""

    def __init__(self, *, short: bool) -> None:
        self.full = False
        self._short = short
        self._write = os.write

    def __call__(self, fd: int, data: bytes) -> int:
        if not self.full:
            return self._write(fd, data)
        if self._short:
            return self._write(fd, data[: len(data) // 2])
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("short", [False, True], ids=["refused", "cut"])
def test_a_full_disk_loses_lines_and_no_more(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, short: bool
) -> None:
    """Lines that a full disk refuses or cuts are counted; the next one that fits is whole, and says how many are missing."""
    write = _Failing(short=short)
    recorder = opened(folder)
    monkeypatch.setattr(os, "write", write)
    recorder.started("a.b", "id-1")
    write.full = True
    recorder.ended("a.b", "id-1", "SUCCESS")
    recorder.started("a.b", "id-2")
    write.full = False
    recorder.ended("a.b", "id-2", "SUCCESS")
    assert [kind for kind in kinds(folder) if kind != "lost"] == ["process", "start", "end"]
    assert sum(line.get("lines", 0) for line in lines(folder)) == 2


@pytest.mark.parametrize("short", [False, True], ids=["refused", "cut"])
def test_a_loss_is_told_once(folder: Path, monkeypatch: pytest.MonkeyPatch, *, short: bool) -> None:
    """The first line that is lost is told on standard error, and no other that is lost for the same reason."""
    told: list[str] = []
    monkeypatch.setattr(journal, "tell", told.append)
    write = _Failing(short=short)
    recorder = opened(folder)
    monkeypatch.setattr(os, "write", write)
    for full in (True, False, True):
        write.full = full
        for number in range(3):
            executes(recorder, f"id-{number}")
    why = "No space left on device; it goes on when it can, and counts them"
    assert told == [f"the flight recorder loses lines: {folder}: {why}"]


def test_a_file_that_cannot_be_opened_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record whose file is gone and cannot be made again tells why."""
    told: list[str] = []
    monkeypatch.setattr(journal, "tell", told.append)
    monkeypatch.setattr(journal, "_RETRY_S", 0.0)
    recorder = opened(folder)
    executes(recorder, "id-1")
    for path in folder.glob("*.jsonl"):
        path.unlink()
        path.mkdir()
    recorder.close()
    executes(recorder, "id-2")
    executes(recorder, "id-3")
    assert told == [
        f"the flight recorder loses lines: {folder}: Is a directory; it goes on when it can, and counts them"
    ]


def test_the_line_about_the_process_is_never_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that was begun on a full disk has its first line as soon as there is room."""
    write = _Failing(short=False)
    write.full = True
    monkeypatch.setattr(os, "write", write)
    recorder = opened(folder)
    recorder.started("a.b", "id-1")
    write.full = False
    recorder.ended("a.b", "id-1", "SUCCESS")
    assert kinds(folder)[:2] in (["process", "lost"], ["process", "start"])


def test_a_folder_that_cannot_be_used_is_no_error(tmp_path: Path) -> None:
    """A folder that is a file, or belongs to everybody, gives no recorder and no exception."""
    (tmp_path / "file").write_bytes(b"")
    assert Recorder.open(str(tmp_path / "file"), HEAD) is None
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert Recorder.open(str(tmp_path / "open"), HEAD) is None


def test_a_planted_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    """A symlink in the place of the record is not written through."""
    target = tmp_path / "target"
    recorder = opened(folder)
    recorder.close()
    (path,) = folder.iterdir()
    path.unlink()
    path.symlink_to(target)
    assert Recorder.open(str(folder), HEAD) is None
    assert not target.exists()


def test_a_folder_that_vanishes_costs_lines_only(folder: Path) -> None:
    """With its folder gone a recorder neither raises nor makes the folder again."""
    recorder = opened(folder)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    recorder.started("a.b", "id-1")
    recorder.ended("a.b", "id-1", "SUCCESS")
    assert not folder.exists()


def test_a_record_is_rotated_and_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long record is two files of bounded size, each with the process's line; a running task is in the newer one."""
    monkeypatch.setattr(room, "_MOST", 4096)
    monkeypatch.setattr(room, "_LEAST", 4096)
    recorder = opened(folder)
    recorder.started("a.b", "long")
    for number in range(100):
        recorder.started("a.b", f"id-{number}")
        recorder.ended("a.b", f"id-{number}", "SUCCESS")
    files = sorted(folder.iterdir())
    assert [path.name.partition(".")[2] for path in files] == ["jsonl", "jsonl.1"]
    assert all(path.stat().st_size < 4096 + 1024 for path in files)
    newest = [json.loads(line) for line in files[0].read_text().splitlines()]
    assert newest[0]["e"] == "process"
    assert newest[0]["again"] is True
    assert newest[1]["id"] == "long"


def test_old_records_make_room(folder: Path) -> None:
    """Over the budget, the oldest records of processes that are gone are dropped, and a living one's is kept."""
    for number in range(10):
        path = folder / f"host-{4_000_000 + number}-1.jsonl"
        path.write_bytes(b"x" * 1000)
        os.utime(path, (1_000_000 + number, 1_000_000 + number))
    own = folder / f"host-{os.getpid()}-{_start()}.jsonl"
    own.write_bytes(b"x" * 1000)
    os.utime(own, (1, 1))
    Room(str(folder), 8_000, "host").share()
    assert own.exists()
    left = sorted(path.name for path in folder.iterdir() if path != own)
    assert left == [f"host-{4_000_000 + number}-1.jsonl" for number in range(5, 10)]


def record(folder: Path, pid: int, last: str, age: float) -> Path:
    """Write the record of a process that is gone, last changed so many seconds ago."""
    path = folder / f"host-{pid}-1.jsonl"
    path.write_text('{"e":"process"}\n{"e":"start"}\n' + last, encoding="ascii")
    os.utime(path, (time.time() - age,) * 2)
    return path


EXIT = '{"e":"exit","t":1,"code":0,"rss":1}\n'
DAY = 86_400.0


def test_a_killed_process_s_record_outlives_later_ones_that_ended(folder: Path) -> None:
    """A killed worker's record stays while there are enough that ended as they should, younger ones too."""
    killed = record(folder, 4_000_000, "", 60)
    again = record(folder, 4_000_001, EXIT + '{"e":"start"}\n', 60)
    for number in range(20):
        record(folder, 4_100_000 + number, EXIT, 30 - number)
    Room(str(folder), 800, "host").share()
    left = sorted(path.name for path in folder.iterdir())
    assert {killed.name, again.name} < set(left)
    assert left[-1] == "host-4100019-1.jsonl"
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 600


def test_a_killed_process_s_record_goes_at_last(folder: Path) -> None:
    """Where killed processes' records alone are too much the oldest go; one that is old goes before young ones that ended."""
    old = record(folder, 4_000_000, "", 30 * DAY)
    ended = record(folder, 4_000_001, EXIT, 60)
    torn = [record(folder, 4_000_010 + number, "", 600 - number) for number in range(10)]
    Room(str(folder), 4 * sum(path.stat().st_size for path in (ended, *torn)) // 3, "host").share()
    assert not old.exists()
    assert ended.exists()
    Room(str(folder), 200, "host").share()
    assert sorted(folder.iterdir()) == torn[-5:]


def test_very_many_small_files_are_too_much_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are bounded in number, and no more than necessary go; the killed one's is not among them."""
    monkeypatch.setattr(room, "_MOST_FILES", 100)
    monkeypatch.setattr(room, "_PATIENCE_S", 60.0)
    killed = record(folder, 4_000_000, "", 60)
    for number in range(120):
        record(folder, 4_100_000 + number, EXIT, 30)
    Room(str(folder), 64 * MIB, "host").share()
    assert len(list(folder.iterdir())) == 99
    assert killed.exists()


def counted(monkeypatch: pytest.MonkeyPatch, place: object, name: str) -> list[str]:
    """Have a function of a path note what it is asked for."""
    asked: list[str] = []
    original = getattr(place, name)

    def noting(path: str) -> object:
        asked.append(path)
        return original(path)

    monkeypatch.setattr(place, name, noting)
    return asked


def test_a_look_is_bounded_in_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many files a few are looked at when the time is over, some are dropped, and none of a killed process."""
    monkeypatch.setattr(room, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(room, "_MOST_FILES", 500)
    looks = counted(monkeypatch, os, "lstat")
    killed = record(folder, 4_000_000, "", 60)
    for number in range(1_000):
        record(folder, 4_100_000 + number, EXIT, 100 + number)
    one = Room(str(folder), 64 * MIB, "host")
    one.share()
    assert len(looks) <= 64
    assert 900 < len(list(folder.iterdir())) < 1_001
    assert killed.exists()
    one.share()
    assert len(looks) <= 64  # what was found is good for a while


def test_room_is_not_looked_for_in_every_task(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much one process writes, it looks at the folder every few seconds at most."""
    monkeypatch.setattr(room, "_MOST", 4096)
    monkeypatch.setattr(room, "_LEAST", 4096)
    looks = counted(monkeypatch, room, "_names")
    recorder = opened(folder)
    for number in range(200):
        executes(recorder, f"id-{number}")
    assert len(looks) == 1


@pytest.mark.parametrize("role", ["process", None])
def test_a_process_without_tasks_has_no_record(folder: Path, role: str | None) -> None:
    """What is started or forked by a task and runs none itself makes no file, whatever becomes of it."""
    recorder = opened(folder, {"role": role} if role else {})
    recorder.recycled("tasks")
    recorder.ended("a.b", "its parent's", "SUCCESS")
    forked(lambda: recorder.exited(3))
    recorder.exited(1)
    assert list(folder.iterdir()) == []


def test_the_first_task_begins_the_record(folder: Path) -> None:
    """A process of any kind has a record from its first task on, that begins with the line about it."""
    recorder = opened(folder, {"role": "process"})
    executes(recorder, "id-1")
    recorder.exited(0)
    assert kinds(folder) == ["process", "start", "end", "exit"]
    assert lines(folder)[1]["rss"]


def test_the_first_tasks_may_be_threads(folder: Path) -> None:
    """Where the first tasks begin at once in several threads, each of them is recorded."""
    recorder = opened(folder, {"role": "process", "shared": True})
    ready = threading.Barrier(8)

    def works(number: int) -> None:
        ready.wait()
        executes(recorder, f"id-{number}")

    threads = [threading.Thread(target=works, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(kinds(folder)) == ["end"] * 8 + ["process"] + ["start"] * 8


def test_a_fork_in_a_task_has_no_record(folder: Path) -> None:
    """A child that a task forks, and that goes through the end of the task as a copy does, leaves no file."""
    recorder = opened(folder)

    def copies() -> None:
        recorder.ended("a.b", "id-1", "SUCCESS")
        recorder.exited(0)

    recorder.started("a.b", "id-1")
    forked(copies)
    recorder.ended("a.b", "id-1", "SUCCESS")
    assert len(list(folder.iterdir())) == 1
    assert kinds(folder) == ["process", "start", "end"]


@pytest.mark.parametrize(
    ("role", "code", "left"),
    [
        ("child", 0, []),
        ("child", None, []),
        ("child", 1, ["process", "exit"]),
        ("main", 0, ["process", "exit"]),
    ],
)
def test_who_leaves_without_a_task_leaves_no_record(
    folder: Path, role: str, code: int | None, left: list[str]
) -> None:
    """A child that leaves as it should and ran no task leaves no file; a main process, by which others are read, does."""
    recorder = opened(folder, {**HEAD, "role": role})
    assert kinds(folder) == ["process"]
    recorder.exited(code)
    assert kinds(folder) == left


@LINUX
def test_a_child_that_is_killed_before_its_first_task_leaves_its_record(folder: Path) -> None:
    """That a worker's child was killed while it was idle is to be seen."""

    def dies() -> None:
        opened(folder)
        os.kill(os.getpid(), signal.SIGKILL)

    assert forked(dies) == signal.SIGKILL
    assert kinds(folder) == ["process"]


def test_equal_arguments_have_equal_hashes_in_all_processes_of_a_folder(folder: Path) -> None:
    """Two processes give the same arguments the same hash, and other arguments another one."""
    for argument in ("(7,)", "(7,)", "(8,)"):

        def works(given: str = argument) -> None:
            opened(folder).started("a.b", "id", argsrepr=given, kwargsrepr="{}")

        forked(works)
    hashes = [line["args_hash"] for line in lines(folder) if line["e"] == "start"]
    assert len(hashes) == 3
    assert len(set(hashes)) == 2


def test_hashes_of_another_folder_are_others(folder: Path, tmp_path: Path) -> None:
    """Short arguments cannot be guessed from a record alone: their hash has a key that lies beside it."""
    assert salt_of(str(folder)) == salt_of(str(folder)) != salt_of(str(tmp_path / "other"))
    (key,) = tmp_path.glob(".records.salt")
    assert (key.stat().st_mode & 0o777, key.stat().st_size) == (0o600, SIZE)
    assert hash_of("(7,)", "{}", b"x" * SIZE) != hash_of("(7,)", "{}", b"y" * SIZE)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.salt", ".records.salt", "records"]


def test_processes_that_begin_at_once_have_one_salt(folder: Path) -> None:
    """Whoever is first makes the salt; the others take it."""
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(salt_of, [str(folder)] * 32))) == 1


@pytest.mark.parametrize("fault", ["link", "short", "long", "folder", "open to all"])
def test_without_a_salt_of_its_own_a_process_makes_one_up(folder: Path, tmp_path: Path, fault: str) -> None:
    """A salt that is a link or has been cut, or a place that others can write to, is not used: hashes compare in the process alone."""
    path = tmp_path / ".records.salt"
    if fault == "link":
        (tmp_path / "target").write_bytes(b"x" * SIZE)
        path.symlink_to(tmp_path / "target")
    elif fault == "folder":
        path.mkdir()
    elif fault == "open to all":
        tmp_path.chmod(0o777)
    else:
        path.write_bytes(b"x" * (SIZE - 1 if fault == "short" else SIZE + 1))
    one, other = salt_of(str(folder)), salt_of(str(folder))
    assert one != other
    assert len(one) == len(other) == SIZE


def test_a_full_disk_makes_no_half_salt(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk there is no salt, nothing is left behind, and it is made when there is room."""
    write = _Failing(short=True)
    write.full = True
    monkeypatch.setattr(os, "write", write)
    assert len(salt_of(str(folder))) == SIZE
    assert [path.name for path in tmp_path.iterdir()] == ["records"]
    write.full = False
    assert salt_of(str(folder)) == salt_of(str(folder))


def test_another_host_s_young_records_are_kept(folder: Path) -> None:
    """A record of another host may be in use: it is dropped only when nothing was written to it for an hour."""
    young, old = folder / "other-1-1.jsonl", folder / "other-2-1.jsonl"
    for path in (young, old):
        path.write_bytes(b"x" * 1000)
    os.utime(old, (1, 1))
    Room(str(folder), 1_000, "host").share()
    assert [path.name for path in folder.iterdir()] == ["other-1-1.jsonl"]


def test_many_writers_share_the_budget(folder: Path) -> None:
    """The more living processes write, the less each of them may."""
    budget = 1 << 20
    alone = Room(str(folder), budget, "host").share()
    for number in range(64):
        (folder / f"other-{number}-1.jsonl").write_bytes(b"x" * 16_000)
    assert Room(str(folder), budget, "host").share() < alone
    assert alone == budget // 32


def test_threads_write_whole_lines(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of several threads do not run into each other, while files are rotated under them."""
    monkeypatch.setattr(room, "_MOST", 8192)
    monkeypatch.setattr(room, "_LEAST", 8192)
    recorder = opened(folder, {**HEAD, "shared": True})

    def works(name: str) -> None:
        for number in range(200):
            recorder.started("a.b", f"{name}-{number}")
            recorder.ended("a.b", f"{name}-{number}", "SUCCESS")

    threads = [threading.Thread(target=works, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = "".join(path.read_text() for path in folder.iterdir())
    assert all(json.loads(line) for line in text.splitlines() if line)


class _Hostile:
    """Objects of a program, none of whose methods may be called."""

    def __repr__(self) -> str:
        raise AssertionError

    __str__ = __len__ = __iter__ = __sizeof__ = __hash__ = __bool__ = __eq__ = __repr__  # type: ignore[assignment]


class _Text(str):
    """A text with a method of the program's."""

    __slots__ = ()

    def __len__(self) -> int:
        raise AssertionError


def test_arguments_are_not_asked(folder: Path) -> None:
    """Neither size nor hash of the arguments calls a method of theirs, and hostile ones cost a number at most."""
    assert size_of((_Hostile(), _Text("x")), {"a": _Hostile()}) < 200
    assert hash_of(_Hostile(), _Text("x"), b"") is None
    recorder = opened(folder)
    recorder.started("a.b", "id-1", queue=["x"], retries=_Hostile(), args=[_Hostile()], argsrepr=_Hostile())
    recorder.started("a.b", "id-2", retries=10**6000)
    recorder.started("a.b", "id-3", argsrepr="\ud800", kwargsrepr="")
    assert [(line["id"], line["retries"]) for line in lines(folder) if line["e"] == "start"] == [
        ("id-2", 0),
        ("id-3", 0),
    ]
    assert lines(folder)[1]["lines"] == 1


def test_a_large_argument_is_not_walked() -> None:
    """A list of a million is sized by its first elements."""
    assert 8_000_000 <= size_of(([7] * 1_000_000,), {}) <= 10_000_000
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert size_of(deep, {}) < 100


def test_a_foreign_exception_goes_its_way(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A soft time limit that strikes inside the recorder reaches the task; the recorder's own faults do not."""

    class SoftTimeLimitExceeded(Exception):  # noqa: N818 - billiard's name
        pass

    def strikes(*_arguments: object) -> str:
        raise SoftTimeLimitExceeded

    recorder = opened(folder)
    monkeypatch.setattr("leakhunt.capture.record.recorder.hash_of", strikes)
    with pytest.raises(SoftTimeLimitExceeded):
        recorder.started("a.b", "id-1")


@given(st.text(), st.text(), st.one_of(st.none(), st.text()))
def test_any_names_make_json(task: str, task_id: str, queue: str | None) -> None:
    """Whatever a task, its id and its queue are called, the line is one line of JSON with them."""
    kept: list[bytes] = []

    class Memory(Recorder):
        def _is_ready(self, *, begins: bool = False) -> bool:
            return begins

        def _adopt(self) -> None:
            self._running = {}
            self._journal = type("Journal", (), {"append": kept.append, "lost": 0})()

    recorder = Memory("", {"shared": True}, budget=0, reset_peak=False)
    recorder.started(task, task_id, queue=queue)
    (line,) = kept
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    value = json.loads(line)
    assert (value["task"], value["id"]) == (task[:200], task_id[:200])
    assert value["queue"] == (None if queue is None else queue[:200])


def test_it_costs_little_to_import() -> None:
    """The recorder brings nothing but the standard library, and none of its heavy parts."""
    code = "import sys, leakhunt.capture.record.recorder; print(*sys.modules)"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert {"click", "rich", "celery", "asyncio", "dataclasses", "inspect"}.isdisjoint(done.stdout.split())


def _start() -> int:
    from leakhunt.capture.procfs import start_ticks  # noqa: PLC0415 - a helper of this one test

    return start_ticks(os.getpid())
