from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import socket
import sys
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leakhunt.errors import LeakhuntError
from leakhunt.model.evidence import Evidence, Place
from leakhunt.model.incident import Sign
from leakhunt.model.oom import OomKill, SourceSummary
from leakhunt.model.snapshot import Skipped
from leakhunt.readers.kernel_log.listener import Heard, Reading
from leakhunt.readers.oom_inputs import Gathered, Input, gather
from leakhunt.readers.oom_reading import read
from leakhunt.readers.rotation import rotated, sets

ID = "4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a"
UID = "01234567-89ab-cdef-0123-456789abcdef"
KILL = (
    "Out of memory: Killed process {pid} (celery) total-vm:164408kB, anon-rss:143556kB, file-rss:4772kB, "
    "shmem-rss:0kB, UID:0 pgtables:360kB oom_score_adj:0"
)


def log(*pids: int, day: int = 20) -> bytes:
    """Return a syslog with a kill for each pid, ten lines apart."""
    lines = []
    for pid in pids:
        lines += [f"Nov {day} 03:10:{number:02d} web-1 kernel: eth0: up" for number in range(9)]
        lines.append(f"Nov {day} 03:10:42 web-1 kernel: {KILL.format(pid=pid)}")
    return ("\n".join(lines) + "\n").encode()


def names(gathered: Gathered, root: Path) -> list[list[str]]:
    """Return the names of all parts, below a folder."""
    return [[os.path.relpath(part.name, root) for part in source.parts] for source in gathered.inputs]


def kills(source: Input) -> list[tuple[int | None, str, int]]:
    """Return what was killed, and where that stands."""
    return [
        (event.pid, os.path.basename(event.evidence[0].source), event.evidence[0].line)
        for event in read(source)
        if isinstance(event, OomKill)
    ]


def test_a_rotated_log_is_one(tmp_path: Path) -> None:
    """The files of a rotated log are read oldest first as one stream, and evidence names the file and its own line."""
    (tmp_path / "kern.log").write_bytes(log(5))
    (tmp_path / "kern.log.1").write_bytes(log(4, 3).removesuffix(b"\n"))
    (tmp_path / "kern.log.2.gz").write_bytes(gzip.compress(log(2)))
    (tmp_path / "kern.log.10.xz").write_bytes(lzma.compress(log(1)))
    gathered = gather([str(tmp_path)])
    assert names(gathered, tmp_path) == [["kern.log.10.xz", "kern.log.2.gz", "kern.log.1", "kern.log"]]
    (source,) = gathered.inputs
    assert kills(source) == [
        (1, "kern.log.10.xz", 10),
        (2, "kern.log.2.gz", 10),
        (4, "kern.log.1", 10),
        (3, "kern.log.1", 20),
        (5, "kern.log", 10),
    ]
    summary = [event for event in read(source) if isinstance(event, SourceSummary)]
    assert [(one.source, one.lines) for one in summary] == [(f"{tmp_path}/kern.log (+3 rotated)", 50)]


SETS = (
    (["messages", "messages-20261101", "messages-20261108.gz"], [(1, 2, 0)]),
    (["app.log", "app.log.2026-11-02", "app.log.2026-11-01"], [(2, 1, 0)]),
    (["0.log", "0.log.20261121-031042.gz", "0.log.20261121-020000"], [(2, 1, 0)]),
    (["kern-20261101.log", "kern.log"], [(0, 1)]),
    (["worker.1", "worker.2"], [(0,), (1,)]),
    (["worker.1.log", "worker.2.log"], [(0,), (1,)]),
    (["syslog.1", "syslog.2.gz"], [(1, 0)]),
    (["a/kern.log", "b/kern.log.1"], [(0,), (1,)]),
    (["celery@w1.log", "celery@w2.log"], [(0,), (1,)]),
)


@pytest.mark.parametrize(("files", "expected"), SETS, ids=[files[0] for files, _ in SETS])
def test_names_tell_rotation(files: list[str], expected: list[tuple[int, ...]]) -> None:
    """Numbers, dates and compression in names put the files of one log in order; other numbers do not."""
    assert sets(files) == [tuple(files[place] for place in places) for places in expected]


