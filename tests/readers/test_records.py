from __future__ import annotations

import gzip
import io
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from record_tools import BEGAN, end, process, start, written

import leakhunt
from leakhunt.model.record import Records
from leakhunt.readers.oom_inputs import gather
from leakhunt.readers.record_lines import is_record
from leakhunt.readers.records import CUT, read_records

LINES = [
    process(),
    start("a.b", "one", BEGAN + 1),
    end("a.b", "one", BEGAN + 2),
    start("a.b", "two", BEGAN + 3),
]


def records(*paths: Path) -> Records:
    """Read records."""
    with gather([str(path) for path in paths]) as gathered:
        return read_records(gathered.inputs)


def test_what_began_and_did_not_end_is_running(tmp_path: Path) -> None:
    """A process's record gives its executions, and what was running at its end."""
    (life,) = records(written(tmp_path / "a.jsonl", LINES)).lives
    assert (life.process.key.pid, life.process.name) == (4242, "ForkPoolWorker-1")
    assert len(life.executions) == 1
    assert list(life.running) == ["two"]
    assert life.finished == {("a.b", "SUCCESS"): 1}


def test_a_cut_last_line_is_told(tmp_path: Path) -> None:
    """A line cut in the middle by a kill loses nothing but itself, and is told as such."""
    path = written(tmp_path / "a.jsonl", LINES)
    path.write_bytes(path.read_bytes()[:-30])
    found = records(path)
    (life,) = found.lives
    assert not life.running
    assert [(one.what, one.why) for one in found.skipped] == [(str(path), CUT)]


def test_rotated_files_are_one_record(tmp_path: Path) -> None:
    """A task that began before a rotation and ended after it is one execution; a line written again counts once."""
    again = {**process(), "t": BEGAN + 3, "again": True}
    written(tmp_path / "w-1-1.jsonl.1", LINES)
    written(tmp_path / "w-1-1.jsonl", [again, LINES[-1], end("a.b", "two", BEGAN + 4)])
    (life,) = records(tmp_path).lives
    assert len(life.executions) == 2
    assert not life.running
    assert not life.unmatched


def test_a_copy_adds_nothing(tmp_path: Path) -> None:
    """The same record in two folders, once shorter, is read once."""
    written(tmp_path / "a" / "w.jsonl", LINES)
    written(tmp_path / "b" / "w.jsonl", LINES[:2])
    (life,) = records(tmp_path).lives
    assert len(life.executions) == 1
    assert not life.unmatched


@pytest.mark.parametrize("kind", ["gz", "tar", "plain"])
def test_records_are_read_in_any_packing(tmp_path: Path, kind: str) -> None:
    """A record is read plain, compressed, and out of an archive."""
    path = written(tmp_path / "w.jsonl", LINES)
    if kind == "gz":
        packed = tmp_path / "w.jsonl.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path = packed
    elif kind == "tar":
        packed = tmp_path / "artifacts.tar.gz"
        data = path.read_bytes()
        with tarfile.open(packed, "w:gz") as archive:
            member = tarfile.TarInfo("records/w.jsonl")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        path = packed
    assert [len(life.executions) for life in records(path).lives] == [1]


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    """A log beside the records is named as none, and does not hinder."""
    written(tmp_path / "w.jsonl", LINES)
    (tmp_path / "worker.log").write_text("[2026-11-21 03:10:42,001: INFO/MainProcess] hello\n")
    found = records(tmp_path)
    assert len(found.lives) == 1
    assert [one.why for one in found.skipped] == ["it is no flight record"]


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    """A folder without a record is an error that says how records are made."""
    (tmp_path / "worker.log").write_text("hello\n")
    with pytest.raises(leakhunt.LeakhuntError, match="no flight records") as caught:
        leakhunt.tasks([tmp_path])
    assert "--record" in caught.value.hint


@pytest.mark.parametrize(
    "line",
    [
        b'{"e":"start","t":1e999,"id":"x","task":"y"}',
        b'{"e":"start","t":5,"id":7,"task":["y"]}',
        b'{"e":"end","t":5,"id":"x","task":"y","rss":-5,"peak":true}',
        b'{"e":"end","t":5,"id":"x","task":"y","rss":' + b"9" * 3000 + b"}",
        b'{"e":"end","t":NaN}',
        b'{"e":"' + b"[" * 100_000,
        b'{"e":"start","t":5,"id":"x","task":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"e":"process","t":5,"pid":{},"pids":[[]],"host":1,"limit":"x"}',
        b'{"e":"process","t":5}',
        b"\xff\xfe{",
        b"x" * (3 << 20),
    ],
)
def test_a_hostile_line_costs_itself(tmp_path: Path, line: bytes) -> None:
    """A line of nonsense changes nothing but the notes about what was not read."""
    path = written(tmp_path / "w.jsonl", LINES)
    path.write_bytes(path.read_bytes() + line + b"\n")
    found = records(path)
    assert max(len(life.executions) for life in found.lives) >= 1
    leakhunt.tasks([path])
    leakhunt.oom_scan([path])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.binary(max_size=300), st.integers(0, 400))
def test_any_bytes_yield_a_value(tmp_path: Path, data: bytes, at: int) -> None:
    """A record with any bytes anywhere in it yields a result, or an error of leakhunt's own."""
    path = written(tmp_path / "w.jsonl", LINES)
    whole = path.read_bytes()
    path.write_bytes(whole[:at] + data + whole[at:])
    try:
        leakhunt.tasks([path])
    except leakhunt.LeakhuntError:
        assert at < len(whole)


def test_many_bad_lines_take_little_time(tmp_path: Path) -> None:
    """A hundred thousand lines of brackets are passed over in seconds."""
    path = tmp_path / "w.jsonl"
    path.write_bytes(b'{"e":"process","t":5,"pid":1}\n' + b'{"e":"[[[[[[[[[[[[[[[[[[[[[[[[\n' * 100_000)
    began = time.process_time()
    found = records(path)
    assert time.process_time() - began < 20
    assert found.skipped[0].why == "a line is no record (100,000 times)"


def test_a_record_is_known_by_its_first_line() -> None:
    """Only what begins with one of the recorder's lines is a record."""
    assert is_record(b'\n{"e":"process","v":1')
    assert not is_record(b'{"e":"other"}')
    assert not is_record(b'{"event":"process"}')
    assert not is_record(b"")
