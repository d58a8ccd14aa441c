"""A folder of evidence: which of its files may be logs."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from leakhunt.errors import LeakhuntError
from leakhunt.model.snapshot import Skipped
from leakhunt.readers.places import place_of_path

_MOST_FILES = 20_000
_MOST_NOTES = 200
_OTHER_TREES = frozenset({"node_modules", "__pycache__", "site-packages", "dist-packages"})
# A folder of leakhunt's own is known by its three; only the records tell of deaths.
_OWN = frozenset({"agents", "records", "snapshots"})
# Source code and documentation quote kernels; whoever means them can name them.
_NO_LOGS = (
    ".py", ".pyi", ".pyc", ".c", ".h", ".cc", ".cpp", ".go", ".rs", ".java", ".js", ".ts", ".css", ".html", ".htm", ".svg",
    ".md", ".rst", ".toml", ".lock", ".so", ".a", ".o", ".whl", ".jar", ".salt",
)  # fmt: skip


class Found(NamedTuple):
    """A file: its path, which file it is whatever it is called, and when it was last changed."""

    path: str
    identity: tuple[int, int]
    modified: float


class Walked(NamedTuple):
    """The files of a folder, and what was left out."""

    files: tuple[Found, ...]
    skipped: tuple[Skipped, ...]


def walk(folder: str) -> Walked:
    """Find the files below a folder, in the order of their names.

    Links are followed to files only: inside the folder, or to where a container runtime keeps its logs.

    Raises:
        LeakhuntError: the folder may not be read.
    """
    try:
        with os.scandir(folder):
            pass
    except OSError as error:
        raise LeakhuntError(f"{folder}: {_reason(error)}") from error
    root = os.path.realpath(folder)
    files: list[Found] = []
    skipped: list[Skipped] = []
    for path in _paths(folder, skipped):
        if len(files) >= _MOST_FILES:
            skipped.append(Skipped(folder, f"more than {_MOST_FILES:,} files; name the folders that matter"))
            break
        found = _file(path, root)
        if isinstance(found, Found):
            files.append(found)
        elif found is not None:
            skipped.append(found)
    if len(skipped) > _MOST_NOTES:
        rest = len(skipped) - _MOST_NOTES
        skipped = [*skipped[:_MOST_NOTES], Skipped(folder, f"{rest:,} more of its files are no logs")]
    return Walked(tuple(files), tuple(skipped))


def may_be_log(path: str) -> bool:
    """Tell by a path below a folder, or in an archive, whether its file may be a log."""
    *folders, name = path.replace("\\", "/").split("/")
    hidden = any(part in _OTHER_TREES or (part.startswith(".") and part.strip(".")) for part in folders)
    return not hidden and not name.lower().endswith(_NO_LOGS)


def _paths(folder: str, skipped: list[Skipped]) -> Iterator[str]:
    """Yield the paths of what is no folder; hidden trees, libraries and leakhunt's snapshots are left out."""

    def refused(error: OSError) -> None:
        skipped.append(Skipped(str(error.filename), _reason(error)))

    for here, folders, names in os.walk(folder, onerror=refused):
        others = _OTHER_TREES | (_OWN - {"records"} if _OWN.issubset(folders) else frozenset())
        folders[:] = sorted(name for name in folders if name not in others and not name.startswith("."))
        for name in sorted(names):
            yield os.path.join(here, name)


def _file(path: str, root: str) -> Found | Skipped | None:
    """Look at one path; None for what nobody would take for a log."""
    if path.lower().endswith(_NO_LOGS):
        return None
    try:
        if os.path.islink(path) and (why := _strays(path, root)):
            return Skipped(path, why)
        state = os.stat(path)
    except OSError as error:
        return Skipped(path, _reason(error))
    if not stat.S_ISREG(state.st_mode):
        return (
            None
            if stat.S_ISDIR(state.st_mode)
            else Skipped(path, "it is no file but a device, socket or pipe")
        )
    return Found(path, (state.st_dev, state.st_ino), state.st_mtime)


def _strays(path: str, root: str) -> str:
    """Say why a link is not followed, or return an empty string."""
    target = os.path.realpath(path)
    if target == root or target.startswith(root.rstrip(os.sep) + os.sep):
        return ""
    place = place_of_path(target)
    if place.pod_uid is not None or place.container_id is not None:
        return ""
    return "it is a link out of the folder; name it if you mean it"


def _reason(error: OSError) -> str:
    return (error.strerror or str(error))[:1].lower() + (error.strerror or str(error))[1:]
