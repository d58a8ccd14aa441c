"""Evidence as a stream of bytes: files, standard input, pipes; plain or compressed."""

from __future__ import annotations

import contextlib
import importlib
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, BinaryIO, cast

from leakhunt.errors import LeakhuntError

_CHUNK = 1 << 18
_BOMB_BYTES = 32 << 20
_BOMB_RATIO = 250


# Magic bytes, name, and the modules that have an ``open`` for it, the first at hand is taken.
_COMPRESSIONS = (
    (b"\x1f\x8b", "gzip", ("gzip",)),
    (b"BZh", "bzip2", ("bz2",)),
    (b"\xfd7zXZ\x00", "xz", ("lzma",)),
    (b"\x28\xb5\x2f\xfd", "zstd", ("compression.zstd", "zstandard")),
)
_HINTS = {"zstd": "pip install 'leakhunt[zstd]', or decompress it first: zstd -d FILE"}


@dataclass
class Stream:
    """Bytes of one piece of evidence, read in bounded steps.

    Attributes:
        fault: why the bytes end before they should, or an empty string.
        reached: called with the position in the file after each step.
    """

    name: str
    raw: BinaryIO
    plain: IO[bytes]
    compression: str
    reached: Callable[[int], object]
    fault: str = ""
    _read: int = 0

    def read(self, size: int = _CHUNK) -> bytes:
        """Return the next bytes, or none at the end; damage ends the stream and is kept in ``fault``.

        Args:
            size: at most so many.

        Raises:
            LeakhuntError: the disk refused, or a small compressed file unfolds without end.
        """
        read1 = getattr(self.plain, "read1", self.plain.read)
        try:
            data = cast("bytes", read1(size))
        except EOFError:
            self.fault = f"its {self.compression} data is cut"
            return b""
        except Exception as error:  # every decompressor has exceptions of its own
            if not self.compression:
                raise LeakhuntError(f"{self.name}: cannot be read ({_reason(error)})") from error
            self.fault = f"its {self.compression} data is damaged"
            return b""
        self._read += len(data)
        self.reached(self.raw.tell())
        if self.compression and self._read > max(_BOMB_BYTES, _BOMB_RATIO * self.raw.tell()):
            raise LeakhuntError(
                f"{self.name}: unfolds to more than {_BOMB_RATIO} times its size",
                "if you trust it, decompress it yourself and give the plain file",
            )
        return data

    def close(self) -> None:
        """Close the file behind the stream."""
        self.plain.close()
        self.raw.close()


def unfolded(name: str, raw: BinaryIO, reached: Callable[[int], object]) -> Stream:
    """Read a file from where it stands, decompressing what is compressed; the stream owns the file.

    Args:
        name: what errors call it.
        raw: the file, which can be set back.
        reached: called with the position in the file after each step.

    Raises:
        LeakhuntError: its compression is not supported here.
    """
    start = raw.tell()
    head = raw.read(8)
    raw.seek(start)
    for magic, compression, modules in _COMPRESSIONS:
        if head.startswith(magic):
            try:
                plain = _decompressor(name, compression, modules)(raw, "rb")
            except LeakhuntError:
                raw.close()
                raise
            return Stream(name, raw, plain, compression, reached)
    return Stream(name, raw, raw, "", reached)


class Evidence:
    """One input as the user named it, which can be opened more than once; ``-`` is standard input.

    What cannot be read twice is kept in an unnamed temporary file until :meth:`close`.

    Args:
        name: the input's name.
        progress: called with the bytes of the file that were read since the last call, each byte told once.

    Raises:
        LeakhuntError: it does not exist, is a directory or a device, or may not be read.
    """

    def __init__(self, name: str, progress: Callable[[int], object] | None = None) -> None:
        self.name = "standard input" if name == "-" else name
        self._path = name
        self._progress = progress
        self._told = 0
        self._spool: BinaryIO | None = None
        try:
            if name == "-":
                self._spool = _spool(_standard_input())
                return
            mode = os.stat(name).st_mode
            if stat.S_ISDIR(mode):
                raise LeakhuntError(f"{name}: is a directory", "name the file inside it")
            if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
                with open(name, "rb") as pipe:
                    self._spool = _spool(pipe)
            elif not stat.S_ISREG(mode):
                raise LeakhuntError(f"{name}: is a device, not a file")
        except OSError as error:
            raise LeakhuntError(f"{self.name}: {_reason(error)}") from error
        except ValueError as error:  # a NUL in the name
            raise LeakhuntError(f"{name!r}: is no file name") from error

    def open(self) -> Stream:
        """Open the input from its start, decompressing what is compressed.

        Raises:
            LeakhuntError: it may not be read, or its compression is not supported here.
        """
        try:
            raw = open(self._path if self._spool is None else os.dup(self._spool.fileno()), "rb")  # noqa: SIM115 - the Stream owns it
            raw.seek(0)
            return unfolded(self.name, raw, self._reached)
        except OSError as error:
            raise LeakhuntError(f"{self.name}: {_reason(error)}") from error

    def close(self) -> None:
        """Let go of what was kept of an input that cannot be read twice."""
        if self._spool is not None:
            self._spool.close()

    def _reached(self, position: int) -> None:
        if self._progress is not None and position > self._told:
            self._progress(position - self._told)
            self._told = position


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise LeakhuntError("standard input is closed", "name a file")
    if sys.stdin.isatty():
        raise LeakhuntError("standard input is a terminal", "pipe something into it: cat FILE | leakhunt ...")
    return sys.stdin.buffer


def _decompressor(
    name: str, compression: str, modules: Sequence[str]
) -> Callable[[BinaryIO, str], IO[bytes]]:
    """Return the ``open`` of the first module that this Python has."""
    for module in modules:
        with contextlib.suppress(ImportError):
            return cast("Callable[[BinaryIO, str], IO[bytes]]", importlib.import_module(module).open)
    raise LeakhuntError(
        f"{name}: is compressed by {compression}, which this Python cannot read",
        _HINTS.get(compression, "decompress it first"),
    )


def _spool(source: IO[bytes]) -> BinaryIO:
    """Copy a stream that cannot be read twice into an unnamed temporary file."""
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the Evidence
    while chunk := source.read(_CHUNK):
        spool.write(chunk)
    spool.flush()
    return cast("BinaryIO", spool)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return str(error)
