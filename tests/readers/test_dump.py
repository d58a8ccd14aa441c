from __future__ import annotations

import gc
import json
import math
import pickle
import pickletools
import time
import tracemalloc
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dump_tools import FIELDS, SECONDS, SNAPSHOTS, Trace, counted, outcome, pickled, rows, traces_of
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import leakhunt
from leakhunt.errors import LeakhuntError
from leakhunt.model.snapshot import Snapshot
from leakhunt.readers.dump import read_dump

PYTHONS = SNAPSHOTS / "pythons"
EXPECTED: dict[str, dict[str, Any]] = json.loads((PYTHONS / "expected.json").read_text(encoding="utf-8"))

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file for the examples of property tests, which share their fixtures."""
    return tmp_path_factory.mktemp("dumps") / "dump.bin"


def load(scratch: Path, data: bytes, **options: Any) -> Snapshot:  # noqa: ANN401 - whatever load takes
    """Load a dump from memory."""
    scratch.write_bytes(data)
    return leakhunt.load(str(scratch), **options)


def raw_traces(snapshot: tracemalloc.Snapshot) -> list[Trace]:
    """Return a snapshot's traces as tracemalloc keeps them."""
    return list(snapshot.traces._traces)  # type: ignore[attr-defined]


def check(snapshot: Snapshot, traces: list[Trace]) -> None:
    """Hold a snapshot to the traces it was made of."""
    assert rows(snapshot) == counted(traces)
    assert snapshot.blocks == len(traces)
    assert snapshot.size == sum(trace[0 if len(trace) == 2 else 1] for trace in traces)
    assert snapshot.trace_fields == (len(traces[0]) if traces else 0)
    assert (snapshot.partial, snapshot.skipped) == (False, ())


# Real dumps


def test_every_dump_of_the_fixtures_is_expected() -> None:
    """The table of expectations names each dump of every Python, and no other."""
    assert sorted(EXPECTED) == sorted(path.name for path in PYTHONS.glob("*.bin"))


@pytest.mark.parametrize("name", EXPECTED)
def test_a_dump_of_any_python_is_read_as_its_own_python_reads_it(name: str) -> None:
    """Totals, tracebacks, limit, fields and the largest lines are those that the interpreter which wrote it found."""
    expected = EXPECTED[name]
    snapshot = leakhunt.load(str(PYTHONS / name))
    assert (snapshot.size, snapshot.blocks) == (expected["size"], expected["count"])
    assert snapshot.blocks == expected["traces"]
    assert len(snapshot.rows.stacks) == expected["tracebacks"]
    assert snapshot.traceback_limit == expected["traceback_limit"]
    assert snapshot.trace_fields == expected["trace_fields"]
    assert (snapshot.rows.total_nframes is None) == (expected["trace_fields"] < 4)
    assert (snapshot.capture, snapshot.partial, snapshot.skipped) == (None, False, ())
    lines: Counter[tuple[str, int]] = Counter()
    blocks: Counter[tuple[str, int]] = Counter()
    for stack, size, count in zip(snapshot.rows.stacks, snapshot.rows.sizes, snapshot.rows.counts):
        newest = snapshot.traceback(stack)[-1]
        lines[newest] += size
        blocks[newest] += count
    top = sorted(lines, key=lambda frame: (lines[frame], blocks[frame]), reverse=True)[:5]
    assert [[*frame, lines[frame], blocks[frame]] for frame in top] == expected["top"]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_real_dump_has_the_rows_of_its_pickle(name: str) -> None:
    """Each traceback has the size, count and depth that its traces give."""
    traces = raw_traces(pickle.loads((PYTHONS / name).read_bytes()))
    assert rows(leakhunt.load(str(PYTHONS / name))) == counted(traces)


@pytest.mark.parametrize("version", ["cp38", "cp313"])
def test_every_protocol_says_the_same(version: str) -> None:
    """One snapshot reads the same from each pickle protocol."""
    found = [rows(leakhunt.load(str(PYTHONS / f"{version}-protocol{protocol}.bin"))) for protocol in range(6)]
    assert all(each == found[0] for each in found)


