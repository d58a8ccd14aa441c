"""What a snapshot costs its worker, against the standard library's in the same process, in turn; and what tracing costs.

    python tests/benchmarks/capture.py [--blocks 1000000] [--stacks 50000] [--frames 10] [--rounds 5] [--case pause]

``pause``: a worker with so many live blocks stands still for ``take_snapshot()`` and ``dump()``, or for ours: when its
own thread asks, and when another thread asks while it computes (the longest gap between two steps, above what it has
without). Then the files' sizes, how long ``Snapshot.load`` takes for each, and what the child has to itself.

``tracing``: a mix of tasks, untraced and with more and more frames. The median of the rounds' ratios is what counts;
single times depend on the machine and the moment.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import random
import re
import statistics
import sys
import tempfile
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from leakhunt.capture.folder import Folder
from leakhunt.capture.snapshots import snapshot

FRAMES = (1, 5, 10, 25)
MIB = 1 << 20


class Round(NamedTuple):
    """Seconds and bytes of one round.

    Attributes:
        standard: the pause of ``take_snapshot()`` and ``dump()``.
        asked: the pause of ours, when the worker's own thread asks.
        beside: the same, when another thread asks.
        child: how long the child worked.
        own: what the child had to itself at its peak, in bytes.
        loads: ``Snapshot.load`` of the standard library's file, and of ours.
        sizes: of both files.
    """

    standard: float
    asked: float
    beside: float
    child: float
    own: int
    loads: tuple[float, float]
    sizes: tuple[int, int]


def main() -> None:
    """Run what is asked for, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--blocks", type=int, default=1_000_000)
    parser.add_argument("--stacks", type=int, default=50_000)
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case", action="append", choices=("pause", "tracing"))
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    for case in options.case or ("pause", "tracing"):
        arguments = (
            (options.blocks, options.stacks, options.frames, options.rounds)
            if case == "pause"
            else (options.rounds,)
        )
        process = spawn.Process(target=pause if case == "pause" else tracing, args=arguments)
        process.start()
        process.join()


def pause(blocks: int, stacks: int, frames: int, rounds: int) -> None:
    """Measure snapshots of a process with so many blocks, and print the medians."""
    tracemalloc.start(frames)
    kept = allocate(blocks, stacks, frames)
    with tempfile.TemporaryDirectory() as place:
        folder = Folder.open(place)
        take(folder, 0)  # what is loaded once is loaded
        found = [one_round(folder, number) for number in range(1, rounds + 1)]
    count = len(tracemalloc.take_snapshot().traces)
    print(
        f"{count:,} traced blocks of {stacks:,} stacks x {frames} frames; Python {sys.version.split()[0]}, {rounds} rounds"
    )
    lines = (
        ("pause, its own thread asks", [each.standard for each in found], [each.asked for each in found]),
        ("pause, another thread asks", [each.standard for each in found], [each.beside for each in found]),
        ("Snapshot.load of the file", [each.loads[0] for each in found], [each.loads[1] for each in found]),
    )
    print(f"{'':28} {'stdlib':>10} {'leakhunt':>10} {'times less':>10}")
    for what, theirs, ours in lines:
        median = statistics.median(their / our for their, our in zip(theirs, ours))
        print(
            f"{what:28} {statistics.median(theirs) * 1e3:>7.0f} ms {statistics.median(ours) * 1e3:>7.0f} ms {median:>9.1f}x"
        )
    sizes = [statistics.median(each.sizes[side] for each in found) for side in (0, 1)]
    print(
        f"{'size of the file':28} {sizes[0] / MIB:>6.1f} MiB {sizes[1] / MIB:>6.1f} MiB {sizes[0] / sizes[1]:>9.1f}x"
    )
    child = statistics.median(each.child for each in found)
    own = max(each.own for each in found)
    print(
        f"the child works for {child:.2f} s and has {own / MIB:.0f} MiB to itself, {own / count:.0f} bytes a block"
    )
    del kept


def one_round(folder: Folder, number: int) -> Round:
    """Take a snapshot in each way."""
    theirs = os.path.join(folder.path, "theirs.bin")
    begun = time.perf_counter()
    tracemalloc.take_snapshot().dump(theirs)
    standard = time.perf_counter() - begun
    path, asked, child, own = take(folder, number)
    beside = gap(lambda: None)
    beside = max(gap(lambda: take(folder, number)) - beside, 1e-6)
    loads = (load(theirs), load(path))
    return Round(standard, asked, beside, child, own, loads, (os.path.getsize(theirs), os.path.getsize(path)))


def take(folder: Folder, number: int) -> tuple[str, float, float, int]:
    """Take one of ours; returns its path, the pause, the child's time and memory."""
    begun = time.perf_counter()
    request = snapshot.Request("api", answer=(folder, "answer.json"))
    outcome = snapshot.capture(
        folder, request, lambda _deep: {}, number=number, shelf=snapshot.Shelf(2, 1 << 30, 1 << 32)
    )
    own = 0
    while snapshot.is_writing():
        own = max(own, private(outcome.pid))
        time.sleep(0.05)
    told = json.loads(folder.read("answer.json"))
    if not told["ok"]:
        raise SystemExit(f"no snapshot: {told['why']}")
    return told["path"], outcome.pause, time.perf_counter() - begun - outcome.pause, own


