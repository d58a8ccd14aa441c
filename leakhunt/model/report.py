"""One neutral report, which every format walks the same way; its cells are raw values to the last moment."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from leakhunt.model.snapshot import Skipped


class Kind(Enum):
    """What a column's values are, and so how they are printed."""

    TEXT = "text"
    COUNT = "count"
    COUNT_DIFF = "count_diff"
    SIZE = "size"
    SIZE_DIFF = "size_diff"
    SHARE = "share"
    RATE = "rate"
    TIME = "time"


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        key: its name in machine-readable formats, the one JSON uses.
        title: its heading for people.
        kind: what its values are; a value may always be None.
    """

    key: str
    title: str
    kind: Kind


@dataclass(frozen=True)
class Line:
    """One row of a table: raw values, and lines of text that belong below the last of them."""

    cells: tuple[Any, ...]
    details: tuple[Detail, ...] = ()


@dataclass(frozen=True)
class Detail:
    """A line below a row.

    Attributes:
        text: the text.
        role: ``code``, ``task``, ``frame``, ``note``, ``next`` (what to do) or ``command`` (to be copied, so not broken).
    """

    text: str
    role: str


@dataclass(frozen=True)
class Table:
    """A table with a column ``place`` of text that holds what a row is about.

    Attributes:
        notes: what the table leaves out.
        prose: whether the places are sentences, and the lines below them too, rather than names in code.
    """

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()
    prose: bool = False


@dataclass(frozen=True)
class Annotation:
    """A remark on a line of source, for systems that show such.

    Attributes:
        level: ``warning`` or ``error``.
    """

    level: str
    filename: str
    lineno: int
    title: str
    message: str


@dataclass(frozen=True)
class Report:
    """What a command has to say.

    Attributes:
        headline: the answer, in one sentence.
        facts: what stands behind it.
        tables: the rows.
        advice: what to do next.
        warnings: what limits the result.
        skipped: what could not be read, and why.
        annotations: remarks on lines of source.
    """

    headline: str
    facts: tuple[str, ...]
    tables: tuple[Table, ...]
    advice: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    annotations: tuple[Annotation, ...] = ()
