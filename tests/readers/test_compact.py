from __future__ import annotations

import io
import pickle
import pickletools
import random
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from dump_tools import TRICKY, Trace, counted, outcome, rows, traces_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leakhunt.capture.snapshots.traces import write_traces
from leakhunt.model.snapshot import Snapshot
from leakhunt.readers import bulk, traces
from leakhunt.readers.bulk import Runs
from leakhunt.readers.compiled import fast
from leakhunt.readers.dump import read_dump
from leakhunt.readers.runs import PatternRuns
from leakhunt.readers.window import Window

WAYS = ["compiled", "pure", "machine"] if fast is not None else ["pure", "machine"]
BULK = [way for way in WAYS if way != "machine"]
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file for the examples of property tests."""
    return tmp_path_factory.mktemp("dumps") / "dump.bin"


def written(rows: list[Trace], batch: int = 1000) -> bytes:
    """Return the dump that leakhunt writes of these traces."""
    file = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("leakhunt.capture.snapshots.traces._BATCH", batch)
        write_traces(file, {"schema": 1, "host": "é"}, list(rows), 7)
    return file.getvalue()


def listed(data: bytes) -> list[Trace]:
    """Return the traces that the standard library finds in a dump."""
    snapshot: tracemalloc.Snapshot = pickle.loads(data)
    return list(snapshot.traces._traces)  # type: ignore[attr-defined]


def read(
    path: Path, way: str, *, chunk: int | None = None, allow_partial: bool = False
) -> Snapshot | Exception:
    """Read a dump in one way, so many bytes at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "fast", fast if way == "compiled" else None)
        if way == "machine":
            patch.setattr(traces, "FIELDS", frozenset[int]())
        if chunk:
            patch.setattr("leakhunt.readers.dump.Window", lambda read: Window(partial(read, chunk)))
        return outcome(read_dump, path, allow_partial=allow_partial)


def check(path: Path, data: bytes, *, chunk: int | None = None) -> None:
    """Hold every way of reading to what the standard library reads."""
    path.write_bytes(data)
    expected = counted(listed(data))
    for way in WAYS:
        found = read(path, way, chunk=chunk)
        assert isinstance(found, Snapshot), found
        assert rows(found) == expected, way
        assert found.blocks == len(listed(data))
        assert (found.traceback_limit, found.partial, found.skipped) == (7, False, ())
        assert found.capture == {"schema": 1, "host": "é"}
        used = {frame for stack in found.rows.stacks for frame in stack}
        assert used == set(range(len(found.frames)))