def test_a_dump_of_this_python_is_read(tmp_path: Path) -> None:
    """What this interpreter traces and dumps now is read back whole, at the default one frame too."""
    path = tmp_path / "now.bin"
    was_tracing = tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        kept = [bytearray(100) for _ in range(500)]
        snapshot = tracemalloc.take_snapshot()
        assert len(kept) == 500
    finally:
        if not was_tracing:
            tracemalloc.stop()
    snapshot.dump(str(path))
    check(leakhunt.load(str(path)), raw_traces(snapshot))


# Made dumps, against plain sums


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(
    traces=traces_of(),
    protocol=st.sampled_from(PROTOCOLS),
    optimize=st.booleans(),
    limit=st.sampled_from([1, 5, 25, None]),
)
@example(traces=[], protocol=4, optimize=False, limit=1)
def test_sums_equal_plain_sums(
    scratch: Path, traces: list[Trace], protocol: int, limit: int | None, *, optimize: bool
) -> None:
    """Whatever tracemalloc could have dumped, by any protocol, sums up to what counting one by one gives."""
    data = pickled(traces, limit=limit, protocol=protocol)
    snapshot = load(scratch, pickletools.optimize(data) if optimize else data)
    check(snapshot, traces)
    assert snapshot.traceback_limit == limit


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(traces=traces_of(most=3000, fields=4), protocol=st.sampled_from([4, 5]))
def test_sums_across_batches_and_pickle_frames_are_whole(
    scratch: Path, traces: list[Trace], protocol: int
) -> None:
    """Batches of 1,000 traces and pickle frames of 64 KiB leave no mark on the sums."""
    check(load(scratch, pickled(traces, protocol=protocol)), traces)


@pytest.mark.parametrize("count", [0, 1, 2, 999, 1000, 1001, 1002, 2000, 2001, 2999, 3000])
@pytest.mark.parametrize("fields", FIELDS)
def test_every_number_of_traces_is_read_whole(tmp_path: Path, fields: int, count: int) -> None:
    """The last trace of a batch, alone or not, is counted once."""
    stacks = [tuple(("/srv/a.py", number + depth) for depth in range(4)) for number in range(7)]
    full = [(0, number % 600, stacks[number % 7], 4, None) for number in range(count)]
    traces = [trace[1:3] if fields == 2 else trace[:fields] for trace in full]
    check(load(tmp_path / "dump.bin", pickled(traces)), traces)


@pytest.mark.parametrize("size", [255, 256, 65_536])
@pytest.mark.parametrize("fields", [3, 4])
@pytest.mark.parametrize("frames", range(1, 6))
def test_short_tracebacks_are_read(tmp_path: Path, frames: int, fields: int, size: int) -> None:
    """Tracebacks of one frame, tracemalloc's default, and of few are read, each new or known."""
    stacks = [tuple(("/srv/a.py", 10 * number + depth) for depth in range(frames)) for number in range(20)]
    every = [(0, size, stack, frames)[:fields] for stack in stacks for _ in range(3)]
    once = [(0, size, stack, frames)[:fields] for stack in stacks]
    check(load(tmp_path / "every.bin", pickled(every)), every)
    check(load(tmp_path / "once.bin", pickled(once, limit=1)), once)


def test_an_empty_traceback_is_read(tmp_path: Path) -> None:
    """A traceback without frames counts as the one that CPython writes where no Python code ran."""
    known = (("a.py", 1),)
    traces = [(0, 5, (), 0), (0, 6, known, 1), (0, 7, (), 0), (0, 8, known, 1), (1, 9, (), 0)] * 30
    check(load(tmp_path / "dump.bin", pickled(traces)), traces)


