"""What RSS is made of, and what its growth was: Python, native memory, free memory that is kept, copied pages.

RSS is cut in turn into what is known, and no part is taken larger than what is left, so the parts and the rest always
make the whole. Where a figure is missing, what it would have named is in the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Optional

from leakhunt.analysis.executions import traced_anew
from leakhunt.model.capture import Capture, Memory
from leakhunt.model.ledger import (
    ARENAS,
    COPIED,
    FILE,
    FLAT,
    FREE,
    GARBAGE,
    NATIVE,
    PYTHON,
    REST,
    RETAINED,
    TRACER,
    UNKNOWN,
    Ledger,
    Part,
)
from leakhunt.model.snapshot import Snapshot

_ALONE = "process"  # the role of one that no pool has forked
SMALL = 512  # bytes; Python's own allocator hands out blocks up to this, the C library larger ones

_COMPARED = (
    "uss", "file", "shmem", "swap", "traced", "tracer", "tracer_estimate", "arenas", "malloc_used", "malloc_free", "malloc_mmapped",
)  # fmt: skip
_ORDER = (PYTHON, TRACER, NATIVE, ARENAS, FREE, FILE, REST)
_NOTICED = 1 << 20  # growth of RSS below a MiB or a fiftieth of it is none
_NOTICED_SHARE = 0.02
_MOST = 0.5  # what names the growth is at least so much of it

Sizes = Mapping[str, Optional[int]]


class _Change(NamedTuple):
    """What two snapshots tell of their process: the parts of RSS, the figures they are of, what was copied."""

    parts: tuple[Part, ...]
    raw: tuple[Sizes, Sizes]
    old: Memory
    new: Memory
    copied: int


def composition(told: Capture, snapshot: Snapshot) -> Ledger | None:
    """Say what the memory of a snapshot's process is made of; None where not even RSS is known."""
    memory = told.memory
    if memory.rss is None:
        return None
    parts = _parts(memory, _raw(memory, _small(snapshot)))
    return Ledger(
        rss=Part("rss", None, memory.rss),
        parts=tuple(Part(name, None, parts[name]) for name in _ORDER),
        uss=Part("uss", None, memory.uss),
        shared=Part("shared", None, _shared(memory, told.role)),
        swap=Part("swap", None, memory.swap),
        kind=None,
        most=None,
        trim=memory.trim,
        garbage=told.garbage,
        limit=memory.cgroup_limit,
        usage=memory.cgroup_usage,
    )


def change(first: tuple[Capture, Snapshot], last: tuple[Capture, Snapshot]) -> Ledger | None:
    """Say what the growth of a process's memory between two of its snapshots was; None where RSS is not known."""
    old, new = _both_known(first[0].memory, last[0].memory)
    if traced_anew(first[0], last[0]):
        old, new = replace(old, traced=None), replace(new, traced=None)
    if old.rss is None or new.rss is None:
        return None
    raw = _raw(old, _small(first[1])), _raw(new, _small(last[1]))
    was, now = _parts(old, raw[0]), _parts(new, raw[1])
    parts = tuple(Part(name, was[name], now[name]) for name in _ORDER)
    shared = Part("shared", _shared(old, first[0].role), _shared(new, last[0].role))
    kind, most = _kind(
        _Change(parts, raw, old, new, _copied(old, new, shared)), _garbage_grown(first[0], last[0])
    )
    return Ledger(
        rss=Part("rss", old.rss, new.rss),
        parts=parts,
        uss=Part("uss", old.uss, new.uss),
        shared=shared,
        swap=Part("swap", old.swap, new.swap),
        kind=kind,
        most=most,
        trim=new.trim,
        garbage=last[0].garbage,
        limit=new.cgroup_limit,
        usage=new.cgroup_usage,
    )


def _both_known(first: Memory, last: Memory) -> tuple[Memory, Memory]:
    """Forget of either what the other does not know: a part that only one names would seem to grow."""
    unknown: dict[str, Any] = {
        name: None for name in _COMPARED if getattr(first, name) is None or getattr(last, name) is None
    }
    return replace(first, **unknown), replace(last, **unknown)


def _small(snapshot: Snapshot) -> int:
    """Return the traced bytes that are in blocks of Python's own allocator, by the mean size of each row's."""
    rows = snapshot.rows
    return sum(size for size, count in zip(rows.sizes, rows.counts) if size <= SMALL * count)


