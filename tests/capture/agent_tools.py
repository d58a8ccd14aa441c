"""A program with an agent in it, that does what a test tells it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from conftest import subprocess_environment

SECONDS = 60.0

BEGIN = """
import gc, os, signal, sys, threading, time, tracemalloc
from leakhunt.capture import agent as agents
from leakhunt.capture.resident import Agent
from leakhunt.capture.settings import Level, Settings
from leakhunt.capture.who import Who

def say(*what):
    print(*what, flush=True)

def wait():
    return sys.stdin.readline().strip()
"""


class Program:
    """A program that runs.

    Attributes:
        process: the process.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    @property
    def pid(self) -> int:
        """The process's number."""
        return self.process.pid

    def tell(self, line: str = "") -> None:
        """Give the program a line to read."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """Return the next line that it prints; empty when it has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def end(self) -> tuple[int, str, str]:
        """Let it run to its end: its exit code, and what else it said where."""
        out, err = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, out, err


@contextlib.contextmanager
def program(code: str, folder: Path, **variables: str) -> Iterator[Program]:
    """Run code in a process of its own; it is gone on leaving.

    Args:
        code: what it runs, after what all need.
        folder: where its agent writes.
        variables: more of its environment.
    """
    environ = subprocess_environment(LEAKHUNT_DIR=str(folder), **variables)
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", BEGIN + code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
        cwd=folder.parent,
    ) as process:
        watchdog = threading.Timer(SECONDS, process.kill)
        watchdog.start()
        try:
            yield Program(process)
        finally:
            watchdog.cancel()
            watchdog.join()
            process.kill()