@pytest.mark.parametrize("fields", FIELDS)
@pytest.mark.parametrize("count", [0, 1, 3, 4, 1500])
def test_a_tuple_of_traces_is_read(tmp_path: Path, fields: int, count: int) -> None:
    """A snapshot whose traces are a tuple is read as one with a list is (python/cpython#143016)."""
    stacks = [(("/srv/a.py", number),) for number in range(7)]
    full = [(0, number, stacks[number % 7], 1, None) for number in range(count)]
    traces = [trace[1:3] if fields == 2 else trace[:fields] for trace in full]
    for protocol in PROTOCOLS:
        check(load(tmp_path / "dump.bin", pickled(tuple(traces), protocol=protocol)), traces)


def test_a_tuple_of_very_many_traces_is_refused(tmp_path: Path) -> None:
    """A tuple of traces, which only a program makes by hand, has to fit into what is read outside a list."""
    stacks = [(("/srv/a.py", number),) for number in range(7)]
    traces = [(0, number, stacks[number % 7], 1) for number in range(100_000)]
    with pytest.raises(LeakhuntError, match="it holds more than a snapshot does"):
        load(tmp_path / "dump.bin", pickled(tuple(traces)))


def test_equal_tracebacks_are_one_row(tmp_path: Path) -> None:
    """Equal tracebacks that were written more than once are summed, by domain, under the first one's depth."""
    frames = [("/srv/a.py", 3), ("/srv/b.py", 4)]
    traces = [(number % 2, 1, tuple(frames[:]), 10 + number) for number in range(50)]
    snapshot = load(tmp_path / "dump.bin", pickled(traces))
    key = (("/srv/b.py", 4), ("/srv/a.py", 3))
    assert rows(snapshot) == {(0, key): (25, 25, 10), (1, key): (25, 25, 10)}


def test_a_sum_beyond_63_bits_is_exact(tmp_path: Path) -> None:
    """Sums have no limit, only single sizes have."""
    traces = [(0, 2**63 - 1, (("a.py", 1),), 1)] * 10
    assert load(tmp_path / "dump.bin", pickled(traces)).size == 10 * (2**63 - 1)


def test_many_large_blocks_keep_size_and_count_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums that are handed over in between lose nothing."""
    monkeypatch.setattr("leakhunt.readers.bulk._FLUSH_BLOCKS", 100)
    stacks = [(("a.py", number),) for number in range(3)]
    traces = [(0, 2**31 - 1 - number % 2, stacks[number % 3], 1) for number in range(3000)]
    check(load(tmp_path / "dump.bin", pickled(traces)), traces)


def test_the_collector_is_left_as_it_was(tmp_path: Path) -> None:
    """Reading switches the garbage collector off and on again, also when it fails, and leaves one that is off alone."""
    path = tmp_path / "dump.bin"
    path.write_bytes(pickled([]))
    leakhunt.load(str(path))
    assert gc.isenabled()
    assert isinstance(outcome(leakhunt.load, tmp_path / "missing"), LeakhuntError)
    assert gc.isenabled()
    gc.disable()
    try:
        leakhunt.load(str(path))
        assert not gc.isenabled()
    finally:
        gc.enable()


# What leakhunt stores beside the traces


def test_stored_metadata_is_read(tmp_path: Path) -> None:
    """The attribute ``leakhunt`` of a dumped snapshot is handed out whole, keys that are not known here included."""
    stored = {
        "pid": 42, "host": "w1", "tasks": {"shop.tasks.f": {"file": "a.py", "lines": [1, 2, (3, 4)]}},
        "unknown": None, "ok": True, "ratio": 0.5, "big": 2**70, "text": "é\u20ac", "empty": {}, "none": [],
    }  # fmt: skip
    for protocol in PROTOCOLS:
        snapshot = load(tmp_path / "dump.bin", pickled([], protocol=protocol, leakhunt=stored, other=[1]))
        assert snapshot.capture == {
            **stored,
            "tasks": {"shop.tasks.f": {"file": "a.py", "lines": [1, 2, [3, 4]]}},
        }
        assert snapshot.skipped == ()


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_number_json_cannot_say_is_none(tmp_path: Path, protocol: int, number: float) -> None:
    """Infinity and not-a-number become None, as JSON has no word for them."""
    snapshot = load(tmp_path / "dump.bin", pickled([], protocol=protocol, leakhunt={"a": [number, 1.5]}))
    assert snapshot.capture == {"a": [None, 1.5]}


@pytest.mark.parametrize("stored", [[1, 2], "text", 5, 0.5, True, ()])
def test_metadata_that_is_no_dict_is_left_out(tmp_path: Path, stored: object) -> None:
    """An attribute ``leakhunt`` of another kind is somebody else's."""
    assert load(tmp_path / "dump.bin", pickled([], leakhunt=stored)).capture is None


