"""Short names of what a snapshot speaks of: files, lines, sites, and what holds them."""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Sequence

from leakhunt.analysis.modules import installed_path, shared_root
from leakhunt.model.capture import Holder
from leakhunt.model.snapshot import Frame
from leakhunt.model.statistics import PerExecution, SnapshotInfo, Statistic
from leakhunt.units import count_of, format_rate, format_size

_NO_NAME = {"task": "(no task)", "module": "(no module)", "package": "(no package)"}
_SEEN = 0.005  # blocks; fewer print as none
_LONGEST = 48  # characters of a holder's name in a headline


_OF_MANY = frozenset({"/home", "/opt", "/root", "/srv", "/tmp", "/usr", "/usr/local", "/var", "/var/tmp"})  # noqa: S108 - names, nothing is written there


class Places:
    """Short names of files: below site-packages or the library, or below the folder that all other files share."""

    def __init__(self, root: str) -> None:
        self.root = "" if root == "/" else root

    def file(self, filename: str) -> str:
        """Return a file's short name."""
        installed = installed_path(filename)
        if installed is not None:
            return installed
        prefix = self.root.rstrip("/") + "/"
        return filename[len(prefix) :] if self.root and filename.startswith(prefix) else filename

    def frame(self, frame: Frame) -> str:
        """Return a frame's short name, with its line if it has one."""
        return f"{self.file(frame.filename)}:{frame.lineno}" if frame.lineno else self.file(frame.filename)

    def site(self, row: Statistic, group_by: str) -> str:
        """Return the name of a row's site."""
        if group_by in _NO_NAME:
            return row.key if row.key is not None else _NO_NAME[group_by]
        return self.frame(row.traceback[-1])


def narrowed(root: str, filenames: Iterable[str]) -> str:
    """Return the folder below which all named files are, where ``root`` is a folder of many people's programs."""
    if root not in _OF_MANY:
        return root
    below = f"{root}/"
    own = {name for name in filenames if name.startswith(below) and installed_path(name) is None}
    if not own:
        return root
    found = shared_root(own)
    return found if found.startswith(below) else os.path.commonpath(set(map(os.path.dirname, own)))


def short_paths(infos: Sequence[SnapshotInfo]) -> list[str]:
    """Return the names of the files, without folders where that tells them apart."""
    paths = [info.path for info in infos]
    names = list(map(os.path.basename, paths))
    return names if len(set(names)) == len(set(paths)) else paths


def blocks(count: int) -> str:
    """Print a count of blocks: ``1 block``, ``24,012 blocks``."""
    return count_of(count, "block")


def holder(held_by: Holder, *, short: bool = False) -> str:
    """Name what holds objects: ``shop.cache._seen (list, 3,812 items)``; a long name is cut where that is wanted."""
    name = held_by.name
    if short and len(name) > _LONGEST:
        name = f"...{name[3 - _LONGEST :]}"
    items = None if held_by.length is None else count_of(held_by.length, "item")
    what = ", ".join(filter(None, (held_by.kind, items)))
    return f"{name} ({what})" if what else name


def each_execution(each: PerExecution) -> str:
    """Say what each execution left: ``5.2 KiB and 2.00 blocks per execution``."""
    blocks_each = f" and {format_rate(each.count)} blocks" if abs(each.count) >= _SEEN else ""
    return f"{format_size(round(each.size))}{blocks_each} per execution"
