from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, cast

import pytest
from conftest import ROOT, subprocess_environment

from leakhunt.capture.facts import allocator, memory

MIB = 1 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")


def said(code: str) -> str:
    """Run code in a Python of its own and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        text=True,
        cwd=ROOT,
        env=subprocess_environment(PYTHONMALLOC=""),
    )
    return done.stdout


def ask(code: str) -> Any:  # noqa: ANN401 - what the program says
    """Run code in a Python of its own and return what it prints as JSON."""
    return json.loads(said(code))


FORK = """
import json, os, sys, tracemalloc
from leakhunt.capture.facts import allocator, memory
{0}
pid = os.getpid()
sys.stdout.flush()
child = os.fork()
if child == 0:
    print(json.dumps({1}), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


@linux
def test_the_ledger_is_of_the_worker() -> None:
    """In a forked child the ledger tells of the parent, as the kernel does."""
    code = FORK.format(
        "kept = [bytearray(8 << 20) for _ in range(8)]", "memory.ledger(pid, deep=True, trim=True)"
    )
    found = cast("dict[str, Any]", ask(code))
    assert found["rss"] > 64 * MIB
    assert found["anon"] > 64 * MIB
    assert found["rss"] == found["anon"] + found["file"] + found["shmem"]
    assert found["uss"] <= found["pss"] <= found["rss"] <= found["peak"] + MIB
    assert found["arenas"] % (1 << 18) == 0
    assert found["blocks"] > 1000
    assert found["traced"] is None
    assert found["tracer"] is None


@linux
def test_arenas_are_told_in_tracing_too() -> None:
    """Pymalloc tells its arenas in a forked child even while tracemalloc traces, and tracing goes on after it."""
    code = FORK.format(
        "tracemalloc.start(); kept = [object() for _ in range(400_000)]",
        "[allocator.arenas(), tracemalloc.get_object_traceback(kept[7])[0].lineno,"
        " tracemalloc.get_object_traceback(object()) is not None]",
    )
    arenas, line, traced = cast("tuple[int, int, bool]", ask(code))
    assert 6 * MIB < arenas < 30 * MIB
    assert line == 4
    assert traced


@linux
def test_what_is_made_untraced_is_not_traced() -> None:
    """Inside of ``untraced`` nothing new is traced, what was traced is still known, and afterwards all is as before."""
    code = FORK.format(
        "tracemalloc.start(); kept = bytearray(1000)",
        """(lambda before, context: [
            context.__enter__(),
            bool(made := [bytearray(1_000_000) for _ in range(9)]),
            context.__exit__(None, None, None),
            tracemalloc.get_traced_memory()[0] - before < 100_000,
            tracemalloc.get_object_traceback(kept) is not None,
            made.clear(),
            tracemalloc.is_tracing(),
            tracemalloc.get_object_traceback(bytearray(5)) is not None,
        ])(tracemalloc.get_traced_memory()[0], allocator.untraced())""",
    )
    assert ask(code) == [True, True, False, True, True, None, True, True]


@linux
@pytest.mark.skipif(
    not hasattr(os, "confstr") or allocator.trim() is None, reason="the C library has no malloc_trim"
)
def test_a_trial_in_a_child_tells_what_a_trim_would_give() -> None:
    """What ``malloc_trim`` returns in a forked child is, to a tenth, what it returns in the worker."""
    code = FORK.format(
        "kept = [bytearray(600) for _ in range(200_000)]; kept = kept[::50]",
        "(memory.ledger(pid, deep=True, trim=True), 0)",
    ).replace(
        "os.waitpid(child, 0)", "os.waitpid(child, 0)\nreal = allocator.trim()\nprint(json.dumps(real))"
    )
    trial, real = map(json.loads, said(code).splitlines())
    before, after = real
    assert before - after > 50 * MIB
    assert abs(trial[0]["trim"]["returned"] - (before - after)) < (before - after) / 10
    assert abs(trial[0]["trim"]["rss_after"] - after) < 5 * MIB


@linux
@pytest.mark.parametrize("frames", [1, 25])
def test_the_tracers_own_cost_is_estimated(frames: int) -> None:
    """The estimate of what tracemalloc takes is within a third of the RSS that tracing adds."""
    program = """
import json, sys, tracemalloc
from leakhunt.capture.facts import allocator, memory, sites
def fill(deep):
    return fill(deep - 1) if deep else [str(number) * 3 for number in range(10 ** 6, 10 ** 6 + 250_000)]
{0}
before = allocator.resident()
kept = fill(30)
grown = allocator.resident() - before
found = sites.traced(sites.Owners(), 1e18) if tracemalloc.is_tracing() else None
cost = memory.tracer_estimate(tracemalloc.get_tracemalloc_memory(), found.traces, found.frames) if found else 0
print(json.dumps([grown, cost]))
"""
    plain, _ = cast("list[int]", ask(program.format("")))
    grown, cost = cast("list[int]", ask(program.format(f"tracemalloc.start({frames})")))
    assert abs(cost - (grown - plain)) < (grown - plain) / 3


def test_what_is_not_there_is_unknown() -> None:
    """Of a process that does not exist nothing is known, and nothing is raised."""
    found = memory.ledger(2**22 + 1, deep=False)
    assert {
        found[name] for name in ("rss", "pss", "uss", "anon", "swap", "peak", "cgroup_usage", "cgroup_limit")
    } == {None}


def test_in_process_nothing_is_tried() -> None:
    """In the worker itself neither the arenas are printed nor the heap trimmed."""
    found = memory.ledger(os.getpid(), deep=True, trim=True)
    assert found["arenas"] is None
    assert found["trim"] is None