def private(pid: int | None) -> int:
    """Return what a process shares with no other, in bytes; 0 where that cannot be read."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            return sum(int(line.split()[1]) << 10 for line in file if line.startswith("Private_"))
    except (OSError, ValueError):
        return 0


def gap(work: Callable[[], object]) -> float:
    """Return the longest time that this thread stood still while another one did some work."""
    other = threading.Thread(target=work)
    longest = 0.0
    before = time.perf_counter()
    other.start()
    end = before + 0.3
    while before < end or other.is_alive():
        now = time.perf_counter()
        longest = max(longest, now - before)
        before = now
    other.join()
    return longest


def load(path: str) -> float:
    """Return how long the standard library takes to load a file, untraced, in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    seconds = spawn.Value("d")
    process = spawn.Process(target=timed_load, args=(path, seconds))
    process.start()
    process.join()
    return float(seconds.value)


def timed_load(path: str, seconds: Any) -> None:  # noqa: ANN401 - multiprocessing names no public type for it
    """Load a file and say how long it took."""
    begun = time.perf_counter()
    tracemalloc.Snapshot.load(path)
    seconds.value = time.perf_counter() - begun


def allocate(blocks: int, stacks: int, frames: int) -> list[Any]:
    """Return blocks that random paths through 300 functions of 300 files allocated, two blocks for each object."""
    chance = random.Random(1)
    code = "def step(path, sizes):\n    return path[0](path[1:], sizes) if path else [bytearray(size) for size in sizes]"
    functions = []
    for number in range(300):
        names: dict[str, Any] = {}
        lines = "\n" * chance.randrange(500)
        exec(compile(lines + code, f"/srv/app/pkg{number % 20}/module_{number}.py", "exec"), names)  # noqa: S102 - ours
        functions.append(names["step"])
    each = max(1, blocks // stacks // 2)
    common = (64, 104, 232, 1024)
    gc.disable()
    return [
        functions[chance.randrange(300)](
            chance.choices(functions, k=frames), [chance.choice(common) for _ in range(each)]
        )
        for _ in range(stacks)
    ]


def tracing(rounds: int) -> None:
    """Measure each task untraced and traced, in turns, and print the medians of the ratios."""
    print(f"times slower while traced; Python {sys.version.split()[0]}, {rounds} rounds")
    print(f"{'task':32}" + "".join(f"{frames:>6} frames" for frames in FRAMES))
    ratios: dict[str, list[list[float]]] = {}
    for name, task in TASKS.items():
        rows = [[seconds(task, frames) for frames in (0, *FRAMES)] for _ in range(rounds)]
        ratios[name] = [[row[at] / row[0] for row in rows] for at in range(1, len(FRAMES) + 1)]
        print(line_of(name, [statistics.median(column) for column in ratios[name]]), flush=True)
    mixed = [
        statistics.geometric_mean(statistics.median(columns[at]) for columns in ratios.values())
        for at in range(len(FRAMES))
    ]
    print(line_of("the mix (geometric mean)", mixed))


def line_of(name: str, factors: Sequence[float]) -> str:
    """Return a row of the table."""
    return f"{name:32}" + "".join(f"{factor:>12.2f}x" for factor in factors)


def seconds(task: Callable[[], object], frames: int) -> float:
    """Return how long a task takes with so many frames traced."""
    if frames:
        tracemalloc.start(frames)
    try:
        begun = time.perf_counter()
        deep(task, 20)
        return time.perf_counter() - begun
    finally:
        tracemalloc.stop()


def deep(task: Callable[[], object], depth: int) -> object:
    """Call a task as deep in the stack as a worker's frameworks do."""
    return deep(task, depth - 1) if depth else task()


def objects() -> object:
    """Build rows as an ORM does: many small objects that live until the end."""
    return [
        {"id": number, "name": f"item {number}", "price": number / 7, "tags": ["a", "b"]}
        for number in range(40_000)
    ]


def parsing() -> object:
    """Read and write JSON."""
    text = json.dumps(
        [{"id": number, "name": f"item {number}", "values": [number] * 5} for number in range(2_000)]
    )
    return [json.dumps(json.loads(text)) for _ in range(10)]


def words() -> object:
    """Take text apart."""
    text = "the quick brown fox jumps over the lazy dog " * 2_000
    return [len(re.findall(r"\b\w+\b", text)) + len(text.upper().split()) for _ in range(10)]


def sums() -> object:
    """Compute in Python, with numbers that are gone at once."""
    return sum(number * number % 7 for number in range(600_000))


def packing() -> object:
    """Let C work on large buffers."""
    return [len(zlib.compress(os.urandom(1 << 18) * 2, 6)) for _ in range(10)]


TASKS: dict[str, Callable[[], object]] = {
    "rows of an ORM, kept": objects,
    "JSON": parsing,
    "text": words,
    "arithmetic": sums,
    "compression": packing,
}

if __name__ == "__main__":
    main()
