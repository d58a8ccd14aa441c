"""What leakhunt's own snapshots hold beside the rows, as tables: types, garbage, what the process had open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from leakhunt.model.capture import Capture
from leakhunt.model.report import Column, Kind, Line, Table
from leakhunt.present.snapshots_places import Places
from leakhunt.units import count_of

_MOST = 10
_SITES = (Column("size", "size", Kind.SIZE), Column("count", "objects", Kind.COUNT))


def of_growth(first: Capture, last: Capture) -> Iterator[Table]:
    """Yield the types whose objects became more."""
    before = {one.name: one for one in first.types}
    grown = []
    for one in last.types:
        old = before.get(one.name)
        # A type that was not listed before had fewer bytes than those that were: how many more is not known.
        if old is not None and one.count > old.count:
            size = None if one.size is None or old.size is None else one.size - old.size
            grown.append((size, one.count - old.count, one.count, one.name))
    grown.sort(key=lambda row: (-(row[0] or 0), -row[1], row[3]))
    columns = (
        Column("size_diff", "growth", Kind.SIZE_DIFF),
        Column("count_diff", "objects", Kind.COUNT_DIFF),
        Column("count", "now", Kind.COUNT),
        Column("place", "type", Kind.TEXT),
    )
    yield from _table(columns, grown, "type")


def of_types(told: Capture) -> Iterator[Table]:
    """Yield the types with most bytes."""
    rows = [(one.size, one.count, one.name) for one in told.types]
    yield from _table((*_SITES, Column("place", "type", Kind.TEXT)), rows, "type")


def of_garbage(told: Capture, places: Places) -> Iterator[Table]:
    """Yield where the objects were allocated that only a collection frees."""
    sites = told.garbage.sites if told.garbage else ()
    rows = [(site.size, site.count, places.frame(site.frame)) for site in sites]
    yield from _table((*_SITES, Column("place", "garbage allocated at", Kind.TEXT)), rows, "line")


def of_process(told: Capture) -> Iterator[str]:
    """Yield what the process had open, and how its collector stood."""
    if told.files is not None:
        yield f"{count_of(told.files, 'open file')}{_named(told.open_files)}."
    if told.connections:
        peers = sorted(told.connections.items(), key=lambda item: (-item[1], item[0]))
        named = tuple(f"{peer} ({count:,})" for peer, count in peers)
        yield f"{count_of(sum(told.connections.values()), 'connection')}{_named(named)}."
    if told.threads:
        yield f"{count_of(len(told.threads), 'thread')}{_named(told.threads)}."
    if told.gc_enabled is False:
        yield "The garbage collector is off."
    if told.uncollectable:
        yield f"{count_of(told.uncollectable, 'object')} that the garbage collector cannot free."


def _named(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _MOST:,} more" if len(names) > _MOST else ""
    return f": {', '.join(names[:_MOST])}{more}" if names else ""


def _table(columns: tuple[Column, ...], rows: list[tuple[Any, ...]], noun: str) -> Iterator[Table]:
    if rows:
        omitted = len(rows) - _MOST
        notes = (f"{count_of(omitted, f'more {noun}')}.",) if omitted > 0 else ()
        yield Table(columns, tuple(Line(row) for row in rows[:_MOST]), notes)
