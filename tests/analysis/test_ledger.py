from __future__ import annotations

from dataclasses import fields, replace
from datetime import datetime, timezone
from typing import Any

import pytest
from captured_tools import MIB
from conftest import line, snapshot_of
from hypothesis import given
from hypothesis import strategies as st

from leakhunt.analysis.ledger import change, composition
from leakhunt.model.capture import Capture, Garbage, Memory, Tracing, Trim
from leakhunt.model.ledger import Ledger

# A worker of 60 MiB, a quarter of it files; 2 MiB are traced, all of it in blocks of the C library.
BEFORE = Memory(
    rss=60 * MIB,
    uss=40 * MIB,
    anon=45 * MIB,
    file=15 * MIB,
    shmem=0,
    traced=2 * MIB,
    tracer=MIB,
    arenas=12 * MIB,
    malloc_used=20 * MIB,
    malloc_free=2 * MIB,
    malloc_mmapped=0,
)
LARGE = snapshot_of(line("/a.py", 1, 2 * MIB, 100))
SMALL = snapshot_of(line("/a.py", 1, 2 * MIB, 100_000))


def grown(**mib: int) -> Memory:
    """Return the worker's memory after parts of it grew by so many MiB."""
    more = {name: (getattr(BEFORE, name) or 0) + size * MIB for name, size in mib.items()}
    return replace(BEFORE, **more)  # type: ignore[arg-type]


def compared(after: Memory, *, before: Memory = BEFORE, **more: Any) -> Ledger:  # noqa: ANN401 - of a Capture
    """Return what became of the worker."""
    traced = snapshot_of(line("/a.py", 1, after.traced or 0, 100))
    found = change((Capture(memory=before), LARGE), (Capture(memory=after, **more), traced))
    assert found is not None
    return found


