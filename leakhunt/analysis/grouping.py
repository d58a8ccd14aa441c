"""Rows of snapshots gathered into sites: lines, files, stacks, modules, packages or tasks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from itertools import compress
from operator import and_
from typing import Optional, Protocol, cast

from leakhunt.model.snapshot import Columns, Frame, Snapshot
from leakhunt.model.task import Attribution, TaskRef

GROUPINGS = ("lineno", "filename", "traceback", "module", "package", "task")
NAMED_GROUPINGS = ("module", "package", "task")
CUMULATIVE_GROUPINGS = ("lineno", "filename", "module", "package")

TaskOf = Callable[[Snapshot, tuple[int, ...]], Optional[Attribution]]
Key = tuple[Optional[str], tuple[Frame, ...]]


class RowSites(Protocol):
    """To which sites the rows of one snapshot belong."""

    def amounts(self, rows: Columns, wanted: Sequence[bool], total: int) -> tuple[list[int], list[int]]:
        """Sum the wanted rows by site; a block counts once for each site, however often it recurs on the stack.

        Args:
            rows: the snapshot's rows.
            wanted: whether each row counts.
            total: how many sites there are.

        Returns:
            The bytes and the blocks of each site.
        """

    def at(self, listed: frozenset[int], wanted: Sequence[bool]) -> Iterator[tuple[int, Collection[int]]]:
        """Yield the wanted rows that belong to any of the listed sites, and to which of them."""

    def distinct(self, wanted: Sequence[bool]) -> set[int]:
        """Return the sites of the wanted rows."""


class _NewestSites:
    """Each row belongs to one site."""

    def __init__(self, sites: Sequence[int]) -> None:
        self._sites = sites

    def amounts(self, rows: Columns, wanted: Sequence[bool], total: int) -> tuple[list[int], list[int]]:
        """Sum the wanted rows by site; see :class:`RowSites`."""
        sizes, counts = [0] * total, [0] * total
        for site, size, count in compress(zip(self._sites, rows.sizes, rows.counts), wanted):
            sizes[site] += size
            counts[site] += count
        return sizes, counts

    def at(self, listed: frozenset[int], wanted: Sequence[bool]) -> Iterator[tuple[int, Collection[int]]]:
        """Yield the wanted rows that belong to any of the listed sites, and to which of them."""
        found = map(listed.__contains__, self._sites)
        return ((row, (site,)) for row, site in compress(enumerate(self._sites), map(and_, found, wanted)))

    def distinct(self, wanted: Sequence[bool]) -> set[int]:
        """Return the sites of the wanted rows."""
        return set(compress(self._sites, wanted))


class _StackSites:
    """Each row belongs to the sites of all frames on its stack."""

    def __init__(self, stacks: Sequence[tuple[int, ...]], site_of: Sequence[int]) -> None:
        self._stacks = stacks
        self._site_of = site_of  # by frame

    def amounts(self, rows: Columns, wanted: Sequence[bool], total: int) -> tuple[list[int], list[int]]:
        """Sum the wanted rows by site; see :class:`RowSites`."""
        if len(set(self._site_of)) < len(self._site_of):
            return self._sums(self._on_stacks(), rows, wanted, total)
        # Frames and sites are the same things, numbered differently: a site recurs where a frame does.
        sizes, counts = self._sums(map(set, self._stacks), rows, wanted, len(self._site_of))
        of_site = dict(zip(self._site_of, range(len(self._site_of))))
        frames = [of_site.get(site, -1) for site in range(total)]
        return (
            [sizes[frame] if frame >= 0 else 0 for frame in frames],
            [counts[frame] if frame >= 0 else 0 for frame in frames],
        )

    def at(self, listed: frozenset[int], wanted: Sequence[bool]) -> Iterator[tuple[int, Collection[int]]]:
        """Yield the wanted rows that belong to any of the listed sites, and to which of them."""
        frames = frozenset(frame for frame, site in enumerate(self._site_of) if site in listed)
        for row, stack in compress(enumerate(self._stacks), wanted):
            if not frames.isdisjoint(stack):
                yield row, {self._site_of[frame] for frame in frames.intersection(stack)}

    def distinct(self, wanted: Sequence[bool]) -> set[int]:
        """Return the sites of the wanted rows."""
        frames: set[int] = set().union(*compress(self._stacks, wanted))
        return set(map(self._site_of.__getitem__, frames))

    def _on_stacks(self) -> Iterator[set[int]]:
        site_of = self._site_of.__getitem__
        return (set(map(site_of, stack)) for stack in self._stacks)

    @staticmethod
    def _sums(
        places: Iterable[set[int]], rows: Columns, wanted: Sequence[bool], total: int
    ) -> tuple[list[int], list[int]]:
        sizes, counts = [0] * total, [0] * total
        for here, size, count in compress(zip(places, rows.sizes, rows.counts), wanted):
            for place in here:
                sizes[place] += size
                counts[place] += count
        return sizes, counts


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
            return _NewestSites(
                [ids.setdefault(attribution and attribution.task, len(ids)) for attribution in found]
            )
        if self.group_by == "traceback":
            return _NewestSites(
                [ids.setdefault(stack, len(ids)) for stack in self._alike(snapshot.frames, stacks)]
            )
        number = self._numbering(snapshot)
        if not self.cumulative:
            newest = [stack[-1] for stack in stacks]
            of_frame = {index: number(snapshot.frames[index]) for index in set(newest)}
            return _NewestSites([of_frame[index] for index in newest])
        return _StackSites(stacks, list(map(number, snapshot.frames)))

    def by_stack(self) -> Sites:
        """Return empty sites for the same snapshots that gather rows by their stacks."""
        return Sites("traceback", cumulative=False, name_of=self._name_of, task_of=self.task_of)

    def _alike(self, frames: Sequence[Frame], stacks: Sequence[tuple[int, ...]]) -> Iterable[tuple[int, ...]]:
        """Return stacks by frame numbers that are alike in all snapshots."""
        ids = self._frame_ids
        shared = [ids.setdefault(frame, len(ids)) for frame in frames]
        if shared == list(range(len(frames))):  # those of the first snapshot are
            return stacks
        return (tuple(map(shared.__getitem__, stack)) for stack in stacks)

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
