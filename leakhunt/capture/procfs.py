"""What the kernel tells of a process, in ``/proc`` mostly; what cannot be read is empty or None, never an error."""

from __future__ import annotations

import os
import time

_LIMIT = 1 << 20


def read(path: str, limit: int = _LIMIT) -> str:
    """Return a small file's text; empty where it cannot be read."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return ""
    parts: list[bytes] = []
    left = limit
    try:
        while left > 0:
            part = os.read(file, min(left, 1 << 16))
            if not part:
                break
            parts.append(part)
            left -= len(part)
    except OSError:  # the process may end while its file is read
        return ""
    finally:
        os.close(file)
    return b"".join(parts).decode("utf-8", "replace")


def link(path: str) -> str:
    """Return where a link points to; empty where it cannot be read."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def names(path: str, limit: int = 100_000) -> list[str]:
    """Return the names in a folder, at most ``limit``; none where it cannot be listed."""
    found: list[str] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                found.append(entry.name)
                if len(found) >= limit:
                    break
    except OSError:
        return found
    return found


def fields(text: str) -> dict[str, str]:
    """Return the ``Name: value`` lines of a text."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, found, value in pairs if found}


def kilobytes(values: dict[str, str], name: str) -> int | None:
    """Return a ``123 kB`` field in bytes; None where it is missing."""
    number, _, unit = values.get(name, "").partition(" ")
    return int(number) * 1024 if unit == "kB" and number.isdecimal() else None


def runs(pid: int) -> bool:
    """Tell whether there is a process with a number; one that ended and was not reaped counts too."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's; or a number that no kernel gives
        return True
    return True


def start_ticks(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; 0 where unknown."""
    # The name stands in brackets and may hold anything, brackets too: the last one ends it.
    after = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(after[19]) if len(after) > 19 and after[19].isdecimal() else 0


def started(pid: int) -> float | None:
    """Return when a process started, in seconds since 1970; None where unknown."""
    ticks = start_ticks(pid)
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    if not ticks or clock is None:
        return None
    try:
        return time.time() - time.clock_gettime(clock) + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None