@given(st.text(max_size=300))
def test_any_name_has_a_place_among_rotated_ones(name: str) -> None:
    """No name breaks the reading of rotation, and a set holds each name once."""
    rotated(name)
    assert sets([name, f"{name}.1"]) in ([(f"{name}.1", name)], [(name,), (f"{name}.1",)])


def test_a_log_that_changed_its_form_is_cut(tmp_path: Path) -> None:
    """Files of one name but different forms are read apart, each in its own form."""
    (tmp_path / "kern.log.1").write_bytes(b'{"MESSAGE": "x", "_TRANSPORT": "kernel"}\n')
    (tmp_path / "kern.log").write_bytes(log(1))
    assert names(gather([str(tmp_path)]), tmp_path) == [["kern.log.1"], ["kern.log"]]


def test_what_is_no_text_is_passed_over(tmp_path: Path) -> None:
    """In a folder only text is read; the rest is told with its reason and its next step, or is nothing to speak of."""
    tracemalloc.start()
    tracemalloc.take_snapshot().dump(str(tmp_path / "before.bin"))
    tracemalloc.stop()
    (tmp_path / "system.journal").write_bytes(b"LPKSHHRH" + bytes(300))
    (tmp_path / "plot.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (tmp_path / "wtmp").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "empty.log").write_bytes(b"")
    (tmp_path / "tasks.py").write_bytes(log(1))
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "old.log").write_bytes(log(1))
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "socket")) if len(str(tmp_path)) < 90 else (tmp_path / "socket").touch()
        (tmp_path / "crash.log").write_bytes(bytes(4096) + log(7))
        gathered = gather([str(tmp_path)])
    assert names(gathered, tmp_path) == [["crash.log"]]
    why = {os.path.basename(skipped.what): skipped.why for skipped in gathered.skipped}
    assert set(why) == {"before.bin", "system.journal", "plot.png", "wtmp", "empty.log", "pipe", "socket"}
    assert "leakhunt top" in why["before.bin"]
    assert "journalctl --file" in why["system.journal"]


def test_what_is_named_is_read(tmp_path: Path) -> None:
    """A file that the user names is read whatever its name, if it can be a log at all."""
    path = tmp_path / "notes.md"
    path.write_bytes(b"\x01\x02\x03\x04" * 20 + log(9))
    (source,) = gather([str(path)]).inputs
    assert [pid for pid, *_ in kills(source)] == [9]


def test_missing_files_are_errors(tmp_path: Path) -> None:
    """A named file that is not there, or a pattern that nothing fits, stops the run."""
    for name in ("no.log", "*.log"):
        with pytest.raises(LeakhuntError, match="no"):
            gather([str(tmp_path / name)])


def test_patterns_are_expanded(tmp_path: Path) -> None:
    """A pattern that no shell has expanded is; a file that is called like a pattern is that file."""
    for name in ("b.log", "a.log", "[x].log"):
        (tmp_path / name).write_bytes(log(1))
    assert names(gather([str(tmp_path / "?.log")]), tmp_path) == [["a.log"], ["b.log"]]
    assert names(gather([str(tmp_path / "[x].log")]), tmp_path) == [["[x].log"]]


def test_each_file_is_read_once(tmp_path: Path) -> None:
    """Links to files already seen tell more of their place and are not read again; loops of links end."""
    pods = tmp_path / "pods" / f"shop_w-1_{UID}" / "celery"
    pods.mkdir(parents=True)
    (pods / "0.log").write_bytes(log(1))
    links = tmp_path / "containers"
    links.mkdir()
    (links / f"w-1_shop_celery-{ID}.log").symlink_to(pods / "0.log")
    (links / "loop").symlink_to(tmp_path)
    (links / "self").symlink_to(links / "self")
    (source,) = gather([str(tmp_path), str(pods / "0.log")]).inputs
    assert source.place == Place(container="celery", container_id=ID, pod="shop/w-1", pod_uid=UID)


