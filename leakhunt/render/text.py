"""Cells as text, and hostile text made harmless."""

from __future__ import annotations

import unicodedata
from typing import Any, Callable

from leakhunt.model.report import Kind
from leakhunt.moments import format_moment
from leakhunt.units import (
    format_count,
    format_count_diff,
    format_rate,
    format_share,
    format_size,
    format_size_diff,
)

_PRINTERS: dict[Kind, Callable[[Any], str]] = {
    Kind.TEXT: str,
    Kind.COUNT: format_count,
    Kind.COUNT_DIFF: format_count_diff,
    Kind.SIZE: format_size,
    Kind.SIZE_DIFF: format_size_diff,
    Kind.SHARE: format_share,
    Kind.RATE: format_rate,
    Kind.TIME: format_moment,
}
# Control, format (bidirectional overrides among them), surrogate, private and unassigned characters; line separators.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def plain(text: str) -> str:
    """Return text without anything that a terminal or a page would obey: such characters show as escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in _UNSAFE
        else character
        for character in text
    )


def cell(kind: Kind, value: Any) -> str:  # noqa: ANN401 - a cell's type is its column's kind
    """Print a raw value for people; an unknown one is empty."""
    return "" if value is None else plain(_PRINTERS[kind](value))


def is_command(advice: str) -> bool:
    """Tell whether a piece of advice is nothing but a command, to be shown as such and in one piece."""
    return advice.startswith("leakhunt diff ")
