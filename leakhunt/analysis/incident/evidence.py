"""The lines that tell of a kill, as many as are kept."""

from __future__ import annotations

from collections.abc import Sequence

from leakhunt.model.evidence import Evidence

_MOST = 80


def with_more(lines: Sequence[Evidence], more: Sequence[Evidence]) -> tuple[Evidence, ...]:
    """Add what other sources say; a long report makes room for it, and keeps its end, the kill line."""
    found = tuple(dict.fromkeys((*lines, *more)))
    if len(found) <= _MOST:
        return found
    own, more = lines, [line for line in dict.fromkeys(more) if line not in set(lines)][: _MOST // 2]
    room = _MOST - len(more)
    return (*own[: room // 2], *own[len(own) - (room - room // 2) :], *more)
