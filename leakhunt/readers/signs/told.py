"""What one line tells, before it is known when and where it was written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from leakhunt.model.evidence import Evidence, Place
from leakhunt.model.incident import Sign
from leakhunt.readers.kernel_log.cgroup import owner_of
from leakhunt.readers.kernel_log.stamps import Stamp
from leakhunt.readers.kernel_log.times import Moment

KIB, MIB = 1 << 10, 1 << 20
MOST_DEATHS = 1 << 31  # a count beyond is a slip of somebody's pen
_LOWER = {"killed": "oom", "oom": "sigkill"}


class Told(NamedTuple):
    """A statement of a death; the fields are those of a ``Sign``, whose ``count`` is ``deaths``.

    Attributes:
        place: what the words themselves name.
        here: whether the line's own wrapping names the place of the death too; else only its host counts, as the unit or
            the container is that of the program that speaks.
        shaped: whether the words have so much form that they need no stamp or name in front to be believed.
    """

    kind: str
    program: str
    text: str
    killer: str = ""
    place: Place = Place()
    pid: int | None = None
    host_pid: bool | None = None
    comm: str | None = None
    rss: int | None = None
    limit: int | None = None
    exit_code: int | None = None
    deaths: int = 1
    at_least: bool = False
    here: bool = False
    shaped: bool = False


class Wording(NamedTuple):
    """A wording that is known.

    Attributes:
        needle: what every such line holds.
        tags: the programs that write it, as logs name them; empty where any may.
        read: says what a line tells, or None.
    """

    needle: str
    tags: frozenset[str]
    read: Callable[[str], Told | None]


def believed(told: Told, tag: str, tags: frozenset[str], *, stamped: bool) -> Told | None:
    """Weigh a statement by who made it.

    Args:
        told: the statement.
        tag: the program that the log names, or an empty string.
        tags: the programs that make it.
        stamped: whether a log put anything in front of the line.

    Returns:
        The statement, a weaker one where nothing says that it is from a log at all, or None where another program quotes it.
    """
    name = tag.rpartition("/")[2]
    if name and tags and name not in tags:
        return None
    if stamped or name or told.shaped:
        return told
    return told._replace(kind=_LOWER.get(told.kind, told.kind))


def sign_of(told: Told, stamp: Stamp, moment: Moment, base: Place, evidence: Evidence) -> Sign:
    """Make a sign of a statement.

    Args:
        told: the statement.
        stamp: what stood in front of it.
        moment: when that was.
        base: where it was written.
        evidence: the line.
    """
    if not told.here:
        base = Place(host=base.host)
    return Sign(
        kind=told.kind,
        program=told.program,
        evidence=evidence,
        killer=told.killer,
        place=told.place.filled(base),
        when=moment.when,
        uncertainty_s=moment.uncertainty_s,
        monotonic=stamp.monotonic,
        boot=stamp.boot,
        pid=told.pid,
        host_pid=told.host_pid,
        comm=told.comm,
        rss=told.rss,
        limit=told.limit,
        exit_code=told.exit_code,
        count=told.deaths,
        at_least=told.at_least,
        text=told.text,
    )


def place_of_cgroup(path: str) -> Place:
    """Return the place that a control group's path names."""
    owner = owner_of(None, path)
    place = Place(cgroup=path)
    if owner is None:
        return place
    last = path.rstrip("/").rpartition("/")[2]
    unit = owner.unit or (last if last.endswith((".slice", ".scope", ".service")) else None)
    return replace(place, unit=unit, container_id=owner.container_id, pod_uid=owner.pod_uid)


def place_of_unit(unit: str) -> Place:
    """Return the place that a unit's name names: a container's scope is a container, a pod's slice a pod."""
    owner = owner_of(None, unit)
    if owner is None:
        return Place(unit=unit)
    return Place(unit=unit, container_id=owner.container_id, pod_uid=owner.pod_uid)


def number(text: str | None, most: int = MOST_DEATHS) -> int | None:
    """Return a decimal number that is no larger than believable, or None."""
    if text is None or len(text) > 20 or not (text.isascii() and text.isdigit()):
        return None
    value = int(text)
    return value if value <= most else None
