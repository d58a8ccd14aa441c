"""Bytes of a file that grows, as ``tail -F`` would show them, and of a pipe."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator
from typing import BinaryIO

from leakhunt.errors import LeakhuntError
from leakhunt.readers.oom_inputs import Part
from leakhunt.readers.oom_reading import Rows, utf8

PAUSE_S = 0.2
_CHUNK = 1 << 16


def grow(path: str, done: threading.Event, rows: Rows) -> Iterator[bytes]:
    """Yield a file from its beginning and whatever is added, until nobody wants more; nothing where it pauses.

    A file that does not exist is waited for. One that was renamed is read to its end before its successor is; one that
    was cut short is read from its beginning.

    Args:
        path: the file.
        done: set when nobody wants more.
        rows: is told where a file begins, and how many lines there are.

    Raises:
        LeakhuntError: it may not be read.
    """
    while not done.is_set():
        try:
            file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed below, whoever stops first
        except FileNotFoundError:
            yield b""
            done.wait(PAUSE_S)
            continue
        except OSError as error:
            raise LeakhuntError(f"{path}: {(error.strerror or str(error)).lower()}") from error
        try:
            rows.begin(path)
            yield from _one(file, path, done, rows)
        finally:
            file.close()


def whole(part: Part, done: threading.Event, rows: Rows) -> Iterator[bytes]:
    """Yield a file that does not grow any more, its last line ended."""
    rows.begin(part.name)
    stream = part.open()
    try:
        last = b"\n"
        for chunk in utf8(stream):
            if done.is_set():
                return
            rows.count(chunk)
            last = chunk
            yield chunk
        yield from _ended(last, rows)
    finally:
        stream.close()


def pipe(descriptor: int, done: threading.Event) -> Iterator[bytes]:
    """Yield what comes through a pipe until its other end closes; nothing where it pauses."""
    while not done.is_set():
        if not select.select([descriptor], [], [], PAUSE_S)[0]:
            yield b""
            continue
        data = os.read(descriptor, _CHUNK)
        if not data:
            return
        yield data


def _one(file: BinaryIO, path: str, done: threading.Event, rows: Rows) -> Iterator[bytes]:
    """Yield one file until another has its name."""
    last = b"\n"
    replaced = False
    while not done.is_set():
        data = file.read(_CHUNK)
        if data:
            rows.count(data)
            last = data
            yield data
        elif replaced:
            yield from _ended(last, rows)
            return
        else:
            replaced, cut = _changed(file, path)
            if cut:
                yield from _ended(last, rows)
                file.seek(0)
                rows.begin(path)
                last = b"\n"
            elif not replaced:
                yield b""
                done.wait(PAUSE_S)


def _changed(file: BinaryIO, path: str) -> tuple[bool, bool]:
    """Tell whether another file has the name now, and whether this one was cut short."""
    mine = os.fstat(file.fileno())
    if mine.st_size < file.tell():
        return False, True
    try:
        now = os.stat(path)
    except OSError:  # gone, and perhaps soon back
        return False, False
    return (now.st_dev, now.st_ino) != (mine.st_dev, mine.st_ino), False


def _ended(last: bytes, rows: Rows) -> Iterator[bytes]:
    """Yield the newline that a file's last line lacks."""
    if not last.endswith(b"\n"):
        rows.count(b"\n")
        yield b"\n"
