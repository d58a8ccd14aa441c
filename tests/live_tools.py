"""Real processes for the tests of what reaches into them."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

from conftest import ROOT, subprocess_environment

_STAND_IN = Path(__file__).with_name("stand_in.py")
_LONGEST_S = 30


class Child:
    """A child process that says when it is ready, and is gone at the end.

    Attributes:
        pid: its number.
    """

    def __init__(self, words: Sequence[str], **environ: str) -> None:
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=subprocess_environment(**environ),
        )
        self.pid = self._process.pid

    def __enter__(self) -> Child:  # noqa: PYI034 - Self is not in the library of 3.9
        self.hear("ready")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate(timeout=_LONGEST_S)

    def hear(self, word: str) -> None:
        """Wait until it says a word; it ends otherwise, or is killed by the test's own time limit."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == word

    def tell(self, line: str, answer: str = "done") -> None:
        """Have it do something, and wait until it is done."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        if answer:
            self.hear(answer)

    def wait(self) -> int:
        """Wait until it ends."""
        return self._process.wait(_LONGEST_S)


def stand_in(folder: Path, behaviour: str = "obey", **about: object) -> Child:
    """Return a process with a stand-in for the agent.

    Args:
        folder: where it keeps its files.
        behaviour: how it answers.
        about: what it registers beside; ``uid`` is the user it becomes.
    """
    pairs = [f"{name}={json.dumps(value)}" for name, value in about.items()]
    words = [sys.executable, str(_STAND_IN), str(folder), behaviour, *pairs]
    return Child(words, LEAKHUNT_DIR=str(folder))


@contextlib.contextmanager
def bystander(*argv: str) -> Iterator[int]:
    """Run a process without any agent, by default Python, and yield its number."""
    with Child(argv or [sys.executable, "-c", "print('ready', flush=True); input()"]) as child:
        yield child.pid


def let_go(fifo: Path) -> bool:
    """Let who waits at a FIFO go on; False where nobody does, or not yet."""
    try:
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return False
    return True
