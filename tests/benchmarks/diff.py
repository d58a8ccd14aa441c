"""Time and memory of a diff, against the standard library's on the same files, in turn.

    python tests/benchmarks/diff.py [--traces 1000000] [--stacks 50000] [--frames 10] [--rounds 3] [--compact]

Each measurement is a process of its own: user and system time of the whole process, start-up included, and its peak
memory. The median of the rounds' ratios is what counts; single times depend on the machine and the moment. Where the
compiled part of the readers is built, leakhunt is measured with and without it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from leakhunt.capture.snapshots.traces import write_traces
from leakhunt.readers.compiled import fast

_STANDARD = """
import sys, tracemalloc
before, after = map(tracemalloc.Snapshot.load, sys.argv[2:])
if sys.argv[1] == "all-frames":
    hide = [tracemalloc.Filter(False, "*/pkg3/*", all_frames=True)]
    before, after = before.filter_traces(hide), after.filter_traces(hide)
after.compare_to(before, "lineno", cumulative=sys.argv[1] == "cumulative")
"""
_OURS = """
import sys
from leakhunt.cli import main
words = {"lineno": [], "cumulative": ["--cumulative"], "all-frames": ["--all-frames", "--exclude", "*/pkg3/*"]}
main(["diff", *words[sys.argv[1]], "--format", "json", "-o", "/dev/null", *sys.argv[2:]])
"""
CASES = ("lineno", "all-frames", "cumulative")
WAYS = {"compiled": {"LEAKHUNT_PURE": "0"}, "pure": {"LEAKHUNT_PURE": "1"}}


class Cost(NamedTuple):
    """What a process took."""

    cpu: float
    wall: float
    peak: float


def main() -> None:
    """Make two snapshots, measure every case in turns and print the ratios."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("before.bin", "after.bin")]
        for seed, path in enumerate(
            paths
        ):  # in a process of its own, as a child's peak memory starts at its parent's
            maker = multiprocessing.get_context("spawn").Process(
                target=make_snapshot,
                args=(path, seed, options.traces, options.stacks, options.frames, options.lines),
                kwargs={"compact": options.compact},
            )
            maker.start()
            maker.join()
        size = os.path.getsize(paths[0]) / 2**20
        print(
            f"{options.traces:,} traces x {options.frames} frames, {options.stacks:,} stacks over {options.lines:,} "
            f"lines, {size:.1f} MiB a file; Python {sys.version.split()[0]}, {options.rounds} rounds"
        )
        print(
            f"{'case':12} {'readers':8} {'stdlib CPU':>10} {'leakhunt CPU':>12} {'times less':>10} "
            f"{'peak':>16} {'of stdlib':>9}"
        )
        for case in options.case or CASES:
            for line in measure(case, paths, options.rounds):
                print(line, flush=True)


def measure(case: str, paths: Sequence[str], rounds: int) -> Iterator[str]:
    """Run the programs in turns and yield a line of medians for each way to read."""
    rows = [
        (run(_STANDARD, case, paths), *(run(_OURS, case, paths, **WAYS[way]) for way in ways()))
        for _ in range(rounds)
    ]
    theirs = [row[0] for row in rows]
    for number, way in enumerate(ways(), 1):
        yield f"{case:12} {way:8} {compared(theirs, [row[number] for row in rows])}"


def ways() -> Sequence[str]:
    """Return the ways to read that can be measured here."""
    return [way for way in WAYS if way == "pure" or fast is not None]


def compared(theirs: Sequence[Cost], ours: Sequence[Cost]) -> str:
    """Return the medians of two programs' costs, and of their ratios in each round."""
    median = statistics.median
    faster = median(their.cpu / our.cpu for their, our in zip(theirs, ours))
    smaller = median(our.peak / their.peak for their, our in zip(theirs, ours))
    their_cpu, our_cpu = (median(cost.cpu for cost in costs) for costs in (theirs, ours))
    their_peak, our_peak = (median(cost.peak for cost in costs) for costs in (theirs, ours))
    peaks = f"{their_peak:.0f} -> {our_peak:.0f} MiB"
    return f"{their_cpu:>8.2f} s {our_cpu:>10.2f} s {faster:>9.1f}x {peaks:>16} {smaller:>9.2f}"


def run(code: str, case: str, paths: Sequence[str], **environment: str) -> Cost:
    """Run a program to its end, with some variables set, and return what the system says it took."""
    begun = time.perf_counter()
    command = [sys.executable, "-c", code, case, *paths]
    folder = os.path.dirname(
        paths[0]
    )  # not that of the sources, which would be imported instead of what is installed
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, env={**os.environ, **environment}, cwd=folder
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{case}: exit code {process.returncode}")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return Cost(usage.ru_utime + usage.ru_stime, time.perf_counter() - begun, usage.ru_maxrss / unit)


def make_snapshot(
    path: str, seed: int, traces: int, stacks: int, frames: int, lines: int, *, compact: bool
) -> None:
    """Dump traces whose stacks are random paths over so many lines of 300 files; the stacks do not depend on the seed.

    As in CPython, equal stacks are one object and frames are not shared. Each stack allocates three sizes. The file is
    written by the standard library or, compact, by leakhunt.
    """
    fixed, moving = random.Random(1), random.Random(seed + 2)
    names = [f"/srv/app/pkg{number % 20}/module_{number}.py" for number in range(300)]
    places = [(fixed.choice(names), fixed.randrange(1, 2000)) for _ in range(lines)]
    tracebacks = [tuple(_copy(fixed.choice(places)) for _ in range(frames)) for _ in range(stacks)]
    common = (28, 32, 56, 64, 72, 104, 120, 232, 1024, 4096)
    sizes = [[fixed.choice(common) for _ in range(3)] for _ in range(stacks)]
    rows = []
    for _ in range(traces):
        stack = moving.randrange(stacks)
        rows.append((0, moving.choice(sizes[stack]), tracebacks[stack], frames))
    if compact:
        with open(path, "wb") as file:
            write_traces(file, {}, rows, frames)
    else:
        tracemalloc.Snapshot(rows, frames).dump(path)


def _copy(place: tuple[str, int]) -> tuple[str, int]:
    filename, lineno = place
    return filename, lineno


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=int, default=1_000_000)
    parser.add_argument("--stacks", type=int, default=50_000)
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--lines", type=int, default=6_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compact", action="store_true", help="snapshots as leakhunt writes them")
    parser.add_argument("--case", action="append", choices=CASES)
    return parser.parse_args()


if __name__ == "__main__":
    main()
