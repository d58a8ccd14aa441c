"""The compiled part of the readers, where it was built.

Without it everything works the same, slower. ``LEAKHUNT_PURE=1`` in the environment does without it.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType


def _load() -> ModuleType | None:
    if os.environ.get("LEAKHUNT_PURE", "0") not in ("", "0"):
        return None
    try:
        return importlib.import_module("leakhunt.readers._fast")
    except ImportError:
        return None


fast = _load()
"""The module ``leakhunt.readers._fast``, or None."""
