"""How a command and an agent talk: small files of JSON in a private folder, and a signal that says "look".

    <folder>/agents/<pid>-<start>/agent.json            who the agent is; written by the agent
    <folder>/agents/<pid>-<start>/ask-<nonce>.json      a request; written by the command, taken by the agent
    <folder>/agents/<pid>-<start>/answer-<nonce>.json   its answer; taken by the command

``<pid>`` is the process's own number, ``<start>`` the 22nd field of its ``/proc/<pid>/stat`` (0 where there is none),
``<nonce>`` sixteen hexadecimal digits. Every file is written beside, as ``.part-…``, and renamed, so that it is never
seen in part. Nobody follows a symlink.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import time
from contextlib import suppress
from itertools import islice

from leakhunt.capture.letters import (
    Asked,
    Registration,
    Request,
    parse_registration,
    parse_request,
    written,
)
from leakhunt.errors import LeakhuntError

AGENTS = "agents"
LIMIT = 1 << 16  # bytes of any file here; real ones have a few hundred
REQUEST_LIMIT = 1 << 12
MOST_FILES = 1024  # looked at in one box
MOST_REQUESTS = 32  # answered at one signal
MOST_AGENTS = 4096  # looked at in one folder
_NAME = re.compile(r"(\d{1,10})-(\d{1,20})", re.ASCII)
_FILE = re.compile(r"(ask|answer)-([0-9a-f]{16})\.json", re.ASCII)
_STALE = 3600.0  # seconds after which nobody waits for an answer any more
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BY_ITS_USER = "run this as the user that the worker runs as, or as root"
_ROOM = "a request and its answer take a few hundred bytes: make room there, or start the worker with LEAKHUNT_DIR elsewhere"
_WRITABLE = "start the worker with LEAKHUNT_DIR set to a folder that can be written to"
_HINTS = {
    errno.EACCES: _BY_ITS_USER,
    errno.EPERM: _BY_ITS_USER,
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EROFS: _WRITABLE,
}
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Box:
    """One agent's folder, seen from either side.

    Attributes:
        folder: the folder that holds everything, as the process sees it.
        name: ``<pid>-<start>``.
        root: the process's root directory as seen from here, such as ``/proc/4242/root``; below it no symlink is
            followed, since it may be a stranger's. Empty where both see the same files.
    """

    def __init__(self, folder: str, name: str, root: str = "") -> None:
        self.folder = folder
        self.name = name
        self.root = root

    @property
    def path(self) -> str:
        """The folder's path as seen from here."""
        return self.root + os.path.join(self.folder, AGENTS, self.name)

    # --- both sides -----------------------------------------------------------------------------------------------

    def registration(self) -> Registration:
        """Read who the agent is.

        Raises:
            LeakhuntError: it cannot be read, or is no registration.
        """
        with _Folder(self) as folder:
            found = parse_registration(folder.read("agent.json", LIMIT))
        if found is None or found.folder != self.name:
            raise LeakhuntError(f"{self.path}: not the registration of an agent")
        return found

    # --- the agent's side -----------------------------------------------------------------------------------------

    def register(self, registration: Registration) -> None:
        """Write who the agent is; the folder is there already.

        Raises:
            LeakhuntError: it cannot be written.
        """
        with _Folder(self) as folder:
            folder.write("agent.json", written(registration))

    def asked(self) -> list[Asked]:
        """Take what was asked since the last look, at most a few dozen requests; the files are gone afterwards.

        Raises:
            LeakhuntError: the folder cannot be read.
        """
        found = []
        with _Folder(self) as folder:
            for nonce in folder.requests():
                try:
                    data = folder.read(f"ask-{nonce}.json", REQUEST_LIMIT, trusted=True)
                    found.append(Asked(nonce, parse_request(data)))
                except LeakhuntError as error:
                    found.append(Asked(nonce, None, error.message))
                with suppress(OSError):
                    os.unlink(f"ask-{nonce}.json", dir_fd=folder.fd)
        return found

    def reply(self, nonce: str, answer: dict[str, object]) -> None:
        """Write the answer to a request.

        Raises:
            LeakhuntError: it cannot be written.
        """
        with _Folder(self) as folder:
            folder.write(f"answer-{nonce}.json", answer)

    # --- the command's side ---------------------------------------------------------------------------------------

    def ask(self, request: Request) -> str:
        """Leave a request; the signal is the caller's to send.

        Returns:
            the nonce by which the answer is known.

        Raises:
            LeakhuntError: it cannot be written.
        """
        nonce = os.urandom(8).hex()
        with _Folder(self) as folder:
            folder.write(f"ask-{nonce}.json", written(request))
        return nonce

    def withdraw(self, nonce: str) -> bool:
        """Take a request back; false when the agent has taken it already."""
        try:
            with _Folder(self) as folder:
                os.unlink(f"ask-{nonce}.json", dir_fd=folder.fd)
        except (LeakhuntError, OSError):
            return False
        return True


