"""Snapshots as leakhunt takes them: traces with what the process told beside them."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

from conftest import Blocks, snapshot_of

from leakhunt.model.snapshot import Snapshot

MIB = 1 << 20
APP = "/srv/app/shop"
TASK = "shop.tasks.pricing.quote"
TASKS = {TASK: {"file": f"{APP}/tasks/pricing.py", "first": 10, "last": 20}}
QUOTE = (f"{APP}/tasks/pricing.py", 14)
CACHE = (f"{APP}/cache.py", 14)
BASE: dict[str, Any] = {
    "schema": 1,
    "pid": 4242,
    "host": "worker-1",
    "node": "shop@worker-1",
    "name": "ForkPoolWorker-1",
    "started": 1_795_229_000.0,
    "how": "fork",
    "tracing": {"since": 1_795_229_010.0, "frames": 10, "inherited": "left out"},
    "tasks": TASKS,
}
WHEN = 1_795_230_000.0
HELD = {
    "file": CACHE[0],
    "line": CACHE[1],
    "size": 1,
    "count": 1,
    "sampled": 50,
    "held_by": [
        {
            "name": "shop.cache._seen",
            "type": "list",
            "len": 3812,
            "share": 1.0,
            "chain": ["list (3812 items)", "module global shop.cache._seen"],
        }
    ],
}


def capture(number: int, ran: int, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - plain data of any form
    """Return what a worker tells at its snapshot of a number, five minutes after the one before."""
    return {**BASE, "number": number, "when": WHEN + 300 * number, "executions": {TASK: ran}, **more}


def worker(count: int, told: dict[str, Any], path: str = "now.bin") -> Snapshot:
    """Return a snapshot of a worker whose task left so many blocks of a KiB in a cache."""
    stack = (QUOTE, CACHE)
    rows = [Blocks(stack, 1024 * count, count)] if count else []
    return snapshot_of(Blocks((("/srv/app/main.py", 3),), 5000, 7), *rows, path=path, capture=told)


def dump(path: Path, count: int, told: dict[str, Any], other: int = 0) -> str:
    """Write such a snapshot as a file, with further blocks of no task, and return its name."""
    newest_first = (CACHE, QUOTE)
    traces: list[tuple[Any, ...]] = [(0, 1024, newest_first, 2)] * count
    traces += [(0, 100, (("/srv/app/main.py", 3),), 1)] * (7 + other)
    snapshot = tracemalloc.Snapshot(traces, 10)
    snapshot.leakhunt = told  # type: ignore[attr-defined]
    snapshot.dump(str(path))
    return str(path)
