from __future__ import annotations

import io
import pickle
import pickletools
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import subprocess_environment
from hypothesis import given
from hypothesis import strategies as st

from leakhunt.capture.snapshots.traces import write_plainly, write_traces
from leakhunt.errors import LeakhuntError

Trace = tuple[int, int, tuple[tuple[str, int], ...], int]

names = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    ["/srv/app/tasks.py", "\udce9.py", "x" * 300]
)
tracebacks = st.lists(st.tuples(names, st.integers(0, 1 << 33)), max_size=6).map(tuple)
sizes = st.integers(0, 300) | st.integers(0, 1 << 62)


@st.composite
def lists_of_traces(draw: st.DrawFn) -> list[Trace]:
    """Draw traces as tracemalloc gives them: equal tracebacks are one object, many traces are equal."""
    pool = draw(st.lists(tracebacks, min_size=1, max_size=5))
    kinds = st.tuples(
        st.sampled_from([0, 0, 0, 389047, 1 << 31]), sizes, st.sampled_from(pool), st.integers(0, 70_000)
    )
    kind = draw(st.lists(kinds, min_size=1, max_size=8))
    return draw(st.lists(st.sampled_from(kind), max_size=40))


def written(traces: list[Trace], metadata: dict[str, Any] | None = None, limit: int = 25) -> bytes:
    """Return the file with these traces."""
    file = io.BytesIO()
    write_traces(file, metadata or {}, list(traces), limit)
    return file.getvalue()


@given(lists_of_traces())
def test_the_standard_library_reads_the_very_same_traces(traces: list[Trace]) -> None:
    """Every trace is there as often as it was, with each of its values; nothing is added."""
    snapshot = pickle.loads(written(traces))
    assert Counter(snapshot.traces._traces) == Counter(traces)
    assert (snapshot.traceback_limit, len(snapshot.traces)) == (25, len(traces))
    assert type(snapshot) is tracemalloc.Snapshot


@given(lists_of_traces())
def test_both_unpicklers_agree(traces: list[Trace]) -> None:
    """The unpickler in Python, which knows no fast path, and pickletools find nothing wrong either."""
    data = written(traces)
    assert pickle._loads(data).traces._traces == pickle.loads(data).traces._traces  # type: ignore[attr-defined]
    pickletools.dis(data, out=io.StringIO())


def test_many_distinct_traces_come_in_batches() -> None:
    """A long list is written in several batches, so that those before a cut can be read again."""
    traces: list[Trace] = [(0, size, (("a.py", 1),), 1) for size in range(5000)]
    data = written(traces)
    assert sum(opcode.name == "APPENDS" for opcode, _, _ in pickletools.genops(data)) == 5
    assert Counter(pickle.loads(data).traces._traces) == Counter(traces)


def test_a_like_block_costs_a_byte() -> None:
    """A million blocks of one line, which a dump gives a dozen bytes each, take a million bytes."""
    trace: Trace = (0, 64, (("/srv/app/tasks.py", 7),), 1)
    assert len(written([trace] * 1_000_000)) < 1_001_000


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(1 << 62), 1 << 62)
        | st.floats(allow_nan=False)
        | st.text(max_size=300),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
        max_leaves=20,
    )
)
def test_plain_metadata_come_back(value: object) -> None:
    """What leakhunt stores beside the traces is the same plain data when it is read."""
    assert pickle.loads(written([], {"facts": value})).leakhunt == {"facts": value}


def test_anything_else_is_stored_as_text() -> None:
    """An object of the program, a huge number or a list without end never gets into the file as such."""
    endless: list[object] = []
    endless.append(endless)
    stored = pickle.loads(
        written([], {"path": Path("/srv"), "big": 1 << 70, "endless": endless, "pair": (1, 2)})
    ).leakhunt
    assert (stored["path"], stored["big"], stored["pair"]) == ("/srv", str(1 << 70), [1, 2])
    assert "[...]" in repr(stored["endless"])


@pytest.mark.parametrize(
    "write",
    [
        lambda file: write_traces(file, {}, [(0, n, (("a.py", n),), 1) for n in range(50_000)], 1, 100_000),
        lambda file: write_plainly(file, {"text": "x" * 100_000}, 100_000),
    ],
)
def test_a_file_that_would_be_too_large_is_refused(write: Callable[[io.BytesIO], object]) -> None:
    """The limit holds for either way to write, and what is said names what may be raised."""
    file = io.BytesIO()
    with pytest.raises(LeakhuntError, match="more than") as refused:
        write(file)
    assert "--budget" in refused.value.hint
    assert len(file.getvalue()) <= 100_000


def test_the_plain_way_gives_a_snapshot_too() -> None:
    """In a process that goes on, the snapshot is a dump with our metadata, and tracing is left as it was."""
    file = io.BytesIO()
    result = write_plainly(file, {"schema": 1})
    snapshot = pickle.loads(file.getvalue())
    assert snapshot.leakhunt == {"schema": 1}
    assert result.blocks == len(snapshot.traces)
    assert result.size == len(file.getvalue())


LIVE = """
import sys, tracemalloc
from collections import Counter
from leakhunt.capture.snapshots import traces

tracemalloc.start(5)
kept = [[bytearray(n) for n in range(200)] for _ in range(20)]
path, frames = sys.argv[1], 5
raw = traces._raw_traces
held = []
traces._raw_traces = lambda: held.append(raw()) or list(held[0])
with open(path, "wb") as file:
    result = traces.write(file, {"schema": 1})
assert not tracemalloc.is_tracing()
snapshot = tracemalloc.Snapshot.load(path)
assert Counter(snapshot.traces._traces) == Counter(held[0])
assert (result.blocks, result.size_traced) == (len(held[0]), sum(trace[1] for trace in held[0]))
assert snapshot.traceback_limit == frames and snapshot.leakhunt == {"schema": 1}
assert snapshot.statistics("lineno")[0].count >= 4000
"""


def test_a_real_process_loses_nothing(tmp_path: Path) -> None:
    """The snapshot of a process that traces holds exactly the traces that tracemalloc gave, and ends tracing there."""
    command = [sys.executable, "-c", LIVE, str(tmp_path / "now.bin")]
    subprocess.run(command, check=True, env=subprocess_environment(), timeout=60)
