"""A bounded file of lines, each appended by one write: what was written is there after a SIGKILL.

A full disk or a folder that is gone loses lines and never raises; they are counted, and writing goes on when it can. The
first loss for each reason is told on standard error.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from leakhunt.capture.record.numbered import OpenFile, close_file, look, open_file
from leakhunt.capture.record.room import ROTATED, SUFFIX, Room
from leakhunt.capture.undisturbed import tell

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT
_FULL = os.strerror(errno.ENOSPC)  # what cuts a write short
_RETRY_S = 5.0
# For so long after a look at the file, that it stands where the last line left it will do. From Linux 6.13 on a file is
# dated anew by the first write after each look: measured on 6.18, 3 us longer on ext4 and 1 us on tmpfs.
_TRUSTED_S = 0.05
_REVIEWS = 4  # times that the folder's room is looked at while one file fills


class Journal:
    """One process's file, and the one before it, which is kept as ``.1``.

    Args:
        folder: where it is; a private folder.
        host: this machine's name as file names have it.
        stem: the file's name without its suffix.
        budget: bytes for all files of the folder.
        opening: returns what a file begins with; told whether the process wrote before.

    Attributes:
        lost: how many lines could not be written since the last that could.
    """

    def __init__(
        self, folder: str, host: str, stem: str, *, budget: int, opening: Callable[[bool], bytes]
    ) -> None:
        self.lost = 0
        self._folder = folder
        self._told: set[str] = set()
        self._why = ""  # the file could not be opened
        self._room = Room(folder, budget, host)
        self._path = os.path.join(folder, stem + SUFFIX)
        self._rotated = os.path.join(folder, stem + ROTATED)
        self._opening = opening
        self._file: OpenFile | None = None
        self._size = self._limit = self._unreviewed = 0
        self._torn = self._again = False
        self._headless = True
        self._retry_at = self._trusted_until = 0.0
        self._rotating = threading.Lock()

    def is_ready(self) -> bool:
        """Tell whether the file is open, there, and still ours."""
        file = self._file
        if file is None:
            return False
        now = time.monotonic()
        try:
            if now < self._trusted_until and 0 < self._size == os.lseek(file.fd, 0, os.SEEK_CUR):
                return True
        except OSError:  # closed, or a pipe has the number
            return False
        state = look(file)
        if state is None or not state.st_nlink:
            return False
        self._size, self._trusted_until = state.st_size, now + _TRUSTED_S
        return True

    def is_due(self) -> bool:
        """Tell whether it is time to try to open the file: not more often than every few seconds."""
        return self._file is not None or time.monotonic() >= self._retry_at

    def open(self) -> None:
        """Open the file, and go on with what it has.

        Raises:
            OSError: the folder is gone.
        """
        self._retry_at = time.monotonic() + _RETRY_S
        self.close()
        self._limit = self._room.share()
        self._file = open_file(self._path, _FLAGS)
        self._why = _why_not(self._path) if self._file is None else ""
        self._size = 0 if self._file is None else os.fstat(self._file.fd).st_size
        self._torn = self._again = self._size > 0  # who knows how its last line ends
        self._headless = True

    def close(self) -> None:
        """Close the file; :meth:`open` goes on with it."""
        close_file(self._file)
        self._file = None

    def remove(self) -> None:
        """Close the file, and remove it where it is still ours."""
        if self.is_ready():
            with suppress(OSError):
                os.unlink(self._path)
        self.close()

    def lose(self, why: str = "") -> None:
        """Count a line that could not be written, and tell of the first for each reason.

        Args:
            why: the reason; by default that the file could not be opened.
        """
        self.lost += 1
        self._tell(why or self._why or "its file cannot be opened")

    def append(self, line: bytes) -> None:
        """Write a line, which ends with a newline; to be called when the journal is ready.

        Raises:
            OSError: another file could not be begun.
        """
        if self._size + len(line) > self._limit and self._size and self._rotating.acquire(blocking=False):
            try:
                self._rotate()
            finally:
                self._rotating.release()
        if self._file is None:
            self.lose()
            return
        if self._torn or self._headless or self.lost or not line:
            done = self._write_after(self._file.fd, line)
        else:
            try:
                done = os.write(self._file.fd, line)
            except OSError as error:
                self.lose(reason_of(error))
                return
            if done < len(line):
                self._torn = True
                self.lose(_FULL)
        self._size += done
        self._unreviewed += done
        if self._unreviewed > self._limit // _REVIEWS:
            self._unreviewed = 0
            self._limit = self._room.share()

    def _write_after(self, fd: int, line: bytes) -> int:
        """Write a line after what has to stand before it, and return how much of all was written."""
        first = b"\n" * self._torn + (self._opening(self._again) if self._headless else b"")
        before = first + self._confession()
        try:
            done = os.write(fd, before + line)
        except OSError as error:
            self.lose(reason_of(error))
            return 0
        self._torn = done < len(before) + len(line)
        self._headless = self._headless and done < len(first)
        self.lost = (self.lost if done < len(before) else 0) + self._torn
        if self._torn:
            self._tell(_FULL)
        return done

    def _rotate(self) -> None:
        """Begin another file."""
        if self._file is None:
            return
        with suppress(FileNotFoundError):  # it was renamed before, and then something struck
            os.replace(self._path, self._rotated)
        fresh = open_file(self._path, _FLAGS)
        if fresh is None:
            self._why = _why_not(self._path)
            self.close()
            return
        # Another thread may be about to write: the number stays what it is.
        os.dup2(fresh.fd, self._file.fd, inheritable=False)
        os.close(fresh.fd)
        self._file = fresh._replace(fd=self._file.fd)
        self._headless = self._again = True
        self._torn, self._size = False, 0

    def _tell(self, why: str) -> None:
        if why not in self._told:
            self._told.add(why)
            tell(
                f"the flight recorder loses lines: {self._folder}: {why}; it goes on when it can, and counts them"
            )

    def _confession(self) -> bytes:
        """Return the line that says how many are missing."""
        return b'{"e":"lost","t":%.6f,"lines":%d}\n' % (time.time(), self.lost) if self.lost else b""


def reason_of(error: BaseException) -> str:
    """Return why something failed, in the system's words or by the kind of the exception: few, whatever happens."""
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def _why_not(path: str) -> str:
    """Find out why a file cannot be opened."""
    try:
        os.close(os.open(path, _FLAGS | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600))
    except OSError as error:
        return reason_of(error)
    return ""