def growth(ledger: Ledger) -> dict[str, int | None]:
    """Return what each part grew by, in MiB."""
    return {part.name: None if part.growth is None else part.growth // MIB for part in ledger.parts}


@pytest.mark.parametrize(
    ("after", "kind", "most"),
    [
        (grown(rss=50, uss=50, anon=50, traced=48, malloc_used=49), "python", 48),
        (grown(rss=50, uss=50, anon=50, traced=1, tracer=1, malloc_used=47), "native", 45),
        (grown(rss=50, uss=50, anon=50, traced=1, malloc_used=1, malloc_mmapped=46), "native", 46),
        (grown(rss=50, uss=50, anon=50, traced=1, malloc_used=1, malloc_free=48), "retained", 48),
        (grown(rss=50, uss=50, anon=50, traced=1, malloc_used=1, arenas=48), "retained", 48),
        (grown(rss=50, uss=50, anon=50, tracer=40, malloc_used=40), "tracer", 40),
        (grown(rss=50, file=48), "file", 48),
        (grown(rss=50, shmem=48), "file", 48),
        (grown(rss=50, uss=50, anon=50), "unknown", None),
        (grown(rss=50, uss=50, anon=50, traced=20, malloc_used=38), "unknown", None),
        (grown(uss=5), "copy-on-write", 5),
        (grown(rss=2, uss=7), "copy-on-write", 5),
        (BEFORE, "flat", None),
        (grown(rss=1, uss=1, anon=1, traced=1, malloc_used=1), "flat", None),
        (grown(rss=-20, uss=-20, anon=-20), "flat", None),
    ],
)
def test_growth_is_of_a_kind(after: Memory, kind: str, most: int | None) -> None:
    """What makes most of the growth names it; where nothing known does, that is said."""
    ledger = compared(after)
    assert (ledger.kind, ledger.most and ledger.most // MIB) == (kind, most)


def test_growth_that_a_collection_would_free_is_deferred_garbage() -> None:
    """Live blocks that nothing reaches are no leak: half of the growth, and it is called garbage."""
    after = grown(rss=50, uss=50, anon=50, traced=48, malloc_used=48)
    assert compared(after, garbage=Garbage(9, 40 * MIB)).kind == "garbage"
    assert compared(after, garbage=Garbage(9, MIB)).kind == "python"
    assert compared(after, garbage=Garbage(9, None)).kind == "python"


def test_garbage_that_was_there_before_is_not_what_grew() -> None:
    """As much garbage before as after explains no growth."""
    told = [
        (Capture(memory=memory, garbage=Garbage(9, 40 * MIB)), snapshot)
        for memory, snapshot in (
            (BEFORE, LARGE),
            (
                grown(rss=50, uss=50, anon=50, traced=48, malloc_used=48),
                snapshot_of(line("/a.py", 1, 50 * MIB, 100)),
            ),
        )
    ]
    ledger = change(*told)
    assert ledger is not None
    assert ledger.kind == "python"


def test_a_trial_trim_proves_what_malloc_does_not_tell() -> None:
    """Where the heap's own figures are unknown, what a trim gives back is what was kept."""
    unknown = replace(BEFORE, malloc_used=None, malloc_free=None, malloc_mmapped=None, arenas=None)
    after = replace(unknown, rss=110 * MIB, uss=90 * MIB, anon=95 * MIB)
    assert compared(after, before=unknown).kind == "unknown"
    tried = compared(replace(after, trim=Trim(70 * MIB, 40 * MIB)), before=unknown)
    assert (tried.kind, tried.most) == ("retained", 40 * MIB)


def test_a_trim_that_always_gives_back_explains_no_growth() -> None:
    """What a trim gave back before as well has not grown."""
    before = replace(BEFORE, trim=Trim(20 * MIB, 40 * MIB))
    after = replace(grown(rss=50, uss=50, anon=50), trim=Trim(70 * MIB, 40 * MIB))
    assert compared(after, before=before).kind == "unknown"


def test_small_blocks_are_in_python_s_arenas() -> None:
    """Traced blocks of up to 512 bytes take room in arenas, larger ones in the C library's heap."""
    told = Capture(memory=BEFORE)
    large, small = composition(told, LARGE), composition(told, SMALL)
    assert large is not None
    assert small is not None
    parts = [{part.name: part.after for part in ledger.parts} for ledger in (large, small)]
    assert [(one["native"], one["arenas"]) for one in parts] == [(17 * MIB, 12 * MIB), (19 * MIB, 10 * MIB)]


def test_the_estimate_of_the_tracer_s_cost_counts() -> None:
    """The tracer admits its tables alone, so the better figure is taken where there is one."""
    ledger = composition(Capture(memory=replace(BEFORE, tracer_estimate=4 * MIB)), LARGE)
    assert ledger is not None
    assert {part.name: part.after for part in ledger.parts}["tracer"] == 4 * MIB


def test_what_one_snapshot_does_not_know_does_not_grow() -> None:
    """A figure that only one of two snapshots has names no part of the growth."""
    before = replace(BEFORE, malloc_used=None, arenas=None)
    ledger = compared(grown(rss=10, uss=10, anon=10, traced=10, malloc_used=10), before=before)
    assert growth(ledger)["native"] is None
    assert growth(ledger)["arenas"] is None
    assert ledger.kind == "python"


@pytest.mark.parametrize("anew", [False, True])
def test_without_traces_python_is_not_taken_for_native(anew: bool) -> None:
    """Where tracing was off at either end, or began between, what grew in the heap may be Python's."""
    after = grown(rss=50, uss=50, anon=50, malloc_used=25, arenas=24)
    first, since = datetime(2026, 11, 21, tzinfo=timezone.utc), datetime(2026, 11, 21, 1, tzinfo=timezone.utc)
    old = Capture(memory=BEFORE if anew else replace(BEFORE, traced=None), when=first)
    new = Capture(memory=after, tracing=Tracing(since=since if anew else None))
    ledger = change((old, LARGE), (new, LARGE))
    assert ledger is not None
    assert ledger.kind == "unknown"
    assert [growth(ledger)[name] for name in ("python", "native", "arenas")] == [None, None, None]


def test_without_rss_there_is_no_ledger() -> None:
    """Where not even RSS is known, nothing is said."""
    unknown = Capture(memory=replace(BEFORE, rss=None))
    known = Capture(memory=BEFORE)
    assert composition(unknown, LARGE) is None
    assert change((unknown, LARGE), (known, LARGE)) is None
    assert change((known, LARGE), (unknown, LARGE)) is None


SIZES = st.none() | st.integers(0, 100 * MIB) | st.integers(0, (1 << 63) - 1)
MEMORIES = st.builds(
    Memory,
    **{field.name: SIZES for field in fields(Memory) if field.name != "trim"},
    trim=st.none() | st.builds(Trim, SIZES, SIZES),
)
SNAPSHOTS = st.sampled_from([LARGE, SMALL, snapshot_of()])
GARBAGE = st.none() | st.builds(Garbage, SIZES, SIZES)


@given(MEMORIES, SNAPSHOTS)
def test_parts_make_the_whole(memory: Memory, snapshot: Any) -> None:  # noqa: ANN401 - a sampled snapshot
    """Whatever the figures, no part is negative and all come to RSS, the rest being called so."""
    ledger = composition(Capture(memory=memory), snapshot)
    assert (ledger is None) is (memory.rss is None)
    if ledger is not None:
        sizes = [part.after for part in ledger.parts]
        assert all(size is None or size >= 0 for size in sizes)
        assert sum(filter(None, sizes)) == memory.rss
        assert ledger.parts[-1].name == "rest"


@given(MEMORIES, MEMORIES, SNAPSHOTS, SNAPSHOTS, GARBAGE)
def test_growth_of_parts_makes_the_growth(
    old: Memory,
    new: Memory,
    first: Any,  # noqa: ANN401 - a sampled snapshot
    last: Any,  # noqa: ANN401 - likewise
    garbage: Garbage | None,
) -> None:
    """Whatever the figures, the parts' growth comes to that of RSS, and what names it is at least half of it."""
    ledger = change((Capture(memory=old), first), (Capture(memory=new, garbage=garbage), last))
    assert (ledger is None) is (old.rss is None or new.rss is None)
    if ledger is None or ledger.rss.growth is None:
        return
    assert sum(part.growth or 0 for part in ledger.parts) == ledger.rss.growth
    assert (ledger.most is None) is (ledger.kind in {"flat", "unknown"})
    if ledger.most is not None and ledger.kind != "garbage":
        assert ledger.most >= 0.5 * ledger.rss.growth
