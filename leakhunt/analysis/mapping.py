"""Path prefixes mapped, so that snapshots of two releases or two machines compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

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
    capture = snapshot.capture and _told(snapshot.capture, lambda name: _mapped(name, by_length))
    return replace(snapshot, frames=frames, capture=capture)


def _told(capture: Mapping[str, Any], rename: Callable[[str], str]) -> Mapping[str, Any]:
    """Map the files that leakhunt stored beside the traces: ``file`` of any entry, and the first item of ``sites``."""

    def mapped(key: object, value: object) -> object:
        if isinstance(value, dict):
            return {name: mapped(name, entry) for name, entry in value.items()}
        if key == "file" and isinstance(value, str):
            return rename(value)
        if isinstance(value, list):
            if key == "site" and value and isinstance(value[0], str):
                return [rename(value[0]), *value[1:]]
            return [mapped("site" if key == "sites" else None, entry) for entry in value]
        return value

    return {key: mapped(key, value) for key, value in capture.items()}


def _mapped(filename: str, maps: Sequence[tuple[str, str]]) -> str:
    for old, new in maps:
        prefix = old.rstrip("/")
        if filename == prefix:
            return new.rstrip("/")
        if filename.startswith(prefix + "/"):
            return new.rstrip("/") + filename[len(prefix) :]
    return filename
