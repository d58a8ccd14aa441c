"""What a forked child of ours does before anything else, so that it can harm neither its parent nor anybody else."""

from __future__ import annotations

import gc
import os
import posix  # its functions stay as they are where gevent replaces those of os
import resource
import signal
import sys
from collections.abc import Collection
from contextlib import suppress

NAME = b"leakhunt-snap"
_NICE = 5  # of a busy machine one third of what another gets; at 10 it would be a tenth
_MOST_FILES = 1 << 16
# A crash, the alarm and SIGTERM end the child; what a terminal or a supervisor sends to the whole group does not.
_LEFT_ALONE = frozenset(
    getattr(signal, name)
    for name in (
        "SIGKILL",
        "SIGSTOP",
        "SIGSEGV",
        "SIGBUS",
        "SIGFPE",
        "SIGILL",
        "SIGABRT",
        "SIGTRAP",
        "SIGSYS",
    )
    if hasattr(signal, name)
)
_DEFAULT = frozenset((signal.SIGALRM, signal.SIGTERM, signal.SIGCHLD))


def set_alarm(timeout: float) -> None:
    """Have the kernel end this process in time, even if it stands still; other signals that are held stay so.

    Args:
        timeout: seconds until then.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, max(timeout, 0.001))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM,))


def take_signals() -> None:
    """Let no handler of the program run; none of its signals is held any more."""
    for number in signal.valid_signals() - _LEFT_ALONE:
        with suppress(OSError, ValueError):  # some belong to the C library
            signal.signal(number, signal.SIG_DFL if number in _DEFAULT else signal.SIG_IGN)
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def let_go(kept: Collection[int] = ()) -> None:
    """Be unable to reach anybody: of the program's open files and connections nothing is left.

    What is finalized here, as by a collection of garbage, and what a fork hook of the program does, finds nothing open.

    Args:
        kept: the numbers of open files that stay.
    """
    gc.disable()
    gc.callbacks.clear()
    sys.settrace(None)
    sys.setprofile(None)
    sys.setswitchinterval(1e6)  # what a fork hook starts as a thread shall not run
    sys.unraisablehook = lambda _unraisable, /: None  # the program's may send what it is told
    _let_go_of_files(frozenset(kept))


def take_name() -> None:
    """Be seen for what this process is, by those who look for it too."""
    _write("/proc/self/comm", NAME)


def step_back() -> None:
    """Let the kernel take this process before the worker, and the worker run before it."""
    _write("/proc/self/oom_score_adj", b"1000")
    with suppress(OSError, ValueError):
        os.nice(_NICE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _write(path: str, text: bytes) -> None:
    with suppress(OSError):
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(file, text)
        finally:
            posix.close(file)


def _let_go_of_files(kept: frozenset[int]) -> None:
    """Put nothing in the place of every open file but a few.

    The numbers stay taken: an object of the program that closes or writes to its number must not hit a file of ours.
    """
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # the program may have used up what it may open
        resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    try:
        names = os.listdir("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")
    except OSError:
        names = []
    taken = {int(name) for name in names if name.isdecimal()} or set(range(min(_MOST_FILES, limits[0])))
    try:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # a bare container
        for number in taken - kept:
            with suppress(OSError):
                posix.close(number)
        return
    numbers = list(({0, 1, 2} | taken - {null}) - kept)
    while numbers:
        with suppress(OSError):  # around the loop: there may be thousands, and the worker waits
            while numbers:
                posix.dup2(null, numbers.pop(), False)  # noqa: FBT003 - by name it takes longer
