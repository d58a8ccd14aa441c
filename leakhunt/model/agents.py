"""Processes that can be asked for snapshots, and how they are going."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class AskedProcess:
    """A process with leakhunt's agent, as it answered.

    Attributes:
        pid: its number as seen from here.
        role: ``main`` or ``child`` of a Celery worker, else ``process``.
        pool: Celery's pool, such as ``prefork``.
        node: Celery's node, such as ``celery@web-1``.
        name: the process's name, such as ``ForkPoolWorker-1``.
        tracing: whether allocations are traced; of who is silent, whether they were when it last wrote that down.
        frames: how many frames of each; 0 while not traced.
        until: when tracing stops by itself, in UTC; None if it does not or is not known.
        executions: how often each task ran; empty where no tasks run, and of who is silent.
        rss: bytes; None where unknown.
        traced: bytes in traced blocks; None where unknown.
        snapshots: how many of its snapshots are kept; None where that may not be seen.
        refused: why its last snapshot was refused; empty where it was not.
        silent: why it does not answer; empty where it does.
    """

    pid: int
    role: str
    pool: str | None
    node: str | None
    name: str | None
    tracing: bool
    frames: int
    until: datetime | None = None
    executions: Mapping[str, int] = field(default_factory=dict)
    rss: int | None = None
    traced: int | None = None
    snapshots: int | None = None
    refused: str = ""
    silent: str = ""

    @property
    def ran(self) -> int | None:
        """How many tasks ran; None where it does not say."""
        return None if self.silent else sum(self.executions.values())
