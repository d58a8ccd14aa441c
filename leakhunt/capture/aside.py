"""Threads of the system, beside the program's own work: real ones, also where gevent puts others in their place."""

from __future__ import annotations

import _thread
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any


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


def _alone(work: Callable[[], object]) -> None:
    # A signal that is meant for the program has to interrupt the program.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    with suppress(Exception):
        work()


def _original(name: str) -> Any:  # noqa: ANN401 - one of two functions
    """Return a function of ``_thread`` as it was before gevent replaced it."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None:
        with suppress(Exception):  # a version that keeps the originals elsewhere
            return monkey.get_original("_thread", name)
    return getattr(_thread, name)
