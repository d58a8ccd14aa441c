"""Bytes of each line at the last deep snapshot, left for the next: what is small and grows fast is found by them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from leakhunt.capture.folder import Folder
from leakhunt.errors import LeakhuntError

Line = tuple[str, int]

_NAME = "sites.json"
_MOST = 2000  # lines; a smaller one counts as new
_LONGEST_NAME = 512
_LIMIT = 1 << 24  # of the file, whatever the names are: JSON has up to twelve bytes for a character
_SIZE = 1 << 63


def leave(path: str, since: float | None, sizes: Mapping[Line, int]) -> None:
    """Leave the sizes of the largest lines, in place of those that were left before.

    Args:
        path: the agent's place in the folder; nothing is left where it is empty, or gone.
        since: when tracing began: sizes of another tracing cannot be compared.
        sizes: bytes by file and line.

    Raises:
        LeakhuntError: they cannot be written.
        OSError: likewise.
    """
    if not path:
        return
    named = (line for line in sizes if len(line[0]) <= _LONGEST_NAME)
    largest = sorted(named, key=lambda line: -sizes[line])[:_MOST]
    told = {"since": since, "sizes": [[*line, sizes[line]] for line in largest]}
    Folder(path, os.geteuid()).write(_NAME, json.dumps(told).encode())


def read(path: str, since: float | None) -> dict[Line, int] | None:
    """Return what the last snapshot of the same tracing left; None where there is nothing of the kind.

    Args:
        path: the agent's place in the folder; empty where it has none.
        since: when tracing began.
    """
    if not path:
        return None
    try:
        found = json.loads(Folder(path, os.geteuid()).read(_NAME, _LIMIT))
    except (LeakhuntError, OSError, ValueError, RecursionError):
        return None
    rows = found.get("sizes") if isinstance(found, dict) and found.get("since") == since else None
    if not isinstance(rows, list):
        return None
    return {(row[0], row[1]): row[2] for row in rows[:_MOST] if _is_row(row)}


def _is_row(row: object) -> bool:
    """Tell whether a row is a file, a line and a size."""
    if not isinstance(row, list) or [type(value) for value in row] != [str, int, int]:
        return False
    return all(0 <= value < _SIZE for value in row[1:])