def test_of_a_folder_of_leakhunt_s_own_the_records_are_read(tmp_path: Path) -> None:
    """Beside leakhunt's records its agents and snapshots are passed over; elsewhere folders of these names are read."""
    for name in ("agents", "records", "snapshots"):
        (tmp_path / "own" / name).mkdir(parents=True)
        (tmp_path / "own" / name / "a.jsonl").write_bytes(log(1))
    gathered = gather([str(tmp_path)])
    assert names(gathered, tmp_path) == [[os.path.join("own", "records", "a.jsonl")]]
    assert not gathered.skipped
    (tmp_path / "own" / "records").rename(tmp_path / "own" / "logs")
    assert len(gather([str(tmp_path)]).inputs) == 3


def test_links_do_not_lead_out_of_a_folder(tmp_path: Path) -> None:
    """A link out of the folder is told and not followed, except to where container runtimes keep their logs."""
    outside = tmp_path / "outside"
    real = outside / "pods" / f"shop_w-1_{UID}" / "celery"
    real.mkdir(parents=True)
    (real / "0.log").write_bytes(log(1))
    (outside / "secret").write_bytes(log(2))
    inside = tmp_path / "containers"
    inside.mkdir()
    (inside / f"w-1_shop_celery-{ID}.log").symlink_to(real / "0.log")
    (inside / "x.log").symlink_to(outside / "secret")
    (inside / "folder").symlink_to(outside)
    gathered = gather([str(inside)])
    assert [source.place.container_id for source in gathered.inputs] == [ID]
    assert [os.path.basename(skipped.what) for skipped in gathered.skipped] == ["x.log"]


def _zipped(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return made.getvalue()


def _tarred(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1_795_000_000
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link.log")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return made.getvalue()


FILES = {
    "logs/kern.log": log(2),
    "logs/kern.log.1.gz": gzip.compress(log(1)),
    "logs/plot.png": b"\x89PNG" + bytes(50),
    "src/tasks.py": log(3),
    "../../out.log": log(4),
}
PACKED: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "a.zip": _zipped,
    "a.tar": _tarred,
    "a.tar.gz": lambda files: gzip.compress(_tarred(files)),
    "a.tar.bz2": lambda files: bz2.compress(_tarred(files)),
    "a.tar.xz": lambda files: lzma.compress(_tarred(files)),
}


@pytest.mark.parametrize("name", PACKED)
def test_archives_are_read_as_folders(tmp_path: Path, name: str) -> None:
    """The logs in an archive are inputs, rotated ones together, and nothing is written beside it."""
    path = tmp_path / name
    path.write_bytes(PACKED[name](FILES))
    with gather([str(path)]) as gathered:
        check_members(gathered, path)
    assert list(tmp_path.iterdir()) == [path]


def check_members(gathered: Gathered, path: Path) -> None:
    """Hold what was found in an archive to what is in it."""
    assert [[part.name.removeprefix(f"{path}:") for part in source.parts] for source in gathered.inputs] == [
        ["logs/kern.log.1.gz", "logs/kern.log"],
        ["../../out.log"],
    ]
    assert [pid for source in gathered.inputs for pid, *_ in kills(source)] == [1, 2, 4]
    assert [skipped.what for skipped in gathered.skipped] == [f"{path}:logs/plot.png"]
    assert all(source.reference is not None for source in gathered.inputs)
    assert kills(gathered.inputs[0]) == kills(gathered.inputs[0])


def test_a_bomb_in_an_archive_is_refused(tmp_path: Path) -> None:
    """A member that unfolds beyond all measure stops a named archive, and is told of one in a folder."""
    path = tmp_path / "a.zip"
    path.write_bytes(_zipped({"x.log": bytes(64 << 20)}))
    with pytest.raises(LeakhuntError, match="unfolds"):
        gather([str(path)])
    with gather([str(tmp_path)]) as gathered:
        (skipped,) = gathered.skipped
    assert "unfolds" in skipped.why


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(sorted(PACKED)),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.binary(max_size=9)), max_size=5),
    cut=st.floats(0.02, 1),
)
def test_damaged_archives_are_told(
    tmp_path: Path, kind: str, changes: list[tuple[float, bytes]], cut: float
) -> None:
    """Archives with bytes replaced, or cut, give what is left of them or a clear error."""
    data = PACKED[kind]({"kern.log": log(1), "x.log": log(2)})
    for place, new in changes:
        at = int(place * len(data))
        data = data[:at] + new + data[at + len(new) :]
    path = tmp_path / kind
    path.write_bytes(data[: max(1, int(cut * len(data)))])
    try:
        with gather([str(path)]) as gathered:
            for source in gathered.inputs:
                list(read(source))
    except LeakhuntError as error:
        assert error.message  # noqa: PT017 - either outcome is right


