"""Flight records made by hand: lines as the recorder writes them, and the folders they are in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

BOOT = "3a5e1f2a-1c53-4f99-a3ce-7418902c49be"
FIRST_NAMESPACE = 0xEFFFFFFC
BEGAN = 1_795_000_000.0
RSS = 40 << 20


def process(pid: object = 4242, **known: object) -> dict[str, Any]:
    """Return a first line."""
    return {
        "e": "process", "v": 1, "t": BEGAN, "pid": pid, "pids": [pid], "pid_ns": FIRST_NAMESPACE, "ppid": 4000,
        "start": 5000, "host": "worker-1", "boot": BOOT, "role": "child", "pool": "prefork", "node": "celery@shop-1",
        "name": "ForkPoolWorker-1", **known,
    }  # fmt: skip


def start(task: str, task_id: str, t: float, rss: int | None = RSS, **known: object) -> dict[str, Any]:
    """Return the line of a task that begins."""
    return {
        "e": "start",
        "t": t,
        "id": task_id,
        "task": task,
        "queue": "default",
        "retries": 0,
        "rss": rss,
        **known,
    }


def end(
    task: str,
    task_id: str,
    t: float,
    rss: int | None = RSS,
    peak: int | None = None,
    *,
    state: str = "SUCCESS",
) -> dict[str, Any]:
    """Return the line of a task that ends."""
    return {"e": "end", "t": t, "id": task_id, "task": task, "state": state, "rss": rss, "peak": peak}


def executions(
    work: Iterable[tuple[str, int]], *, peak: int = 0, rss: int = RSS, began: float = BEGAN
) -> list[dict[str, Any]]:
    """Return the lines of tasks that run one after another, each with the bytes that RSS grew by."""
    lines = []
    for number, (task, grown) in enumerate(work):
        t = began + 1 + number
        lines.append(start(task, f"{task}-{number}", t, rss))
        lines.append(end(task, f"{task}-{number}", t + 0.5, rss + grown, rss + max(grown, peak)))
        rss += grown
    return lines


def written(path: Path, lines: Sequence[dict[str, Any]]) -> Path:
    """Write a record and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines), encoding="utf-8"
    )
    return path
