"""The snapshots in their folder: how their files are called, and which of them stay."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from leakhunt.capture.folder import File, Folder
from leakhunt.capture.procfs import runs, start_ticks
from leakhunt.capture.record.room import safe_host
from leakhunt.errors import LeakhuntError

_NAME = re.compile(r"([A-Za-z0-9_]{1,64})-([0-9]{1,10})-([0-9]{1,20})-([0-9]{8}T[0-9]{6})-([0-9]{1,10})\.bin")
_MOST_FILES = 1000  # in the folder; small ones of many processes would fill it otherwise
_SILENT_S = (
    3600.0  # after which another machine's process, which cannot be seen from here, is taken to have ended
)


class Owner(NamedTuple):
    """The process that a snapshot is of.

    Attributes:
        host: its machine, as file names have it.
        pid: its number.
        start: when it started, in clock ticks since boot, as a number is used again; 0 where unknown.
    """

    host: str
    pid: int
    start: int

    @classmethod
    def here(cls) -> Owner:
        """Return this process."""
        pid = os.getpid()
        return cls(safe_host(os.uname().nodename), pid, start_ticks(pid))


class Shelf(NamedTuple):
    """What may stay.

    Attributes:
        keep: how many snapshots of a process.
        budget: how many bytes these may have together.
        total: how many bytes all snapshots in the folder may have; those of processes that run stay all the same.
    """

    keep: int
    budget: int
    total: int


class _Snapshot(NamedTuple):
    """A snapshot's file."""

    file: File
    owner: Owner
    number: int


def name_of(owner: Owner, when: float, number: int) -> str:
    """Return how a snapshot's file is called.

    Args:
        owner: the process.
        when: seconds since the epoch.
        number: how many snapshots of the process there were, this one included.
    """
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(when))
    return f"{owner.host}-{owner.pid}-{owner.start}-{stamp}-{number}.bin"


def clear(folder: Folder, written: str, shelf: Shelf) -> list[str]:
    """Drop what is too much, after a snapshot was written, and what writers left that were killed.

    The oldest of the same process go first by their numbers, as a clock may be set back, then those of processes that
    have ended by their times. Files with other names are not touched.

    Args:
        folder: where the snapshots are.
        written: the name of the one just written; it stays.
        shelf: what may stay.

    Returns:
        The names of those that are gone.

    Raises:
        LeakhuntError: the folder is not what it was.
        OSError: it cannot be read.
    """
    folder.sweep()
    found = list(_snapshots(folder))
    here = next((each.owner for each in found if each.file.name == written), None)
    mine = sorted(
        (each for each in found if each.owner == here),
        key=lambda each: (each.file.name == written, each.number),
        reverse=True,
    )
    dropped = []
    kept = size = 0
    for each in mine:
        size += each.file.size
        if kept and (kept >= shelf.keep or size > shelf.budget) and _remove(folder, each):
            size -= each.file.size
            dropped.append(each.file.name)
        else:
            kept += 1
    others = [each for each in found if each.owner != here]
    size += sum(each.file.size for each in others)
    kept += len(others)
    ended: dict[Owner, bool] = {}
    for each in sorted(others, key=lambda each: (each.file.modified, each.number)):
        if size <= shelf.total and kept <= _MOST_FILES:
            break
        if _has_ended(each, ended) and _remove(folder, each):
            size, kept = size - each.file.size, kept - 1
            dropped.append(each.file.name)
    return dropped


def _snapshots(folder: Folder) -> Iterator[_Snapshot]:
    for file in folder.files():
        match = _NAME.fullmatch(file.name)
        if match:
            host, pid, start, _, number = match.groups()
            yield _Snapshot(file, Owner(host, int(pid), int(start)), int(number))


def _has_ended(snapshot: _Snapshot, known: dict[Owner, bool]) -> bool:
    """Tell whether a snapshot's process runs no more, or is another machine's and silent for long."""
    owner = snapshot.owner
    if owner.host != safe_host(os.uname().nodename):
        return time.time() - snapshot.file.modified > _SILENT_S
    if owner not in known:
        began = start_ticks(owner.pid)
        known[owner] = began != owner.start if began else not runs(owner.pid)
    return known[owner]


def _remove(folder: Folder, snapshot: _Snapshot) -> bool:
    with suppress(OSError, LeakhuntError):
        folder.remove(snapshot.file.name)
        return True
    return False