def test_damage_is_told(tmp_path: Path) -> None:
    """A compressed log that is cut is read as far as it goes, and that is told."""
    path = tmp_path / "kern.log.gz"
    path.write_bytes(gzip.compress(log(*range(1, 500)))[:-40])
    (source,) = gather([str(path)]).inputs
    events = list(read(source))
    assert any(isinstance(event, OomKill) for event in events)
    assert isinstance(events[-1], Skipped)
    assert "cut" in events[-1].why


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-8-sig"])
def test_what_windows_wrote_is_read(tmp_path: Path, encoding: str) -> None:
    """Text that PowerShell redirected into a file, in UTF-16 with its mark, is read like any other."""
    path = tmp_path / "kubectl.txt"
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    path.write_bytes(mark + log(6).decode().replace("\n", "\r\n").encode(encoding))
    (source,) = gather([str(tmp_path)]).inputs
    assert kills(source) == [(6, "kubectl.txt", 10)]


def test_the_year_comes_from_the_files_last_change(tmp_path: Path) -> None:
    """Stamps without a year are placed by when the file was last changed."""
    path = tmp_path / "kern.log"
    path.write_bytes(log(1))
    os.utime(path, (0, datetime(2024, 12, 1, tzinfo=timezone.utc).timestamp()))
    (source,) = gather([str(path)]).inputs
    (kill,) = [event for event in read(source) if isinstance(event, OomKill)]
    assert kill.when is not None
    assert kill.when.year == 2024


def test_standard_input_is_an_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """``-`` is read whole, compressed or not, and is called standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(log(8)))))
    with gather(["-"]) as gathered:
        (source,) = gathered.inputs
        assert source.name == "standard input"
        assert kills(source) == [(8, "standard input", 10)]


def test_hearers_learn_the_place(tmp_path: Path) -> None:
    """What hears a source beside the kernel's reader is told its place, and its evidence is placed too."""
    folder = tmp_path / f"shop_w-1_{UID}" / "celery"
    folder.mkdir(parents=True)
    (folder / "0.log").write_bytes(b"b\n")
    (folder / "0.log.20261121-031042").write_bytes(b"a\nb")

    class Every:
        def __init__(self, reading: Reading, place: Place) -> None:
            self.events: list[Heard] = []
            self.source, self.place = reading.source, place

        def read(self, data: bytes, first_line: int) -> None:
            """Take every line for a sign."""
            for number, line in enumerate(data.split(b"\n")[:-1], first_line):
                self.events.append(
                    Sign("oom", "test", Evidence(self.source, number, line.decode()), place=self.place)
                )

        def wakes(self) -> tuple[bytes, ...] | None:
            return None

        def pass_by(self, data: bytes, first_line: int) -> None:
            raise AssertionError(data, first_line)

        def settle(self) -> None:
            """Do nothing."""

        def finish(self) -> None:
            """Do nothing."""

    (source,) = gather([str(tmp_path)]).inputs
    signs = [event for event in read(source, hearers=[Every]) if isinstance(event, Sign)]
    assert {sign.place.pod for sign in signs} == {"shop/w-1"}
    assert [
        (os.path.basename(sign.evidence.source), sign.evidence.line, sign.evidence.text) for sign in signs
    ] == [("0.log.20261121-031042", 1, "a"), ("0.log.20261121-031042", 2, "b"), ("0.log", 1, "b")]