def _raw(memory: Memory, small: int) -> Sizes:
    """Return what each part would be by the figures alone, before it is held against the whole."""
    traced = memory.traced
    if traced is None:  # where tracing was off, what is Python's cannot be told from the rest
        memory = replace(memory, malloc_used=None, arenas=None)
    tracer = memory.tracer if memory.tracer_estimate is None else memory.tracer_estimate
    native = arenas = None
    small = min(small, traced or 0)
    if memory.malloc_used is not None:
        handed_out = memory.malloc_used + (memory.malloc_mmapped or 0)
        in_malloc = (traced or 0) - small if memory.arenas is not None else traced or 0
        native = max(0, handed_out - in_malloc - (tracer or 0))
    if memory.arenas is not None:
        arenas = max(0, memory.arenas - small)
    return {
        FILE: _sum(memory.file, memory.shmem),
        PYTHON: traced,
        TRACER: tracer,
        NATIVE: native,
        ARENAS: arenas,
        FREE: memory.malloc_free,
    }


def _sum(*sizes: int | None) -> int | None:
    known = [size for size in sizes if size is not None]
    return sum(known) if known else None


def _shared(memory: Memory, role: str | None) -> int | None:
    """Return the anonymous memory a child shares with its pool, at least: all files' pages are taken to be shared."""
    if memory.rss is None or memory.uss is None or role == _ALONE:
        return None
    return max(0, memory.rss - memory.uss - (_sum(memory.file, memory.shmem) or 0))


def _parts(memory: Memory, raw: Sizes) -> Sizes:
    """Cut RSS into its parts, the surest figures first."""
    left = memory.rss or 0
    parts: dict[str, int | None] = {}
    for name in (FILE, PYTHON, TRACER, NATIVE, ARENAS, FREE):
        size = raw[name]
        parts[name] = None if size is None else min(size, left)
        left -= parts[name] or 0
    parts[REST] = left
    return parts


def _garbage_grown(first: Capture, last: Capture) -> int:
    """Return how many bytes more a collection would free than before."""
    before, after = (told.garbage.size or 0 if told.garbage else 0 for told in (first, last))
    return max(0, after - before)


def _kind(grew: _Change, freeable: int) -> tuple[str, int | None]:
    """Name what most of the growth is, and how many bytes of it are that."""
    raw, old, new, copied = grew.raw, grew.old, grew.new, grew.copied
    within = {part.name: part.growth or 0 for part in grew.parts}
    # What grew both by the figures and within the whole did grow.
    grown = {name: min(_growth(raw, name), within[name]) for name in within if name != REST}
    growth = (new.rss or 0) - (old.rss or 0)
    if growth + copied < max(_NOTICED, _NOTICED_SHARE * (old.rss or 0)):
        return FLAT, None
    kinds = {
        PYTHON: grown[PYTHON],
        TRACER: grown[TRACER],
        NATIVE: grown[NATIVE],
        RETAINED: max(max(0, grown[FREE]) + max(0, grown[ARENAS]), min(growth, _trimmed(old, new))),
        COPIED: copied,
        FILE: grown[FILE],
    }
    kind, most = max(kinds.items(), key=lambda item: item[1])
    if most < _MOST * (growth + copied):
        return UNKNOWN, None
    if kind == PYTHON and freeable >= _MOST * most:
        return GARBAGE, min(most, freeable)
    return kind, most


def _copied(old: Memory, new: Memory, shared: Part) -> int:
    """Return what was shared before and is the process's own now: pages are copied when they are written to."""
    if shared.growth is None or old.uss is None or new.uss is None:
        return 0
    return max(0, min(-shared.growth, new.uss - old.uss))


def _trimmed(old: Memory, new: Memory) -> int:
    """Return how much more a trial trim gave back than before; nothing where the heap's own figures say it better."""
    if new.trim is None or (old.trim is None and old.malloc_free is not None):
        return 0
    return (new.trim.returned or 0) - ((old.trim.returned or 0) if old.trim else 0)


def _growth(raw: tuple[Sizes, Sizes], name: str) -> int:
    before, after = raw[0][name], raw[1][name]
    return 0 if before is None or after is None else after - before
