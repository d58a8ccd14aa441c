"""A source tree, and the task functions in it, for the frames of a snapshot; nothing is imported or run."""

from __future__ import annotations

import ast
import errno
import io
import os
import re
import stat
import tokenize
import warnings
from collections import defaultdict, deque
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from leakhunt.model.snapshot import Skipped
from leakhunt.model.task import TaskRef
from leakhunt.readers.call_graph import CallGraph, Module, Outline, UntraceableError
from leakhunt.readers.task_declarations import (
    MAY_DECLARE,
    MAY_REGISTER,
    Declarations,
    Function,
    Names,
    Registration,
    default_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAX_FILES = 5_000
MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_ENTRIES = 200_000
MAX_MENTIONING = 200

_SKIPPED_DIRECTORIES = frozenset({"__pycache__", "node_modules", "site-packages"})
_TEST_DIRECTORIES = frozenset({"test", "tests"})
_TEST_FILE = re.compile(r"test_.*|.*_test\.py|conftest\.py")
_LIBRARY = re.compile(
    r"/(?:(?:site|dist)-packages|lib(?:64)?/python\d[^/]*|python[\d.]*/lib)/", re.IGNORECASE
)
_NEWLINE = re.compile(r"\r\n|\r|\n")
_WORD = re.compile(rb"[A-Za-z_\x80-\xff][\w\x80-\xff]*")
_CLASS = re.compile(rb"^[ \t]*class[ \t]+([\w\x80-\xff]+)", re.MULTILINE)


class SourceTree:
    """Source code at hand, asked about frames that may come from another machine.

    Attributes:
        skipped: what was not read, and why, as far as it mattered to the questions asked until now.
    """

    def __init__(self, roots: Sequence[Path], filenames: Iterable[str]) -> None:
        self._roots = tuple(roots)
        self._filenames = tuple(sorted(set(filenames)))
        self._files = _Files()
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
            claimed = (
                found is not None and found.is_guess and self._claims[_resolved(found.path)] - {filename}
            )
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
        parsed = self._project.parsed(_resolved(path)) if path else None
        return parsed.module.enclosing(lineno, lineno) if parsed else []

    def _may_hold_tasks(self, path: Path) -> bool:
        if path not in self._may_declare:  # spares the parsing of most library files
            self._may_declare[path] = self._is_listed(path) or bool(
                MAY_DECLARE.search(self._files.text(path))
            )
        return self._may_declare[path]

    def _is_listed(self, path: Path) -> bool:
        return _resolved(path) in self._listing.relative

    def _match(self, filename: str) -> _Match | None:
        path = Path(filename)
        if not filename.endswith(".py"):
            return None
        if path.is_absolute() and _is_regular(path):
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
                claims[_resolved(found.path)].add(filename)
        return claims

    @cached_property
    def _listing(self) -> _Listing:
        return _Listing(self._roots, self._files.skipped)

    @cached_property
    def _shown(self) -> Mapping[Path, str]:
        located = ((self.locate(filename), filename) for filename in reversed(self._filenames))
        return {_resolved(path): filename for path, filename in located if path}

    @cached_property
    def _project(self) -> _Project:
        return _Project(self._files, self._listing, frozenset(self._shown))

    @cached_property
    def _graph(self) -> CallGraph:
        return CallGraph(self._project)


class _Match(NamedTuple):
    path: Path
    is_guess: bool


class _Entry(NamedTuple):
    name: str
    is_directory: bool
    is_file: bool

    @classmethod
    def of(cls, entry: os.DirEntry[str]) -> _Entry:
        return cls(entry.name, entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False))


