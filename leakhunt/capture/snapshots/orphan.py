"""A forked child of a stranger's program that does one thing and leaves, without the program hearing of it.

The worker forks a child, which forks another and leaves at once; the worker has reaped it before it goes on. The other
one is an orphan: whoever adopts orphans, usually an init as process 1, reaps it, and no child watcher of the program
sees it. Where process 1 is such a program itself (a container without an init), it would not reap a stranger, or be
surprised by one: there the worker forks once, and reaps the child when it looks after it the next time.

A thread of the program may hold a lock at the time of the fork which nobody in the child lets go of. The child takes
none of the program's; if it stands still all the same, an alarm ends it, or else the worker when it looks next.

``fork`` runs what libraries registered with ``os.register_at_fork``. One of them waits for a lock of
``concurrent.futures``: a signal's handler, which may have interrupted the holder of that lock, must not fork.
"""

from __future__ import annotations

import errno
import posix  # its functions stay as they are where gevent replaces those of os
import re
import signal
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from leakhunt.capture import procfs
from leakhunt.capture.snapshots.apart import settle
from leakhunt.capture.snapshots.page import Page

_START = 5.0  # seconds for a child to fork another; more means that it is stuck in somebody's fork hook
_SHORTEST, _LONGEST = 0.000_1, 0.005  # seconds between two looks whether it has
_GRACE = 5.0  # seconds after the alarm
_PATIENCE = 10.0  # seconds; some inits take their time
_NO_INITS = ("python", "pypy", "celery", "gunicorn", "uwsgi", "uvicorn", "rq", "dramatiq", "daphne", "huey")
_CRASHES = frozenset(
    getattr(signal, name)
    for name in ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS")
    if hasattr(signal, name)
)
_HERE = re.escape(__name__) + r"\Z"
_QUIET = ("ignore", None, DeprecationWarning, re.compile(_HERE), 0)  # as filterwarnings makes it
_orphans: deque[tuple[int, int, float]] = deque(
    maxlen=4
)  # the last ones: pid, start, and when by time.monotonic


class Orphan(NamedTuple):
    """A child at work.

    Attributes:
        pid: its process.
        start: when it started, in ticks since boot; 0 where unknown.
        page: what it shares with this process.
        deadline: when it must have ended, by ``time.monotonic``.
        ours: whether it is a child of this process, and ours to reap.
        stall: how many seconds the fork itself took, in which no thread of this process ran.
    """

    pid: int
    start: int
    page: Page
    deadline: float
    ours: bool
    stall: float

    def lives(self) -> bool:
        """Tell whether it is still at work; reaps it, and ends it where its alarm did not."""
        if self.ours and _reaped(self.pid):
            return False
        state, start = _state(self.pid)
        if not state or start != self.start:
            return False
        if state == "Z":
            return False
        if time.monotonic() > self.deadline + _GRACE:
            with suppress(OSError):
                posix.kill(self.pid, signal.SIGKILL)
        return self.ours or not self.page.done  # one of ours is not forgotten before it is reaped


def start(work: Callable[[Page], None], timeout: float) -> Orphan:
    """Fork, do some work in the child, and go on at once.

    Args:
        work: what the child does, on its own and with nothing of this process's open; it leaves when that returns.
        timeout: after how many seconds it is ended.

    Raises:
        OSError: the system refuses another process, or the child came to nothing.
        RuntimeError: Python refuses: the interpreter is leaving, or is not the main one.
    """
    page = Page()
    ours = not _is_reaped_by_others()
    _let_fork_be_quiet()
    held = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _CRASHES)
    try:
        begun = time.perf_counter()
        pid = posix.fork()
        if pid == 0:
            _be_child(work, page, timeout, ours=ours)
        stall = time.perf_counter() - begun
        if ours:
            page.pid = pid
        else:
            _await(pid)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    if page.pid <= 0:
        raise OSError(-page.pid or errno.ECHILD, posix.strerror(-page.pid or errno.ECHILD))
    started = _state(page.pid)[1]
    if not ours:
        _orphans.append((page.pid, started, time.monotonic()))
    return Orphan(page.pid, started, page, time.monotonic() + timeout, ours, stall)


def _be_child(work: Callable[[Page], None], page: Page, timeout: float, *, ours: bool) -> None:
    """Be the child, and leave; the exit code is 0 whatever happens, as whoever adopts it may read more into another."""
    try:
        if not ours:
            pid = posix.fork()
            if pid:
                page.pid = pid
                return
        sys.setswitchinterval(1e6)  # what a fork hook starts as a thread shall not run
        settle(timeout)
        work(page)
        page.finish()
    except OSError as error:
        if not page.pid:
            page.pid = -(error.errno or errno.ECHILD)
    except BaseException:  # noqa: BLE001, S110 - nobody is there to be told
        pass
    finally:
        posix._exit(0)  # noqa: SLF001 - no exit handler, no buffer of the program's


def _await(pid: int) -> None:
    """Reap a child that leaves at once; one that does not is stuck, and is killed."""
    begun = time.monotonic()
    delay = _SHORTEST
    while True:
        try:
            if posix.waitpid(pid, posix.WNOHANG)[0]:
                return
        except ChildProcessError:  # a handler of the program has reaped it
            return
        passed = time.monotonic() - begun
        if passed > _START:
            posix.kill(pid, signal.SIGKILL)
        delay = min(_LONGEST, max(_SHORTEST, passed / 8))
        sleep(delay)


def sleep(seconds: float) -> None:
    """Sleep; not by ``time.sleep``, which gevent replaces."""
    if hasattr(signal, "sigtimedwait"):
        signal.sigtimedwait((), seconds)
    else:
        time.sleep(seconds)


def _let_fork_be_quiet() -> None:
    """Keep Python from warning of this module's forks in a program with threads; 3.12 does, and ``-W error`` raises."""
    if _QUIET not in warnings.filters[:1]:
        with suppress(ValueError):
            warnings.filters.remove(_QUIET)  # type: ignore[attr-defined]
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=_HERE)


def _is_reaped_by_others() -> bool:
    """Tell whether an orphan of this process will be reaped by somebody who is not surprised."""
    if posix.getpid() == 1:
        return False
    old = time.monotonic() - _PATIENCE
    if any(
        _state(pid) == ("Z", begun) for pid, begun, when in _orphans if when < old
    ):  # nobody will reap them
        return False
    words = procfs.read("/proc/1/cmdline").split("\0")[:2]
    return not any(word.rpartition("/")[2].startswith(_NO_INITS) for word in words)


def _reaped(pid: int) -> bool:
    """Reap a child of this process if it has ended; True if it is gone, by whomever."""
    try:
        return posix.waitpid(pid, posix.WNOHANG)[0] != 0
    except OSError:
        return True


def _state(pid: int) -> tuple[str, int]:
    """Return a process's state as one letter and its start in ticks since boot; empty where there is none such."""
    # The name stands in brackets and may hold anything, brackets too: the last one ends it.
    after = procfs.read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if len(after) > 19:
        return after[0], int(after[19])
    if procfs.start_ticks(posix.getpid()):  # there is a /proc, and no such process
        return "", 0
    try:
        posix.kill(pid, 0)
    except ProcessLookupError:
        return "", 0
    except OSError:
        pass
    return "?", 0
