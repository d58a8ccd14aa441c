"""What the tests of the dump reader share: dumps made by the standard library, and sums counted the plain way."""

from __future__ import annotations

import pickle
import random
import tracemalloc
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st

from leakhunt.errors import LeakhuntError
from leakhunt.model.snapshot import Snapshot

SNAPSHOTS = Path(__file__).resolve().parents[2] / "fixtures" / "snapshots"
INVALID = SNAPSHOTS / "invalid"

# The longest a test lets a hostile file take, and the most memory; the aim is a second and 200 MB.
SECONDS = 5
PEAK_BYTES = 200 << 20

Trace = tuple[Any, ...]  # as tracemalloc has it: most recent frame first
Key = tuple[int, tuple[tuple[str, int], ...]]  # domain and frames, oldest first


UNKNOWN = (("<unknown>", 0),)  # what CPython writes where no Python code ran


class Sum(NamedTuple):
    """Blocks of one domain and traceback."""

    size: int
    blocks: int
    total_nframe: int | None


def pickled(
    traces: Sequence[Trace],
    *,
    limit: int | None = 5,
    protocol: int = pickle.HIGHEST_PROTOCOL,
    **attributes: object,
) -> bytes:
    """Return a dump as the standard library writes it, with more attributes on the snapshot if wanted."""
    snapshot = tracemalloc.Snapshot(traces, limit)  # type: ignore[arg-type]
    vars(snapshot).update(attributes)
    return pickle.dumps(snapshot, protocol)


def counted(traces: Iterable[Trace]) -> dict[Key, Sum]:
    """Sum traces one by one; of equal tracebacks the first one's total_nframe counts."""
    sums: dict[Key, Sum] = {}
    nframes: dict[tuple[tuple[str, int], ...], int | None] = {}
    for trace in traces:
        domain, size, traceback = trace[:3] if len(trace) > 2 else (0, *trace)
        stack = traceback[::-1] or UNKNOWN
        nframe = nframes.setdefault(stack, trace[3] if len(trace) > 3 else None)
        before = sums.get((domain, stack), Sum(0, 0, nframe))
        sums[domain, stack] = Sum(before.size + size, before.blocks + 1, nframe)
    return sums


def rows(snapshot: Snapshot) -> dict[Key, Sum]:
    """Return what a snapshot's columns hold; each domain and traceback has one row."""
    columns = snapshot.rows
    nframes: Sequence[int | None] = columns.total_nframes or [None] * len(columns.stacks)
    found = {
        (domain, tuple((frame.filename, frame.lineno) for frame in snapshot.traceback(stack))): Sum(
            size, count, nframe
        )
        for domain, stack, size, count, nframe in zip(
            columns.domains, columns.stacks, columns.sizes, columns.counts, nframes
        )
    }
    assert len(found) == len(columns.domains) == len(columns.sizes) == len(columns.counts)
    assert len(set(snapshot.frames)) == len(snapshot.frames)
    return found


def outcome(load: Any, path: Path, **options: Any) -> Snapshot | LeakhuntError:  # noqa: ANN401 - any way to load
    """Return what a load gives; anything but a snapshot or a LeakhuntError goes through."""
    found: object
    try:
        found = load(str(path), **options)
    except LeakhuntError as error:
        found = error
    assert isinstance(found, Snapshot) or (isinstance(found, LeakhuntError) and found.message)
    return found


# Random traces

FIELDS = (2, 3, 4, 5)
SEPARATORS = (
    b"t\x94(",
    b"\x86\x94",
    b"\x87\x94",
    b"t\x94e",
    b"\x87\x94e",
    b"\x85\x94",
    b"\x94",
    b"\x95",
    b"(",
)
EDGES = (0, 1, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, 2**63 - 1)


def tricky_numbers() -> list[int]:
    """Return numbers whose bytes in a pickle hold what ends one record and begins the next, at every place."""
    found: set[int] = set()
    for separator in SEPARATORS:
        for before in (b"", b"\0", b"K", b"\x01\x02", b"K\0K\x01", b"\0\0\0\0"):
            for after in (b"", b"\0", b"K", b"\0K", b"\x01\x02\x03"):
                found.add(int.from_bytes(before + separator + after, "little"))
    return sorted(number for number in found if number < 2**63)


TRICKY = tricky_numbers()
NUMBERS = st.one_of(
    st.sampled_from(EDGES), st.integers(0, 600), st.sampled_from(TRICKY), st.integers(0, 2**63 - 1)
)
FILENAMES = st.one_of(
    st.sampled_from(
        ["/srv/app/a.py", "<unknown>", "", "/srv/ᆆᆇ/ᇔ.py", "\u11d4K\x01K\x02h\x05K\x03", "t\x94(", "é\n.py"]
    ),
    st.text(st.characters(), max_size=300),
)
FRAMES = st.tuples(FILENAMES, NUMBERS)


@st.composite
def traces_of(draw: st.DrawFn, *, most: int = 300, fields: int | None = None) -> list[Trace]:
    """Draw traces of one arity; tracebacks are one object, or equal but distinct, and equal traces may be one object."""
    arity = draw(st.sampled_from(FIELDS)) if fields is None else fields
    names = draw(st.lists(FILENAMES, min_size=1, max_size=6))
    linenos = draw(st.lists(NUMBERS, min_size=1, max_size=6))
    sizes = draw(st.lists(NUMBERS, min_size=1, max_size=8))
    nframes = draw(
        st.lists(
            st.one_of(st.integers(0, 300), st.sampled_from([255, 256, 65_535, 65_536, 70_000])),
            min_size=1,
            max_size=4,
        )
    )
    domains = draw(st.sampled_from([(0,), (0,), (0, 1), (0, 255, 256, 389_047, 2**32 - 1)]))
    depth = draw(st.integers(1, 12))
    stacks = draw(st.integers(1, 60))
    fresh = draw(st.sampled_from([0.0, 0.1, 1.0]))  # how often a traceback is an equal copy
    same_trace = draw(st.booleans())
    count = draw(st.one_of(st.integers(0, 40), st.integers(0, most)))
    source = random.Random(draw(st.integers(0, 2**32)))  # noqa: S311 - thousands of draws would take minutes
    pool = [
        (
            tuple((source.choice(names), source.choice(linenos)) for _ in range(source.randint(1, depth))),
            source.choice(nframes),
        )
        for _ in range(stacks)
    ]
    traces: list[Trace] = []
    known: dict[Trace, Trace] = {}
    for _ in range(count):
        traceback, nframe = source.choice(pool)
        if source.random() < fresh:
            traceback = tuple([(filename, lineno) for filename, lineno in traceback])
        size = source.choice(sizes)
        trace = (
            (size, traceback)
            if arity == 2
            else (source.choice(domains), size, traceback, nframe, "later")[:arity]
        )
        traces.append(known.setdefault(trace, trace) if same_trace else trace)
    return traces
