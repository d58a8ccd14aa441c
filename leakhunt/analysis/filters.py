"""Which rows of a snapshot are looked at.

A pattern is a path glob as ``tracemalloc.Filter`` takes it, or a dotted module name, with an optional ``:LINE``.
Each distinct file name is matched once, however many blocks it has.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from leakhunt.analysis.modules import installed_path, module_parts
from leakhunt.model.snapshot import Snapshot

DEFAULT_EXCLUDES = (
    "<frozen importlib*>",
    "<unknown>",
    "*/tracemalloc.py",
    "*/linecache.py",
    "*/leakhunt/capture/*",
)

_LINE = re.compile(r"(.+):(\d{1,18})", re.DOTALL)
_MODULE = re.compile(r"[^\W\d][\w*?]*(?:\.[\w*?]+)*\.?|\*(?:\.[\w*?]+)+", re.DOTALL)


@dataclass(frozen=True)
class Pattern:
    """One include or exclude pattern.

    Attributes:
        text: the pattern as the user wrote it.
        path: a glob over whole file names, or empty.
        module: the parts of a dotted name, or empty.
        lineno: the only line that matches, or None.
    """

    text: str
    path: str
    module: tuple[str, ...]
    lineno: int | None

    @cached_property
    def _matches_path(self) -> Callable[[str], object]:
        return re.compile(fnmatch.translate(self.path)).match

    def files(self, filenames: Collection[str]) -> frozenset[str]:
        """Return those of the file names that the pattern matches.

        A module that is installed somewhere means the installed one; only when there is none, any folder of that
        name does, as nothing tells where the modules of a stranger's application begin.
        """
        if self.path:
            return frozenset(
                name for name in filenames if self._matches_path(name[:-1] if name.endswith(".pyc") else name)
            )
        installed = {name: path for name in filenames if (path := installed_path(name)) is not None}
        found = frozenset(name for name, path in installed.items() if self._starts(module_parts(path)))
        return found or frozenset(
            name for name in filenames if name not in installed and self._contains(_own_parts(name))
        )

    def _starts(self, parts: tuple[str, ...]) -> bool:
        return len(parts) >= len(self.module) and all(map(fnmatch.fnmatchcase, parts, self.module))

    def _contains(self, parts: tuple[str, ...]) -> bool:
        return any(self._starts(parts[start:]) for start in range(len(parts)))


def _own_parts(filename: str) -> tuple[str, ...]:
    if filename.startswith("<frozen "):
        return tuple(filename[len("<frozen ") : -1].split("."))
    return () if filename.startswith("<") else module_parts(filename)


def parse_pattern(text: str) -> Pattern:
    """Read a pattern: ``*/shop/*.py``, ``shop.tasks``, ``shop.*``, ``*/tasks.py:41``."""
    match = _LINE.fullmatch(text)
    name, lineno = (match[1], int(match[2])) if match else (text, None)
    if _MODULE.fullmatch(name) and not name.endswith((".py", ".pyc")) and ("." in name or "*" not in name):
        parts = name.rstrip(".").split(".")
        while len(parts) > 1 and parts[-1] == "*":
            parts.pop()
        return Pattern(text, "", tuple(parts), lineno)
    return Pattern(text, name[:-1] if name.endswith(".pyc") else name, (), lineno)


@dataclass(frozen=True)
class Filters:
    """The filters of one analysis.

    Attributes:
        include: a row is kept only if one of these matches, when there are any.
        exclude: a row is dropped if one of these matches.
        default_excludes: likewise, but looking at the most recent frame only.
        all_frames: whether include and exclude look at every frame of the stack, not at the most recent alone.
        domain: keep only this address space of tracemalloc.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    default_excludes: tuple[str, ...] = DEFAULT_EXCLUDES
    all_frames: bool = False
    domain: int | None = None


def matching_frames(snapshot: Snapshot, patterns: Sequence[str]) -> frozenset[int]:
    """Return the indexes of the frames that any of the patterns matches."""
    rules = [(pattern.files(snapshot.filenames), pattern.lineno) for pattern in map(parse_pattern, patterns)]
    whole = frozenset().union(*(files for files, line in rules if line is None))
    lines = {(name, line) for files, line in rules if line is not None for name in files}
    if not (whole or lines):
        return frozenset()
    return frozenset(
        index
        for index, frame in enumerate(snapshot.frames)
        if frame[0] in whole or (lines and frame in lines)
    )


def kept(snapshot: Snapshot, filters: Filters) -> Sequence[bool]:
    """Tell for each row of a snapshot whether the filters keep it."""
    stacks = snapshot.rows.stacks
    result = [True] * len(stacks)
    for patterns, wanted, every_frame in (
        (filters.include, True, filters.all_frames),
        (filters.exclude, False, filters.all_frames),
        (filters.default_excludes, False, False),
    ):
        if not patterns:
            continue
        frames = matching_frames(snapshot, patterns)
        if not (frames or wanted):
            continue
        if every_frame:
            apart = frames.isdisjoint
            result = [keep and apart(stack) is not wanted for keep, stack in zip(result, stacks)]
        else:
            result = [keep and (stack[-1] in frames) is wanted for keep, stack in zip(result, stacks)]
    if filters.domain is not None:
        result = [keep and domain == filters.domain for keep, domain in zip(result, snapshot.rows.domains)]
    return result


def unmatched(snapshots: Sequence[Snapshot], patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the patterns that match no frame of any snapshot."""
    return tuple(
        text for text in patterns if not any(matching_frames(snapshot, [text]) for snapshot in snapshots)
    )
