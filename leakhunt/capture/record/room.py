"""The room that the flight recorder's files may take: records that tell little are dropped, and the others share it.

A record without an end is what a killed process leaves, and what the recorder is for: it goes last. A look at the folder
takes little time whatever is in it, for it may happen while a task waits: of very many files some are looked at, evenly
taken, and more is dropped the next time.
"""

from __future__ import annotations

import os
import stat
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from math import gcd
from typing import NamedTuple

from leakhunt.capture.procfs import runs, start_ticks

SUFFIX = ".jsonl"
ROTATED = ".jsonl.1"
_MOST_FILES = 3_000
_MOST_LISTED = 3_500
_PATIENCE_S = 0.002  # for all that is done in one look, but for the list of names
_LEAST_DONE = 32  # files looked at, and files dropped, if the time is over before
_AGAIN_S = 10.0  # what one look has found is good for so long
_MERCY_S = 7 * 86_400.0  # a record without an end is dropped as if it were so much younger
_SHARES = 16  # files of a process that has the folder to itself get no more than this part each
_LEAST = 16 << 10
_MOST = 8 << 20
_STRANGER_IDLE_S = 3600.0  # a file of another host may be in use: it is, if it changed within the hour
_TAIL = 400
_END = b'{"e":"exit"'
_GOLDEN = 0.618


class _Kept(NamedTuple):
    """A file in the folder."""

    modified: float
    name: str
    size: int


class Room:
    """The room of one folder, as one process sees it.

    Args:
        folder: where the records are.
        budget: bytes for all of them.
        host: this machine's name as file names have it.
    """

    def __init__(self, folder: str, budget: int, host: str) -> None:
        self._folder, self._budget, self._host = folder, budget, host
        self._torn: set[str] = set()  # records that are over and have no end: they stay so
        self._share = 0
        self._again = 0.0

    def share(self) -> int:
        """Return how large a file may grow before its process begins another; see to the room every few seconds.

        Raises:
            OSError: the folder cannot be read.
        """
        now = time.monotonic()
        if not self._share or now >= self._again:
            self._share = self._look(now + _PATIENCE_S)
            self._again = time.monotonic() + _AGAIN_S
        return self._share

    def _look(self, until: float) -> int:
        names = _names(self._folder)
        until = max(until, time.monotonic() + _PATIENCE_S / 3)
        kept = sorted(_looked_at(self._folder, names, (until + time.monotonic()) / 2))
        part = len(kept) / len(names) if kept else 1.0
        # Of a few, the oldest may be younger than most.
        most = len(kept) if part == 1 and len(names) < _MOST_LISTED else len(kept) // 4
        size, count, writers = int(sum(file.size for file in kept) / part), len(names), 0
        if size > self._budget // 2 or count >= _MOST_FILES:
            writers = int(
                sum(file.name.endswith(SUFFIX) and _may_live(file, self._host) for file in kept) / part
            )
            surplus = size - self._budget * 3 // 4, count - _MOST_FILES + 1
            self._drop(islice(self._in_turn(kept, until), most), *surplus, until)
        return max(_LEAST, min(_MOST, self._budget // (2 * max(_SHARES, writers))))

    def _drop(self, files: Iterator[_Kept], size: int, count: int, until: float) -> None:
        """Drop files until so many bytes and so many files are gone, or the time is over."""
        for done, file in enumerate(files):
            if (size <= 0 and count <= 0) or (done >= _LEAST_DONE and time.monotonic() >= until):
                return
            with suppress(OSError):
                os.unlink(os.path.join(self._folder, file.name))
                size, count = size - file.size, count - 1
            self._torn.discard(file.name)

    def _in_turn(self, kept: list[_Kept], until: float) -> Iterator[_Kept]:
        """Yield what may be dropped, what tells least first; once the time is over only what was looked at."""
        torn: deque[_Kept] = deque()
        for at, file in enumerate(kept):
            if at >= _LEAST_DONE and time.monotonic() >= until:
                break
            while torn and torn[0].modified + _MERCY_S <= file.modified:
                yield torn.popleft()
            if not _may_be_dropped(file, self._host):
                continue
            if self._has_end(file.name):
                yield file
            else:
                torn.append(file)
        yield from torn

    def _has_end(self, name: str) -> bool:
        """Tell whether a record that is over ends as it should; a rotated one is as the one that followed it."""
        name = name[: -len(ROTATED)] + SUFFIX if name.endswith(ROTATED) else name
        if name in self._torn:
            return False
        if _ends(os.path.join(self._folder, name)):
            return True
        if len(self._torn) < _MOST_LISTED:
            self._torn.add(name)
        return False


def safe_host(name: str) -> str:
    """Return a machine's name as file names have it."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name[:64]) or "host"


def _names(folder: str) -> list[str]:
    with os.scandir(folder) as entries:
        found = (entry.name for entry in islice(entries, _MOST_LISTED))
        return [name for name in found if name.endswith((SUFFIX, ROTATED))]


def _looked_at(folder: str, names: list[str], until: float) -> Iterator[_Kept]:
    """Yield files, in an order of which any beginning is taken evenly from all, until the time is over."""
    step = max(1, int(_GOLDEN * len(names)))
    while gcd(step, len(names)) > 1:
        step += 1
    for done in range(len(names)):
        if done % _LEAST_DONE == 0 and done and time.monotonic() >= until:
            return
        name = names[done * step % len(names)]
        with suppress(OSError):
            state = os.lstat(os.path.join(folder, name))
            yield _Kept(state.st_mtime, name, state.st_size)


def _may_be_dropped(file: _Kept, host: str) -> bool:
    """Tell whether a file's process is gone, or another host's and silent for long."""
    if not _may_live(file, host):
        return True
    owner, pid, start = _owner(file)
    began = start_ticks(pid) if owner == host and pid else 0
    return bool(began) and start != str(began)  # the number is another process's by now


def _may_live(file: _Kept, host: str) -> bool:
    """Tell the same of a file without asking whether its process's number was given away anew."""
    owner, pid, _ = _owner(file)
    if owner != host or not pid:
        return time.time() - file.modified <= _STRANGER_IDLE_S
    return runs(pid)


def _owner(file: _Kept) -> tuple[str, int, str]:
    """Return the host, the number and the start of a file's process; 0 where its name does not say."""
    host, _, rest = file.name.partition(".")[0].partition("-")
    pid, _, start = rest.partition("-")
    return host, int(pid) if pid.isdecimal() else 0, start


def _ends(path: str) -> bool:
    """Tell whether the last line of a record says that its process left; true where there is none to look at."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode):
            return True
        tail = os.pread(fd, _TAIL, max(0, state.st_size - _TAIL))
    except OSError:
        return True
    finally:
        os.close(fd)
    return tail.endswith(b"\n") and tail[:-1].rpartition(b"\n")[2].startswith(_END)
