"""A document of the JSON contract as text, on many lines or on one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def render(document: Mapping[str, Any]) -> str:
    """Return a document as JSON in ASCII, numbers as numbers."""
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def line(document: Mapping[str, Any]) -> str:
    """Return a document as JSON on one line, in ASCII."""
    return json.dumps(document, allow_nan=False) + "\n"
