"""Files kept open in a program that may close any number and give it to another file."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import NamedTuple


class OpenFile(NamedTuple):
    """A number, and the device and inode that stand behind it."""

    fd: int
    device: int
    inode: int


def open_file(path: str, flags: int) -> OpenFile | None:
    """Open a regular file, private where it is made; None where that cannot be done."""
    try:
        fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        state = os.fstat(fd)
    except OSError:
        return None
    if not stat.S_ISREG(state.st_mode):
        os.close(fd)
        return None
    return OpenFile(fd, state.st_dev, state.st_ino)


def look(file: OpenFile | None) -> os.stat_result | None:
    """Return what the system tells of the file behind a number; None where it is another file's by now."""
    if file is None:
        return None
    try:
        state = os.fstat(file.fd)
    except OSError:
        return None
    return state if state.st_ino == file.inode and state.st_dev == file.device else None


def is_still(file: OpenFile | None) -> bool:
    """Tell whether the number still is the file's."""
    return look(file) is not None


def close_file(file: OpenFile | None) -> None:
    """Close a file, but not another that has its number by now."""
    if file is not None and is_still(file):
        with suppress(OSError):
            os.close(file.fd)