def boxes(folder: str, root: str = "") -> list[Box]:
    """Return the boxes in a folder, dead processes' too; none where there is no such folder or it may not be read."""
    try:
        names = sorted(os.listdir(root + os.path.join(folder, AGENTS)))
    except OSError:
        return []
    return [Box(folder, name, root) for name in names[:MOST_AGENTS] if _NAME.fullmatch(name)]


class _Folder:
    """A box's folder, open; what fails in it is told as a ``LeakhuntError``."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self.fd = -1

    def __enter__(self) -> _Folder:  # noqa: PYI034 - Self is not in the library of 3.9
        try:
            self.fd = open_folder(self._box)
        except OSError as error:
            raise self._told(error) from None
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        os.close(self.fd)
        if isinstance(error, OSError):
            raise self._told(error) from None

    def _told(self, error: OSError) -> LeakhuntError:
        hint = _HINTS.get(error.errno or 0, "")
        return LeakhuntError(f"{self._box.path}: {(error.strerror or str(error)).lower()}", hint)

    def requests(self) -> list[str]:
        """Return the nonces of the requests that wait, a few dozen at most; answers that nobody took are removed."""
        found = []
        with os.scandir(self.fd) as entries:
            for entry in islice(entries, MOST_FILES):
                match = _FILE.fullmatch(entry.name)
                if match and match[1] == "ask":
                    found.append(match[2])
                elif match and time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE:
                    with suppress(OSError):
                        os.unlink(entry.name, dir_fd=self.fd)
        return sorted(found)[:MOST_REQUESTS]

    def read(self, name: str, limit: int, *, trusted: bool = False) -> bytes:
        """Read a plain file of limited size; a trusted one belongs to this process's user or to root."""
        fd = os.open(name, _READ_FLAGS, dir_fd=self.fd)
        try:
            about = os.fstat(fd)
            if not stat.S_ISREG(about.st_mode):
                raise LeakhuntError(f"{name}: not a plain file")
            if trusted and (about.st_uid not in {os.geteuid(), 0} or about.st_mode & 0o022):
                raise LeakhuntError(f"{name}: written by somebody else")
            data = os.read(fd, limit + 1)
        finally:
            os.close(fd)
        if len(data) > limit:
            raise LeakhuntError(f"{name}: larger than {limit} bytes")
        return data

    def write(self, name: str, value: dict[str, object]) -> None:
        """Write a file whole or not at all; what root writes belongs to the folder's owner."""
        part = f".part-{os.urandom(8).hex()}"
        fd = os.open(part, _WRITE_FLAGS, 0o600, dir_fd=self.fd)
        try:
            try:
                if os.geteuid() == 0:
                    owner = os.fstat(self.fd)
                    os.fchown(fd, owner.st_uid, owner.st_gid)
                data = json.dumps(value).encode()
                if os.write(fd, data) != len(data):
                    raise OSError(
                        errno.ENOSPC, os.strerror(errno.ENOSPC)
                    )  # only a full disk cuts so short a write
            finally:
                os.close(fd)
            os.rename(part, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except OSError:
            with suppress(OSError):
                os.unlink(part, dir_fd=self.fd)
            raise


def open_folder(box: Box) -> int:
    """Open a box's folder; the caller closes the descriptor. Raises as :func:`open_below`."""
    return open_below(os.path.join(box.folder, AGENTS, box.name), box.root)


def open_below(path: str, root: str = "") -> int:
    """Open a folder, below a foreign root name by name, so that no link leads out of it.

    Args:
        path: an absolute path, as the process sees it.
        root: the process's root directory; empty where its files are ours.

    Returns:
        a descriptor, the caller's to close.

    Raises:
        OSError: it cannot be opened, or a link is in the way.
    """
    if not root:
        return os.open(path, _FOLDER_FLAGS)
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in path.split("/"):
        if name in {"", "."}:
            continue
        try:
            if name == "..":
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            below = os.open(name, _FOLDER_FLAGS, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd
