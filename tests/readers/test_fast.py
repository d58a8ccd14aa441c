from __future__ import annotations

import io
import pickle
import random
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from dump_tools import INVALID, SNAPSHOTS, TRICKY, Trace, outcome, pickled
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leakhunt.capture.snapshots.traces import write_traces
from leakhunt.errors import LeakhuntError
from leakhunt.model.snapshot import Snapshot
from leakhunt.readers import bulk, traces
from leakhunt.readers.compiled import fast
from leakhunt.readers.dump import read_dump
from leakhunt.readers.runs import PatternRuns

pytestmark = pytest.mark.skipif(fast is None, reason="the compiled part is not built")

REAL = sorted((SNAPSHOTS / "pythons").glob("*.bin"))
FRAME = b"\x95" + bytes(8)
# What stands between the values of a trace, or looks as if it did.
SPICE = (
    FRAME, FRAME + b"\x94", b"e(", b"(e", b"ee", b"(", b")", b"]", b"a", b"\x94", b"\x94\x94", b"q\x05", b"q\x40",
    b"r\x10\0\0\0", b"h\x05", b"h\x40", b"j\x05\0\0\0", b"j\xff\xff\xff\xff", b"K\0", b"K\x01", b"J\xff\xff\xff\xff",
    b"J\x86\x94t\x94", b"t\x94", b"\x85\x94", b"\x86\x94", b"\x87\x94", b"t", b"2", b"222", b"t2", b"2\x94", b"h\x02h\x03",
)  # fmt: skip


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file for the examples of property tests."""
    return tmp_path_factory.mktemp("dumps") / "dump.bin"


def all_ways(path: Path, *, allow_partial: bool = False) -> Snapshot | LeakhuntError:
    """Read a dump compiled, by patterns and one opcode at a time, and hold the first to the others."""
    found = []
    for way, fields in ((fast, bulk.FIELDS), (None, bulk.FIELDS), (None, frozenset[int]())):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bulk, "fast", way)
            patch.setattr(traces, "FIELDS", fields)
            found.append(outcome(read_dump, path, allow_partial=allow_partial))
    compiled, pure, slow = found
    assert told(compiled) == told(pure)
    if isinstance(compiled, Snapshot) and isinstance(slow, Snapshot):
        assert told(compiled) == told(slow)
    return compiled


def told(result: Snapshot | LeakhuntError) -> object:
    """Return what can be compared: a refusal's words, or a snapshot with the frames that its stacks use.

    A trace that is refused at its last byte may have brought in frames that nothing else names.
    """
    if isinstance(result, LeakhuntError):
        return result.message, result.hint
    used = {frame for stack in result.rows.stacks for frame in stack}
    return replace(result, frames=()), {at: result.frames[at] for at in sorted(used)}


@pytest.mark.parametrize("path", sorted(INVALID.iterdir()), ids=lambda path: path.name)
def test_faults_are_told_alike(path: Path) -> None:
    """Of every damaged or hostile dump, the compiled reader says what the others say."""
    if path.is_file():
        all_ways(path)
        all_ways(path, allow_partial=True)


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_dumps_are_read_alike(path: Path) -> None:
    """The dumps of all Pythons are read to the same columns, in the same order."""
    all_ways(path)


@st.composite
def dumps(draw: st.DrawFn) -> bytes:
    """Draw a dump, real or made, with bytes changed, lost, doubled or put in where one value ends."""
    chance = random.Random(draw(st.integers(0, 2**32)))  # noqa: S311 - chance, not secrets
    data = bytearray(draw(st.sampled_from(SMALL)) if draw(st.booleans()) else made(chance))
    for _ in range(draw(st.sampled_from([0, 1, 1, 2, 5]))):
        at = data.find(chance.choice([b"\x94", b"\x94", b"t"]), chance.randrange(len(data))) + chance.choice(
            [0, 1]
        )
        size = chance.choice([1, 2, 4, 9, 64])
        kind = chance.randrange(5)
        if kind == 0:
            data[at : at + 1] = bytes([chance.randrange(256)])
        elif kind == 1:
            del data[at : at + size]
        elif kind == 2:
            data[at:at] = data[at : at + size]
        else:
            data[at : at + (kind - 3) * size] = chance.choice(SPICE)
    return bytes(data)


def made(chance: random.Random) -> bytes:
    """Return a dump whose numbers are hard to read, as CPython or leakhunt writes it."""
    numbers = (*TRICKY, *range(1, 300))
    names = ("/srv/a.py", "/srv/\u11d4.py", "x" * 300)
    pool = [
        tuple((chance.choice(names), chance.choice(numbers)) for _ in range(chance.choice([1, 2, 3, 4, 9])))
        for _ in range(chance.choice([1, 3, 30]))
    ]
    fields = chance.choice([3, 4])
    rows: list[Trace] = [
        (
            chance.choice([0] * 20 + [1]),
            chance.choice(numbers),
            chance.choice(pool),
            chance.choice([0, 1, 9, 255, 256, 65535]),
        )[:fields]
        for _ in range(chance.choice([5, 50, 1200]))
    ]
    if fields == 4 and chance.random() < 0.6:
        file = io.BytesIO()
        write_traces(file, {}, [row for row in rows for _ in range(chance.choice([1, 1, 3]))], 9)
        return file.getvalue()
    return pickled(rows, protocol=chance.choice([4, 5]))


SMALL = [data for data in (path.read_bytes() for path in REAL) if len(data) < 60_000]


@settings(deadline=None, max_examples=250, suppress_health_check=[HealthCheck.too_slow])
@given(data=dumps(), allow_partial=st.booleans())
def test_any_bytes_are_read_alike(scratch: Path, data: bytes, allow_partial: bool) -> None:
    """Whatever the bytes, the compiled reader gives the values, or the refusal, that the others give."""
    scratch.write_bytes(data)
    all_ways(scratch, allow_partial=allow_partial)


@pytest.mark.parametrize("fields", [3, 4])
def test_frames_and_batches_do_not_end_a_run(tmp_path: Path, fields: int) -> None:
    """What the pickler puts between values for readers' sake, at every place, is passed over; nothing is lost."""
    rows: list[Trace] = [
        (0, size, (("/srv/a.py", size), ("/srv/b.py", 2)), 7)[:fields] for size in (1, 300, 70_000)
    ]
    data = pickled(rows * 3, protocol=4)
    path = tmp_path / "dump.bin"
    for at in range(data.index(b"K\0"), len(data)):
        path.write_bytes(data[:at] + FRAME + data[at:])
        all_ways(path)


