"""How many snapshots are written into one folder at the same time: each of them sees the same memory that is left."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

from leakhunt.capture.folder import Folder
from leakhunt.capture.record.numbered import OpenFile, is_still
from leakhunt.capture.snapshots import forking
from leakhunt.errors import LeakhuntError

_NAME = ".busy-{}"
_UNASKED = 1
_ASKED = 3  # who asks need not wait for one that nobody asked for, nor for the end of the one before


class BusyError(LeakhuntError):
    """As many snapshots as may be are being written."""


def take_slot(folder: Folder, *, asked: bool) -> OpenFile:
    """Take a place among the writers of a folder, without waiting for one.

    The place is given up when the file is dropped here, and our children have ended, which have it too; or by
    :func:`leave_slot`. No child that the program forks has it.

    Args:
        folder: where the snapshot is to go.
        asked: whether somebody asked for it.

    Raises:
        BusyError: there is no place.
        OSError: the folder cannot be written to.
        LeakhuntError: the folder is not what it was.
    """
    for number in range(_ASKED if asked else _UNASKED):
        fd = folder.lock(_NAME.format(number))
        if fd is not None:
            about = os.fstat(fd)
            slot = OpenFile(fd, about.st_dev, about.st_ino)
            forking.carry(slot)
            return slot
    if asked:
        raise BusyError(f"{_ASKED} other snapshots are being written in {folder.path}", "ask again")
    raise BusyError(f"another snapshot is being written in {folder.path}", "those taken unasked take turns")


def leave_slot(slot: OpenFile) -> None:
    """Give the place up, whoever still has the file open."""
    if is_still(slot):
        with suppress(OSError):
            fcntl.flock(slot.fd, fcntl.LOCK_UN)
