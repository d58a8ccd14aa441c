"""Work of ours between the bytecodes of a stranger's program: nothing of it gets out, and nothing of theirs is kept in."""

from __future__ import annotations

import os
import signal
import sys
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

# A handler for one of these may raise into whatever runs, as a soft time limit does: it has to wait until we are done.
_WAITING = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGVTALRM,
    signal.SIGPROF,
    signal.SIGCHLD,
    signal.SIGXCPU,
)
_SAID = "LEAKHUNT_SAID"
_RUN = "LEAKHUNT_RUN"  # the first Python process of a tree, by its number: it and its forks speak for all
_ERROR = 2
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_LIBRARY = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_FOREIGN = tuple(os.path.join(_LIBRARY, name) + os.sep for name in ("site-packages", "dist-packages"))


def undisturbed(work: Callable[[], object]) -> None:
    """Do work of ours so that the program does not notice.

    What it raises is dropped; what a handler of the program raises meanwhile goes where it belongs. The program's
    signals wait, so that none of them breaks off what has begun.

    Args:
        work: what to do.
    """
    if threading.current_thread() is not threading.main_thread():
        with suppress(Exception):  # no handler runs here: it can only be ours
            work()
        return
    held = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, _WAITING)
        try:
            work()
        except Exception as error:
            # Another thread may have taken the signal; its handler ran here all the same.
            if not is_ours(error.__traceback__):
                raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def is_ours(trace: TracebackType | None) -> bool:
    """Tell whether an exception passed through nothing but leakhunt and the standard library."""
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        library = name.startswith((_LIBRARY, "<frozen ")) and not name.startswith(_FOREIGN)
        if not library and not name.startswith(_OURS):
            return False
        trace = trace.tb_next
    return True


def say(text: str) -> None:
    """Write one line to standard error, once in a tree of processes and in none that the program started."""
    key = f"{zlib.crc32(text.encode('utf-8', 'replace')):08x}"
    said = os.environ.get(_SAID, "")
    if key not in said.split(",") and tell(text):
        os.environ[_SAID] = f"{said},{key}".lstrip(",")


def tell(text: str) -> bool:
    """Write one line to standard error, each time it is called; false where this process is not to speak.

    Nothing of the program's is changed, so that this may be called while it runs.
    """
    if not _SPEAKS or _error_file() != _ERROR_FILE or _ERROR_FILE is None:
        return False
    with suppress(OSError):
        os.write(_ERROR, f"leakhunt: {text}\n".encode("utf-8", "replace"))
    return True


def _error_file() -> tuple[int, int] | None:
    """Return which file standard error is; None where the program has none, so that its number may be another file's."""
    error = sys.__stderr__
    with suppress(OSError, ValueError):  # closed
        if error is not None and error.fileno() == _ERROR:
            about = os.fstat(_ERROR)
            return about.st_dev, about.st_ino
    return None


_SPEAKS = os.environ.get(_RUN, "") in {"", str(os.getpid())}
_ERROR_FILE = _error_file()