class _Listing:
    """The Python files under the roots, found without opening a file or following a link.

    Attributes:
        relative: the path of each file under its innermost root.
        by_relative: the files of each path under a root.
        is_complete: whether no limit was met.
    """

    def __init__(self, roots: Sequence[Path], skipped: list[Skipped]) -> None:
        self.relative: dict[Path, tuple[str, ...]] = {}
        self.by_relative: defaultdict[tuple[str, ...], set[Path]] = defaultdict(set)
        self.is_complete = True
        self._skipped = skipped
        self._entries_left = MAX_ENTRIES
        for root in roots:
            self._add(_resolved(root))

    def _add(self, root: Path) -> None:
        pending: deque[tuple[str, ...]] = deque([()])
        while pending and self.is_complete:
            parts = pending.popleft()
            entries = self._entries(root.joinpath(*parts))
            if parts and any(entry.name == "pyvenv.cfg" for entry in entries):
                continue
            for entry in entries:
                if entry.is_directory and not _is_foreign(entry.name):
                    pending.append((*parts, entry.name))
                elif entry.is_file and entry.name.endswith(".py"):
                    self._add_file(root, (*parts, entry.name))

    def _add_file(self, root: Path, parts: tuple[str, ...]) -> None:
        path = root.joinpath(*parts)
        if path not in self.relative and len(self.relative) >= MAX_FILES:
            self._cut(root, f"only the first {MAX_FILES:,} Python files were listed")
            return
        self.relative[path] = min(parts, self.relative.get(path, parts), key=len)
        self.by_relative[parts].add(path)

    def _entries(self, directory: Path) -> list[_Entry]:
        try:
            with os.scandir(directory) as found:
                entries = sorted(map(_Entry.of, islice(found, self._entries_left + 1)))
        except (OSError, ValueError) as error:
            self._skipped.append(Skipped(str(directory), getattr(error, "strerror", "") or str(error)))
            return []
        self._entries_left -= len(entries)
        if self._entries_left < 0:
            self._cut(directory, f"only the first {MAX_ENTRIES:,} directory entries were listed")
        return entries

    def _cut(self, where: Path, why: str) -> None:
        if self.is_complete:
            self._skipped.append(Skipped(str(where), why))
        self.is_complete = False


class _Files:
    """The text of source files; what cannot be read is empty and noted once."""

    def __init__(self) -> None:
        self.skipped: list[Skipped] = []
        self._lines: dict[Path, list[str]] = {}

    def note(self, what: object, why: str) -> None:
        """Note what was not read."""
        entry = Skipped(str(what), why)
        if entry not in self.skipped:
            self.skipped.append(entry)

    def content(self, path: Path) -> bytes:
        """Return the bytes of a regular file of bounded size."""
        try:
            return _read_bounded(path)
        except OSError as error:
            self.note(path, error.strerror or str(error))
            return b""

    def text(self, path: Path) -> str:
        """Return a file's text as Python decodes it, undecodable bytes replaced."""
        content = self.content(path)
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
            return content.decode(encoding, errors="replace")
        except (SyntaxError, LookupError, ValueError):
            return content.decode("utf-8", errors="replace")

    def lines(self, path: Path) -> list[str]:
        """Return a file's lines as Python counts them."""
        if path not in self._lines:
            text = self.text(path)
            self._lines[path] = _NEWLINE.split(text) if text else []
        return self._lines[path]


class _Parsed(NamedTuple):
    module: Module
    tasks: Mapping[Function, str]
    registrations: tuple[Registration, ...]