@pytest.fixture
def only_bulk(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let no second reading pass, and note how many blocks each bulk reading takes."""
    taken: list[int] = []
    plain = bulk.BulkReader.read

    def noting(self: bulk.BulkReader) -> None:
        before = self.blocks
        plain(self)
        taken.append(self.blocks - before)

    monkeypatch.setattr(bulk.BulkReader, "read", noting)
    monkeypatch.setattr("leakhunt.readers.dump.MemoDropped", ZeroDivisionError)
    return taken


# The same as other readers find


@st.composite
def rows_of(draw: st.DrawFn) -> list[Trace]:
    """Draw traces of which many are equal, some are without frames, and some are deeper than they tell."""
    drawn = draw(traces_of(most=200, fields=4))
    chance = random.Random(draw(st.integers(0, 2**32)))  # noqa: S311 - chance, not secrets
    if drawn and chance.random() < 0.5:
        drawn += [(0, drawn[0][1], (), chance.randrange(3))] * chance.randrange(1, 5)
    repeated = [trace for trace in drawn for _ in range(chance.choice([1, 1, 2, 40, 300]))]
    if chance.random() < 0.5:
        chance.shuffle(repeated)
    return repeated


@settings(deadline=None, max_examples=150, suppress_health_check=SLOW)
@given(
    rows=rows_of(),
    batch=st.sampled_from([1, 2, 7, 1000]),
    chunk=st.sampled_from([None, None, 1, 13, 100, 1000]),
)
def test_every_way_reads_what_the_standard_library_reads(
    scratch: Path, rows: list[Trace], batch: int, chunk: int | None
) -> None:
    """Totals, stacks and depths of our own dumps are the same for each reader, wherever the bytes at hand end."""
    check(scratch, written(rows, batch), chunk=chunk)


@pytest.mark.parametrize("place", ["size", "lineno", "total_nframe"])
@pytest.mark.parametrize("frames", [1, 2, 3, 5])
def test_a_number_that_looks_like_a_border_is_a_number(tmp_path: Path, frames: int, place: str) -> None:
    """Each number whose bytes hold the end of one value and the start of the next is read as itself."""
    plain = tuple(("/srv/a.py", 1 + depth) for depth in range(frames))
    rows: list[Trace] = []
    for number in TRICKY:
        stack = (*plain[:-1], ("/srv/a.py", number)) if place == "lineno" else plain
        nframe = number % 2**16 if place == "total_nframe" else frames
        rows += [(0, number if place == "size" else 100, stack, nframe)] * (1 + number % 3)
    check(tmp_path / "dump.bin", written(rows))


def test_a_reference_that_looks_like_a_border_is_a_reference(tmp_path: Path) -> None:
    """Tens of thousands of frames and tracebacks are known by their index, whatever its bytes."""
    places = [("/srv/a.py", number) for number in range(30_000)]
    stacks = [(place, places[0], places[-number]) for number, place in enumerate(places)]
    data = written([(0, 50, stack, 3) for stack in stacks] + [(0, 60, stack, 3) for stack in stacks])
    for border in (b"j\x86\x94\0\0", b"jt2\0\0", b"j2(\0\0"):
        assert border in data
    check(tmp_path / "dump.bin", data)


def test_a_long_traceback_is_read(tmp_path: Path) -> None:
    """Tracebacks of up to the 65,535 frames that CPython keeps are read, recursion included."""
    places = [("/srv/a.py", number) for number in range(300)]
    stacks = [tuple(places[at % step] for at in range(65_535)) for step in (1, 2, 300)]
    check(tmp_path / "dump.bin", written([(0, 10, stack, 70_000) for stack in stacks] * 3))


# How they are read


@pytest.mark.parametrize("way", BULK)
def test_bulk_reading_takes_nearly_all(tmp_path: Path, only_bulk: list[int], way: str) -> None:
    """Only traces with a file name that is new, or that no trace has had before, are left to the machine."""
    chance = random.Random(1)  # noqa: S311 - chance, not secrets
    places = [(f"/srv/{number % 9}.py", number) for number in range(500)]
    stacks = [
        tuple(chance.choice(places) for _ in range(chance.choice([1, 2, 3, 4, 25]))) for _ in range(2000)
    ]
    drawn = [(0, chance.choice([16, 300, 70_000]), chance.choice(stacks), 40) for _ in range(20_000)]
    path = tmp_path / "dump.bin"
    path.write_bytes(written(drawn))
    found = read(path, way)
    assert isinstance(found, Snapshot)
    assert rows(found) == counted(listed(path.read_bytes()))
    assert sum(only_bulk) > 19_000
    assert len(only_bulk) < 40


@pytest.mark.parametrize("way", BULK)
def test_readers_that_take_turns_know_each_others_frames(
    tmp_path: Path, only_bulk: list[int], way: str
) -> None:
    """A traceback may refer to frames and tracebacks that the other reader came across first, both ways round."""
    places = [("/srv/a.py", number) for number in range(600)]
    other = [(f"/srv/{number}.py", 1) for number in range(40)]  # by the machine, as their names are new
    rows_: list[Trace] = []
    for number in range(600):
        shared = places[number - number % 7 : number + 1]
        if number % 15 == 0:
            stack = (other[number // 15], *shared, places[number // 2])
            rows_ += [(1, 8, stack, 9), (0, 8, stack, 9)]
        else:
            stack = (*shared, other[number // 15 // 2], places[number // 3])
            rows_ += [(0, 8, stack, 9), (5, 8, stack, 9), (0, 2**40, stack, 9)]
    path = tmp_path / "dump.bin"
    path.write_bytes(written(rows_ * 2))
    found = read(path, way)
    assert isinstance(found, Snapshot)
    assert rows(found) == counted(listed(path.read_bytes()))
    assert sum(only_bulk) > 600


@pytest.mark.parametrize("make", [fast and fast.Runs, PatternRuns])
def test_a_compact_run_is_taken_whole(make: Callable[[int], Runs] | None) -> None:
    """Repeats are counted, frames are kept to be recalled, and what may go on behind the bytes at hand is left alone."""
    if make is None:
        pytest.skip("the compiled part is not built")
    runs = make(4)
    new = b"(K\0K\x10h\x01K\x05\x86\x94h\x00h\x02\x87\x94K\x09t" + b"222"
    known = b"(K\0M\x00\x01h\x03K\x09t"
    other = b"(K\0K\x01h\x02\x85\x94K\x01t2"
    asked: list[tuple[int, int | None]] = []

    def number(index: int, lineno: int | None) -> int:
        asked.append((index, lineno))
        return 40 + index

    data = new + known + b"e(" + known + b"22" + other + b"(K\0K\x07h\x03K\x01t" + b"2" * 9
    taken = runs.take(data, 0, 2, 6, number)
    assert taken == (data.rindex(b"(K\0"), 5, 10, [(41, 40, 41), (41,)], [9, 1])
    assert asked == [(1, 5), (0, None)]
    assert [runs.number_of(index) for index in range(6)] == [-1, -1, -1, 6, 7, -1]
    assert [runs.frame_of(index) for index in (0, 1, 2, 3, 2**40, -1)] == [40, -1, 41, -1, -1, -1]
    stacks, sizes, counts = runs.drain()
    assert dict(zip(stacks, zip(sizes, counts))) == {6: (64 + 4 * 256, 8), 7: (2, 2)}
    assert runs.drain() == ([], [], [])
    again = b"(K\0K\x01h\x03K\x01t22."
    assert runs.take(again, 0, 5, 8, number) == (len(again) - 1, 5, 3, [], [])
    assert runs.take(again.replace(b"h\x03", b"h\x02"), 0, 5, 8, number)[2] == -1


@pytest.mark.parametrize("way", BULK)
def test_sums_that_are_handed_over_in_between_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Repeats of large blocks count as often as they are there."""
    monkeypatch.setattr("leakhunt.readers.bulk._FLUSH_BLOCKS", 100)
    stacks = [(("a.py", number),) for number in range(3)]
    drawn: list[Trace] = [(0, 2**31 - 1 - number % 2, stacks[number % 3], 1) for number in range(90_000)]
    path = tmp_path / "dump.bin"
    path.write_bytes(written(drawn))
    found = read(path, way, chunk=1000)
    assert isinstance(found, Snapshot)
    assert rows(found) == counted(drawn)


# Cut and hostile


def ends_of_blocks(data: bytes) -> list[int]:
    """Return where each block ends: behind the last opcode of its trace, or its DUP."""
    depth = 0
    ends = []
    for opcode, _, position in pickletools.genops(data):
        depth += opcode.name == "MARK"
        depth -= opcode.name in {"TUPLE", "APPENDS", "SETITEMS"}
        if depth == 2 and opcode.name in {
            "TUPLE",
            "DUP",
        }:  # within the state of the snapshot and the list of traces
            assert position is not None
            ends.append(position + 1)
    return ends


@pytest.mark.parametrize("way", WAYS)
def test_the_whole_blocks_of_a_cut_dump_are_read(tmp_path: Path, way: str) -> None:
    """Wherever our own dump is cut, the blocks before are read, at most one missing, repeats counted one by one."""
    stacks = [tuple(("/srv/a.py", 10 * number + depth) for depth in range(2 + number)) for number in range(4)]
    drawn = [(0, size, stack, 9) for stack in stacks for size in (16, 300) for _ in range(4)]
    data = written(drawn, batch=3)
    ends, traces = ends_of_blocks(data), listed(data)
    assert len(ends) == len(traces) == len(drawn)
    path = tmp_path / "dump.bin"
    path.write_bytes(data)
    with open(path, "r+b") as file:
        for length in range(len(data) - 1, 0, -1):
            file.truncate(length)
            whole = sum(end <= length for end in ends)
            found = read(path, way, allow_partial=True)
            if not isinstance(found, Snapshot):
                assert whole <= 1
                continue
            assert found.partial
            # Whether a trace at the very end goes on is not known there.
            assert found.blocks == whole - (length in ends and data[length - 1 : length] == b"t")
            assert rows(found) == counted(traces[: found.blocks])


def test_a_frame_that_is_none_is_refused_alike(tmp_path: Path) -> None:
    """A traceback that refers to a name, a traceback or nothing in place of a frame is refused by every reader."""
    place = ("/srv/a.py", 7)
    data = written([(0, 1 + number % 2, (place, place, ("/srv/a.py", number)), 3) for number in range(100)])
    path = tmp_path / "dump.bin"
    at = data.rindex(b"h\x01h\x01")
    told = set()
    for index in (0, 3, 200, 255):
        for byte in (at + 1, at + 3):
            path.write_bytes(data[:byte] + bytes([index]) + data[byte + 1 :])
            found = [read(path, way) for way in WAYS]
            assert not any(isinstance(each, Snapshot) for each in found)
            assert len(set(map(str, found))) == 1
            told.add(str(found[0]).partition("(")[2])
    assert told <= {
        "a traceback holds something else than files and lines)",
        "its pickle refers to a value it does not hold)",
    }
