"""The Python files under some folders, and their text; no link is followed and nothing is waited for."""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import tokenize
from collections import defaultdict, deque
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from leakhunt.model.snapshot import Skipped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MAX_FILES = 5_000
MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_ENTRIES = 200_000

_SKIPPED_DIRECTORIES = frozenset({"__pycache__", "node_modules", "site-packages"})
_TEST_DIRECTORIES = frozenset({"test", "tests"})
_TEST_FILE = re.compile(r"test_.*|.*_test\.py|conftest\.py")
_NEWLINE = re.compile(r"\r\n|\r|\n")


class _Entry(NamedTuple):
    name: str
    is_directory: bool
    is_file: bool

    @classmethod
    def of(cls, entry: os.DirEntry[str]) -> _Entry:
        return cls(entry.name, entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False))


class Listing:
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
            self._add(resolved(root))

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


class Files:
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


def _is_foreign(directory: str) -> bool:
    return directory.startswith(".") or directory in _SKIPPED_DIRECTORIES


def is_test(parts: Sequence[str]) -> bool:
    """Whether a file is a test, by its path under a root."""
    return not _TEST_DIRECTORIES.isdisjoint(parts[:-1]) or _TEST_FILE.fullmatch(parts[-1]) is not None


def resolved(path: Path) -> Path:
    """Return a path without links, as far as that can be told."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a null byte
        return path.absolute()


def is_regular(path: Path) -> bool:
    """Whether a path is a file, and no directory, pipe or device."""
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
