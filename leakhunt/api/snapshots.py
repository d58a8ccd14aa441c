"""What snapshots tell: load, diff, top."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import chain
from pathlib import Path

from leakhunt.analysis.attribution import Attributor
from leakhunt.analysis.comparable import differences, python_of
from leakhunt.analysis.diff import Beside, Ranker, Ranking
from leakhunt.analysis.executions import one_series, runs_between, same_process
from leakhunt.analysis.filters import DEFAULT_EXCLUDES, Filters, unmatched
from leakhunt.analysis.grouping import CUMULATIVE_GROUPINGS, GROUPINGS, Sites
from leakhunt.analysis.ledger import change, composition
from leakhunt.analysis.mapping import map_paths
from leakhunt.analysis.modules import ModuleNames, shared_root
from leakhunt.analysis.ordering import SORTS_DIFF, SORTS_TOP
from leakhunt.errors import LeakhuntError
from leakhunt.model.capture import Capture
from leakhunt.model.capture_reading import parse_capture
from leakhunt.model.ledger import Ledger
from leakhunt.model.snapshot import Columns, Frame, Skipped, Snapshot
from leakhunt.model.statistics import DiffResult, Settings, SnapshotInfo, Statistic, StatisticDiff, TopResult
from leakhunt.readers.dump import read_dump
from leakhunt.readers.source import SourceTree

# Below these is the source of many programs; one's file could be taken for another's of the same name.
_SHARED = frozenset({"", "/", "/home", "/opt", "/root", "/srv", "/usr", "/usr/local", "/var"})


def load(path: str | os.PathLike[str], *, allow_partial: bool = False) -> Snapshot:
    """Read a tracemalloc snapshot of any CPython from 3.4 on, without running anything it contains.

    Args:
        path: a dump, plain or compressed by gzip, bzip2, xz or zstd; ``-`` is standard input.
        allow_partial: take the whole traces of a dump that was cut, and mark the snapshot as partial.

    Raises:
        LeakhuntError: the file cannot be read, is no snapshot, or is cut.
    """
    return read_dump(os.fspath(path), allow_partial=allow_partial)


def diff(
    snapshots: Sequence[Snapshot],
    *,
    group_by: str = "lineno",
    cumulative: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    default_excludes: Sequence[str] = DEFAULT_EXCLUDES,
    all_frames: bool = False,
    domain: int | None = None,
    maps: Sequence[tuple[str, str]] = (),
    sources: Sequence[str | os.PathLike[str]] | None = None,
    sort: str = "growth",
    limit: int = 0,
) -> DiffResult:
    """Compare two or more snapshots, oldest first, and rank what grew.

    Args:
        snapshots: what :func:`load` returned.
        group_by: ``lineno``, ``filename``, ``traceback``, ``module``, ``package`` or ``task``.
        cumulative: count a block at every place on its stack, once for each.
        include: keep only what one of these patterns matches: a path glob or a dotted module name, with ``:LINE``.
        exclude: drop what one of these patterns matches.
        default_excludes: patterns dropped beside; the tracer's and the import system's own blocks.
        all_frames: match include and exclude against every frame of a stack.
        domain: keep only this address space.
        maps: pairs of an old and a new path prefix, for all snapshots.
        sources: folders with the source; by default the current one and that of the frames' files. None of their
            code is imported or run.
        sort: ``growth``, ``size``, ``count`` or ``name``.
        limit: how many rows to return; 0 returns all.

    Raises:
        LeakhuntError: the options do not go together.
    """
    if len(snapshots) < 2:
        raise LeakhuntError("a diff takes two snapshots or more", "one snapshot alone: leakhunt top FILE")
    filters = Filters(tuple(include), tuple(exclude), tuple(default_excludes), all_frames, domain)
    work = _Work(snapshots, group_by, cumulative=cumulative, filters=filters, maps=maps, sources=sources)
    ranking = work.rank(sort, SORTS_DIFF, limit)
    return DiffResult(
        settings=work.settings,
        root=work.root,
        snapshots=work.infos,
        totals=ranking.totals,
        hidden=ranking.hidden,
        growth=ranking.whole,
        largest=ranking.largest,
        rows=ranking.rows,
        omitted=ranking.omitted,
        leading=ranking.leading,
        executions=work.runs.between,
        ledger=work.change(),
        warnings=(*differences(work.snapshots), *work.warnings()),
        skipped=work.skipped(),
    )


def top(
    snapshot: Snapshot,
    *,
    group_by: str = "lineno",
    cumulative: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    default_excludes: Sequence[str] = DEFAULT_EXCLUDES,
    all_frames: bool = False,
    domain: int | None = None,
    maps: Sequence[tuple[str, str]] = (),
    sources: Sequence[str | os.PathLike[str]] | None = None,
    sort: str = "size",
    limit: int = 0,
) -> TopResult:
    """Rank what is in one snapshot. The arguments are those of :func:`diff`; ``sort`` knows no growth.

    Raises:
        LeakhuntError: the options do not go together.
    """
    filters = Filters(tuple(include), tuple(exclude), tuple(default_excludes), all_frames, domain)
    work = _Work([snapshot], group_by, cumulative=cumulative, filters=filters, maps=maps, sources=sources)
    ranking = work.rank(sort, SORTS_TOP, limit)
    return TopResult(
        settings=work.settings,
        root=work.root,
        snapshots=work.infos,
        totals=ranking.totals,
        hidden=ranking.hidden,
        rows=tuple(_statistic(row) for row in ranking.rows),
        omitted=ranking.omitted,
        ledger=work.composition(),
        warnings=work.warnings(),
        skipped=work.skipped(),
    )


def _is_of_one_project(root: str) -> bool:
    """Tell whether a folder that all files of a snapshot are below is here, and holds one project as far as that is seen.

    One that everybody may write to, such as /tmp, is nobody's project.
    """
    if root in _SHARED or root == os.path.expanduser("~"):
        return False
    try:
        mode = os.stat(root).st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) and not mode & stat.S_IWOTH


class _Work:
    """What both questions do: map paths, open the source tree, gather and rank."""

    def __init__(
        self,
        snapshots: Sequence[Snapshot],
        group_by: str,
        *,
        cumulative: bool,
        filters: Filters,
        maps: Sequence[tuple[str, str]],
        sources: Sequence[str | os.PathLike[str]] | None,
    ) -> None:
        if group_by not in GROUPINGS:
            raise LeakhuntError(f"cannot group by {group_by!r}", f"it is one of {', '.join(GROUPINGS)}")
        if cumulative and group_by not in CUMULATIVE_GROUPINGS:
            raise LeakhuntError(
                f"--cumulative does not go with --group-by {group_by}",
                "a stack or a task holds each block once anyway",
            )
        self.snapshots = [map_paths(snapshot, maps) for snapshot in snapshots]
        self.settings = Settings(
            group_by,
            cumulative,
            filters.include,
            filters.exclude,
            filters.default_excludes,
            filters.all_frames,
            filters.domain,
        )
        self._told = [_told(snapshot) for snapshot in self.snapshots]
        self.runs = runs_between(self._told)
        self.infos = tuple(map(_info, self.snapshots, self._told))
        self._filters = filters
        filenames = frozenset(chain.from_iterable(snapshot.filenames for snapshot in self.snapshots))
        self.root = shared_root(filenames)
        roots = [Path(source) for source in (self._default_roots() if sources is None else sources)]
        for root in roots if sources is not None else ():
            if not root.is_dir():
                raise LeakhuntError(
                    f"{root}: is no folder", "--source takes the folder your modules are imported from"
                )
        self._tree = SourceTree(roots, filenames)
        names = ModuleNames(filenames, [os.fspath(root) for root in roots])
        attributor = Attributor(self._tree, names.module)
        name_of = names.package if group_by == "package" else names.module
        self._sites = Sites(group_by, cumulative=cumulative, name_of=name_of, task_of=attributor)

    def _default_roots(self) -> tuple[str, ...]:
        """Return the current folder and, where this is the worker's machine, that of the application's files."""
        return (".", self.root) if _is_of_one_project(self.root) else (".",)

    def rank(self, sort: str, sorts: Sequence[str], limit: int) -> Ranking:
        if sort not in sorts:
            raise LeakhuntError(f"cannot sort by {sort!r}", f"it is one of {', '.join(sorts)}")
        last = self._told[-1]
        beside = Beside(
            self.runs.between,
            {one.frame: one for one in last.retained} if last else {},
            (_garbage(self._told[0]), _garbage(last)),
            one_series(self._told),
        )
        ranker = Ranker(self.snapshots, self._sites, self._filters, self._code_of, beside)
        return ranker.rank(sort=sort, limit=limit)

    def change(self) -> Ledger | None:
        """Say what the growth of the process's memory was, if the ends are of one process and tell."""
        first, last = self._told[0], self._told[-1]
        if first is None or last is None or not same_process((first, last)):
            return None
        return change((first, self.snapshots[0]), (last, self.snapshots[-1]))

    def composition(self) -> Ledger | None:
        """Say what the memory of the last snapshot's process is made of."""
        last = self._told[-1]
        return composition(last, self.snapshots[-1]) if last else None

    def _code_of(self, frame: Frame) -> tuple[str | None, str | None]:
        path = self._tree.locate(frame.filename)
        return self._tree.line(frame.filename, frame.lineno), os.path.relpath(path) if path else None

    def warnings(self) -> tuple[str, ...]:
        lost = unmatched(self.snapshots, (*self._filters.include, *self._filters.exclude))
        nothing = (f"the filter {text!r} matches nothing in these snapshots" for text in lost)
        return (*self.runs.warnings, *nothing)

    def skipped(self) -> tuple[Skipped, ...]:
        return (*chain.from_iterable(snapshot.skipped for snapshot in self.snapshots), *self._tree.skipped)


