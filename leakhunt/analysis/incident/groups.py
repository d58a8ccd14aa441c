"""Kills of the same owner: how often, how regularly, and whether they hold more each time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import combinations
from statistics import median

from leakhunt.analysis.incident.places import in_container, place_of
from leakhunt.model.evidence import Place
from leakhunt.model.oom import OomKill
from leakhunt.model.verdict import KillGroup
from leakhunt.moments import NEVER

GROWING, FLAT, UNSTEADY = "growing", "flat", "unsteady"
_FLAT = 0.1  # of the largest
_REGULAR = 0.35  # the middle half of the pauses lies within this part of their median
_ALIKE = 2.0  # of a few pauses, the longest is at most so many times the shortest
_STORM_S = 5.0
_MOST_PAIRED = 200  # sizes that slopes are taken of; all pairs of more cost too much


def group(kills: Sequence[OomKill]) -> tuple[KillGroup, ...]:
    """Gather kills by their owner and rank: repeated ones first, then by how many and how large."""
    owners: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for at, kill in enumerate(kills):
        owners[_owner(kill)].append(at)
    groups = [_group(kind, name, members, kills) for (kind, name, _), members in owners.items()]
    groups.sort(key=lambda one: (-one.bursts, -one.kills, -max(one.sizes, default=0), one.name))
    return tuple(replace(one, rank=rank) for rank, one in enumerate(groups, 1))


def owner_name(kill: OomKill) -> tuple[str, str]:
    """Return the kind and the name of whose process it was, as people call it."""
    return _owner_at(kill, place_of(kill))


def _owner_at(kill: OomKill, place: Place) -> tuple[str, str]:
    if place.pod or place.pod_uid:
        pod = place.pod or place.pod_uid or ""
        return "pod", f"{pod} ({place.container})" if place.container else pod
    if place.container or place.container_id:
        return "container", place.container or (place.container_id or "")[:12]
    if place.unit and not place.unit.endswith((".slice", ".scope")):
        return "unit", place.unit
    if kill.cgroup is not None and kill.scope == "memcg" and kill.cgroup.limited not in {None, "/"}:
        return "cgroup", kill.cgroup.limited or ""
    if kill.worker is not None and kill.worker.node:
        return "node", kill.worker.node
    return "comm", kill.comm or _program(kill) or "unknown"


def _program(kill: OomKill) -> str | None:
    """Return what a worker is called; a shell tells of its children."""
    worker = kill.worker
    if worker is None:
        return None
    return worker.name if worker.program == "shell" else worker.program


def _owner(kill: OomKill) -> tuple[str, str, str]:
    """Return what kills must share to be of one group: the owner, and outside containers the host."""
    place = place_of(kill)
    kind, name = _owner_at(kill, place)
    return kind, name, "" if in_container(place) or kind == "node" else place.host or ""


def _group(kind: str, name: str, members: Sequence[int], kills: Sequence[OomKill]) -> KillGroup:
    members = sorted(members, key=lambda at: (kills[at].when or NEVER, at))
    bursts = bursts_of([kills[at] for at in members])
    sizes: list[tuple[datetime | None, int]] = []
    tasks: Counter[str] = Counter()
    for burst in bursts:
        held = [kill.anon_rss for kill in burst if kill.anon_rss is not None]
        if held:
            sizes.append((burst[0].when, max(held)))
        tasks.update({kill.task.name for kill in burst if kill.task is not None and kill.task.name})
    times = [burst[0].when for burst in bursts if burst[0].when is not None]
    pauses = [(after - before).total_seconds() for before, after in zip(times, times[1:])]
    limits = {memory.limit for memory in (kills[at].memory for at in members) if memory is not None}
    dated = [kills[at].when for at in members if kills[at].when is not None]
    return KillGroup(
        rank=0,
        kind=kind,
        name=name,
        kills=len(members),
        bursts=len(bursts),
        first=dated[0] if dated else None,
        last=dated[-1] if dated else None,
        sizes=tuple(size for _, size in sizes),
        slope=_slope(sizes),
        interval_s=median(pauses) if pauses else None,
        limit=limits.pop() if len(limits) == 1 else None,
        pattern=_pattern([size for _, size in sizes]),
        regular=_regular(pauses),
        tasks=tuple(tasks.most_common(5)),
        members=tuple(members),
    )


def bursts_of(kills: Sequence[OomKill]) -> list[list[OomKill]]:
    """Put kills, given in the order of time, together where they are of one report or storm.

    The kills of one report are; so are reports that follow each other within seconds while the machine has no memory. In a
    control group they may be a task that kills each child that takes it.
    """
    bursts: list[list[OomKill]] = []
    known: dict[tuple[object, ...], list[OomKill]] = {}
    storms: dict[str | None, list[OomKill]] = {}
    for kill in kills:
        key = (_source(kill), kill.host, kill.boot_number, kill.episode)
        burst = known.get(key) if kill.episode else None
        storm = storms.get(kill.host) if kill.scope == "global" and kill.killer == "kernel" else None
        if burst is None and storm is not None and _moments_apart(storm[-1], kill):
            burst = storm
        if burst is None:
            burst = []
            bursts.append(burst)
        known[key] = burst
        if kill.scope == "global" and kill.killer == "kernel":
            storms[kill.host] = burst
        burst.append(kill)
    return bursts


def _moments_apart(one: OomKill, other: OomKill) -> bool:
    if one.when is None or other.when is None:
        return False
    return abs((other.when - one.when).total_seconds()) <= _STORM_S


def _source(kill: OomKill) -> str:
    return kill.evidence[0].source if kill.evidence else ""


def _slope(sizes: Sequence[tuple[datetime | None, int]]) -> float | None:
    """Return the median slope of all pairs (Theil and Sen's estimate), in bytes per hour."""
    dated = [(when, size) for when, size in sizes if when is not None][-_MOST_PAIRED:]
    slopes = [
        (later - earlier) / (end - start).total_seconds() * 3600
        for (start, earlier), (end, later) in combinations(dated, 2)
        if end > start
    ]
    return median(slopes) if slopes else None


def _pattern(sizes: Sequence[int]) -> str | None:
    """Put a word to the sizes of three bursts or more."""
    if len(sizes) < 3:
        return None
    if max(sizes) - min(sizes) <= _FLAT * max(sizes):
        return FLAT
    rises = sum(after > before for before, after in zip(sizes, sizes[1:]))
    return GROWING if rises == len(sizes) - 1 else UNSTEADY


def _regular(pauses: Sequence[float]) -> bool | None:
    """Tell whether pauses are alike: all of a few, the middle half of many; two at least are needed."""
    if len(pauses) < 2:
        return None
    ordered = sorted(pauses)
    if len(ordered) < 8:
        return ordered[-1] <= _ALIKE * ordered[0]
    quarter = len(ordered) // 4
    return ordered[-1 - quarter] - ordered[quarter] <= _REGULAR * median(ordered)
