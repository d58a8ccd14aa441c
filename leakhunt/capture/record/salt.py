"""What keys the hashes of arguments, so that nobody who only has the records can guess short arguments by trying.

It lies beside the folder of the records and not in it: who passes the records on does not pass it on.
"""

from __future__ import annotations

import os
from contextlib import suppress

from leakhunt.capture.folder import PART, Folder
from leakhunt.errors import LeakhuntError

SIZE = 32
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def salt_of(folder: str) -> bytes:
    """Return the salt of a folder's records, which all processes share; this process's own where that cannot be.

    Args:
        folder: where the records are.
    """
    above, name = os.path.split(os.path.abspath(folder))
    try:
        os.stat(above)  # one that is gone is not made again
        place, name = Folder.open(above), f".{name}.salt"
        with suppress(FileNotFoundError):
            return _whole(place.read(name, SIZE))
        _make(os.path.join(above, name))
        return _whole(place.read(name, SIZE))
    except (LeakhuntError, OSError, ValueError):
        return os.urandom(SIZE)


def _whole(salt: bytes) -> bytes:
    if len(salt) != SIZE:
        raise ValueError
    return salt


def _make(path: str) -> None:
    """Make a salt, whole at once; another process's stays if that was faster."""
    part = os.path.join(os.path.dirname(path), PART + os.urandom(8).hex())
    fd = os.open(part, _NEW, 0o600)
    try:
        try:
            done = os.write(fd, os.urandom(SIZE))
        finally:
            os.close(fd)
        if done == SIZE:
            with suppress(FileExistsError):
                os.link(part, path)
    finally:
        with suppress(OSError):
            os.unlink(part)
