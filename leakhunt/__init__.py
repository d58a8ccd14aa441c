"""leakhunt: memory-leak forensics for long-lived Python workers. The names below are the stable Python API."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from leakhunt.version import __version__

if TYPE_CHECKING:
    from leakhunt.api.oom import oom_scan
    from leakhunt.api.snapshots import diff, load, top
    from leakhunt.api.tasks import tasks
    from leakhunt.errors import LeakhuntError
    from leakhunt.model.oom import OomKill
    from leakhunt.model.record import TasksResult
    from leakhunt.model.snapshot import Frame, Snapshot
    from leakhunt.model.statistics import DiffResult, Statistic, StatisticDiff, TopResult
    from leakhunt.model.verdict import OomResult

__all__ = [
    "DiffResult",
    "Frame",
    "LeakhuntError",
    "OomKill",
    "OomResult",
    "Snapshot",
    "Statistic",
    "StatisticDiff",
    "TasksResult",
    "TopResult",
    "__version__",
    "diff",
    "load",
    "oom_scan",
    "tasks",
    "top",
]

_HOMES = {
    "leakhunt.api.oom": ("oom_scan",),
    "leakhunt.api.snapshots": ("diff", "load", "top"),
    "leakhunt.api.tasks": ("tasks",),
    "leakhunt.errors": ("LeakhuntError",),
    "leakhunt.model.oom": ("OomKill",),
    "leakhunt.model.record": ("TasksResult",),
    "leakhunt.model.snapshot": ("Frame", "Snapshot"),
    "leakhunt.model.statistics": ("DiffResult", "Statistic", "StatisticDiff", "TopResult"),
    "leakhunt.model.verdict": ("OomResult",),
}


def __getattr__(name: str) -> object:
    """Import a name of the API when it is first used, so that ``leakhunt --version`` answers in a blink."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'leakhunt' has no attribute {name!r}")
