"""Snapshots named on the command line, read with a progress bar where somebody looks."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from leakhunt.errors import LeakhuntError
from leakhunt.model.snapshot import Snapshot
from leakhunt.readers.dump import read_dump

_WORTH_A_BAR = 4 << 20


def load_all(paths: Sequence[str], *, allow_partial: bool) -> list[Snapshot]:
    """Read snapshots in order.

    Raises:
        LeakhuntError: one of them cannot be read, or standard input is named twice.
    """
    if list(paths).count("-") > 1:
        raise LeakhuntError("standard input can be read once only", "name a file for the others")
    total = sum(os.path.getsize(path) for path in paths if os.path.isfile(path))
    if total < _WORTH_A_BAR or not sys.stderr.isatty():
        return [read_dump(path, allow_partial=allow_partial) for path in paths]
    with click.progressbar(length=total, label="reading", file=sys.stderr) as bar:
        return [read_dump(path, allow_partial=allow_partial, progress=bar.update) for path in paths]
