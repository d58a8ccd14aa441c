"""A forked child of a stranger's program that does one thing and leaves, without the program hearing of it.

The worker forks a child, which forks another and leaves as soon as that one is ready; the worker has reaped it before it
goes on. The other one is an orphan: whoever adopts orphans, usually an init as process 1, reaps it, and no child watcher
of the program sees it. Where process 1 is such a program itself (a container without an init), it would not reap a
stranger, or be surprised by one: there the worker forks once, and reaps the child when it looks after it the next time.

A thread of the program may hold a lock at the time of the fork which nobody in the child lets go of. The child takes
none of the program's; if it stands still all the same, an alarm ends it, or else the worker when it looks next.

``fork`` runs what libraries registered with ``os.register_at_fork``. One of them waits for a lock of
``concurrent.futures``: a signal's handler, which may have interrupted the holder of that lock, must not fork. Hooks that
were registered after ours run once, in the first child, which has an alarm and nothing of the worker's open by then; the
second child never comes to them. Those registered before ours may keep a child from its alarm: until it is set, whoever
forked the child waits for it, and ends it. Before any hook, in every fork of a program with threads, Python itself drops
in the child what the other threads keep in thread locals.
"""

from __future__ import annotations

import errno
import gc
import posix  # its functions stay as they are where gevent replaces those of os
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from leakhunt.capture import procfs
from leakhunt.capture.snapshots.apart import let_go, set_alarm, step_back, take_name, take_signals
from leakhunt.capture.snapshots.forking import carried, fork, register
from leakhunt.capture.snapshots.page import Page
from leakhunt.errors import LeakhuntError

_START = (
    3.0  # seconds for a child to get through the program's fork hooks; more means that it is stuck in one
)
_SHORTEST, _LONGEST = 0.000_1, 0.005  # seconds between two looks whether it has
_GRACE = 5.0  # seconds after the alarm
_PATIENCE = 10.0  # seconds; some inits take their time
_NO_INITS = ("python", "pypy", "celery", "gunicorn", "uwsgi", "uvicorn", "rq", "dramatiq", "daphne", "huey")
_CRASHES = frozenset(
    getattr(signal, name)
    for name in ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS")
    if hasattr(signal, name)
)
_orphans: deque[tuple[int, int, float]] = deque(maxlen=4)  # the last: pid, start, when by time.monotonic

register()  # as early as can be: a hook that the program registers from here on runs after ours


class StuckError(LeakhuntError):
    """A fork hook of the program stands still in a child; the child is gone."""


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
        if state == "Z":  # it ended between the two looks
            return self.ours and not _reaped(self.pid)
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
        StuckError: the child was stuck before it came to its work.
    """
    page = Page()
    ours = not _is_reaped_by_others()
    held = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _CRASHES)
    try:
        begun = time.perf_counter()
        pid = _fork(lambda: _ready(page, timeout) if ours else _apart(_START))
        if pid == 0:
            _be_child(work, page, timeout, ours=ours)
        stall = time.perf_counter() - begun
        stuck = _is_stuck(pid, page) if ours else _await(pid)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    if page.pid == -errno.ETIMEDOUT or (stuck and page.pid <= 0):
        raise StuckError(
            "a fork hook of the program (os.register_at_fork) stands still in the child that was to take the snapshot",
            "it may wait for a lock that a thread held at that moment: ask again",
        )
    if page.pid <= 0:
        raise OSError(-page.pid or errno.ECHILD, posix.strerror(-page.pid or errno.ECHILD))
    started = _state(page.pid)[1]
    if not ours:
        _orphans.append((page.pid, started, time.monotonic()))
    return Orphan(page.pid, started, page, time.monotonic() + timeout, ours, stall)


def _fork(first: Callable[[], object]) -> int:
    """Fork with no collection of garbage before the child has let go of what is open: it may run any finalizer."""
    collecting = gc.isenabled()
    gc.disable()
    pid = -1
    try:
        pid = fork(first)
    finally:
        if collecting and pid:
            gc.enable()
    return pid


def _be_child(work: Callable[[Page], None], page: Page, timeout: float, *, ours: bool) -> None:
    """Be the first child, and leave; the exit code is 0 whatever happens, as who adopts it may read more into another."""

    def second() -> None:
        _ready(page, timeout)
        _do(work, page)

    try:
        # Hooks of the program may have changed what was set before them.
        if ours:
            _ready(page, timeout)
            _do(work, page)
        else:
            set_alarm(_START)
            _is_stuck(_fork(second), page)
    except OSError as error:
        if not page.pid:
            page.pid = -(error.errno or errno.ECHILD)
    except BaseException:  # noqa: BLE001, S110 - nobody is there to be told
        pass
    finally:
        posix._exit(0)  # noqa: SLF001 - no exit handler, no buffer of the program's


def _ready(page: Page, timeout: float) -> None:
    """Say, as soon as it is true, that this process will end by itself, and be unable to harm anybody."""
    set_alarm(timeout)
    take_name()
    page.pid = posix.getpid()
    take_signals()
    let_go(carried())


def _apart(timeout: float) -> None:
    set_alarm(timeout)
    let_go(carried())


def _do(work: Callable[[Page], None], page: Page) -> None:
    """Do the work, and leave."""
    step_back()
    work(page)
    page.finish()
    posix._exit(0)  # noqa: SLF001 - in the second child, before the program's hooks


def _is_stuck(pid: int, page: Page) -> bool:
    """Wait until a child has set its alarm, which takes no time unless it is stuck; then it is killed and reaped."""
    begun = time.monotonic()
    while not page.pid and not _reaped(pid):
        passed = time.monotonic() - begun
        if passed > _START / 2:
            posix.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                posix.waitpid(pid, 0)
            page.pid = -errno.ETIMEDOUT
            return True
        sleep(_pause(passed))
    return False


def _await(pid: int) -> bool:
    """Reap a child that leaves soon; one that does not is stuck, and is killed. Returns whether it did not."""
    begun = time.monotonic()
    killed = False
    while True:
        try:
            gone, status = posix.waitpid(pid, posix.WNOHANG)
        except ChildProcessError:  # a handler of the program has reaped it
            return False
        if gone:
            return killed or status & 0x7F == signal.SIGALRM
        passed = time.monotonic() - begun
        if passed > 2 * _START:
            posix.kill(pid, signal.SIGKILL)
            killed = True
        sleep(_pause(passed))


def _pause(passed: float) -> float:
    return min(_LONGEST, max(_SHORTEST, passed / 8))


def sleep(seconds: float) -> None:
    """Sleep; not by ``time.sleep``, which gevent replaces."""
    if hasattr(signal, "sigtimedwait"):
        signal.sigtimedwait((), seconds)
    else:
        time.sleep(seconds)


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
    return ("?", 0) if procfs.runs(pid) else ("", 0)
