"""Names of rotated logs: which files are one log, and in which order they were written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_PACKED = re.compile(r"\.(?:gz|bz2|xz|zst|Z|lzma)$")
_NUMBER = re.compile(r"(?P<base>.{1,200})\.(?P<number>\d{1,4})")
_DATE = re.compile(
    r"(?P<base>.{1,200}?)[._-](?P<date>\d{4}-?\d\d-?\d\d(?:[T_.-]?\d\d[\d.:-]{0,12})?)(?P<end>\.log)?"
)
# The kubelet's: a number for each start of the container, and the time where a file was rotated before the next start.
_STARTS = re.compile(r"(?:.*/)?[a-z0-9-]{1,63}_[a-z0-9.-]{1,253}_[0-9a-f-]{32,36}/[a-z0-9-]{1,63}/")
_START = re.compile(r"(?P<start>\d{1,6})\.log(?:\.(?P<date>\d{8}-\d{6}))?")
_CURRENT = (2, "")


class Rotated(NamedTuple):
    """A file's place among those of its log.

    Attributes:
        log: the name of the log, which is that of the newest file.
        age: sorts the oldest first.
        packed: whether the name says that it is compressed.
    """

    log: str
    age: tuple[int, str]
    packed: bool


def rotated(name: str) -> Rotated:
    """Read the name of a file: ``messages``, ``messages.1``, ``messages-20261101.gz``, ``kern.log.2.gz``; a pod's ``0.log``."""
    folder, slash, file = name.replace("\\", "/").rpartition("/") if "/" in name else ("", "", name)
    plain = _PACKED.sub("", file)
    age = _CURRENT
    log = plain
    if (match := _START.fullmatch(plain)) and _STARTS.fullmatch(f"{folder}/"):
        log, age = "*.log", (0, f"{int(match['start']):06d} {match['date'] or '~'}")
    elif match := _DATE.fullmatch(plain):
        log, age = match["base"] + (match["end"] or ""), (0, re.sub(r"\D", "", match["date"]))
    elif match := _NUMBER.fullmatch(plain):
        log, age = match["base"], (1, f"{9999 - int(match['number']):04d}")
    return Rotated(f"{folder}{slash}{log}", age, plain != file)


def sets(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Put the files of one log together, the oldest first; the order of the logs is that of their first file.

    Numbers and dates at the end of a name are signs of rotation only where the log itself is among the names, or is
    called ``.log``, or a file is compressed: ``worker.1`` and ``worker.2`` are two workers.
    """
    found: dict[str, list[tuple[Rotated, str]]] = {}
    for name in names:
        place = rotated(name)
        found.setdefault(place.log, []).append((place, name))
    together: list[tuple[str, ...]] = []
    for log, members in found.items():
        sure = log.endswith(".log") or any(place.age == _CURRENT or place.packed for place, _ in members)
        if sure:
            together.append(tuple(name for _, name in sorted(members)))
        else:
            together.extend((name,) for _, name in members)
    return together


def name_of_set(names: tuple[str, ...]) -> str:
    """Return what a set is called: its newest file, and how many there are."""
    return names[-1] if len(names) == 1 else f"{names[-1]} (+{len(names) - 1} rotated)"
