"""Whether two places may be the same one, and what says so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from leakhunt.model.evidence import Place
from leakhunt.model.oom import OomKill

_SHORT_ID = re.compile(r"[0-9a-f]{12}")
_NOWHERE = Place()
# The same container or unit; the same pod, in which there may be others; the same machine.
IDENTITY, POD, HOST = 4, 2, 1


class Kinship(NamedTuple):
    """What two places have in common: the more, the higher the score; ``matched`` says it in words."""

    score: int
    matched: tuple[str, ...]


def kinship(one: Place, other: Place) -> Kinship | None:
    """Compare two places; None where they cannot be the same, no score where nothing can be compared."""
    score = 0
    matched: list[str] = []
    for word, weight, same in _comparisons(one, other):
        if same is False:
            return None
        if same:
            score = max(score, weight)
            if word not in matched:
                matched.append(word)
    return Kinship(score, tuple(matched))


def place_of(kill: OomKill) -> Place:
    """Return where a process was killed: what its control group says, filled up by what other sources call it."""
    owner, place = kill.cgroup, kill.place
    if owner is None:
        return _on(kill.host) if place == _NOWHERE else place.filled(_on(kill.host))
    own = Place(
        host=kill.host,
        unit=owner.unit if owner.container_id is None or owner.runtime == "lxc" else None,
        container_id=owner.container_id,
        pod_uid=owner.pod_uid,
        cgroup=owner.victim,
    )
    return own if place == _NOWHERE else own.filled(place)


@lru_cache(maxsize=64)
def _on(host: str | None) -> Place:
    """Return a machine as a place."""
    return Place(host=host)


def in_container(place: Place) -> bool:
    """Tell whether a place is known to be inside a container, where pids and host names are its own."""
    return any((place.container_id, place.container, place.pod, place.pod_uid))


def identified(place: Place) -> bool:
    """Tell whether a place says more than the machine."""
    return in_container(place) or _service(place.unit) is not None


def _comparisons(one: Place, other: Place) -> Iterator[tuple[str, int, bool | None]]:
    """Yield a word for each thing compared, its weight, and whether it is the same; None where one side is silent."""
    yield "container", IDENTITY, _same_id(one.container_id, other.container_id)
    yield "pod", POD, _same(one.pod_uid, other.pod_uid)
    yield "pod", POD, _same(_last(one.pod), _last(other.pod))
    yield "container", IDENTITY, _same(one.container, other.container)
    yield "unit", IDENTITY, _same(_service(one.unit), _service(other.unit))
    yield "control group", IDENTITY, _same(one.cgroup, other.cgroup) or None
    for inner, outer in ((one, other), (other, one)):
        name = host_of(inner)
        if name and outer.container_id and _SHORT_ID.fullmatch(name):
            yield "container", IDENTITY, _same_id(name, outer.container_id)
        if name and outer.pod and name == _last(outer.pod):
            yield "pod", POD, True
    same = _same(_label(host_of(one)), _label(host_of(other)))
    if same or (one.host and other.host and not (in_container(one) or in_container(other))):
        yield "host", HOST, same  # what only a node's name says may be anything, and contradicts nothing


def host_of(place: Place) -> str | None:
    """Return the host's name; a Celery node has one behind its ``@``, as a rule."""
    return place.host or (place.node.rpartition("@")[2] if place.node else None)


def _same(one: str | None, other: str | None) -> bool | None:
    return None if not one or not other else one == other


def _same_id(one: str | None, other: str | None) -> bool | None:
    """Compare ids of which one may be cut to its first digits."""
    return None if not one or not other else one.startswith(other) or other.startswith(one)


def _last(pod: str | None) -> str | None:
    return pod.rpartition("/")[2] if pod else None


def _label(host: str | None) -> str | None:
    return host.partition(".")[0] if host else None


def _service(unit: str | None) -> str | None:
    """Return a unit that has processes of its own; a slice has them only through others."""
    return unit if unit and not unit.endswith(".slice") else None
