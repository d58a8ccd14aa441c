"""Threads of the system, beside the program's own work: real ones, also where gevent puts others in their place."""

from __future__ import annotations

import _thread
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_threads: set[int] = set()  # those begun here, by their numbers


def allocate_lock() -> _thread.LockType:
    """Return a lock of the system's."""
    lock: _thread.LockType = _original("allocate_lock")()
    return lock


def begin(work: Callable[[], object]) -> bool:
    """Do some work in a thread of its own, and tell whether there is one.

    No signal is handled there, and what it raises is dropped. The program does not wait for it when it ends.
    """
    try:
        _original("start_new_thread")(_alone, (work,))
    except RuntimeError:  # too many threads, or the interpreter is about to leave
        return False
    return True


def is_aside() -> bool:
    """Tell whether the caller runs in such a thread, so that the program goes on while it waits."""
    return _original("get_ident")() in _threads


def after_fork() -> None:
    """In a child: none of these threads is there, and the system gives their numbers to others."""
    _threads.clear()


def _alone(work: Callable[[], object]) -> None:
    # A signal that is meant for the program has to interrupt the program.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    here = _original("get_ident")()
    _threads.add(here)
    try:
        with suppress(Exception):
            work()
    finally:
        _threads.discard(here)


def _original(name: str) -> Any:  # noqa: ANN401 - one of two functions
    """Return a function of ``_thread`` as it was before gevent replaced it."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None:
        with suppress(Exception):  # a version that keeps the originals elsewhere
            return monkey.get_original("_thread", name)
    return getattr(_thread, name)
