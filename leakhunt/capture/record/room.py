"""The room that the flight recorder's files may take: old ones are dropped, and the others share it."""

from __future__ import annotations

import contextlib
import os
import time
from typing import NamedTuple

from leakhunt.capture.procfs import start_ticks

SUFFIX = ".jsonl"
ROTATED = ".jsonl.1"
_MOST_FILES = 10_000
_SHARES = 16  # files of a process that has the folder to itself get no more than this part each
_LEAST = 16 << 10
_MOST = 8 << 20
_STRANGER_IDLE_S = 3600.0  # a file of another host may be in use: it is, if it changed within the hour


class _Kept(NamedTuple):
    """A file in the folder."""

    modified: float
    name: str
    size: int


def make_room(folder: str, budget: int, host: str) -> int:
    """Drop the oldest records of processes that no longer run until all fit, and share the room out.

    Args:
        folder: where the records are.
        budget: bytes for all of them.
        host: this machine's name as file names have it.

    Returns:
        How large a file may grow before its process begins another.

    Raises:
        OSError: the folder cannot be read.
    """
    kept = sorted(_files(folder))
    size, count, writers = sum(file.size for file in kept), len(kept), 0
    if size > budget // 2 or count >= _MOST_FILES:
        for file in kept:
            if not _is_over(file, host):
                writers += file.name.endswith(SUFFIX)
            elif size > budget * 3 // 4 or count >= _MOST_FILES:
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(folder, file.name))
                    size, count = size - file.size, count - 1
    return max(_LEAST, min(_MOST, budget // (2 * max(_SHARES, writers))))


def safe_host(name: str) -> str:
    """Return a machine's name as file names have it."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name[:64]) or "host"


def _files(folder: str) -> list[_Kept]:
    kept = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith((SUFFIX, ROTATED)):
                with contextlib.suppress(OSError):
                    state = entry.stat(follow_symlinks=False)
                    kept.append(_Kept(state.st_mtime, entry.name, state.st_size))
    return kept


def _is_over(file: _Kept, host: str) -> bool:
    """Tell whether a file may be dropped: its process is gone, or another host's and silent for long."""
    owner, _, rest = file.name.partition(".")[0].partition("-")
    pid, _, start = rest.partition("-")
    if owner != host or not pid.isdecimal():
        return time.time() - file.modified > _STRANGER_IDLE_S
    began = start_ticks(int(pid))
    return start != str(began) if began else not _is_running(int(pid))


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
