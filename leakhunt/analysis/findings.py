"""Rows that are one finding: growth of one task that one thing holds, however many lines allocate it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from leakhunt.model.capture import Holder
from leakhunt.model.statistics import (
    GROWTH,
    LEAK,
    SUSPECT,
    Finding,
    Statistic,
    StatisticDiff,
    is_mostly_freeable,
)

_MOST = 0.5  # of the sampled objects, for a holder to be the holder
_IN_FRAMES = (".tb.", ".tb_", ".__traceback__", ".f_")
_RANKS = {GROWTH: 0, SUSPECT: 1, LEAK: 2}


def joined(holders: Sequence[Holder]) -> tuple[Holder, ...]:
    """Join holders that are one by what people read: the same name, or locals below one frame's variable.

    The way from a local variable through a traceback and its frames is cut: it is the interpreter's, not the program's.
    """
    found: dict[str, Holder] = {}
    for one in holders:
        name = _root(one.name)
        cut = replace(one, name=name, kind=None, length=None) if name != one.name else one
        old = found.get(name)
        if old is None:
            found[name] = cut
            continue
        share = None if old.share is None or cut.share is None else min(round(old.share + cut.share, 3), 1.0)
        found[name] = replace(
            old,
            share=share,
            kind=old.kind if old.kind == cut.kind else None,
            length=old.length if old.length == cut.length else None,
        )
    return tuple(sorted(found.values(), key=lambda one: -(one.share or 0.0)))


def _root(name: str) -> str:
    """Return the name of a local variable without the way through frames that lie behind it."""
    if not name.startswith("local "):
        return name
    end = name.find(")") + 1
    below = name[end:] if end else ""
    return name[:end] if below.startswith(_IN_FRAMES) else name


def holder_of(row: Statistic) -> Holder | None:
    """Return who holds at least half of what a row's sample was of, or None."""
    holders = joined(row.held_by or ())
    return holders[0] if holders and (holders[0].share is None or holders[0].share >= _MOST) else None


def in_one_word(rows: Sequence[StatisticDiff]) -> tuple[StatisticDiff, ...]:
    """Give rows of one finding one verdict, the strongest of them; what did not grow steadily keeps its own."""
    strongest: dict[tuple[str, str | None], int] = {}
    for row in rows:
        key = _key(row)
        if key is not None:
            strongest[key] = max(strongest.get(key, 0), _RANKS[row.verdict or GROWTH])
    words = {rank: word for word, rank in _RANKS.items()}
    return tuple(
        replace(row, verdict=words[strongest[key]])
        if (key := _key(row)) is not None and (len(row.series) == 2 or row.verdict != GROWTH)
        else row
        for row in rows
    )


def finding(rows: Sequence[StatisticDiff], *, summed: bool) -> Finding | None:
    """Return what the first row is part of: all that its task grew and that is held by the same.

    Args:
        rows: the sites, best first.
        summed: whether rows may be added up, as they hold each block once.
    """
    first = rows[0] if rows else None
    if first is None or first.size_diff <= 0 or first.share is None:
        return None
    key = _key(first)
    parts = [row for row in rows if key is not None and _key(row) == key] if summed else []
    divided = first.per_execution is not None
    parts = [row for row in parts if (row.per_execution is not None) is divided] or [first]
    each = [row.per_execution.size for row in parts if row.per_execution is not None]
    return Finding(
        lines=len(parts),
        size_diff=sum(row.size_diff for row in parts),
        share=min(sum(row.share or 0.0 for row in parts), 1.0),
        holder=holder_of(first),
        size_per_execution=sum(each) if each else None,
        freeable=is_mostly_freeable(first.size_diff, first.freeable),
    )


def _key(row: StatisticDiff) -> tuple[str, str | None] | None:
    """Return task and holder of a row that grew and is not mostly garbage; None where it has no task."""
    if row.task is None or row.size_diff <= 0 or is_mostly_freeable(row.size_diff, row.freeable):
        return None
    held = holder_of(row)
    return row.task.task.name, held.name if held else None
