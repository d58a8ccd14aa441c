"""Which kills somebody wants to see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from leakhunt.analysis.incident.places import host_of, place_of
from leakhunt.model.evidence import Place
from leakhunt.model.oom import CONFIDENCES, OomKill
from leakhunt.moments import format_moment


@dataclass(frozen=True)
class Choice:
    """What to show; an empty or missing part chooses all.

    Attributes:
        since: the earliest moment; ``until`` the latest. What has no time, or may lie inside, is shown.
        host: a glob for the machine's name.
        comm: a glob for the name of the process.
        container: a glob for the name of container, pod, unit or control group, or the first digits of an id.
        min_confidence: the least certain class shown, one of ``CONFIDENCES``.
    """

    since: datetime | None = None
    until: datetime | None = None
    host: str = ""
    comm: str = ""
    container: str = ""
    min_confidence: str = "possible"

    def takes(self, kill: OomKill) -> bool:
        """Tell whether a kill is to be shown."""
        return (
            self.takes_time(kill.when, kill.uncertainty_s)
            and CONFIDENCES.index(kill.confidence) <= CONFIDENCES.index(self.min_confidence)
            and (not self.comm or _any((kill.comm,), self.comm))
            and (not (self.host or self.container) or self._takes_place(kill, place_of(kill)))
        )

    def _takes_place(self, kill: OomKill, place: Place) -> bool:
        hosts = (kill.host, host_of(place), place.node)
        return (not self.host or _any(hosts, self.host)) and (
            not self.container or _is_container(place, self.container)
        )

    def takes_time(self, when: datetime | None, uncertainty_s: float | None = None) -> bool:
        """Tell whether something may have happened within the time that is asked for."""
        if when is None or (self.since is None and self.until is None):
            return True
        doubt = timedelta(seconds=min(uncertainty_s or 0.0, 86400.0))
        return (self.since is None or when + doubt >= self.since) and (
            self.until is None or when - doubt <= self.until
        )

    @property
    def words(self) -> tuple[str, ...]:
        """Say what is asked for."""
        found = []
        if self.since is not None:
            found.append(f"since {format_moment(self.since)}")
        if self.until is not None:
            found.append(f"until {format_moment(self.until)}")
        named = {"host": self.host, "comm": self.comm, "container": self.container}
        found += [f"{name} {value}" for name, value in named.items() if value]
        if self.min_confidence != CONFIDENCES[-1]:
            found.append(f"at least {self.min_confidence}")
        return tuple(found)


def _any(names: Iterable[str | None], pattern: str) -> bool:
    return any(name is not None and fnmatchcase(name, pattern) for name in names)


def _is_container(place: Place, pattern: str) -> bool:
    if place.container_id is not None and len(pattern) >= 6 and place.container_id.startswith(pattern):
        return True
    pod = place.pod.rpartition("/")[2] if place.pod else None
    last = place.cgroup.rstrip("/").rpartition("/")[2] if place.cgroup else None
    names = (place.container, place.pod, pod, place.pod_uid, place.unit, last, place.cgroup)
    return _any(names, pattern)
