"""A source tree, and the task functions in it, for the frames of a snapshot; nothing is imported or run."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from leakhunt.model.task import TaskRef
from leakhunt.readers.call_graph import CallGraph
from leakhunt.readers.source_files import Files, Listing, is_regular, resolved
from leakhunt.readers.source_project import SourceProject
from leakhunt.readers.task_declarations import MAY_DECLARE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from leakhunt.model.snapshot import Skipped
    from leakhunt.readers.names import Function

_LIBRARY = re.compile(
    r"/(?:(?:site|dist)-packages|lib(?:64)?/python\d[^/]*|python[\d.]*/lib)/", re.IGNORECASE
)


class SourceTree:
    """Source code at hand, asked about frames that may come from another machine.

    Attributes:
        skipped: what was not read, and why, as far as it mattered to the questions asked until now.
    """

    def __init__(self, roots: Sequence[Path], filenames: Iterable[str]) -> None:
        self._roots = tuple(roots)
        self._filenames = tuple(sorted(set(filenames)))
        self._files = Files()
        self._located: dict[str, Path | None] = {}
        self._may_declare: dict[Path, bool] = {}
        self._reaching: dict[Function, Function | None] = {}

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What was not read until now."""
        return tuple(self._files.skipped)

    def locate(self, filename: str) -> Path | None:
        """Return the local file of a frame: the very file, or the one whose path under a root ends the frame's."""
        if filename not in self._located:
            found = self._match(filename)
            claimed = found is not None and found.is_guess and self._claims[resolved(found.path)] - {filename}
            self._located[filename] = None if found is None or claimed else found.path
        return self._located[filename]

    def line(self, filename: str, lineno: int) -> str | None:
        """Return a line of source without the blanks around it, or None when it cannot be read."""
        path = self.locate(filename)
        lines = self._files.lines(path) if path else ()
        return lines[lineno - 1].strip() if 0 < lineno <= len(lines) else None

    def function_at(self, filename: str, lineno: int) -> Function | None:
        """Return the innermost ``def`` around a line."""
        around = self._around(filename, lineno)
        return around[-1] if around else None

    def task_at(self, filename: str, lineno: int) -> TaskRef | None:
        """Return the task whose function, decorators and nested functions included, holds a line."""
        path = self.locate(filename)
        around = self._around(filename, lineno) if path and self._may_hold_tasks(path) else []
        for function in reversed(around):
            name = self._project.task_name(function)
            if name:
                return TaskRef(name, filename, function.lineno, function.last_lineno)
        return None

    def task_reaching(self, filename: str, lineno: int) -> TaskRef | None:
        """Return the task that, by the source, alone calls the function around a line, directly or through others."""
        path = self.locate(filename)
        around = self._around(filename, lineno) if path and self._is_listed(path) else []
        if not around:
            return None
        if around[-1] not in self._reaching:
            self._reaching[around[-1]] = self._graph.only_task(around[-1])
        task = self._reaching[around[-1]]
        if task is None:
            return None
        shown = self._shown.get(task.path, str(task.path))
        return TaskRef(self._project.task_name(task), shown, task.lineno, task.last_lineno)

    def _around(self, filename: str, lineno: int) -> list[Function]:
        path = self.locate(filename)
        parsed = self._project.parsed(resolved(path)) if path else None
        return parsed.module.enclosing(lineno, lineno) if parsed else []

    def _may_hold_tasks(self, path: Path) -> bool:
        if path not in self._may_declare:  # spares the parsing of most library files
            self._may_declare[path] = self._is_listed(path) or bool(
                MAY_DECLARE.search(self._files.text(path))
            )
        return self._may_declare[path]

    def _is_listed(self, path: Path) -> bool:
        return resolved(path) in self._listing.relative

    def _match(self, filename: str) -> _Match | None:
        path = Path(filename)
        if not filename.endswith(".py"):
            return None
        if path.is_absolute() and is_regular(path):
            return _Match(path, is_guess=False)
        parts = tuple(part for part in re.split(r"[/\\]", filename) if part not in {"", "."})
        if _LIBRARY.search("/" + "/".join(parts)):
            return None
        for start in range(len(parts)):
            found = self._listing.by_relative.get(parts[start:])
            if found:
                whole = start == 0 and not path.is_absolute()
                guess = len(parts) - start == 1 and not whole
                is_nameless = guess and parts[-1] == "__init__.py"
                return None if len(found) > 1 or is_nameless else _Match(next(iter(found)), guess)
        return None

    @cached_property
    def _claims(self) -> Mapping[Path, set[str]]:
        claims: defaultdict[Path, set[str]] = defaultdict(set)
        for filename in self._filenames:
            found = self._match(filename)
            if found:
                claims[resolved(found.path)].add(filename)
        return claims

    @cached_property
    def _listing(self) -> Listing:
        return Listing(self._roots, self._files.skipped)

    @cached_property
    def _shown(self) -> Mapping[Path, str]:
        located = ((self.locate(filename), filename) for filename in reversed(self._filenames))
        return {resolved(path): filename for path, filename in located if path}

    @cached_property
    def _project(self) -> SourceProject:
        return SourceProject(self._files, self._listing, frozenset(self._shown))

    @cached_property
    def _graph(self) -> CallGraph:
        return CallGraph(self._project)


class _Match(NamedTuple):
    path: Path
    is_guess: bool
