"""Rows of snapshots gathered into sites: lines, files, stacks, modules, packages or tasks."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Optional, Union, cast

from leakhunt.model.snapshot import Frame, Snapshot
from leakhunt.model.task import Attribution, TaskRef

GROUPINGS = ("lineno", "filename", "traceback", "module", "package", "task")
NAMED_GROUPINGS = ("module", "package", "task")
CUMULATIVE_GROUPINGS = ("lineno", "filename", "module", "package")

TaskOf = Callable[[Snapshot, tuple[int, ...]], Optional[Attribution]]
RowSites = Sequence[Union[int, tuple[int, ...]]]
Key = tuple[Optional[str], tuple[Frame, ...]]


class Sites:
    """The sites of some snapshots, numbered alike in all of them.

    Args:
        group_by: one of GROUPINGS.
        cumulative: whether a row belongs to every site on its stack, not to that of its most recent frame alone.
        name_of: the module or package of a file.
        task_of: the task of a row of a snapshot, from its stack.
    """

    def __init__(
        self, group_by: str, *, cumulative: bool, name_of: Callable[[str], str], task_of: TaskOf
    ) -> None:
        self.group_by = group_by
        self.cumulative = cumulative
        self.task_of = task_of
        self._name_of = name_of
        self._ids: dict[Hashable, int] = {}
        self._frame_ids: dict[Frame, int] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def keys(self) -> list[Key]:
        """Return what each site is: a name or None, and its frames, oldest first."""
        if self.group_by == "traceback":
            frames = list(self._frame_ids)
            return [(None, tuple(map(frames.__getitem__, cast("tuple[int, ...]", key)))) for key in self._ids]
        return [_key(key) for key in self._ids]

    def of_rows(self, snapshot: Snapshot) -> RowSites:
        """Return the site of each row, or, when cumulative, the distinct sites on each row's stack."""
        stacks = snapshot.rows.stacks
        ids = self._ids
        if self.group_by == "task":
            found = [self.task_of(snapshot, stack) for stack in stacks]
            return [ids.setdefault(attribution and attribution.task, len(ids)) for attribution in found]
        if self.group_by == "traceback":
            frame_ids = self._frame_ids
            shared = [frame_ids.setdefault(frame, len(frame_ids)) for frame in snapshot.frames].__getitem__
            return [ids.setdefault(tuple(map(shared, stack)), len(ids)) for stack in stacks]
        number = self._numbering(snapshot)
        if not self.cumulative:
            newest = [stack[-1] for stack in stacks]
            of_frame = {index: number(snapshot.frames[index]) for index in set(newest)}
            return [of_frame[index] for index in newest]
        site = [number(frame) for frame in snapshot.frames].__getitem__
        return [tuple(set(map(site, stack))) for stack in stacks]

    def by_stack(self) -> Sites:
        """Return empty sites for the same snapshots that gather rows by their stacks."""
        return Sites("traceback", cumulative=False, name_of=self._name_of, task_of=self.task_of)

    def _numbering(self, snapshot: Snapshot) -> Callable[[Frame], int]:
        ids = self._ids
        if self.group_by == "lineno":
            return lambda frame: ids.setdefault(frame, len(ids))
        if self.group_by == "filename":
            of_file: dict[str, Hashable] = {name: Frame(name, 0) for name in snapshot.filenames}
        else:
            of_file = {name: self._name_of(name) for name in snapshot.filenames}
        return lambda frame: ids.setdefault(of_file[frame.filename], len(ids))


def _key(key: Hashable) -> Key:
    if isinstance(key, Frame):
        return None, (key,)
    if isinstance(key, TaskRef):
        return key.name, (Frame(key.filename, key.lineno),)
    return (key if isinstance(key, str) else None), ()


def amounts(
    snapshot: Snapshot, sites: RowSites, wanted: Sequence[bool], total: int
) -> tuple[list[int], list[int]]:
    """Sum the wanted rows of a snapshot by site; a block counts once for each site, however often it recurs.

    Args:
        snapshot: the snapshot.
        sites: the site, or the sites, of each row.
        wanted: whether each row counts.
        total: how many sites there are.

    Returns:
        The bytes and the blocks of each site.
    """
    sizes = [0] * total
    counts = [0] * total
    rows = snapshot.rows
    for where, want, size, count in zip(sites, wanted, rows.sizes, rows.counts):
        if not want:
            continue
        for site in (where,) if isinstance(where, int) else where:
            sizes[site] += size
            counts[site] += count
    return sizes, counts