def test_metadata_behind_many_traces_is_read(tmp_path: Path) -> None:
    """Metadata that shares values with the traces is read, though the traces are not kept."""
    stack = (("/srv/a.py", 1),)
    traces = [(0, number, stack, 1) for number in range(300)]
    stored = {"stack": stack, "trace": traces[77], "file": stack[0][0]}
    snapshot = load(tmp_path / "dump.bin", pickled(traces, leakhunt=stored))
    check(snapshot, traces)
    assert snapshot.capture == {
        "stack": [["/srv/a.py", 1]],
        "trace": [0, 77, [["/srv/a.py", 1]], 1],
        "file": "/srv/a.py",
    }


def test_metadata_of_another_class_is_refused(tmp_path: Path) -> None:
    """Metadata is plain data: a class in it is refused by name."""
    found = outcome(read_dump, write(tmp_path, pickled([], leakhunt={"when": Path("x")})))
    assert isinstance(found, LeakhuntError)
    assert "its pickle names pathlib" in found.message


def write(tmp_path: Path, data: bytes) -> Path:
    """Write bytes to a file."""
    path = tmp_path / "dump.bin"
    path.write_bytes(data)
    return path


# Cut dumps


def ends_of_traces(data: bytes) -> list[int]:
    """Return where each trace of four fields ends, by the marks that the standard library sees."""
    depth = 0
    ends = []
    for opcode, _, position in pickletools.genops(data):
        depth += opcode.name == "MARK"
        depth -= opcode.name in {"TUPLE", "APPENDS", "SETITEMS"}
        if opcode.name == "TUPLE" and depth == 2:  # within the state of the snapshot and the list of traces
            assert position is not None
            ends.append(position + 2)  # TUPLE and MEMOIZE
    return ends


@pytest.fixture(scope="module")
def small() -> bytes:
    """Return the smallest real dump."""
    return (PYTHONS / "cp314.bin").read_bytes()


@pytest.fixture(scope="module")
def smaller(small: bytes) -> bytes:
    """Return a dump of the first traces of the smallest real one."""
    return pickled(raw_traces(pickle.loads(small))[:80])


def cut_at_every_byte(tmp_path: Path, data: bytes, step: int = 1) -> Iterator[tuple[int, Path]]:
    """Yield a file that grows shorter, and its length."""
    path = write(tmp_path, data)
    with open(path, "r+b") as file:
        for length in range(len(data) - 1, -1, -step):
            file.truncate(length)
            yield length, path


def test_a_cut_dump_is_refused_with_the_way_out(tmp_path: Path, smaller: bytes) -> None:
    """Wherever a dump is cut, it is refused, and --allow-partial is offered when at least one trace is whole."""
    first, *_ = ends_of_traces(smaller)
    for length, path in cut_at_every_byte(tmp_path, smaller):
        found = outcome(leakhunt.load, path)
        assert isinstance(found, LeakhuntError)
        assert length in {0, 1} or "is cut after" in found.message
        if length != first:  # whether that trace goes on is not known there
            assert ("--allow-partial" in found.hint) == (length > first), length
        assert found.hint


