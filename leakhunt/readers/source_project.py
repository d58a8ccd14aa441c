"""A source tree as the call graph sees it: modules, the tasks among their functions, and who mentions a word."""

from __future__ import annotations

import ast
import re
import warnings
from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from leakhunt.readers.call_graph import UntraceableError
from leakhunt.readers.names import Names
from leakhunt.readers.outline import Module, Outline
from leakhunt.readers.source_files import is_regular, is_test
from leakhunt.readers.task_declarations import MAY_REGISTER, Declarations, default_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from leakhunt.readers.names import Function
    from leakhunt.readers.source_files import Files, Listing
    from leakhunt.readers.task_declarations import Registration

MAX_MENTIONING = 200

_WORD = re.compile(rb"[A-Za-z_\x80-\xff][\w\x80-\xff]*")
_CLASS = re.compile(rb"^[ \t]*class[ \t]+([\w\x80-\xff]+)", re.MULTILINE)


class _Parsed(NamedTuple):
    module: Module
    tasks: Mapping[Function, str]
    registrations: tuple[Registration, ...]


class SourceProject:
    """The source tree as the call graph sees it: files are parsed only when a question needs them.

    Test files count only when a frame lies in one: elsewhere they did not run.
    """

    def __init__(self, files: Files, listing: Listing, frame_files: frozenset[Path]) -> None:
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
        return sorted(path for path in relative if path in self._frame_files or not is_test(relative[path]))

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

    def __init__(self, files: Files, paths: Iterable[Path]) -> None:
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


def _module_name(path: Path, relative: Sequence[str]) -> str:
    """Return the dotted name of a file: its place in its package, or under the root when it is in none."""
    name = [] if path.name == "__init__.py" else [path.stem]
    package = path.parent
    while package.name and is_regular(package / "__init__.py"):
        name.insert(0, package.name)
        package = package.parent
    return ".".join(name if package != path.parent else [*relative[:-1], path.stem])
