"""The answer of an agent, read as far as it is there, whatever it holds."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any

from leakhunt.capture.letters import parse_object
from leakhunt.capture.mailbox import LIMIT, open_folder
from leakhunt.control.find import Agent
from leakhunt.errors import LeakhuntError

_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LONGEST_TEXT = 2000


def look(agent: Agent, nonce: str) -> tuple[dict[str, Any], bool]:
    """Read an answer as far as it is there.

    Returns:
        the answer, empty while there is none, and whether its writer ended without a last word.

    Raises:
        LeakhuntError: it cannot be read, or is none.
    """
    for last in (False, True):
        try:
            fd = _open_answer(agent, nonce)
        except FileNotFoundError:
            return {}, False
        except OSError as error:
            reason = error.strerror or str(error)
            raise LeakhuntError(f"{agent.title}: its answer cannot be read: {reason}") from None
        try:
            answer = _parsed(agent, fd)
            if answer.get("state") != "writing" or not _let_go(fd):
                return answer, False
            if last:
                return answer, True
        finally:
            os.close(fd)
    raise AssertionError  # the second look returns


def _let_go(fd: int) -> bool:
    """Whether the writer of an answer holds its lock no more, which the kernel takes from it however it ends."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
    return True


@contextlib.contextmanager
def inside(agent: Agent) -> Iterator[int]:
    """Give a descriptor of an agent's folder.

    Raises:
        OSError: it cannot be opened.
    """
    folder = open_folder(agent.box)
    try:
        yield folder
    finally:
        os.close(folder)


def _open_answer(agent: Agent, nonce: str) -> int:
    with inside(agent) as folder:
        return os.open(f"answer-{nonce}.json", _READ_FLAGS, dir_fd=folder)


def _parsed(agent: Agent, fd: int) -> dict[str, Any]:
    data = os.read(fd, LIMIT + 1) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    found = parse_object(data) if len(data) <= LIMIT else None
    if found is None or not (isinstance(found.get("ok"), bool) or found.get("state") == "writing"):
        raise LeakhuntError(
            f"{agent.title}: its answer is none that leakhunt knows", "use the same version at both ends"
        )
    return found


def forget(agent: Agent, nonce: str) -> None:
    """Remove an answer, if there is one."""
    with contextlib.suppress(OSError), inside(agent) as folder:
        os.unlink(f"answer-{nonce}.json", dir_fd=folder)


def text(answer: Mapping[str, Any], name: str) -> str:
    """Return a text of an answer, or an empty one where it has none of that name."""
    value = answer.get(name)
    return value[:_LONGEST_TEXT] if isinstance(value, str) else ""


def number(answer: Mapping[str, Any], name: str) -> float | None:
    """Return a number of an answer, or None where it has none of that name."""
    value = answer.get(name)
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15
    return float(value) if known and value is not None else None