def _told(snapshot: Snapshot) -> Capture | None:
    return None if snapshot.capture is None else parse_capture(snapshot.capture)


def _garbage(told: Capture | None) -> Mapping[Frame, int] | None:
    """Return what a collection would free, by the frame that allocated it; None where nobody looked."""
    if told is None or told.garbage is None:
        return None
    sizes: dict[Frame, int] = {}
    for site in told.garbage.sites:
        sizes[site.frame] = sizes.get(site.frame, 0) + site.size
    return sizes


def _info(snapshot: Snapshot, told: Capture | None) -> SnapshotInfo:
    return SnapshotInfo(
        path=snapshot.path,
        blocks=snapshot.blocks,
        size=snapshot.size,
        tracebacks=_tracebacks(snapshot.rows),
        traceback_limit=snapshot.traceback_limit,
        python=python_of(snapshot),
        capture=snapshot.capture,
        told=told,
        partial=snapshot.partial,
    )


def _tracebacks(rows: Columns) -> int:
    """Count the distinct stacks; in one domain, each has one row."""
    return len(rows.stacks) if len(set(rows.domains)) < 2 else len(set(rows.stacks))


def _statistic(row: StatisticDiff) -> Statistic:
    return Statistic(**{field.name: getattr(row, field.name) for field in fields(Statistic)})
