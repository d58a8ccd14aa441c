"""Where a statement comes from: the line of a log that makes it, and the place that it speaks of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple


class Evidence(NamedTuple):
    """One line of a log; ``line`` counts from 1, or is 0 where the input has no lines."""

    source: str
    line: int
    text: str


@dataclass(frozen=True)
class Place:
    """Where something happened, as far as a line, its wrapping or its file's name tells.

    Attributes:
        host: the machine, or what a container calls its host.
        unit: the systemd unit.
        container_id: 12 to 64 hexadecimal digits.
        container: the container's name.
        pod: the pod's name, with its namespace in front where that is known: ``shop/worker-7d9f``.
        pod_uid: with dashes, as Kubernetes writes it.
        node: the Celery node, ``celery@worker-1``.
        cgroup: a control group's path.
    """

    host: str | None = None
    unit: str | None = None
    container_id: str | None = None
    container: str | None = None
    pod: str | None = None
    pod_uid: str | None = None
    node: str | None = None
    cgroup: str | None = None

    def filled(self, other: Place) -> Place:
        """Return this place with what it does not say taken from another."""
        gaps = [name for name, value in vars(self).items() if not value and getattr(other, name)]
        return replace(self, **{name: getattr(other, name) for name in gaps}) if gaps else self
