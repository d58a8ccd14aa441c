"""A document of the JSON contract as text, on many lines or on one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_STEP = 2
_ON_ONE_LINE = json.JSONEncoder(allow_nan=False)
_ON_MANY = json.JSONEncoder(allow_nan=False, indent=_STEP)


def render(document: Mapping[str, Any]) -> str:
    """Return a document as JSON in ASCII, numbers as numbers."""
    return "".join(pieces(document))


def pieces(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield what ``render`` returns, piece by piece, so that a long document is never held whole.

    Args:
        document: a value in it that is an iterator becomes a list, whose items are asked for one by one.
    """
    before = "{"
    for name, value in document.items():
        yield f"{before}\n{' ' * _STEP}{_ON_ONE_LINE.encode(name)}: "
        if isinstance(value, Iterator):
            yield from _items(value)
        else:
            yield _indented(value, 1)
        before = ","
    yield "{}\n" if before == "{" else "\n}\n"


def line(document: Mapping[str, Any]) -> str:
    """Return a document as JSON on one line, in ASCII."""
    return _ON_ONE_LINE.encode(document) + "\n"


def _items(values: Iterator[Any]) -> Iterator[str]:
    """Yield the pieces of a list in the document."""
    before = "["
    for value in values:
        yield f"{before}\n{' ' * _STEP * 2}{_indented(value, 2)}"
        before = ","
    yield "[]" if before == "[" else f"\n{' ' * _STEP}]"


def _indented(value: object, depth: int) -> str:
    """Return a value as it stands so deep in a document; a newline inside a text is never a newline in JSON."""
    return _ON_MANY.encode(value).replace("\n", "\n" + " " * _STEP * depth)
