"""The members of tar and zip archives, read as they are packed and never put on disk under their names."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import IO, BinaryIO, NamedTuple, cast

from leakhunt.errors import LeakhuntError
from leakhunt.model.snapshot import Skipped
from leakhunt.readers.folders import may_be_log
from leakhunt.readers.streams import Stream, unfolded

_ZIP = b"PK\x03\x04"
_TAR = slice(257, 262)
_CHUNK = 1 << 18
_MOST_MEMBERS = 20_000
_MOST_BYTES = 1 << 32
_LEAST_BOMB = 32 << 20
_BOMB_RATIO = 250


class Member(NamedTuple):
    """A file in an archive.

    Attributes:
        name: the archive's, a colon and its own.
        open: opens it from its start, decompressed where it is compressed once more.
        modified: when it was last changed, as far as the archive tells.
    """

    name: str
    open: Callable[[], Stream]
    modified: datetime | None


def is_archive(head: bytes) -> bool:
    """Tell whether the first bytes, decompressed, are those of a tar or zip archive."""
    return head.startswith(_ZIP) or head[_TAR] == b"ustar"


def members(
    name: str, opener: Callable[[], Stream], modified: datetime | None, spool: BinaryIO
) -> Iterator[Member | Skipped]:
    """Yield the files in an archive, which are kept in one unnamed temporary file.

    Args:
        name: the archive's.
        opener: opens it, decompressed.
        modified: when it was last changed.
        spool: takes the files; to be closed when they are wanted no more.

    Yields:
        Its files, and what could not be read and why; links and devices are nothing to read.

    Raises:
        LeakhuntError: a file unfolds without end.
    """
    stream = opener()
    source = _Source(stream)
    try:
        packed = _zip(stream) if stream.plain is stream.raw and _starts_as_zip(stream.raw) else _tar(source)
        for number, (inner, when, file) in enumerate(packed):
            if not may_be_log(inner):
                continue
            if number >= _MOST_MEMBERS or spool.tell() >= _MOST_BYTES:
                yield Skipped(name, f"the archive goes on behind {inner}; unpack it to read the rest")
                return
            start = spool.seek(0, os.SEEK_END)
            size = _copy(
                name, file, spool, max(_LEAST_BOMB, _BOMB_RATIO * os.fstat(stream.raw.fileno()).st_size)
            )
            yield Member(f"{name}:{inner}", _slice(f"{name}:{inner}", spool, start, size), when or modified)
    except LeakhuntError:
        raise
    except Exception as error:  # noqa: BLE001 - archives fail in as many ways as they can be damaged
        yield Skipped(name, f"the archive is damaged or locked ({error})")
    finally:
        stream.close()


def _starts_as_zip(raw: BinaryIO) -> bool:
    head = raw.read(len(_ZIP))
    raw.seek(0)
    return head == _ZIP


def _zip(stream: Stream) -> Iterator[tuple[str, datetime | None, IO[bytes]]]:
    with zipfile.ZipFile(stream.raw) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                with archive.open(info) as file:
                    yield info.filename, _zip_time(info.date_time), file


def _tar(source: _Source) -> Iterator[tuple[str, datetime | None, IO[bytes]]]:
    with tarfile.open(fileobj=cast("IO[bytes]", source), mode="r|") as archive:
        for info in archive:
            file = archive.extractfile(info) if info.isreg() else None
            if file is not None:
                yield info.name, _moment(info.mtime), file


def _copy(name: str, file: IO[bytes], spool: BinaryIO, most: int) -> int:
    """Copy a member behind what the spool holds; tells how many bytes it has."""
    size = 0
    while data := file.read(_CHUNK):
        size += spool.write(data)
        if size > most:
            raise LeakhuntError(
                f"{name}: unfolds to more than {_BOMB_RATIO} times its size",
                "if you trust it, unpack it yourself and name the folder",
            )
    return size


def _slice(name: str, spool: BinaryIO, start: int, size: int) -> Callable[[], Stream]:
    return lambda: unfolded(name, cast("BinaryIO", io.BufferedReader(_Slice(spool, start, size))), _nobody)


def _nobody(_position: int) -> None:
    """Nobody wants to know how far a member was read."""


class _Slice(io.RawIOBase):
    """A stretch of a file that others read too."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = min(max(0, base + offset), self._size)
        return self._at

    def tell(self) -> int:
        """Return the place."""
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any writable buffer
        """Read from the place on."""
        self._file.seek(self._start + self._at)
        data = self._file.read(min(len(buffer), self._size - self._at))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class _Source:
    """A decompressed stream, as the tar reader wants it."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Return so many bytes, fewer only at the end."""
        parts, missing = [self._rest], size - len(self._rest)
        while missing > 0 and (data := self._stream.read()):
            parts.append(data)
            missing -= len(data)
        whole = b"".join(parts)
        self._rest = whole[size:]
        return whole[:size]


def _zip_time(parts: tuple[int, int, int, int, int, int]) -> datetime | None:
    """Read a zip's local time as if it were in UTC, a day late to lie behind every line in any zone."""
    try:
        return datetime(*parts, tzinfo=timezone.utc)
    except ValueError:
        return None


def _moment(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc) if seconds > 0 else None
    except (ValueError, OverflowError, OSError):
        return None
