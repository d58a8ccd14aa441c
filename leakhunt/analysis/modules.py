"""From file names to module names, for files that may lie on another machine."""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

_INSTALLED = re.compile(r".*/(?:site|dist)-packages/(.+)", re.DOTALL)
_STDLIB = re.compile(
    r".*/(?:lib|lib64|Lib)/(?:python|pypy)\d[\w.]*/(?:lib-dynload/)?(.+)|.*/python\d+\.zip/(.+)", re.DOTALL
)
# Folders that hold applications rather than being packages of one.
_CONTAINERS = frozenset(
    [
        "app",
        "apps",
        "src",
        "code",
        "lib",
        "srv",
        "opt",
        "home",
        "usr",
        "var",
        "root",
        "work",
        "workspace",
        "project",
        "build",
        "current",
        "tmp",
    ]
)
_SUFFIX = re.compile(r"\.pyc?$|\.(?:cpython|abi3)[\w.-]*\.so$|\.so$")


def installed_path(filename: str) -> str | None:
    """Return a file's path below the site-packages or standard library it is in, or None for other files."""
    match = _INSTALLED.fullmatch(filename) or _STDLIB.fullmatch(filename)
    return next((group for group in match.groups() if group), None) if match else None


def module_parts(path: str) -> tuple[str, ...]:
    """Return the components of a path as those of a module: no suffix, no trailing ``__init__``, no root."""
    parts = [part for part in PurePosixPath(_SUFFIX.sub("", path)).parts if part not in ("/", ".", "..")]
    if len(parts) > 1 and parts[-1] == "__init__":
        parts.pop()
    return tuple(parts)


def shared_root(filenames: Iterable[str]) -> str:
    """Guess the folder that a stranger's application is imported from, or return an empty string.

    It is the deepest folder that all absolute file names outside site-packages and the standard library share; when
    that one's name is no usual name for a folder of applications, it is taken for a package, and its parent is it.
    """
    folders = {
        os.path.dirname(name) for name in filenames if name.startswith("/") and installed_path(name) is None
    }
    shared = os.path.commonpath(folders) if folders else ""
    name = os.path.basename(shared)
    return os.path.dirname(shared) if name.isidentifier() and name not in _CONTAINERS else shared


class ModuleNames:
    """Module names of the files of some snapshots.

    Below a site-packages folder or the standard library the name is certain. For other files it is the path from
    the nearest of ``roots``, or from the deepest folder that all of them share.

    Args:
        filenames: every file name of the snapshots.
        roots: folders that modules are imported from.
    """

    def __init__(self, filenames: Iterable[str], roots: Sequence[str] = ()) -> None:
        self._roots = sorted({os.path.abspath(root) for root in roots}, key=len, reverse=True)
        self._shared = shared_root(filenames)

    def module(self, filename: str) -> str:
        """Return the dotted name of the module in a file, or the name itself for ``<string>`` and its like."""
        if filename.startswith("<frozen ") and filename.endswith(">"):
            return filename[len("<frozen ") : -1]
        if filename.startswith("<"):
            return filename
        path = installed_path(filename) or self._own_path(filename)
        return ".".join(module_parts(path)) or filename

    def package(self, filename: str) -> str:
        """Return the first part of a file's module name: the package that is imported."""
        module = self.module(filename)
        return module if module.startswith("<") else module.split(".")[0]

    def _own_path(self, filename: str) -> str:
        for root in (*self._roots, self._shared):
            if root and filename.startswith(root.rstrip("/") + "/"):
                path = filename[len(root.rstrip("/")) + 1 :]
                return path.removeprefix("src/")
        return filename
