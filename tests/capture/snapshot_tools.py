"""A program that takes snapshots of itself, as a test tells it."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any

from conftest import subprocess_environment

SECONDS = 60.0

# The program of each test: `take()` asks for a snapshot, `told()` is the answer, and what is in `out` is printed last.
BEGIN = """
import gc, json, os, signal, sys, threading, time, tracemalloc
from leakhunt.capture.snapshots import headroom, orphan, snapshot
from leakhunt.capture.folder import Folder

state = Folder.open(sys.argv[1])
snaps, box = state.sub("snapshots"), state.sub("agents", "1-2")
out = {}
tracemalloc.start(5)
kept = [bytearray(100) for _ in range(1000)]
taken = 0

def take(facts=lambda deep: {"deep": deep}, reason="asked", keep=3, budget=1 << 30, total=1 << 32, **wishes):
    global taken
    taken += 1
    request = snapshot.Request(reason, answer=(box, "answer-1.json"), **wishes)
    return snapshot.capture(snaps, request, facts, number=taken, shelf=snapshot.Shelf(keep, budget, total))

def wait():
    while snapshot.is_writing():
        time.sleep(0.01)

def told():
    wait()
    return json.loads(box.read("answer-1.json"))

def children():
    return open(f"/proc/self/task/{os.getpid()}/children").read().split()

def descriptors():
    return sorted(os.listdir("/proc/self/fd"))
"""
END = """
print(json.dumps(out))
"""


def run_program(state: str, body: str, *options: str, before: tuple[str, ...] = (), first: str = "") -> Any:  # noqa: ANN401 - what it found out
    """Run a program to its end, and return what it put into ``out``.

    Args:
        state: where it keeps its files.
        body: what it does.
        options: of the interpreter.
        before: the command that starts the interpreter.
        first: what it does before leakhunt is loaded.
    """
    code = textwrap.dedent(first) + BEGIN + textwrap.dedent(body) + END
    done = subprocess.run(
        [*before, sys.executable, *options, "-c", code, state],
        capture_output=True,
        text=True,
        check=False,
        env=subprocess_environment(),
        timeout=SECONDS,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)
