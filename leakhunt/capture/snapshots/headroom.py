"""What a snapshot will need, in memory and on disk, and what there is: a snapshot must not kill its worker.

The kernel would rather take the snapshot's child (its ``oom_score_adj`` is 1000), but a container whose
``memory.oom.group`` is set, as Kubernetes sets it, goes down whole.
"""

from __future__ import annotations

import os
import resource
import sys
import tracemalloc
from typing import NamedTuple

from leakhunt.capture import groups, procfs
from leakhunt.capture.folder import Folder

_PAGE = resource.getpagesize()

# Measured with CPython 3.9, 3.11 and 3.14 (tests/benchmarks/capture.py): what the child has to itself at its peak, by
# what tracemalloc says that it uses for itself: at 1 frame 3.9 to 4.1 and 8.3 times that, at 25 frames 2.7 and 6.4.
_PLAIN = 4.2
_LIGHT = 8.5
_AT_LEAST = 16 << 20
# The worker goes on meanwhile, and each page that it or the child writes to is there twice from then on. A guess: how
# much the worker writes to by then is its own affair.
_SHARE_OF_ANONYMOUS = 8
# Measured with CPython 3.11 (tests/benchmarks/headroom.py): for each block of Python's allocator, lists of all objects take
# 40 to 62 bytes. Where all of them are empty dicts, or short texts, it is 150 to 195: that child stops at its limit.
_LISTED = 64

# What stays free on the disk: a share of it, but no more than so much.
_DISK_SHARE = 20
_DISK_RESERVE = 5 << 30
_SMALLEST_FILE = 1 << 20

_UNLIMITED = 1 << 60  # version 1 writes a page less than 2**63 where nothing is limited
# Above memory.high the kernel slows the whole group down, which is as bad as a limit.
_FILES = {
    1: ("memory.usage_in_bytes", ("memory.limit_in_bytes",), "total_inactive_file"),
    2: ("memory.current", ("memory.max", "memory.high"), "inactive_file"),
}


class Room(NamedTuple):
    """How much more memory may be used.

    Attributes:
        size: bytes; None where nothing sets a limit that could be read.
        by: what sets it, for a sentence.
    """

    size: int | None = None
    by: str = ""


class Need(NamedTuple):
    """What a snapshot will take at most, by estimate, in bytes.

    Attributes:
        plain: for the traces as ``tracemalloc`` writes them.
        light: for the traces in the short form, for which the child first lets go of tracemalloc's tables.
        deep: for all objects too: looking at them writes to every page that holds one.
        copied: by what the worker and the child write to, part of ``plain`` and ``light``: no limit of the child's counts it.
        copied_deep: the same, part of ``deep``.
    """

    plain: int
    light: int
    deep: int
    copied: int
    copied_deep: int


def room() -> Room:
    """Return how much memory this process and its child may still use together."""
    rooms = [Room(size, by) for size, by in (_of_groups(), _of_machine(), _of_process()) if size is not None]
    return min(rooms, key=lambda each: each.size or 0, default=Room())


def need() -> Need:
    """Return an estimate of what a snapshot by a forked child will use."""
    tables = tracemalloc.get_tracemalloc_memory() if tracemalloc.is_tracing() else 0
    anonymous = _anonymous()
    copied = anonymous // _SHARE_OF_ANONYMOUS
    least = _AT_LEAST + copied
    light = least + int(tables * _LIGHT)
    deep = max(light, least + sys.getallocatedblocks() * _LISTED) + anonymous
    return Need(least + int(tables * _PLAIN), light, deep, copied, anonymous)


def disk(folder: Folder) -> int:
    """Return how large a file may be so that the file system is not full afterwards; 0 where none fits.

    Raises:
        OSError: the file system does not say.
        LeakhuntError: the folder is not what it was.
    """
    free, size = folder.room()
    left = free - min(_DISK_RESERVE, size // _DISK_SHARE)
    return left if left >= _SMALLEST_FILE else 0


def _of_groups() -> tuple[int | None, str]:
    """Return the smallest room in the process's control group and those around it."""
    version, folders = groups.folders_of(os.getpid())
    usage, limits, cache = _FILES.get(version, _FILES[2])
    rooms = []
    for folder in folders:
        used = _number(f"{folder}/{usage}")
        marks = [mark for mark in (_number(f"{folder}/{limit}") for limit in limits) if mark is not None]
        if used is None or not marks:
            continue
        # Files that were read and are not in use go first when memory is short.
        told = dict(
            line.split(" ", 1) for line in procfs.read(f"{folder}/memory.stat").splitlines() if " " in line
        )
        idle = told.get(cache, "0").strip()
        rooms.append(min(marks) - used + (int(idle) if idle.isdecimal() else 0))
    return (max(0, min(rooms)) if rooms else None), "the memory limit of its control group"


def _of_machine() -> tuple[int | None, str]:
    available = procfs.kilobytes(procfs.fields(procfs.read("/proc/meminfo")), "MemAvailable")
    return available, "what the machine has left"


def _of_process() -> tuple[int | None, str]:
    """Return the room under the process's own limit; a child has the same limit for itself."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None, ""
    return max(0, limit - _statm(0)), "its address space limit (ulimit -v)"


def _anonymous() -> int:
    """Return how much memory of the process is no file's; all that is resident where the kernel does not tell."""
    if sys.platform != "linux":
        peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * (1 if sys.platform == "darwin" else 1024)
    return max(0, _statm(1) - _statm(2))


def _statm(field: int) -> int:
    words = procfs.read("/proc/self/statm").split()
    return int(words[field]) * _PAGE if len(words) > field else 0


def _number(path: str) -> int | None:
    text = procfs.read(path, 64).strip()
    return int(text) if text.isdecimal() and int(text) < _UNLIMITED else None
