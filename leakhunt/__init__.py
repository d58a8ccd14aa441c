"""leakhunt: memory-leak forensics for long-lived Python workers. The names below are the stable Python API."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from leakhunt.version import __version__

if TYPE_CHECKING:
    from leakhunt.api import diff, load, top
    from leakhunt.errors import LeakhuntError
    from leakhunt.model.snapshot import Frame, Snapshot
    from leakhunt.model.statistics import DiffResult, Statistic, StatisticDiff, TopResult

__all__ = [
    "DiffResult",
    "Frame",
    "LeakhuntError",
    "Snapshot",
    "Statistic",
    "StatisticDiff",
    "TopResult",
    "__version__",
    "diff",
    "load",
    "top",
]

_HOMES = {
    "leakhunt.api": ("diff", "load", "top"),
    "leakhunt.errors": ("LeakhuntError",),
    "leakhunt.model.snapshot": ("Frame", "Snapshot"),
    "leakhunt.model.statistics": ("DiffResult", "Statistic", "StatisticDiff", "TopResult"),
}


def __getattr__(name: str) -> object:
    """Import a name of the API when it is first used, so that ``leakhunt --version`` answers in a blink."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'leakhunt' has no attribute {name!r}")
