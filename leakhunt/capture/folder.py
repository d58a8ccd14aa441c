"""A private place for files: nobody else can write there, and what is written is whole or not there at all."""

from __future__ import annotations

import errno
import fcntl
import os
import posix  # its functions stay as they are where gevent replaces those of os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, NamedTuple

from leakhunt.capture.place import OTHERS_WRITE
from leakhunt.errors import LeakhuntError

PART = ".part-"
_STALE = 60.0  # seconds; a younger unlocked leftover may be one that its writer is about to lock
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ELSEWHERE = "choose another folder with LEAKHUNT_DIR; one that does not exist yet is made"


class File(NamedTuple):
    """A file in a folder.

    Attributes:
        name: its name.
        size: bytes.
        modified: when, in seconds since the epoch.
    """

    name: str
    size: int
    modified: float


class Folder:
    """A folder that one user owns and only that user can write to.

    It is looked at anew each time it is used, without following a link, so nothing that is put in its place is trusted.
    Every method raises OSError or LeakhuntError, nothing else.

    Attributes:
        path: where it is.
        owner: the user id that it and its files belong to.
    """

    def __init__(self, path: str, owner: int) -> None:
        self.path = path
        self.owner = owner

    @classmethod
    def open(cls, path: str, owner: int | None = None) -> Folder:
        """Make the folder and what is missing above it, for its owner alone, or check the one that is there.

        Args:
            path: where.
            owner: whose it must be, by default this process's user; root may name another.

        Raises:
            LeakhuntError: it cannot be made, is a link, or somebody else can write there.
        """
        folder = cls(os.path.abspath(path), os.geteuid() if owner is None else owner)
        try:
            _make(folder.path)
            posix.close(folder._enter())
        except (OSError, ValueError) as error:  # ValueError: a null character in the name
            why = getattr(error, "strerror", None) or str(error)
            raise LeakhuntError(f"{path}: cannot be used: {why}", _ELSEWHERE) from error
        return folder

    def sub(self, *names: str) -> Folder:
        """Return a folder below, made likewise.

        Raises:
            LeakhuntError: as for :meth:`open`, or a name is none.
        """
        folder = self
        for name in names:
            folder = Folder.open(os.path.join(folder.path, _checked(name)), self.owner)
        return folder

    def write(self, name: str, data: bytes) -> str:
        """Write a file whole or not at all, in place of one that is there, and return its path."""
        with self.writing(name) as file:
            file.write(data)
        return os.path.join(self.path, name)

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Give a stream; the file gets its name when the block ends, and is gone when the block fails."""
        directory = self._enter()
        try:
            part, fd = self._begin(directory, name)
            try:
                with os.fdopen(fd, "wb") as file:
                    yield file
                os.rename(part, name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with suppress(OSError):
                    os.unlink(part, dir_fd=directory)
                raise
        finally:
            posix.close(directory)

    def hold(self, name: str, data: bytes) -> int:
        """Write a file like :meth:`write` and return a descriptor with an exclusive ``flock`` on it.

        The lock says that its writer lives: the kernel lets go of it however the writer ends.
        """
        directory = self._enter()
        try:
            part, fd = self._begin(directory, name)
            try:
                os.write(fd, data)
                os.rename(part, name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                posix.close(fd)
                with suppress(OSError):
                    os.unlink(part, dir_fd=directory)
                raise
            return fd
        finally:
            posix.close(directory)

    def read(self, name: str, limit: int = 1 << 20) -> bytes:
        """Read a file of the owner, of this user or of root.

        Raises:
            LeakhuntError: it is larger than the limit, is no file, or is somebody else's.
        """
        directory = self._enter()
        try:
            # Without O_NONBLOCK a planted FIFO would hold the reader for ever.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(_checked(name), flags, dir_fd=directory)
        finally:
            posix.close(directory)
        with os.fdopen(fd, "rb") as file:
            about = os.fstat(fd)
            if not stat.S_ISREG(about.st_mode):
                raise LeakhuntError(f"{self.path}/{name}: not a file")
            if about.st_uid not in {self.owner, os.geteuid(), 0}:
                raise LeakhuntError(f"{self.path}/{name}: belongs to another user (uid {about.st_uid})")
            data = file.read(limit + 1)
        if len(data) > limit:
            raise LeakhuntError(f"{self.path}/{name}: larger than {limit} bytes")
        return data

    def names(self) -> list[str]:
        """Return the names of the files in it, in order; those still being written are left out."""
        directory = self._enter()
        try:
            return sorted(name for name in os.listdir(directory) if not name.startswith("."))
        finally:
            posix.close(directory)

    def remove(self, name: str) -> None:
        """Remove a file; it is no fault when it is gone already."""
        directory = self._enter()
        try:
            with suppress(FileNotFoundError):
                os.unlink(_checked(name), dir_fd=directory)
        finally:
            posix.close(directory)

    def room(self) -> tuple[int, int]:
        """Return how many bytes this user may still write on the file system, and its size."""
        directory = self._enter()
        try:
            about = os.statvfs(directory)
        finally:
            posix.close(directory)
        return about.f_bavail * about.f_frsize, about.f_blocks * about.f_frsize

    def files(self) -> list[File]:
        """Return the files in it; those still being written are left out."""
        directory = self._enter()
        try:
            found = []
            for name in os.listdir(directory):
                if not name.startswith("."):
                    with suppress(FileNotFoundError):
                        about = os.stat(name, dir_fd=directory, follow_symlinks=False)
                        if stat.S_ISREG(about.st_mode):
                            found.append(File(name, about.st_size, about.st_mtime))
            return found
        finally:
            posix.close(directory)

    def sweep(self) -> None:
        """Remove what writers left that were killed."""
        directory = self._enter()
        try:
            for name in os.listdir(directory):
                if name.startswith(PART):
                    _drop_leftover(name, directory)
        finally:
            posix.close(directory)

    def lock(self, name: str) -> int | None:
        """Return a descriptor with an exclusive ``flock`` on an empty file; None where somebody else has it.

        The lock is let go of when the last copy of the descriptor is closed, in this process and those forked from it.
        """
        directory = self._enter()
        try:
            fd = os.open(_checked(name), _LOCK, 0o600, dir_fd=directory)
        finally:
            posix.close(directory)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            posix.close(fd)
            return None
        except OSError:  # a file system without locks
            pass
        return fd

    def _enter(self) -> int:
        """Return a descriptor of the folder, which is what it should be."""
        try:
            fd = os.open(self.path, _DIRECTORY)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR}:
                raise LeakhuntError(f"{self.path}: a link or no folder; not followed", _ELSEWHERE) from error
            raise
        about = os.fstat(fd)
        if about.st_uid == self.owner and not about.st_mode & OTHERS_WRITE:
            return fd
        posix.close(fd)
        below = os.path.join(self.path, "leakhunt")
        why = "others can write there" if about.st_uid == self.owner else f"belongs to uid {about.st_uid}"
        raise LeakhuntError(f"{self.path}: {why}", f"set LEAKHUNT_DIR to a folder below it, such as {below}")

    def _begin(self, directory: int, name: str) -> tuple[str, int]:
        """Create a file beside, locked while it is written."""
        _checked(name)
        part = PART + os.urandom(8).hex()
        fd = os.open(part, _NEW, 0o600, dir_fd=directory)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if self.owner != os.geteuid():
                os.fchown(fd, self.owner, -1)  # or the owner could not read what root leaves there
        except OSError:
            posix.close(fd)
            with suppress(OSError):
                os.unlink(part, dir_fd=directory)
            raise
        return part, fd


def _make(path: str) -> None:
    """Make a folder and those above it; all that are new are for this user alone."""
    missing = []
    while path and not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    for new in reversed(missing):
        with suppress(FileExistsError):  # another process was faster
            os.mkdir(new, 0o700)


def _checked(name: str) -> str:
    """Return a name that stays in its folder; LeakhuntError for any other."""
    if not name or name in {".", ".."} or "/" in name or "\0" in name:
        raise LeakhuntError(f"{name!r} is no name of a file")
    return name


def _drop_leftover(name: str, directory: int) -> None:
    """Remove a file that its writer did not live to rename: it is old, and nobody holds its lock."""
    with suppress(OSError):  # somebody else's, or gone
        about = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if not stat.S_ISREG(about.st_mode) or time.time() - about.st_mtime < _STALE:
            return
        fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(name, dir_fd=directory)
        finally:
            posix.close(fd)
