"""Real OOM kills: a memory cgroup to be killed in, whichever version the machine has, and the kernel's live log."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

KMSG = Path("/dev/kmsg")
SECONDS = 60.0  # the longest wait for anything

_ENTER = 'echo $$ > "$0" && exec "$@"'
_RECORD = 8192
_ESCAPED = re.compile(r"\\(0[0-7]{2}|1[0-7]{2})")


class RefusedError(Exception):
    """The machine does not let a test do this; the text is the reason."""


@dataclass(frozen=True)
class Cgroup:
    """A memory cgroup with a limit.

    Attributes:
        name: its last component, which no other cgroup has.
        folder: where its files are.
        version: 1 or 2.
        limit: in bytes.
    """

    name: str
    folder: Path
    version: int
    limit: int

    def entered(self, *argv: str) -> list[str]:
        """Return a command that enters the cgroup and becomes the given command; the pid stays."""
        return ["/bin/sh", "-c", _ENTER, str(self.folder / "cgroup.procs"), *argv]

    def pids(self) -> list[int]:
        """Return the processes in it."""
        return [int(pid) for pid in (self.folder / "cgroup.procs").read_text().split()]


class KernelLog:
    """What the kernel says from now on."""

    def __init__(self) -> None:
        try:
            self._fd = os.open(KMSG, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise RefusedError(f"{KMSG} cannot be read: {error.strerror}") from error
        os.lseek(self._fd, 0, os.SEEK_END)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def close(self) -> None:
        """Stop listening."""
        os.close(self._fd)

    def records_until(self, word: bytes) -> bytes:
        """Return the records until one that holds a word, that one included; at most a minute's."""
        records = b""
        end = time.monotonic() + SECONDS
        while (left := end - time.monotonic()) > 0:
            self._poll.poll(left * 1000)
            try:
                record = os.read(self._fd, _RECORD)
            except BlockingIOError:
                continue
            except BrokenPipeError:  # records were overwritten before they were read
                continue
            records += record
            if word in record:
                break
        return records


def why_not() -> str | None:
    """Return why no process can be OOM-killed here for a test, or None where one can."""
    try:
        with memory_cgroup(64 << 20):
            KernelLog().close()
    except RefusedError as refusal:
        return str(refusal)
    return None


@contextmanager
def memory_cgroup(limit: int) -> Iterator[Cgroup]:
    """Make a memory cgroup; on leaving, what still runs in it is killed, and it is removed.

    Args:
        limit: of memory, swap included, in bytes.

    Yields:
        The cgroup.

    Raises:
        RefusedError: where the machine does not allow it.
    """
    if not sys.platform.startswith("linux"):
        raise RefusedError("OOM kills are made on Linux")
    if os.geteuid() != 0:
        raise RefusedError("a memory cgroup and /dev/kmsg need root")
    parent, version = _parent()
    name = f"leakhunt-test-{uuid.uuid4().hex[:12]}"
    group = Cgroup(name, parent / name, version, limit)
    try:
        group.folder.mkdir()
    except OSError as error:
        raise RefusedError(f"no memory cgroup can be made in {parent}: {error.strerror}") from error
    try:
        _set_limit(group)
        yield group
    finally:
        _empty(group)
        group.folder.rmdir()


def _parent() -> tuple[Path, int]:
    """Return the folder that a memory cgroup can be made in, and the version."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _number, controllers, path = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), path))
    for root, point, kind, options in _mounts():
        if kind == "cgroup" and "memory" in options and "memory" in own:
            return _below(own["memory"], root, point), 1
    for root, point, kind, _options in _mounts():
        if kind == "cgroup2" and "" in own:
            folder = _below(own[""], root, point)
            # Only a cgroup without processes of its own, or the root, hands the controller on.
            for candidate in (folder, *folder.parents):
                control = candidate / "cgroup.subtree_control"
                if control.exists() and "memory" in control.read_text().split():
                    return candidate, 2
    raise RefusedError("there is no memory controller of cgroups to be used")


def _mounts() -> Iterator[tuple[str, str, str, list[str]]]:
    """Yield root, mount point, type and options of each mount."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        root, point = before.split()[3:5]
        kind, _source, options = after.split(None, 2)
        yield _unescaped(root), _unescaped(point), kind, options.split(",")


def _unescaped(path: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), path)


def _below(path: str, root: str, point: str) -> Path:
    """Return where a cgroup stands below its mount point, or the mount point where only that is to be seen."""
    inside = path[len(root) :] if root != "/" and path.startswith(root) else path
    folder = Path(point, inside.lstrip("/"))
    return folder if folder.is_dir() else Path(point)


def _set_limit(group: Cgroup) -> None:
    limits = (
        {"memory.limit_in_bytes": group.limit, "memory.memsw.limit_in_bytes": group.limit}
        if group.version == 1
        else {"memory.max": group.limit, "memory.swap.max": 0}
    )
    for at, (name, value) in enumerate(limits.items()):
        file = group.folder / name
        try:
            file.write_text(str(value))
        except OSError as error:
            if at == 0:  # the other is of swap, which not every kernel counts
                raise RefusedError(f"{file} cannot be written: {error.strerror}") from error


def _empty(group: Cgroup) -> None:
    """Kill what is in a cgroup and wait until it is gone, for a minute at most."""
    end = time.monotonic() + SECONDS
    while (pids := group.pids()) and time.monotonic() < end:
        for pid in pids:
            try:
                pidfd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                os.kill(pid, signal.SIGKILL)
                poll = select.poll()
                poll.register(pidfd, select.POLLIN)
                poll.poll(max(0.0, end - time.monotonic()) * 1000)
            except ProcessLookupError:
                pass
            finally:
                os.close(pidfd)
