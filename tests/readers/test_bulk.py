from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dump_tools import INVALID, SNAPSHOTS, TRICKY, Trace, counted, pickled, rows, traces_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leakhunt.model.snapshot import Snapshot
from leakhunt.readers import bulk
from leakhunt.readers.compiled import fast
from leakhunt.readers.dump import read_dump
from leakhunt.readers.pickle_machine import MemoDropped

FORMS = (3, 4)


@pytest.fixture(scope="module", params=["compiled", "pure"], autouse=True)
def _one_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Read in bulk both ways, in child processes too."""
    if request.param == "compiled" and fast is None:
        pytest.skip("the compiled part is not built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "fast", fast if request.param == "compiled" else None)
        patch.setenv("LEAKHUNT_PURE", "0" if request.param == "compiled" else "1")
        yield


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file for the examples of property tests."""
    return tmp_path_factory.mktemp("dumps") / "dump.bin"


def slowly(path: Path) -> Snapshot:
    """Read a dump one opcode at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("leakhunt.readers.traces.FIELDS", frozenset())
        return read_dump(str(path))


def same(path: Path) -> Snapshot:
    """Read a dump both ways, and hold one to the other."""
    quick, slow = read_dump(str(path)), slowly(path)
    assert rows(quick) == rows(slow)
    assert sorted(rows(quick).items()) == sorted(rows(slow).items())
    assert quick.traceback_limit == slow.traceback_limit
    assert quick.trace_fields == slow.trace_fields
    assert quick.capture == slow.capture
    assert set(quick.frames) == set(slow.frames)
    return quick


def saved(path: Path, traces: list[Trace], protocol: int = pickle.HIGHEST_PROTOCOL) -> Path:
    """Write a dump."""
    path.write_bytes(pickled(traces, protocol=protocol))
    return path


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), protocol=st.sampled_from([2, 4, 5]))
def test_both_ways_of_reading_agree(scratch: Path, data: st.DataObject, protocol: int) -> None:
    """Traces read many at a time and one by one give the same columns."""
    traces = data.draw(traces_of(most=600, fields=data.draw(st.sampled_from(FORMS))))
    snapshot = same(saved(scratch, traces, protocol))
    assert rows(snapshot) == counted(traces)


@pytest.mark.parametrize(
    "name", ["cp36-after", "cp38", "cp39-after", "cp313-after", "cp314", "cp313-protocol4"]
)
def test_both_ways_agree_on_real_dumps(name: str) -> None:
    """The dumps of real programs read the same both ways."""
    same(SNAPSHOTS / "pythons" / f"{name}.bin")


@pytest.mark.parametrize("case", ["cache_by_id", "kept_exceptions"])
def test_both_ways_agree_on_real_workers(case: str) -> None:
    """The dump of a Celery worker, with thousands of traces, reads the same both ways."""
    assert same(SNAPSHOTS / "celery" / case / "after.bin.xz").blocks > 5_000


@pytest.mark.parametrize("place", ["size", "lineno", "total_nframe", "domain"])
@pytest.mark.parametrize("frames", [1, 2, 3, 5])
@pytest.mark.parametrize("fields", FORMS)
def test_a_number_that_looks_like_a_border_is_a_number(
    tmp_path: Path, fields: int, frames: int, place: str
) -> None:
    """Each number whose bytes hold the end of one record and the start of the next is read as itself, new stack or known."""
    traces: list[Trace] = []
    plain = tuple(("/srv/a.py", 1 + depth) for depth in range(frames))
    for number in TRICKY:
        stack = tuple(("/srv/a.py", number) for _ in range(frames)) if place == "lineno" else plain
        if place != "lineno" and number % 3 == 0:
            stack = tuple(("/srv/b.py", number % 1000 + depth) for depth in range(frames))
        trace = (
            number % 2**32 if place == "domain" else 0,
            number if place == "size" else 100,
            stack,
            number % 2**16 if place == "total_nframe" else frames,
        )
        traces += [(0, 7, plain, frames)[:fields], trace[:fields], trace[:fields]]
    assert rows(same(saved(tmp_path / "dump.bin", traces))) == counted(traces)


@pytest.mark.parametrize("index", [b"t\x94", b"\x86\x94", b"\x87\x94"])
@pytest.mark.parametrize("fields", FORMS)
def test_a_memo_index_that_looks_like_a_border_is_an_index(tmp_path: Path, fields: int, index: bytes) -> None:
    """References to tens of thousands of tracebacks, one by an index whose bytes are a border, are read as themselves."""
    stacks = [(("/srv/a.py", number),) for number in range(13_000)]
    for more in range(3):  # a traceback is every third value; one of three tries hits the index
        names = [(0, 1, ((str(number), 1),), 1)[:fields] for number in range(more)]
        new = [(0, 1 + number % 7, stack, 1)[:fields] for number, stack in enumerate(stacks)]
        traces = [*names, *new, *new, *names]
        path = saved(tmp_path / "dump.bin", traces)
        if b"j" + index + b"\0\0" in path.read_bytes():
            break
    else:
        pytest.fail("no reference has this index")
    assert rows(read_dump(str(path))) == counted(traces)


@pytest.mark.parametrize("fields", FORMS)
def test_file_names_that_look_like_borders_are_names(tmp_path: Path, fields: int) -> None:
    """UTF-8 may hold what closes a tuple and begins the next record; such file names are read as themselves."""
    names = [
        "\u11d4",
        "\u1194",
        "\u1154",
        "a\u11d4K\0K\x01h\x02",
        "\u11d4K\x01K\x02h\x05K\x03",
        "\u11d4" * 9,
        "x" * 300,
    ]
    traces = [
        (domain, size, tuple((name, line) for name in names[: 1 + at % 4] for line in (size,)), 2)[:fields]
        for at, name in enumerate(names)
        for domain in (0, 1)
        for size in (1, 2, 300)
    ] * 3  # fmt: skip
    assert rows(same(saved(tmp_path / "dump.bin", traces))) == counted(traces)


def test_a_trace_that_is_referred_to_is_read_again_without_haste(tmp_path: Path) -> None:
    """Traces that are one object are written as references to what bulk reading dropped; they count all the same."""
    stack = (("/srv/a.py", 1),)
    shared = [(0, 10 + number, stack, 1) for number in range(50)]
    assert rows(same(saved(tmp_path / "dump.bin", shared * 3))) == counted(shared * 3)


def test_a_reader_in_haste_asks_for_a_second_reading() -> None:
    """What bulk reading asks for is no error that a user could meet."""
    assert not issubclass(MemoDropped, ValueError)


def test_faults_behind_many_traces_are_found() -> None:
    """A reference to a frame is refused whether the traces before it were read in bulk or not."""
    with pytest.raises(Exception, match="not a tracemalloc snapshot"):
        read_dump(str(INVALID / "reference-to-a-frame.bin"))
    with pytest.raises(Exception, match="not a tracemalloc snapshot"):
        slowly(INVALID / "reference-to-a-frame.bin")


def test_a_huge_memo_index_costs_no_memory(tmp_path: Path) -> None:
    """A traceback memoized under a huge index is not given to the C unpickler, whose memo would grow to it."""
    trace = b"(K\x00K\x40X\x01\x00\x00\x00aq\x14K\x01\x86q\x15\x85r\xff\xff\xff\x0fK\x01tq\x16"
    again = b"(K\x00K\x40j\xff\xff\xff\x0fK\x01t\x94"
    header = (
        b"\x80\x04ctracemalloc\nSnapshot\n)\x81}(X\x06\x00\x00\x00tracesctracemalloc\n_Traces\n)\x81}"
        b"X\x07\x00\x00\x00_traces]("
    )
    footer = b"esbX\x0f\x00\x00\x00traceback_limitK\x01ub."
    path = tmp_path / "dump.bin"
    path.write_bytes(header + trace + footer)
    assert read_dump(str(path)).blocks == 1
    path.write_bytes(header + trace + again * 5 + footer)
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30));"
        "from leakhunt.errors import LeakhuntError; from leakhunt.readers.dump import read_dump\n"
        "try: print(read_dump(sys.argv[1]).blocks)\n"
        "except LeakhuntError as error: print(error.message)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "6\n" or "refers to a value it does not hold" in done.stdout
