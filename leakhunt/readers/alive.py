"""Which processes run on this machine now, to tell a task that is still running from one that was killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from leakhunt.model.record import FIRST_NAMESPACE, Alive

_MOST = 200_000


def read_alive() -> Alive | None:
    """Look at ``/proc``; None where there is none."""
    try:
        boot = _read("/proc/sys/kernel/random/boot_id").strip()
        pid_ns = os.stat("/proc/self/ns/pid").st_ino
        return Alive(boot or None, pid_ns, pid_ns == FIRST_NAMESPACE, frozenset(_processes()))
    except OSError:
        return None


def _processes() -> Iterator[tuple[int, int]]:
    """Yield each process's number in its own namespace, and when it began in ticks since boot."""
    names = [name for name in os.listdir("/proc") if name.isdecimal()]
    for name in names[:_MOST]:
        with suppress(OSError, ValueError, IndexError):
            rest = _read(f"/proc/{name}/stat").rpartition(")")[2].split()
            if rest[0] == "Z":  # it died, and nobody has looked
                continue
            spaces = _read(f"/proc/{name}/status").partition("\nNSpid:")[2].partition("\n")[0].split()
            yield int(spaces[-1] if spaces else name), int(rest[19])


def _read(path: str) -> str:
    with open(path, "rb") as file:
        return file.read(1 << 16).decode("utf-8", "replace")
