"""Path prefixes mapped, so that snapshots of two releases or two machines compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from leakhunt.model.snapshot import Frame, Snapshot


def map_paths(snapshot: Snapshot, maps: Sequence[tuple[str, str]]) -> Snapshot:
    """Replace path prefixes in the file names of a snapshot, the longest that fits.

    Args:
        snapshot: the snapshot.
        maps: pairs of an old and a new prefix; a prefix ends where a folder's name ends.
    """
    if not maps:
        return snapshot
    by_length = sorted(maps, key=lambda pair: len(pair[0]), reverse=True)
    names = {frame.filename: _mapped(frame.filename, by_length) for frame in snapshot.frames}
    frames = tuple(Frame(names[frame.filename], frame.lineno) for frame in snapshot.frames)
    return replace(snapshot, frames=frames)


def _mapped(filename: str, maps: Sequence[tuple[str, str]]) -> str:
    for old, new in maps:
        prefix = old.rstrip("/")
        if filename == prefix:
            return new.rstrip("/")
        if filename.startswith(prefix + "/"):
            return new.rstrip("/") + filename[len(prefix) :]
    return filename
