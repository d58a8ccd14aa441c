from __future__ import annotations

import bz2
import gc
import gzip
import importlib
import io
import lzma
import os
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from dump_tools import Trace, counted, outcome, pickled, rows

import leakhunt
from leakhunt.errors import LeakhuntError
from leakhunt.model.snapshot import Snapshot
from leakhunt.readers.dump import read_dump

zstandard = pytest.importorskip("zstandard")

STACKS = [(("/srv/app/shop/cache.py", number), ("/srv/app/shop/tasks.py", 7)) for number in range(3000)]
TRACES: list[Trace] = [(0, 1 + number * 7919 % 5000, STACKS[number * 31 % 3000], 2) for number in range(9000)]
DUMP = pickled(TRACES)
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: bytes(zstandard.ZstdCompressor().compress(data)),
}
COMPRESSED = {name: compress(DUMP) for name, compress in COMPRESS.items()}
PACKED = [name for name in COMPRESSED if name != "plain"]

on_posix = pytest.mark.skipif(os.name != "posix", reason="a thing of POSIX")


def write(tmp_path: Path, data: bytes) -> Path:
    """Write bytes to a file whose name tells nothing."""
    path = tmp_path / "evidence"
    path.write_bytes(data)
    return path


def refusal(name: str, **options: bool) -> LeakhuntError:
    """Return why a file is refused."""
    with pytest.raises(LeakhuntError) as caught:
        leakhunt.load(name, **options)
    return caught.value


def give_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Put bytes on standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@contextmanager
def nothing_left_open() -> Iterator[None]:
    """Fail where a file is left to the garbage collector to close."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


# Compression


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_dump_is_read_whatever_compressed_it(tmp_path: Path, name: str) -> None:
    """Compression is told from the bytes, whatever the file is called."""
    snapshot = leakhunt.load(write(tmp_path, COMPRESSED[name]))
    assert rows(snapshot) == counted(TRACES)
    assert snapshot.path == str(tmp_path / "evidence")


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
def test_pieces_compressed_one_by_one_are_one_dump(tmp_path: Path, name: str) -> None:
    """Parallel compressors write many members; they are read on."""
    half = len(DUMP) // 2
    data = COMPRESS[name](DUMP[:half]) + COMPRESS[name](DUMP[half:])
    assert leakhunt.load(write(tmp_path, data)).blocks == len(TRACES)


def test_zstd_frames_are_one_dump(tmp_path: Path) -> None:
    """Parallel compressors write many frames; they are read on."""
    half = len(DUMP) // 2
    data = COMPRESS["zstd"](DUMP[:half]) + COMPRESS["zstd"](DUMP[half:])
    assert leakhunt.load(write(tmp_path, data)).blocks == len(TRACES)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
@pytest.mark.parametrize("name", PACKED)
def test_a_cut_compressed_dump_gives_its_first_traces(tmp_path: Path, name: str, share: float) -> None:
    """What can be decompressed of a cut file is read like a cut dump, or nothing can and that is said."""
    data = COMPRESSED[name]
    path = write(tmp_path, data[: int(len(data) * share)])
    error = refusal(str(path))
    assert "cut" in error.message
    assert error.hint
    found = outcome(leakhunt.load, path, allow_partial=True)
    if isinstance(found, Snapshot):
        assert "--allow-partial" in error.hint
        assert found.partial
        assert rows(found) == counted(TRACES[: found.blocks])
    else:
        assert "--allow-partial" not in error.hint


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("name", PACKED)
def test_a_damaged_compressed_dump_is_never_read_as_whole(tmp_path: Path, name: str, share: float) -> None:
    """Damage that the decompressor sees ends the dump there, and the traces before are a partial snapshot."""
    data = bytearray(COMPRESSED[name])
    at = int(len(data) * share)
    data[at : at + 40] = bytes(byte ^ 0x5A for byte in data[at : at + 40])
    path = write(tmp_path, bytes(data))
    assert refusal(str(path)).message
    found = outcome(leakhunt.load, path, allow_partial=True)
    if isinstance(found, Snapshot):
        assert found.partial
        assert found.blocks < len(TRACES)


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("length", range(1, 30))
def test_a_compressed_file_of_a_few_bytes_is_refused(tmp_path: Path, name: str, length: int) -> None:
    """The first bytes of a compressed file alone are no dump."""
    assert refusal(str(write(tmp_path, COMPRESSED[name][:length]))).hint


def test_zstd_without_a_decompressor_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no module for zstd is at hand, the refusal says which to install."""
    whole = importlib.import_module

    def without(name: str, package: str | None = None) -> ModuleType:
        if "zstd" in name or "zstandard" in name:
            raise ImportError(name)
        return whole(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    with nothing_left_open():
        error = refusal(str(write(tmp_path, COMPRESSED["zstd"])))
        assert "is compressed by zstd, which this Python cannot read" in error.message
        assert "leakhunt[zstd]" in error.hint
        del error


# Progress


@pytest.mark.parametrize("name", COMPRESSED)
def test_progress_sums_to_the_size_of_the_file(tmp_path: Path, name: str) -> None:
    """The steps told are bytes of the file, never negative, and in the end all of them."""
    path = write(tmp_path, COMPRESSED[name])
    steps: list[int] = []
    read_dump(str(path), progress=steps.append)
    assert all(step >= 0 for step in steps)
    assert sum(steps) == path.stat().st_size


def test_progress_of_a_large_file_is_told_in_steps(tmp_path: Path) -> None:
    """A dump of several chunks is told in several steps."""
    path = write(tmp_path, pickled([(0, 1 + at, STACKS[at % 3000], 2) for at in range(100_000)]))
    assert path.stat().st_size > 1 << 20
    steps: list[int] = []
    read_dump(str(path), progress=steps.append)
    assert len(steps) > 3
    assert sum(steps) == path.stat().st_size


def test_progress_of_a_dump_that_is_read_twice_sums_to_its_size(tmp_path: Path) -> None:
    """A dump whose traces are shared objects is begun anew, and told once."""
    path = write(tmp_path, pickled([(0, 5, STACKS[0], 2), *TRACES, *TRACES[:10], *TRACES * 9]))
    steps: list[int] = []
    read_dump(str(path), progress=steps.append)
    assert sum(steps) == path.stat().st_size


# Standard input, pipes, and what is no file


@pytest.mark.parametrize("name", COMPRESSED)
def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A dash is standard input, compressed or not."""
    give_stdin(monkeypatch, COMPRESSED[name])
    snapshot = leakhunt.load("-")
    assert snapshot.path == "standard input"
    assert rows(snapshot) == counted(TRACES)


def test_standard_input_can_be_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dump that must be begun anew is read whole from a pipe too."""
    shared = [(0, number, STACKS[number], 2) for number in range(50)] * 2
    give_stdin(monkeypatch, pickled(shared))
    assert rows(leakhunt.load("-")) == counted(shared)


def test_a_cut_dump_on_standard_input_is_refused_by_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors call standard input by its name."""
    give_stdin(monkeypatch, DUMP[:-100])
    assert refusal("-").message.startswith("standard input: the snapshot is cut")


def test_a_terminal_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dash at a terminal is a mistake, and the hint shows a pipe."""

    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO()))
    error = refusal("-")
    assert error.message == "standard input is a terminal"
    assert "|" in error.hint