def test_the_whole_traces_of_a_cut_dump_are_read(tmp_path: Path, small: bytes) -> None:
    """Wherever a dump is cut, --allow-partial gives the traces before, at most the last one missing, and says so."""
    ends = ends_of_traces(small)
    traces = raw_traces(pickle.loads(small))
    assert len(ends) == len(traces)
    for length, path in cut_at_every_byte(tmp_path, small):
        found = outcome(leakhunt.load, path, allow_partial=True)
        whole = bisect_right(ends, length)
        if isinstance(found, LeakhuntError):
            assert whole == 0 or length == ends[0]
            continue
        assert whole - found.blocks in {0, int(length in ends)}, length
        assert found.partial
        assert found.skipped[0].why.startswith(f"the snapshot is cut after {length:,} bytes")
        assert rows(found) == counted(traces[: found.blocks])


@pytest.mark.parametrize(
    "name", ["cp34-handmade", "cp36", "cp38-protocol0", "cp313-protocol1", "cp313-protocol2"]
)
def test_a_cut_dump_of_any_form_gives_its_first_traces(tmp_path: Path, name: str) -> None:
    """Other fields and protocols give a prefix of their traces too."""
    data = (PYTHONS / f"{name}.bin").read_bytes()
    traces = raw_traces(pickle.loads(data))
    most = len(traces)
    for _, path in cut_at_every_byte(tmp_path, data, step=37):
        found = outcome(leakhunt.load, path, allow_partial=True)
        if isinstance(found, LeakhuntError):
            most = 0
            continue
        assert found.partial
        assert found.blocks <= most
        most = found.blocks
        assert rows(found) == counted(traces[:most])
    assert most == 0


def test_a_whole_dump_is_not_partial(tmp_path: Path, small: bytes) -> None:
    """Allowing a partial dump changes nothing for a whole one, and what follows it is not read."""
    snapshot = leakhunt.load(str(write(tmp_path, small)), allow_partial=True)
    assert not snapshot.partial
    assert rows(leakhunt.load(str(write(tmp_path, small + b"garbage")), allow_partial=True)) == rows(snapshot)


# Damaged dumps


@pytest.fixture(scope="module")
def bases(small: bytes) -> list[bytes]:
    """Return dumps of several forms to damage."""
    stack = (("/srv/a.py", 1), ("/srv/b.py", 2))
    few = [(0, 10 + number, stack if number % 3 else ((str(number), 3),), 2) for number in range(12)]
    made = [pickled(few, protocol=protocol, leakhunt={"pid": [1, 0.5, None]}) for protocol in PROTOCOLS]
    return [small[:2000], (PYTHONS / "cp36.bin").read_bytes()[:2000], *made]


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_damage_gives_a_snapshot_or_a_refusal(scratch: Path, bases: list[bytes], data: st.DataObject) -> None:
    """Bytes that are changed, lost or put in lead to a snapshot or a LeakhuntError, quickly, and to nothing else."""
    damaged = bytearray(data.draw(st.sampled_from(bases)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged)))
        lost = data.draw(st.sampled_from([0, 1, 1, 1, 2, 9]))
        opcodes = st.sampled_from([bytes([ord(each.code)]) for each in pickletools.opcodes])
        damaged[at : at + lost] = data.draw(
            st.one_of(st.binary(min_size=lost, max_size=lost), opcodes, st.binary(max_size=9))
        )
    scratch.write_bytes(damaged)
    started = time.process_time()
    outcome(leakhunt.load, scratch, allow_partial=data.draw(st.booleans()))
    assert time.process_time() - started < SECONDS


@settings(deadline=None, max_examples=200)
@given(
    head=st.sampled_from(
        [
            b"",
            b"\x80\x04",
            b"\x80\x02",
            b"ccopy_reg\n",
            b"(",
            b"\x1f\x8b\x08",
            b"BZh9",
            b"\xfd7zXZ\0",
            b"\x28\xb5\x2f\xfd",
        ]
    ),
    tail=st.binary(max_size=400),
)
def test_random_bytes_give_a_refusal(scratch: Path, head: bytes, tail: bytes) -> None:
    """Bytes without meaning are refused, whatever they begin with."""
    scratch.write_bytes(head + tail)
    assert isinstance(outcome(leakhunt.load, scratch, allow_partial=True), LeakhuntError)
