"""What a snapshot's child takes, against what is reckoned with before it is forked.

    python tests/benchmarks/headroom.py [--blocks 1000000] [--frames 0 1 10] [--light]

For each kind of heap, untraced and traced, in a process of its own: its anonymous memory, what the child has to itself
at its peak, by how many bytes its address space grows for each block of Python's allocator, and the estimate.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable

from capture import MIB, allocate, private

from leakhunt.capture import procfs
from leakhunt.capture.facts.identity import Identity
from leakhunt.capture.folder import Folder
from leakhunt.capture.letters import SnapshotRequest
from leakhunt.capture.settings import Settings
from leakhunt.capture.snapshots import headroom, snapshot
from leakhunt.capture.taker import Taker
from leakhunt.capture.tracing import Tracing


def rows(blocks: int, _frames: int) -> object:
    """Return rows as an ORM has them: seven blocks each, of which two are containers."""
    return [
        {"id": number, "name": f"item {number}", "price": number / 7, "tags": ["a", number]}
        for number in range(blocks // 5)
    ]


def buffers(blocks: int, frames: int) -> object:
    """Return objects with a buffer each, from many stacks; with their buffers they are no Python blocks alone."""
    return allocate(blocks, min(50_000, blocks // 20), max(1, frames))


def containers(blocks: int, _frames: int) -> object:
    """Return nothing but empty containers: no heap has more objects by its size."""
    return [{} for _ in range(blocks)]


def texts(blocks: int, _frames: int) -> object:
    """Return texts, which the collector of garbage does not know."""
    return {number: f"{number}" * 3 for number in range(blocks // 2)}


KINDS: dict[str, Callable[[int, int], object]] = {
    "rows of an ORM": rows,
    "buffers": buffers,
    "empty dicts": containers,
    "texts": texts,
}
KEPT: list[object] = []  # a variable of a function that runs is not found by way of the collector


def main() -> None:
    """Measure each kind in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--blocks", type=int, default=1_000_000)
    parser.add_argument("--frames", type=int, nargs="+", default=[0, 1, 10])
    parser.add_argument("--light", action="store_true", help="do not look at all objects")
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, MiB")
    print(
        f"{'heap':16}{'frames':>7}{'anonymous':>11}{'child':>8}{'estimate':>10}{'grown/block':>13}{'seconds':>9}"
    )
    spawn = multiprocessing.get_context("spawn")
    for kind in KINDS:
        for frames in options.frames:
            process = spawn.Process(target=measure, args=(kind, options.blocks, frames, not options.light))
            process.start()
            process.join()


def measure(kind: str, blocks: int, frames: int, deep: bool) -> None:
    """Take one snapshot of a process with such a heap, and print what its child took."""
    tracing = Tracing()
    if frames:
        tracing.start(frames)
    KEPT.append(KINDS[kind](blocks, frames))
    gc.enable()
    with tempfile.TemporaryDirectory() as place:
        folder = Folder.open(place)
        taker = Taker(
            folder.sub("snapshots"),
            Settings(),
            Identity.here(),
            tracing=tracing,
            executions={},
            tasks=dict,
            place=lambda: folder.path,
        )
        need, size, count = headroom.need(), mapped("self"), sys.getallocatedblocks()
        request = SnapshotRequest(deep=deep, retainers=deep, trim=False, force=True, timeout=600.0)
        outcome = taker.take("asked", request, (folder, "answer.json"))
        own = most = 0
        while snapshot.is_writing():
            own, most = max(own, private(outcome.pid)), max(most, mapped(outcome.pid))
            time.sleep(0.02)
        told = json.loads(folder.read("answer.json"))
    if not told["ok"] or told["left_out"]:
        raise SystemExit(f"{kind}: {told}")
    estimate = need.deep if deep else need.light
    print(
        f"{kind:16}{frames:>7}{need.copied_deep / MIB:>11.0f}{own / MIB:>8.0f}{estimate / MIB:>10.0f}"
        f"{max(0, most - size) / count:>13.0f}{told['took']:>9.1f}",
        flush=True,
    )


def mapped(process: int | str | None) -> int:
    """Return the most that the address space of a process had, in bytes; 0 where that cannot be read."""
    return procfs.kilobytes(procfs.fields(procfs.read(f"/proc/{process}/status")), "VmPeak") or 0


if __name__ == "__main__":
    main()