def test_no_standard_input_is_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dash without any standard input, as under a service manager, is refused like an empty file."""
    monkeypatch.setattr(sys, "stdin", None)
    assert refusal("-").message.startswith("standard input")


@on_posix
@pytest.mark.parametrize("name", ["plain", "xz"])
def test_a_named_pipe_is_read(tmp_path: Path, name: str) -> None:
    """A FIFO, such as a shell's <(...), is read to its end."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=[COMPRESSED[name]])
    writer.start()
    try:
        snapshot = leakhunt.load(path)
    finally:
        writer.join()
    assert rows(snapshot) == counted(TRACES)


@on_posix
def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket in the file system cannot be opened, and that is said."""
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        assert refusal("s").message.startswith("s: ")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    """A directory is named as one."""
    error = refusal(str(tmp_path))
    assert error.message == f"{tmp_path}: is a directory"
    assert error.hint


@on_posix
@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero"])
def test_a_device_is_refused(device: str) -> None:
    """A device is not read: it may have no end."""
    assert refusal(device).message == f"{device}: is a device, not a file"


@on_posix
def test_a_link_to_a_dump_is_read(tmp_path: Path) -> None:
    """Links are followed, and a link to nothing is refused."""
    write(tmp_path, DUMP)
    (tmp_path / "link").symlink_to("evidence")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    assert leakhunt.load(tmp_path / "link").blocks == len(TRACES)
    assert "no such file" in refusal(str(tmp_path / "broken")).message
    assert refusal(str(tmp_path / "loop")).message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is named with the system's reason."""
    missing = tmp_path / "missing.bin"
    assert refusal(str(missing)).message == f"{missing}: no such file or directory"


@pytest.mark.parametrize("name", ["a\0b", "\0", "x" * 5000, ""])
def test_what_is_no_file_name_is_refused(name: str) -> None:
    """A name that no file can have is refused, not handed on as an exception of the system."""
    error = refusal(name)
    assert "\0" not in error.message


@on_posix
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_file_is_refused(tmp_path: Path) -> None:
    """A file that may not be read is named with the system's reason."""
    path = write(tmp_path, DUMP)
    path.chmod(0)
    assert refusal(str(path)).message == f"{path}: permission denied"


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails is the system's word, not damage of the dump."""
    path = write(tmp_path, DUMP)

    class Failing(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:  # noqa: ARG002 - the disk fails at any size
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("builtins.open", lambda *_args, **_keywords: Failing(DUMP))
    with pytest.raises(LeakhuntError, match="cannot be read"):
        leakhunt.load(str(path))


def test_files_are_closed(tmp_path: Path) -> None:
    """Files are closed after success, refusal and damage."""
    with nothing_left_open():
        for data in (*COMPRESSED.values(), b"text", b"", *(data[:-20] for data in COMPRESSED.values())):
            outcome(leakhunt.load, write(tmp_path, data))
    (tmp_path / "evidence").unlink()


@pytest.mark.parametrize(
    "data", [DUMP, DUMP[:-20], COMPRESSED["xz"], b"text"], ids=["whole", "cut", "xz", "text"]
)
def test_what_was_kept_of_standard_input_is_closed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """The temporary file that holds standard input is closed after success, refusal and damage."""
    give_stdin(monkeypatch, data)
    with nothing_left_open():
        outcome(leakhunt.load, Path("-"))
