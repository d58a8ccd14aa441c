from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from leakhunt.capture.folder import Folder
from leakhunt.capture.procfs import start_ticks
from leakhunt.capture.snapshots.shelf import Owner, Shelf, clear, name_of

HERE = Owner.here()
LARGE = 1 << 30
WHEN = 1_790_000_000.0


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return a folder that is new."""
    return Folder.open(str(tmp_path / "snapshots"))


@pytest.fixture
def ended() -> Owner:
    """Return a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return HERE._replace(pid=process.pid, start=1)


def put(folder: Folder, owner: Owner, number: int, *, size: int = 10, age: float = 0.0) -> str:
    """Write a snapshot of a process's that seems older by so many seconds, and return its name."""
    name = name_of(owner, WHEN, number)
    then = time.time() - age
    os.utime(folder.write(name, b"x" * size), (then, then))
    return name


def test_the_oldest_of_a_process_go_first(folder: Folder) -> None:
    """Of a process's snapshots the newest stay, by count and by size; those of others, and other files, are not touched."""
    names = [put(folder, HERE, number, age=100 - number) for number in range(1, 6)]
    other = put(folder, HERE._replace(start=HERE.start + 1), 1, age=1000)
    folder.write(f"{HERE.host}-{HERE.pid}-before.bin", b"x")
    assert clear(folder, names[4], Shelf(3, 1000, LARGE)) == [names[1], names[0]]
    assert clear(folder, names[4], Shelf(3, 25, LARGE)) == [names[2]]
    assert folder.names() == sorted([names[3], names[4], other, f"{HERE.host}-{HERE.pid}-before.bin"])


def test_the_clock_may_go_back(folder: Folder) -> None:
    """Numbers, not times, say which snapshot of a process is older; the one just written stays whatever is said."""
    names = [put(folder, HERE, number, age=-3600) for number in (8, 9, 10)]
    new = put(folder, HERE, 11)
    assert clear(folder, new, Shelf(3, LARGE, LARGE)) == [names[0]]
    odd = put(folder, HERE, 2)
    assert clear(folder, odd, Shelf(1, LARGE, LARGE)) == [new, names[2], names[1]]
    assert folder.names() == [odd]


def test_the_newest_always_stays(folder: Folder) -> None:
    """Bounds that are too small for one file, or a ring of none, do not cost the one just written."""
    old, new = put(folder, HERE, 1, size=100), put(folder, HERE, 2, size=100)
    assert clear(folder, new, Shelf(0, 0, 0)) == [old]


def test_those_of_the_dead_share_a_bound(folder: Folder, ended: Owner) -> None:
    """Above the bound of the folder the oldest of processes that have ended go, the last of a process too."""
    dead = [put(folder, ended._replace(start=start), 1, size=100, age=100 - start) for start in range(1, 6)]
    reused = put(folder, HERE._replace(start=HERE.start + 1), 1, size=100, age=500)
    parent = os.getppid()
    lives = put(folder, Owner(HERE.host, parent, start_ticks(parent)), 1, size=100, age=1000)
    new = put(folder, HERE, 1, size=100)
    assert clear(folder, new, Shelf(3, LARGE, 10_000)) == []
    assert clear(folder, new, Shelf(3, LARGE, 500)) == [reused, dead[0], dead[1]]
    assert clear(folder, new, Shelf(3, LARGE, 0)) == dead[2:]
    assert folder.names() == sorted([lives, new])


def test_another_machines_go_when_they_are_silent(folder: Folder) -> None:
    """What another machine wrote stays for an hour, as nobody here can tell whether its process runs."""
    fresh = put(folder, Owner("elsewhere", 1, 1), 1, age=60)
    silent = put(folder, Owner("elsewhere", 1, 1), 2, age=4000)
    new = put(folder, HERE, 1)
    assert clear(folder, new, Shelf(3, LARGE, 0)) == [silent]
    assert folder.names() == sorted([fresh, new])


def test_small_ones_do_not_fill_the_folder(folder: Folder, ended: Owner) -> None:
    """There are at most a thousand files, whatever their size."""
    for start in range(1100):
        put(folder, ended._replace(start=start), 1, size=0, age=2000 - start)
    new = put(folder, HERE, 1)
    assert len(clear(folder, new, Shelf(3, LARGE, LARGE))) == 101
    assert len(folder.names()) == 1000
