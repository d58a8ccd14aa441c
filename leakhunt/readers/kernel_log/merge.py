"""Kills seen more than once, in one source or in several, told once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from leakhunt.model.oom import OomKill

_SAME_BOOT_S = 30.0
_SAME_TIME_S = 90.0
_MOST_EVIDENCE = 80


def merge(kills: Iterable[OomKill]) -> tuple[OomKill, ...]:
    """Return each kill once, in the order of the first sighting, with the evidence of all.

    The same pid, name and sizes are the same kill where host, boot and time allow it; a quotation may be of any time.
    """
    found: list[OomKill] = []
    places: dict[tuple[object, ...], list[int]] = {}
    for kill in kills:
        key = (kill.pid, kill.comm, kill.total_vm, kill.anon_rss, kill.file_rss)
        same = places.setdefault(key, [])
        for place in same:
            if may_be_same(found[place], kill):
                found[place] = _joined(found[place], kill)
                break
        else:
            same.append(len(found))
            found.append(kill)
    return tuple(found)


def may_be_same(one: OomKill, other: OomKill) -> bool:
    """Tell whether nothing speaks against two kills of the same process and sizes being one."""
    for left, right in ((one.host, other.host), (one.boot, other.boot)):
        if left and right and left != right:
            return False
    if one.quoted or other.quoted:
        return one.anon_rss is not None
    one_source = {item.source for item in one.evidence} & {item.source for item in other.evidence}
    if one_source and one.boot_number != other.boot_number:
        return False
    if one.monotonic is not None and other.monotonic is not None:
        return abs(one.monotonic - other.monotonic) <= _SAME_BOOT_S
    if one.when is not None and other.when is not None:
        doubt = (one.uncertainty_s or 0.0) + (other.uncertainty_s or 0.0)
        return abs((one.when - other.when).total_seconds()) <= max(_SAME_TIME_S, doubt)
    return one.anon_rss is not None


def _joined(one: OomKill, other: OomKill) -> OomKill:
    """Keep the fuller report, and fill its gaps from the other."""
    worth = [(not kill.quoted, kill.complete, -len(kill.missing), bool(kill.tasks)) for kill in (one, other)]
    best, rest = (other, one) if worth[1] > worth[0] else (one, other)
    timed = best if best.when is not None else rest
    evidence = tuple(dict.fromkeys((*one.evidence, *other.evidence)))
    return replace(
        best,
        when=timed.when,
        uncertainty_s=timed.uncertainty_s,
        monotonic=best.monotonic if best.monotonic is not None else rest.monotonic,
        boot=best.boot or rest.boot,
        host=best.host or rest.host,
        cgroup=best.cgroup or rest.cgroup,
        memory=best.memory or rest.memory,
        invoker=best.invoker or rest.invoker,
        selected=best.selected or rest.selected,
        kernel=best.kernel or rest.kernel,
        group=best.group or rest.group,
        tasks=best.tasks or rest.tasks,
        evidence=evidence[:_MOST_EVIDENCE],
        copies=one.copies + other.copies,
    )
