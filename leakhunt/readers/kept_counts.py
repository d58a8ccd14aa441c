"""The counts of kills that this machine's kernel keeps: of all control groups, and since boot."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from leakhunt.model.incident import Counter
from leakhunt.readers.signs.counters import counters

VMSTAT = "/proc/vmstat"
MOUNTS = "/proc/self/mounts"
_MOST_GROUPS = 20_000
_MOST_BYTES = 1 << 16
_ESCAPE = re.compile(r"\\([0-7]{3})")


class Hierarchy(NamedTuple):
    """A mounted hierarchy of control groups, and the file in each that counts."""

    mount: str
    file: str


def hierarchies(mounts: str = MOUNTS) -> tuple[Hierarchy, ...]:
    """Find where control groups with memory limits are mounted."""
    found = []
    for line in _text(mounts).splitlines():
        fields = line.split(" ")
        if len(fields) < 4:
            continue
        mount = _ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[1])
        if fields[2] == "cgroup2":
            found.append(Hierarchy(mount, "memory.events"))
        elif fields[2] == "cgroup" and "memory" in fields[3].split(","):
            found.append(Hierarchy(mount, "memory.oom_control"))
    return tuple(found)


def group_counts(places: tuple[Hierarchy, ...]) -> Iterator[Counter]:
    """Yield the counts of control groups that are not 0, up to a bound of groups."""
    left = _MOST_GROUPS
    for mount, file in places:
        for folder, folders, files in os.walk(mount):
            folders.sort()
            left -= 1
            if left < 0:
                return
            if file in files:
                path = os.path.join(folder, file)
                scope = "/" + os.path.relpath(folder, mount).strip(".")
                yield from (count for count in counters(_text(path), path, scope) if count.value)


def host_counts(path: str = VMSTAT) -> Iterator[Counter]:
    """Yield the count of kills since boot; the kernel has it since 4.13."""
    yield from counters(_text(path), path, "host")


def _text(path: str) -> str:
    """Return what a small file of the kernel's holds, or nothing where it may not be read or is gone."""
    try:
        with open(path, "rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", "backslashreplace")
    except OSError:
        return ""
