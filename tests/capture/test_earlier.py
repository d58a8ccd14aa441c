from __future__ import annotations

import json
import os
import sys
import tracemalloc
from pathlib import Path

import pytest
from agent_tools import SECONDS, program
from hypothesis import given
from hypothesis import strategies as st

from leakhunt.capture import earlier
from leakhunt.capture.letters import SnapshotRequest
from leakhunt.control.answers import snapshot
from leakhunt.control.find import find

ROWS = st.lists(
    st.one_of(
        st.tuples(
            st.text(max_size=4), st.integers(-2, 9), st.one_of(st.integers(-2, 1 << 64), st.booleans())
        ),
        st.integers(),
    )
)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are found through /proc")
def test_a_small_line_that_grows_is_looked_at(tmp_path: Path) -> None:
    """Beside forty larger lines that stay as they are, the small one that grows is told from the second snapshot on."""
    code = """
kept, frames = [], []
agents.start(Settings(agent=True, trace=True, frames=1))
for number in range(40):
    exec(compile("kept.append(bytearray(100_000))", f"/srv/shop/cache{number}.py", "exec"))
grow = compile("kept.append(bytearray(3_000))", "/srv/shop/leak.py", "exec")
exec(grow)
say("ready")
wait()
exec(grow)
say("grown")
wait()
"""
    request = SnapshotRequest(timeout=SECONDS)
    with program(code, tmp_path / "leakhunt") as running:
        assert running.hear() == "ready"
        first = looked_at(snapshot(find(running.pid), request).path)
        running.tell()
        assert running.hear() == "grown"
        second = looked_at(snapshot(find(running.pid), request).path)
        running.tell()
        assert running.end() == (0, "", "")
    assert "/srv/shop/leak.py" not in first
    assert "/srv/shop/leak.py" in second
    assert len(first) == 25
    assert set(first) < set(second)


def looked_at(path: str) -> list[str]:
    """Return the files of the lines whose holders a snapshot looked for."""
    facts = tracemalloc.Snapshot.load(path).leakhunt  # type: ignore[attr-defined]
    return [row["file"] for row in facts["retainers"]]


def test_sizes_are_read_as_they_were_left(tmp_path: Path) -> None:
    """The next snapshot of the same tracing finds the largest lines; one of another tracing finds nothing."""
    sizes = {("/srv/shop/a.py", line): 10_000 - line for line in range(5_000)}
    earlier.leave(str(tmp_path), 12.5, sizes)
    assert earlier.read(str(tmp_path), 12.5) == dict(list(sizes.items())[:2000])
    assert earlier.read(str(tmp_path), 13.5) is None
    assert earlier.read(str(tmp_path), None) is None
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600]


def test_long_names_are_read_too(tmp_path: Path) -> None:
    """However many bytes the names take as JSON, all that was left is found."""
    sizes = {("\U0001f600" * 512, line): line for line in range(2_000)}
    earlier.leave(str(tmp_path), 1.0, {**sizes, ("x" * 513, 1): 1 << 20})
    assert earlier.read(str(tmp_path), 1.0) == sizes


def test_nothing_is_left_where_the_agent_has_no_place(tmp_path: Path) -> None:
    """Without a place nothing is written; one that is gone is not made again."""
    earlier.leave("", 1.0, {})
    gone = tmp_path / "gone"
    with pytest.raises(OSError, match="gone"):
        earlier.leave(str(gone), 1.0, {})
    assert (earlier.read("", 1.0), earlier.read(str(gone), 1.0)) == (None, None)
    assert list(tmp_path.iterdir()) == []


@given(rows=ROWS, more=st.binary(max_size=20))
def test_any_file_is_sizes_or_nothing(
    tmp_path_factory: pytest.TempPathFactory, rows: object, more: bytes
) -> None:
    """Whatever lies there, what is read of it is files, lines and sizes that are none below zero."""
    folder = tmp_path_factory.mktemp("place")
    os.chmod(folder, 0o700)
    text = json.dumps({"since": None, "sizes": rows}).encode()
    for data in (text, text + more, more):
        (folder / "sites.json").write_bytes(data)
        found = earlier.read(str(folder), None)
        assert all(
            (type(file), type(line), type(size)) == (str, int, int) and line >= 0 <= size < 1 << 63
            for (file, line), size in (found or {}).items()
        )
