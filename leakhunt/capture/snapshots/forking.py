"""Our own forks, told apart from the program's by a hook that runs in the child, where it can before the program's hooks.

``os.fork`` runs in the child what was registered with ``os.register_at_fork``, in the order of registration. Such a hook
of a program may speak over a connection that the child has from its parent, as one that closes a pool of connections
does, or wait for ever. So ours is to be registered before the program's, and to leave nothing of the parent's open.
"""

from __future__ import annotations

import os
import posix  # its functions stay as they are where gevent replaces those of os
import re
import warnings
from _thread import get_ident
from collections.abc import Callable
from contextlib import suppress

from leakhunt.capture.record.numbered import OpenFile, close_file

_QUIET = ("ignore", None, DeprecationWarning, re.compile(re.escape(__name__) + r"\Z"), 0)


_forks: dict[int, Callable[[], object]] = {}  # those under way, by the numbers of the threads that fork
_carried: set[OpenFile] = set()
_registered: list[bool] = []


def register() -> None:
    """Have the hook registered; the earlier, the fewer hooks of the program run before it."""
    if not _registered:
        _registered.append(True)
        os.register_at_fork(after_in_child=_after_fork)


def carry(file: OpenFile) -> None:
    """Have an open file be in our children and in none that the program forks, until :func:`drop` closes it."""
    _carried.add(file)


def drop(file: OpenFile) -> None:
    """Close such a file in this process; our children have their own."""
    _carried.discard(file)
    close_file(file)


def carried() -> tuple[int, ...]:
    """Return the numbers of the files that are carried."""
    return tuple(file.fd for file in _carried)


def fork(first: Callable[[], object]) -> int:
    """Fork as ``os.fork`` does.

    Args:
        first: what the child does first of all, before those hooks of the program that were registered later; the child
            leaves at once if that fails.

    Raises:
        OSError: the system refuses another process.
        RuntimeError: Python refuses.
    """
    _let_fork_be_quiet()
    here = get_ident()
    _forks[here] = first
    try:
        return posix.fork()
    finally:
        _forks.pop(here, None)


def _after_fork() -> None:
    first = _forks.get(get_ident())
    if first is None:
        while _carried:
            close_file(_carried.pop())
        _forks.clear()
        return
    try:
        first()
    except BaseException:  # noqa: BLE001 - it may still have what is the program's, so it must not go on
        posix._exit(0)  # noqa: SLF001 - no exit handler, no buffer of the program's


def _let_fork_be_quiet() -> None:
    """Keep Python from warning of this module's forks in a program with threads; 3.12 does, and ``-W error`` raises."""
    if _QUIET not in warnings.filters[:1]:
        with suppress(ValueError):
            warnings.filters.remove(_QUIET)  # type: ignore[attr-defined]
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=_QUIET[3].pattern)
