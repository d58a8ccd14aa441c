"""The memory ledger: what a process's memory is made of, as the kernel, the allocators and tracemalloc tell it."""

from __future__ import annotations

import os
import sys
import tracemalloc
from typing import NamedTuple

from leakhunt.capture import groups, procfs
from leakhunt.capture.facts import allocator

# A trace is an entry of a table and a record, each a block of malloc. By structure sizes of CPython 3.9-3.14 and
# glibc's rounding: an entry of 32 bytes takes 48, a record of 16 takes 32, a stack has 12 bytes a frame and 32 more.
_ENTRY = 32
_ENTRY_TAKEN = 48
_RECORD_TAKEN = 32
_STACK_HEAD = 32
_FRAME = 12


class Sharing(NamedTuple):
    """How much of a process's memory is its own; in bytes, None where that is unknown.

    Attributes:
        pss: its own, and its part of what it shares.
        uss: its own alone.
    """

    pss: int | None
    uss: int | None


def sharing(pid: int) -> Sharing:
    """Return how much of a process's memory is its own; before a fork, after which all of it is shared."""
    rollup = procfs.fields(procfs.read(f"/proc/{pid}/smaps_rollup"))
    return Sharing(procfs.kilobytes(rollup, "Pss"), _sum(rollup, "Private_Clean", "Private_Dirty"))


def ledger(pid: int, *, deep: bool, trim: bool = False, shared: Sharing | None = None) -> dict[str, object]:
    """Return where the memory of a process is, in bytes; what is unknown is None.

    Args:
        pid: the worker, whose pages count; in a forked child that is not the caller.
        deep: whether the caller is a forked child, where the allocators may be asked at length.
        trim: try what ``malloc_trim`` gives back, in a forked child alone.
        shared: how much of its memory was its own before the caller was forked from it.
    """
    status = procfs.fields(procfs.read(f"/proc/{pid}/status"))
    own = shared or sharing(pid)
    group = groups.use_of(pid)
    tracing = tracemalloc.is_tracing()
    traced, peak = tracemalloc.get_traced_memory() if tracing else (None, None)
    heaps = allocator.malloc()
    rss = procfs.kilobytes(status, "VmRSS")
    return {
        "rss": rss,
        "pss": own.pss,
        "uss": own.uss,
        "anon": procfs.kilobytes(status, "RssAnon"),
        "file": procfs.kilobytes(status, "RssFile"),
        "shmem": procfs.kilobytes(status, "RssShmem"),
        "swap": procfs.kilobytes(status, "VmSwap"),
        "peak": procfs.kilobytes(status, "VmHWM"),
        "cgroup_usage": group.usage,
        "cgroup_limit": group.limit,
        "traced": traced,
        "traced_peak": peak,
        "tracer": tracemalloc.get_tracemalloc_memory() if tracing else None,
        "tracer_estimate": None,
        "arenas": allocator.arenas() if deep and pid != os.getpid() else None,
        "blocks": sys.getallocatedblocks() or None,
        "malloc_used": heaps.used,
        "malloc_free": heaps.free,
        "malloc_mmapped": heaps.mmapped,
        "trim": trimmed(rss) if trim and deep and pid != os.getpid() else None,
    }


def trimmed(rss: int | None) -> dict[str, int | None] | None:
    """Return what a trial ``malloc_trim`` gives back here, and what RSS the worker would have after it."""
    trial = allocator.trim()
    if trial is None:
        return None
    returned = max(0, trial.before - trial.after)
    return {"rss_after": None if rss is None else rss - returned, "returned": returned}


def tracer_estimate(admitted: int, traces: int, frames: float) -> int:
    """Return what tracemalloc takes in all, of which ``get_tracemalloc_memory`` tells only the tables.

    Stacks are never dropped from their table, so their number follows from what the tables take beyond the traces.

    Args:
        admitted: the bytes of ``get_tracemalloc_memory``.
        traces: blocks that are traced.
        frames: the mean number of frames of a stack.
    """
    stacks = max(0, admitted - _table(traces)) // (_ENTRY + 24)  # a table has two to four places an entry
    taken = admitted + traces * (_ENTRY_TAKEN - _ENTRY + _RECORD_TAKEN)
    return int(taken + stacks * (_ENTRY_TAKEN - _ENTRY + _STACK_HEAD + _FRAME * frames))


def _table(entries: int) -> int:
    """Return what a hash table of CPython tells of itself: its entries, and a power of two of places."""
    places = 16
    while places < 2 * entries:
        places *= 2
    return entries * _ENTRY + places * 8


def _sum(values: dict[str, str], *names: str) -> int | None:
    found = [procfs.kilobytes(values, name) for name in names]
    known = [value for value in found if value is not None]
    return sum(known) if len(known) == len(names) else None
