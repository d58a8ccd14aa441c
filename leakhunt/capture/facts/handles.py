"""Open files, connections by peer, and threads of a process."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from leakhunt.capture import procfs
from leakhunt.capture.facts.redaction import redact_text

_MOST_FILES = 50
_LONGEST_PATH = 500
_MOST_PEERS = 200
_MOST_THREADS = 1000
_TABLE = 8 << 20  # a line of the kernel's tables of connections has some 150 bytes
_LISTENING = "0A"


class Handles(NamedTuple):
    """What a process has open.

    Attributes:
        files: number of file descriptors; None where it cannot be told.
        open_files: paths of files on a disk, at most 50, without what looks like a secret.
        connections: connections by peer: ``10.0.3.7:6379``, ``unix`` for any local one.
    """

    files: int | None
    open_files: list[str]
    connections: dict[str, int]


def handles(pid: int) -> Handles:
    """Return what a process has open."""
    folder = f"/proc/{pid}/fd"
    numbers = procfs.names(folder)
    targets = [procfs.link(f"{folder}/{number}") for number in numbers]
    paths = sorted(
        {
            redact_text(path[:_LONGEST_PATH])
            for path in targets
            if path.startswith("/") and not path.startswith(_NO_FILES)
        }
    )
    inodes = [target[len("socket:[") : -1] for target in targets if target.startswith("socket:[")]
    peers = _peers(pid) if inodes else {}
    counted = Counter(peers[inode] for inode in inodes if inode in peers)
    return Handles(
        len(numbers) or None,
        paths[:_MOST_FILES],
        dict(sorted(counted.items(), key=lambda pair: -pair[1])[:_MOST_PEERS]),
    )


_NO_FILES = ("/dev/", "/proc/", "/sys/", "/memfd:")


def thread_names(pid: int, objects: Iterable[object] = ()) -> list[str]:
    """Return the names of a process's threads.

    Args:
        pid: the process.
        objects: the ``threading.Thread`` objects of a forked child, which no longer lists those of the worker.
    """
    alive = set(procfs.names(f"/proc/{pid}/task", _MOST_THREADS))
    known: dict[str, str] = {}
    listed = list(getattr(threading, "_active", {}).values())  # a copy, for enumerate() takes a lock
    for thread in [*listed, *objects]:
        try:
            values = object.__getattribute__(thread, "__dict__")
        except AttributeError:
            continue
        name, number = (
            dict.get(values, key) if type(values) is dict else None for key in ("_name", "_native_id")
        )
        if type(name) is str and (str(number) in alive or not alive):
            known[str(number)] = redact_text(name[:100])
    main = str(pid)
    if main in alive:
        known.setdefault(main, "MainThread")
    others = (
        redact_text(procfs.read(f"/proc/{pid}/task/{number}/comm", 100).strip())
        for number in alive - known.keys()
    )
    return sorted([*known.values(), *others])[:_MOST_THREADS]


def _peers(pid: int) -> dict[str, str]:
    """Return the peer of each connection in a process's network namespace, by inode."""
    found: dict[str, str] = {}
    for table in ("tcp", "tcp6"):
        for line in procfs.read(f"/proc/{pid}/net/{table}", _TABLE).splitlines()[1:]:
            words = line.split()
            if len(words) > 9 and words[3] != _LISTENING:
                found[words[9]] = peer_of(words[2])
    for line in procfs.read(f"/proc/{pid}/net/unix", _TABLE).splitlines()[1:]:
        words = line.split()
        if len(words) > 6 and words[5] == "03":  # connected; only the listening side has a name
            found[words[6]] = "unix"
    return found


def peer_of(text: str) -> str:
    """Read ``0703000A:18EB`` as the kernel writes it: words in the machine's order of bytes, and a port."""
    digits, _, port = text.partition(":")
    try:
        raw = bytes.fromhex(digits)
        if sys.byteorder == "little":
            raw = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
        number = int(port, 16)
        if len(raw) == 4:
            return f"{IPv4Address(raw)}:{number}"
        address = IPv6Address(raw)
    except ValueError:
        return "?"
    return f"{address.ipv4_mapped}:{number}" if address.ipv4_mapped else f"[{address}]:{number}"
