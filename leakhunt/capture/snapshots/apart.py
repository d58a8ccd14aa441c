"""What a forked child of ours does before anything else, so that it can harm neither its parent nor anybody else."""

from __future__ import annotations

import gc
import os
import posix  # its functions stay as they are where gevent replaces those of os
import resource
import signal
import sys
from contextlib import suppress

from leakhunt.capture import procfs

_NAME = b"leakhunt-snap"
_NICE = 10
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


def settle(timeout: float) -> None:
    """Be ready to work apart.

    No handler of the program runs, an alarm of the kernel's ends this process in time even if it stands still, and of
    the program's open files and connections nothing is left: objects that are finalized here, as by a collection of
    garbage, cannot reach them.

    Args:
        timeout: seconds until the alarm.
    """
    _take_signals(timeout)
    _step_back()
    gc.disable()
    gc.callbacks.clear()
    sys.settrace(None)
    sys.setprofile(None)
    sys.unraisablehook = lambda _unraisable, /: None  # the program's may send what it is told
    _let_go_of_files()


def _take_signals(timeout: float) -> None:
    for number in signal.valid_signals() - _LEFT_ALONE:
        with suppress(OSError, ValueError):  # some belong to the C library
            signal.signal(number, signal.SIG_DFL if number in _DEFAULT else signal.SIG_IGN)
    signal.set_wakeup_fd(-1)
    signal.setitimer(signal.ITIMER_REAL, max(timeout, 0.001))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _step_back() -> None:
    """Let the kernel take this process before the worker, and the worker run before it."""
    for path, text in (("/proc/self/oom_score_adj", b"1000"), ("/proc/self/comm", _NAME)):
        with suppress(OSError):
            file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(file, text)
            finally:
                posix.close(file)
    with suppress(OSError, ValueError):
        os.nice(_NICE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _let_go_of_files() -> None:
    """Put nothing in the place of every open file.

    The numbers stay taken: an object of the program that closes or writes to its number must not hit a file of ours.
    """
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # the program may have used up what it may open
        resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    names = procfs.names("/proc/self/fd" if sys.platform == "linux" else "/dev/fd", _MOST_FILES)
    taken = {int(name) for name in names if name.isdecimal()} or set(range(min(_MOST_FILES, limits[0])))
    try:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # a bare container
        posix.closerange(0, max(taken) + 1)
        return
    for number in {0, 1, 2} | taken - {null}:
        with suppress(OSError):
            posix.dup2(null, number, inheritable=False)
