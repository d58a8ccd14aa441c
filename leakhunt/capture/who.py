"""What a process is in its program."""

from __future__ import annotations

from typing import NamedTuple


class Who(NamedTuple):
    """What a process is in its program.

    Attributes:
        role: ``main`` or ``child`` of a Celery worker, else ``process``.
        pool: Celery's pool.
        node: Celery's node.
        name: the process's name.
    """

    role: str = "process"
    pool: str | None = None
    node: str | None = None
    name: str | None = None

    @property
    def works(self) -> bool:
        """Whether the program's work is done in it: the parent of a pool of processes does none."""
        return not (self.role == "main" and self.pool == "prefork")

    @property
    def shared(self) -> bool:
        """Whether several tasks run in it at once, so that its memory is no single task's."""
        return self.pool in {"threads", "gevent", "eventlet"}
