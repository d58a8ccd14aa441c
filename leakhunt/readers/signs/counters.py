"""Counts that the kernel keeps: ``memory.events``, ``memory.oom_control`` and ``/proc/vmstat``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from leakhunt.model.incident import Counter
from leakhunt.readers.signs.told import number

_NAMES = frozenset({"oom", "oom_kill", "oom_group_kill"})
_LINE = re.compile(r"([a-z_]{1,60}) (\d{1,20})")
_EVENTS = re.compile(rb"(?:low|high|max|oom|oom_kill|oom_group_kill) \d{1,20}\n")
_OOM_CONTROL = re.compile(rb"oom_kill_disable [01]\n")
_VMSTAT = re.compile(rb"nr_free_pages \d{1,20}\nnr_")
_FILES = r"/(?:memory\.events(?:\.local)?|memory\.oom_control)"
_CGROUP_FILE = re.compile(r".{0,4000}?/cgroup(?:/(?:unified|memory)(?=/))?(/?.{0,4000}?)" + _FILES)
_COPIED_FILE = re.compile(r"(?:.{0,4000}/)?(?:memory\.events(?:\.local)?|memory\.oom_control)")
_MOST_LINES = 2000
_MOST = (1 << 64) - 1


def is_counters(head: bytes) -> bool:
    """Tell whether a file that begins so holds counts."""
    return any(pattern.match(head) for pattern in (_EVENTS, _OOM_CONTROL, _VMSTAT))


def scope_of(path: str) -> str:
    """Return whose counts a file holds: ``host``, a control group's path, or nothing where the file's name tells neither.

    Args:
        path: the file's name, as it is on a machine or in somebody's collection of it.
    """
    match = _CGROUP_FILE.fullmatch(path)
    if match is None:
        return "" if _COPIED_FILE.fullmatch(path) else "host"
    group = match[1].strip("/")
    return f"/{group}"


def counters(text: str, source: str, scope: str | None = None) -> Iterator[Counter]:
    """Yield the counts of kills among those of a file.

    Args:
        text: what the file holds.
        source: the file's name.
        scope: whose counts they are; read from the name if it is None.

    Yields:
        ``oom_kill`` and its like. In ``memory.events`` they count the group and all below it, in ``memory.events.local``
        the group alone; the source tells.
    """
    scope = scope_of(source) if scope is None else scope
    for line in text.splitlines()[:_MOST_LINES]:
        match = _LINE.fullmatch(line.strip())
        if match is None or match[1] not in _NAMES:
            continue
        value = number(match[2], _MOST)
        if value is not None:
            yield Counter(source, match[1], value, scope)
