"""What a process's memory is made of, and what its growth was: parts that never come to more than the whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from leakhunt.model.capture import Garbage, Trim

# The parts, in the order in which they are told.
PYTHON = "python"
TRACER = "tracer"
NATIVE = "native"
ARENAS = "arenas"
FREE = "free"
FILE = "file"
REST = "rest"

# What kind of growth it was, beside the names of parts that mean one: PYTHON, TRACER, NATIVE, FILE.
GARBAGE = "garbage"
RETAINED = "retained"
COPIED = "copy-on-write"
FLAT = "flat"
UNKNOWN = "unknown"


class Part(NamedTuple):
    """A part of RSS in bytes, in the first and in the last snapshot; None is unknown.

    Attributes:
        name: ``python`` (traced blocks), ``tracer`` (what tracing costs), ``native`` (handed out by the C library and
            not traced), ``arenas`` (in the arenas of Python's allocator and not traced: free, or older than the tracing),
            ``free`` (free, and kept by the C library), ``file`` (files and shared memory) or ``rest``. Beside them
            ``rss`` itself, and what cuts across: ``uss``, ``shared`` and ``swap``.
        before: in the first snapshot, None where there is only one.
    """

    name: str
    before: int | None
    after: int | None

    @property
    def growth(self) -> int | None:
        """Bytes more than before."""
        return None if self.before is None or self.after is None else self.after - self.before


@dataclass(frozen=True)
class Ledger:
    """Where the memory of a process went between two snapshots, or what it is made of in one.

    Attributes:
        rss: the whole.
        parts: what is known of it; ``rest`` closes the sum.
        uss: what is the process's own.
        shared: anonymous memory shared with the parent or other children, whatever is in it.
        swap: what is swapped out, beside RSS.
        kind: what most of the growth is, None for one snapshot.
        most: bytes of the growth that are of that kind, or None.
        trim: what a trial ``malloc_trim`` did at the last snapshot.
        garbage: what a ``gc.collect()`` would have freed at the last snapshot.
        limit: the memory limit of the process's control group.
        usage: what the whole group used.
    """

    rss: Part
    parts: tuple[Part, ...]
    uss: Part
    shared: Part
    swap: Part
    kind: str | None
    most: int | None
    trim: Trim | None
    garbage: Garbage | None
    limit: int | None
    usage: int | None
