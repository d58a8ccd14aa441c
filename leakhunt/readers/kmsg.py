"""The kernel's own buffer of messages, record by record from ``/dev/kmsg``."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

from leakhunt.errors import LeakhuntError

PATH = "/dev/kmsg"
_RECORD = 1 << 13  # the kernel refuses to read a record into less than it may need
_ENOUGH = 1 << 16


def records(path: str | None = None) -> Iterator[bytes]:
    """Yield what the buffer holds now, and end.

    Raises:
        LeakhuntError: it may not be read.
    """
    for chunk in followed_records(path, 0.0):
        if not chunk:
            return
        yield chunk


def followed_records(path: str | None = None, pause_s: float = 0.2) -> Iterator[bytes]:
    """Yield what the buffer holds and whatever is added, without end; nothing where it pauses.

    Args:
        path: the device, or None for the kernel's.
        pause_s: how long to wait for more before saying so.

    Raises:
        LeakhuntError: it may not be read.
    """
    path = PATH if path is None else path
    try:
        device = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise refusal(path, error) from error
    try:
        yield from _read(device, path, pause_s)
    finally:
        os.close(device)


def _read(device: int, path: str, pause_s: float) -> Iterator[bytes]:
    waiter = select.poll()
    waiter.register(device, select.POLLIN)
    parts: list[bytes] = []
    size = 0
    while True:
        record = _record(device, path)
        if record:
            parts.append(record)
            size += len(record)
        if parts and (size >= _ENOUGH or not record):
            yield b"".join(parts)
            parts, size = [], 0
        if record == b"":
            return
        if record is None and not waiter.poll(pause_s * 1000):
            yield b""


def _record(device: int, path: str) -> bytes | None:
    """Return the next record, nothing at the end, or None where there is none yet."""
    try:
        return os.read(device, _RECORD)
    except BlockingIOError:
        return None
    except (
        BrokenPipeError
    ):  # records were overwritten before they were read: the numbers of the others show it
        return b"\n"
    except OSError as error:
        raise refusal(path, error) from error


def refusal(path: str, error: OSError) -> LeakhuntError:
    """Return what to tell somebody who may not read it."""
    if isinstance(error, PermissionError):
        return LeakhuntError(
            f"{path}: may not be read", "run as root or with CAP_SYSLOG: kernel.dmesg_restrict is set"
        )
    return LeakhuntError(f"{path}: {(error.strerror or str(error)).lower()}")
