"""What the system tells of a running process, and how to touch files as that process would."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

from leakhunt.capture import procfs
from leakhunt.errors import LeakhuntError

_ENVIRON_LIMIT = 1 << 21  # the kernel's own limit of one process's arguments and variables
_MOST_LINKS = 40  # as the kernel
HAS_PROC = sys.platform == "linux"


class Process(NamedTuple):
    """A running process.

    Attributes:
        pid: its number as seen from here.
        inner: its number as it sees itself, in its own pid namespace.
        start: when it was started, in ticks since the boot; 0 where unknown.
        uid: the effective user.
        gid: the effective group.
        caught: the signals that it has handlers for, bit ``number - 1`` each; None where unknown.
        root: how its files are reached from here, such as ``/proc/4242/root``; empty where they are ours.
    """

    pid: int
    inner: int
    start: int
    uid: int
    gid: int
    caught: int | None
    root: str

    def catches(self, number: int) -> bool:
        """Whether it has a handler for a signal, as far as the system tells."""
        return self.caught is None or bool(self.caught >> (number - 1) & 1)


class GoneError(LeakhuntError):
    """There is no such process, or no more."""


def read_process(pid: int) -> Process:
    """Read what the system tells of a process.

    Raises:
        GoneError: there is none, or it has ended and waits for its parent only.
        LeakhuntError: the number is none of a process's.
    """
    if pid < 1:
        raise LeakhuntError(f"{pid} is not the number of a process")
    if not HAS_PROC:
        return _without_proc(pid)
    folder = f"/proc/{pid}"
    try:
        values = procfs.fields(procfs.read(f"{folder}/status"))
        start = procfs.start_ticks(pid)
        if values["State"][0] in "ZX" or not start:
            raise GoneError(f"process {pid} has ended")
        return Process(
            pid=pid,
            inner=int(values.get("NSpid", str(pid)).split()[-1]),
            start=start,
            uid=int(values["Uid"].split()[1]),
            gid=int(values["Gid"].split()[1]),
            caught=int(values["SigCgt"], 16),
            root="" if _shares_files(pid) else f"{folder}/root",
        )
    except (KeyError, IndexError, ValueError):
        raise GoneError(f"there is no process {pid}") from None


def alive(process: Process) -> bool:
    """Whether a process still runs, and its number is not another's by now."""
    try:
        return read_process(process.pid).start == process.start
    except LeakhuntError:
        return False


def stopped(process: Process) -> bool:
    """Whether a process stands still because of a signal or a debugger, as far as the system tells."""
    return procfs.fields(procfs.read(f"/proc/{process.pid}/status")).get("State", "")[:1] in {"T", "t"}


@contextlib.contextmanager
def line_to(pid: int) -> Iterator[Callable[[int], None]]:
    """Hold a process by more than its number, which may be another's a moment later, and yield what signals it.

    Whoever looks at the process after this begins looks at the one that is signalled, where the kernel has such holds.
    """
    try:
        fd = os.pidfd_open(pid)  # type: ignore[attr-defined,unused-ignore]  # Linux only
    except (AttributeError, OSError):
        fd = -1

    def send(number: int) -> None:
        if fd >= 0:
            signal.pidfd_send_signal(fd, number)  # type: ignore[attr-defined,unused-ignore]
        else:
            os.kill(pid, number)

    try:
        yield send
    finally:
        if fd >= 0:
            os.close(fd)


def pids() -> list[int]:
    """Return the processes of this machine, as far as seen from here."""
    return sorted(int(name) for name in procfs.names("/proc") if name.isdecimal())


def environment(pid: int) -> dict[str, str] | None:
    """Return the variables that a process was started with, or None where they may not be read."""
    try:
        pairs = [word.partition("=") for word in _words(f"/proc/{pid}/environ")]
    except OSError:
        return None
    return {name: value for name, equals, value in pairs if equals}


def arguments(pid: int) -> list[str]:
    """Return the words that a process was started with; none where they may not be read."""
    try:
        return _words(f"/proc/{pid}/cmdline")[:-1]
    except OSError:
        return []


def program(pid: int) -> str:
    """Return the file that a process runs, or an empty string where that may not be known."""
    return procfs.link(f"/proc/{pid}/exe").partition(" (deleted)")[0]


def parent(pid: int) -> int:
    """Return the number of a process's parent; 0 where it has none that is seen here."""
    number = procfs.fields(procfs.read(f"/proc/{pid}/status")).get("PPid", "")
    return int(number) if number.isdecimal() else 0


def home_of(uid: int) -> str:
    """Return a user's home folder, or an empty string."""
    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return ""


def user_name(uid: int) -> str:
    """Return a user's name, or its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@contextlib.contextmanager
def acting_as(process: Process) -> Iterator[None]:
    """Open and write files with the rights of a process's user, so that no link it planted leads root elsewhere.

    Only root can, and only for another user whose files are seen here; else nothing changes.
    """
    if os.geteuid() != 0 or process.root or process.uid == 0:
        yield
        return
    group, groups = os.getegid(), os.getgroups()
    with contextlib.suppress(OSError):  # a user namespace may not let go of them
        os.setgroups([process.gid])
    os.setegid(process.gid)
    os.seteuid(process.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        with contextlib.suppress(OSError):
            os.setgroups(groups)


def resolved(path: str, root: str) -> str:
    """Follow the links of a path as the process itself would, below its own root.

    Args:
        path: an absolute path, as the process sees it.
        root: the process's root directory.

    Returns:
        the same place without links and dots; the path itself where there are too many links. What it says may be
        outdated at once, so what is opened by it is opened by :func:`~leakhunt.capture.mailbox.open_below`.
    """
    waiting = [name for name in reversed(path.split("/")) if name]
    done: list[str] = []
    links = 0
    while waiting:
        name = waiting.pop()
        if name == ".":
            continue
        if name == "..":
            del done[-1:]
            continue
        try:
            target = os.readlink("/".join((root, *done, name)))
        except (OSError, ValueError):
            done.append(name)
            continue
        links += 1
        if links > _MOST_LINKS:
            return path
        if target.startswith("/"):
            done = []
        waiting.extend(part for part in reversed(target.split("/")) if part)
    return "/" + "/".join(done)


def _words(path: str) -> list[str]:
    """Return the texts of a file below /proc, which null characters divide.

    Raises:
        OSError: it may not be read.
    """
    with open(path, "rb") as file:
        return [os.fsdecode(word) for word in file.read(_ENVIRON_LIMIT).split(b"\0")]


def _shares_files(pid: int) -> bool:
    """Whether a process sees the same files as we do; assumed where that may not be known."""
    try:
        ours, theirs = os.stat("/"), os.stat(f"/proc/{pid}/root")
        same_root = stat.S_ISDIR(theirs.st_mode) and (ours.st_dev, ours.st_ino) == (
            theirs.st_dev,
            theirs.st_ino,
        )
        return same_root and os.readlink("/proc/self/ns/mnt") == os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return True


def _without_proc(pid: int) -> Process:
    """Find out what there is to find out of a process where there is no /proc."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        pass
    except OSError:
        raise GoneError(f"there is no process {pid}") from None
    return Process(pid, pid, 0, os.geteuid(), os.getegid(), None, "")