@pytest.mark.parametrize("make", [lambda fields: fast and fast.Runs(fields), PatternRuns])
def test_a_run_is_taken_whole(make: Callable[[int], bulk.Runs]) -> None:
    """Traces of one run are summed by traceback; what cannot be a whole trace is left alone."""
    runs = make(4)
    new = b"(K\0K\x10h\x01K\x05\x86\x94\x85\x94K\x01t\x94"
    known = b"(K\0M\x00\x01h\x03K\x01t\x94"
    data = new + known * 2 + b"(K\0K\x07h\x03"
    numbered: list[tuple[int, int | None]] = []

    def number(index: int, lineno: int | None) -> int:
        numbered.append((index, lineno))
        return 40

    taken = runs.take(data, 0, 2, 6, number)
    assert taken == (data.rindex(b"(K\0"), 7, 3, [(40,)], [1])
    assert numbered == [(1, 5)]
    assert [runs.number_of(index) for index in (2, 3, 4, 2**40, -1)] == [-1, 6, -1, -1, -1]
    assert runs.drain() == ([6], [16 + 512], [3])
    assert runs.drain() == ([], [], [])
    runs.gather(1, 2)
    again = b"(K\0K\x01h\x01K\x01t\x94."
    assert runs.take(again, 0, 7, 7, number) == (len(again) - 1, 8, 1, [], [])
    assert runs.drain() == ([2], [1], [1])
    assert runs.take(again.replace(b"h\x01", b"j\xff\xff\xff\xff"), 0, 8, 7, number)[2] == -1


def test_what_numbers_a_frame_may_fail() -> None:
    """An error of the one who numbers frames reaches the one who reads."""
    assert fast is not None

    def number(index: int, lineno: int | None) -> int:
        raise LookupError(index, lineno)

    data = b"(K\0K\x10h\x01J\xff\xff\xff\xff\x86\x94\x85\x94K\x01t\x94."
    with pytest.raises(LookupError, match=r"\(1, -1\)"):
        fast.Runs(4).take(data, 0, 2, 0, number)


def test_nonsense_is_refused() -> None:
    """Places outside the data and forms that are not known are errors, not crashes."""
    assert fast is not None
    with pytest.raises(ValueError, match="5 fields"):
        fast.Runs(5)
    runs = fast.Runs(4)
    for pos, memo_size, first in ((-1, 0, 0), (4, 0, 0), (0, -1, 0), (0, 0, -1)):
        with pytest.raises(ValueError, match="outside"):
            runs.take(b"abc", pos, memo_size, first, max)
    with pytest.raises(TypeError):
        runs.take("text", 0, 0, 0, max)
    for index in (-1, 2**32, 2**62):
        with pytest.raises(OverflowError):
            runs.gather(index, 0)
    with pytest.raises(TypeError):
        fast.Markers(["text"])


def test_the_references_in_a_file_cost_no_memory(tmp_path: Path) -> None:
    """A reference to the largest memo index makes no room for it."""
    rows: list[Trace] = [(0, 1, (("/srv/a.py", 1),), 1)] * 3
    data = pickle.dumps(tracemalloc.Snapshot(rows, 1), 4)
    path = tmp_path / "dump.bin"
    end = data.rindex(b"e", 0, data.rindex(b"traceback_limit"))
    path.write_bytes(data[:end] + b"(K\0K\x01j\xfe\xff\xff\xffK\x01t\x94" * 3 + data[end:])
    tracemalloc.start()
    try:
        assert isinstance(all_ways(path), LeakhuntError)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
