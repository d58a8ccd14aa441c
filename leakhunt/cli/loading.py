"""Files named on the command line, read with a progress bar where somebody looks."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence

import click

from leakhunt.errors import LeakhuntError
from leakhunt.model.snapshot import Snapshot

_WORTH_A_BAR = 4 << 20


def load_all(paths: Sequence[str], *, allow_partial: bool) -> list[Snapshot]:
    """Read snapshots in order.

    Raises:
        LeakhuntError: one of them cannot be read, or standard input is named twice.
    """
    from leakhunt.readers.dump import read_dump  # noqa: PLC0415 - only for snapshots

    if list(paths).count("-") > 1:
        raise LeakhuntError("standard input can be read once only", "name a file for the others")
    with reading(paths) as progress:
        return [read_dump(path, allow_partial=allow_partial, progress=progress) for path in paths]


@contextlib.contextmanager
def reading(paths: Sequence[str]) -> Iterator[Callable[[int], object] | None]:
    """Show a bar on standard error while files are read, if it is a terminal and there is much to read.

    Args:
        paths: files, and folders of such.

    Yields:
        What is to be called with the bytes that were read since the last call, or None.
    """
    total = sum(map(_size, paths)) if sys.stderr.isatty() else 0
    if total < _WORTH_A_BAR:
        yield None
        return
    with click.progressbar(length=total, label="reading", file=sys.stderr) as bar:
        yield bar.update


def _size(path: str) -> int:
    if os.path.isfile(path):
        return os.path.getsize(path)
    files = (os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
    return sum(os.path.getsize(file) for file in files if os.path.isfile(file))
