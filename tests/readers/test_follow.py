from __future__ import annotations

import gzip
import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leakhunt.errors import LeakhuntError
from leakhunt.model.oom import OomKill
from leakhunt.model.verdict import LiveSource
from leakhunt.readers import follow, kmsg, live, programs, tail
from leakhunt.readers.follow import Followed, Pause, followed_files, followed_machine
from leakhunt.readers.oom_reading import Rows

_PATIENCE_S = 20.0


def line(pid: int) -> bytes:
    """Return a kill's line."""
    return (
        f"Nov 20 03:10:42 web-1 kernel: Out of memory: Killed process {pid} (celery) total-vm:164408kB, "
        "anon-rss:143556kB, file-rss:4772kB, shmem-rss:0kB, UID:0 pgtables:360kB oom_score_adj:0\n"
    ).encode()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let pauses be short, and no thread be left over."""
    monkeypatch.setattr(tail, "PAUSE_S", 0.01)
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def kills(sources: tuple[Followed, ...], *steps: Callable[[], object]) -> list[tuple[int | None, str, int]]:
    """Follow sources; take a step whenever a kill came, the first at once, and stop when the last one's kill came."""
    found: list[tuple[int | None, str, int]] = []
    todo = list(steps)
    begun = time.monotonic()
    events = follow.follow(sources)
    try:
        todo.pop(0)()
        for event in events:
            assert time.monotonic() - begun < _PATIENCE_S
            if isinstance(event, OomKill):
                evidence = event.evidence[0]
                found.append((event.pid, os.path.basename(evidence.source), evidence.line))
                if not todo:
                    return found
                todo.pop(0)()
    finally:
        events.close()  # type: ignore[attr-defined]
    return found


def append(path: Path, data: bytes) -> None:
    """Write behind what a file holds."""
    with path.open("ab") as file:
        file.write(data)


def nothing() -> None:
    """Do nothing."""


def test_a_hole_of_nuls_is_passed_over(tmp_path: Path) -> None:
    """A file that was emptied while its program wrote on begins with NULs again: what follows them is told."""
    path = tmp_path / "kern.log"
    path.write_bytes(line(1) + line(3))

    def emptied() -> None:
        path.write_bytes(bytes(30) + line(2))

    assert kills(followed_files([str(path)])[0], nothing, nothing, emptied)[-1] == (2, "kern.log", 1)


def test_a_growing_file_is_followed(tmp_path: Path) -> None:
    """What a file holds is told, and then what is added to it, each line when it is complete."""
    path = tmp_path / "kern.log"
    path.write_bytes(line(1))

    def half() -> None:
        append(path, b"x\n" + line(2)[:40])
        append(path, line(2)[40:])

    files = followed_files([str(path)])[0]
    assert kills(files, nothing, half, lambda: append(path, line(3))) == [
        (1, "kern.log", 1),
        (2, "kern.log", 3),
        (3, "kern.log", 4),
    ]


def test_rotation_is_followed(tmp_path: Path) -> None:
    """A file that is renamed is read to its end, its successor from the beginning, and lines are counted anew."""
    path = tmp_path / "kern.log"
    path.write_bytes(line(1))

    def rotate() -> None:
        append(path, b"the end\n" + line(2) + b"no newline")
        path.rename(tmp_path / "kern.log.1")

    files = followed_files([str(path)])[0]
    assert kills(files, nothing, rotate, lambda: path.write_bytes(b"new\n" + line(3))) == [
        (1, "kern.log", 1),
        (2, "kern.log", 3),
        (3, "kern.log", 2),
    ]


def test_truncation_is_followed(tmp_path: Path) -> None:
    """A file that is emptied in place is read from its beginning again."""
    path = tmp_path / "kern.log"
    path.write_bytes(b"one\ntwo\n" + line(1) + b"three\n")

    def cut() -> None:
        path.write_bytes(line(2))

    files = followed_files([str(path)])[0]
    assert kills(files, nothing, cut) == [(1, "kern.log", 3), (2, "kern.log", 1)]


def test_a_file_to_come_is_waited_for(tmp_path: Path) -> None:
    """A named file that does not exist is followed from when it appears."""
    path = tmp_path / "later.log"
    files = followed_files([str(path)])[0]
    assert kills(files, lambda: path.write_bytes(line(7))) == [(7, "later.log", 1)]


def test_an_empty_file_is_waited_for(tmp_path: Path) -> None:
    """A file that logrotate has just made, alone or in a folder, is followed as any other; what is no log is told."""
    path, picture = tmp_path / "kern.log", tmp_path / "shot.png"
    path.touch()
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20)
    for named in (path, tmp_path):
        files, told = followed_files([str(named)])
        assert kills(files, lambda: path.write_bytes(line(1))) == [(1, "kern.log", 1)]
        path.write_bytes(b"")
    assert [(source.name, source.used) for source in told] == [(str(picture), False)]