class _Project:
    """The source tree as the call graph sees it: files are parsed only when a question needs them.

    Test files count only when a frame lies in one: elsewhere they did not run.
    """

    def __init__(self, files: _Files, listing: _Listing, frame_files: frozenset[Path]) -> None:
        self._files = files
        self._listing = listing
        self._frame_files = frame_files
        self._parsed: dict[Path, _Parsed | None] = {}
        self._task_names: dict[Function, str] = {}

    def parsed(self, path: Path) -> _Parsed | None:
        """Return what a file defines and declares, or None when it cannot be parsed."""
        if path not in self._parsed:
            self._parsed[path] = self._parse(path)
        return self._parsed[path]

    def task_name(self, function: Function) -> str:
        """Return the name of the task whose body a function is, or an empty string."""
        if function not in self._task_names:
            home = self.parsed(function.path)
            declared = home.tasks.get(function) if home else None
            self._task_names[function] = declared or self._registered_name(function)
        return self._task_names[function]

    def is_task(self, function: Function) -> bool:
        """Whether a function is the body of a task."""
        return bool(self.task_name(function))

    def mentioning(self, word: str) -> Sequence[Module]:
        """Return the modules whose text holds a word, or raise UntraceableError when not all can be read."""
        paths = self._words.paths.get(_encoded(word), ())
        if len(paths) > MAX_MENTIONING:
            self._files.note(
                "callers of common names", f"a name in over {MAX_MENTIONING} files is not followed"
            )
            raise UntraceableError
        return self._modules(paths)

    def named(self, dotted: str) -> Sequence[Module]:
        """Return the modules that an import of this dotted name may mean, or raise UntraceableError."""
        parts = dotted.split(".")
        shorter = (".".join(parts[start:]) for start in range(1, len(parts)))
        paths = {
            *self._endings.get(dotted, ()),
            *(path for name in shorter for path in self._names.get(name, ())),
        }
        return self._modules(sorted(paths))

    def defines_class(self, name: str) -> bool:
        """Whether some file has a class of this name."""
        return _encoded(name) in self._words.classes

    def module_of(self, function: Function) -> Module:
        """Return the module that holds a function."""
        (module,) = self._modules([function.path])
        return module

    def _modules(self, paths: Iterable[Path]) -> list[Module]:
        parsed = [self.parsed(path) for path in paths]
        modules = [each.module for each in parsed if each]
        if len(modules) < len(parsed) or not self._listing.is_complete:
            raise UntraceableError
        return modules

    def _registered_name(self, function: Function) -> str:
        mentioning = self._words.paths.get(_encoded(function.name), ())
        registering = [path for path in mentioning if path in self._words.registering]
        for path in dict.fromkeys([function.path, *registering[:MAX_MENTIONING]]):
            parsed = self.parsed(path)
            for registration in parsed.registrations if parsed else ():
                if registration.means(function):
                    return registration.given_name or default_name(registration.word, function)
        return ""

    def _parse(self, path: Path) -> _Parsed | None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(self._files.text(path))
            names = Names(path, _module_name(path, self._listing.relative.get(path, (path.name,))), tree)
            outline = Outline(names, tree)
            declared = Declarations(names, outline.functions, outline.classes, outline.calls)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            self._files.note(path, f"not parsed: {error or 'too deeply nested'}")
            return None
        return _Parsed(Module.from_outline(names, outline), declared.tasks, declared.registrations)

    @cached_property
    def _words(self) -> _Words:
        return _Words(self._files, self._callers)

    @cached_property
    def _callers(self) -> list[Path]:
        """The files whose code may have run."""
        relative = self._listing.relative
        return sorted(path for path in relative if path in self._frame_files or not _is_test(relative[path]))

    @cached_property
    def _names(self) -> Mapping[str, Sequence[Path]]:
        names: defaultdict[str, list[Path]] = defaultdict(list)
        for path in self._callers:
            names[_module_name(path, self._listing.relative[path])].append(path)
        return names

    @cached_property
    def _endings(self) -> Mapping[str, Sequence[Path]]:
        endings: defaultdict[str, list[Path]] = defaultdict(list)
        for name, paths in self._names.items():
            parts = name.split(".")
            for start in range(len(parts)):
                endings[".".join(parts[start:])].extend(paths)
        return endings


class _Words:
    """Which files hold which words; read from their bytes, since most need no parsing."""

    def __init__(self, files: _Files, paths: Iterable[Path]) -> None:
        self.paths: defaultdict[bytes, list[Path]] = defaultdict(list)
        self.classes: set[bytes] = set()
        self.registering: set[Path] = set()
        for path in paths:
            content = files.content(path)
            for word in set(_WORD.findall(content)):
                self.paths[word].append(path)
            self.classes.update(_CLASS.findall(content))
            if MAY_REGISTER.search(content):
                self.registering.add(path)


def _encoded(word: str) -> bytes:
    return word.encode(errors="surrogatepass")


def _is_foreign(directory: str) -> bool:
    return directory.startswith(".") or directory in _SKIPPED_DIRECTORIES


def _is_test(parts: Sequence[str]) -> bool:
    return not _TEST_DIRECTORIES.isdisjoint(parts[:-1]) or _TEST_FILE.fullmatch(parts[-1]) is not None


def _module_name(path: Path, relative: Sequence[str]) -> str:
    """Return the dotted name of a file: its place in its package, or under the root when it is in none."""
    name = [] if path.name == "__init__.py" else [path.stem]
    package = path.parent
    while package.name and _is_regular(package / "__init__.py"):
        name.insert(0, package.name)
        package = package.parent
    return ".".join(name if package != path.parent else [*relative[:-1], path.stem])


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a null byte
        return path.absolute()


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _read_bounded(path: Path) -> bytes:
    """Read a file without ever waiting for it, as a pipe would make us."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("not a regular file")
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
    with open(path, "rb", opener=lambda name, default: os.open(name, default | flags)) as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return content