def test_where_nothing_can_be_followed_that_is_said(tmp_path: Path) -> None:
    """A folder without files is an error, instead of a watch that ends at once."""
    with pytest.raises(LeakhuntError, match="there is nothing to follow: no files"):
        followed_files([str(tmp_path)])


def test_older_files_are_read_first(tmp_path: Path) -> None:
    """Of a folder the rotated files are read whole, and the newest of each log is followed."""
    path = tmp_path / "kern.log"
    path.write_bytes(line(2))
    (tmp_path / "kern.log.1.gz").write_bytes(gzip.compress(b"x\n" + line(1)))
    files = followed_files([str(tmp_path)])[0]
    assert kills(files, nothing, nothing, lambda: append(path, line(3))) == [
        (1, "kern.log.1.gz", 2),
        (2, "kern.log", 1),
        (3, "kern.log", 2),
    ]


def test_what_is_packed_ends(tmp_path: Path) -> None:
    """A compressed log does not grow: it is read, and when all sources have ended, so has following."""
    path = tmp_path / "kern.log.gz"
    path.write_bytes(gzip.compress(line(1)))
    files = followed_files([str(path)])[0]
    found = [event for event in follow.follow(files) if isinstance(event, OomKill)]
    assert [kill.pid for kill in found] == [1]


def test_several_logs_are_followed_at_once(tmp_path: Path) -> None:
    """Kills of several logs come out in one stream."""
    paths = [tmp_path / f"{name}.log" for name in "ab"]
    files = followed_files([str(path) for path in paths])[0]
    steps = [
        lambda: append(paths[0], line(1)),
        lambda: append(paths[1], line(2)),
        lambda: append(paths[0], line(3)),
    ]
    assert kills(files, *steps) == [(1, "a.log", 1), (2, "b.log", 1), (3, "a.log", 2)]


def test_standard_input_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe is read as it comes, until its other end closes."""
    reader, writer = os.pipe()
    stdin = io.TextIOWrapper(os.fdopen(reader, "rb"))
    monkeypatch.setattr(sys, "stdin", stdin)
    files = followed_files(["-"])[0]
    with stdin:
        found: list[int | None] = []
        os.write(writer, line(1))
        for event in follow.follow(files):
            if isinstance(event, OomKill):
                found.append(event.pid)
                os.write(writer, line(2)) if found == [1] else os.close(writer)
    assert found == [1, 2]


def test_silence_is_told_without_a_busy_loop(tmp_path: Path) -> None:
    """Where nothing is said there are pauses, and they cost next to no time of the processor."""
    path = tmp_path / "kern.log"
    path.write_bytes(b"quiet\n")
    tail.PAUSE_S = 0.05
    files = followed_files([str(path)])[0]
    events = follow.follow(files)
    begun = time.process_time()
    assert [next(events) for _ in range(5)] == [Pause()] * 5
    assert time.process_time() - begun < 0.2
    events.close()  # type: ignore[attr-defined]


def test_a_fault_in_a_thread_is_raised(tmp_path: Path) -> None:
    """What goes wrong with one log is raised where the events are wanted, and the other threads end."""
    path = tmp_path / "kern.log"
    path.write_bytes(b"quiet\n")

    def faulty(_done: threading.Event, _rows: Rows) -> Iterator[bytes]:
        yield b"x\n"
        raise LeakhuntError("gone")

    files = followed_files([str(path)])[0]
    with pytest.raises(LeakhuntError, match="gone"):
        list(follow.follow((*files, Followed("faulty", faulty))))


def test_a_reader_that_stops_early_leaves_nothing(tmp_path: Path) -> None:
    """Whoever stops in the middle of many kills ends the threads, though they had more to say."""
    path = tmp_path / "kern.log"
    path.write_bytes(b"".join(map(line, range(1, 30_000))))
    files = followed_files([str(path)])[0]
    events = follow.follow(files)
    assert isinstance(next(event for event in events if event != Pause()), OomKill)
    events.close()  # type: ignore[attr-defined]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what Linux keeps")
def test_the_machine_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's buffer is followed where it can be read, beside the journal; a kill is told while it stays open."""
    path = tmp_path / "kmsg"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    monkeypatch.setattr(kmsg, "PATH", str(path))
    monkeypatch.setattr(programs, "find", lambda _name: None)
    try:
        sources, told = followed_machine()
        assert [source.name for source in sources] == [str(path)]
        assert told == (
            LiveSource(live.BUFFER, used=True, why=str(path) + live.suspended()),
            LiveSource(live.JOURNAL, used=False, why="journalctl is not installed here"),
        )
        record = b"3,1,1000000,-;" + line(5).partition(b"kernel: ")[2]
        assert kills(sources, lambda: os.write(writer, record)) == [(5, "kmsg", 1)]
    finally:
        os.close(writer)
        os.close(reader)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what Linux keeps")
def test_another_system_has_nothing_to_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    """On another system there is one sentence and nothing to follow."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert followed_machine() == ((), (live.elsewhere(),))
