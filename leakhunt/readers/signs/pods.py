"""Objects of Kubernetes: how the containers of pods have ended, and what events tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, tzinfo
from typing import NamedTuple

from leakhunt.model.evidence import Evidence, Place
from leakhunt.model.incident import Sign
from leakhunt.model.oom import OomKill
from leakhunt.readers.kernel_log.stamps import Stamp
from leakhunt.readers.kernel_log.times import Moment
from leakhunt.readers.signs.cluster import event_told
from leakhunt.readers.signs.quoted import quoted_kill
from leakhunt.readers.signs.told import number, sign_of
from leakhunt.readers.signs.values import (
    Value,
    at,
    bytes_of,
    container_id_of,
    items_at,
    number_at,
    shown,
    text_at,
    time_of,
)

_STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
_SPECS = ("containers", "initContainers", "ephemeralContainers")
_MOST_CONTAINERS = 1000
_KILLED_CODES = frozenset({137, -9})


class Ended(NamedTuple):
    """How a container ended, as Kubernetes tells.

    Attributes:
        limit: its memory limit, in bytes.
        restarts: how often it was started again.
        last: whether it runs again, so that ends before this one are not told.
    """

    reason: str
    exit_code: int | None
    when: datetime | None
    uncertainty_s: float | None
    started: datetime | None
    limit: int | None
    restarts: int
    last: bool


def ended_sign(ended: Ended, place: Place, evidence: Evidence) -> Sign | None:
    """Return the sign that a container's end is, or None where it was another end.

    ``OOMKilled`` may come with any exit code: that of the main process, which need not be the one that was killed.
    """
    if ended.reason == "OOMKilled":
        kind, killer, text = "oom", "kernel", "a process of the container was killed for its memory"
    elif ended.exit_code in _KILLED_CODES and ended.reason != "ContainerStatusUnknown":
        kind, killer, text = "sigkill", "", "the container ended by SIGKILL"
    else:
        return None
    return Sign(
        kind,
        "kubernetes",
        evidence,
        killer,
        place,
        when=ended.when,
        uncertainty_s=ended.uncertainty_s,
        exit_code=ended.exit_code,
        limit=ended.limit,
        at_least=ended.last and ended.restarts > 1,
        started=ended.started,
        text=text,
    )


def object_signs(value: Value, source: str, line: int, tz: tzinfo) -> Iterator[Sign | OomKill]:
    """Yield the signs of one object: a pod, an event, or what a watch says of them; others have none.

    Args:
        value: the object.
        source: the name that evidence gets.
        line: where it stands, or 0.
        tz: the zone of times without one.
    """
    watched = at(value, "object")
    value = watched if isinstance(watched, dict) and "type" in value else value
    kind = text_at(value, "kind")
    if kind == "Event" or (kind is None and at(value, "involvedObject") is not None):
        yield from _event_signs(value, source, line, tz)
    elif kind == "Pod" or (kind is None and at(value, "status", "containerStatuses") is not None):
        yield from _pod_signs(value, source, line, tz)


def _pod_signs(pod: Value, source: str, line: int, tz: tzinfo) -> Iterator[Sign]:
    """Yield the ends of a pod's containers, and its eviction."""
    name, namespace = text_at(pod, "metadata", "name"), text_at(pod, "metadata", "namespace")
    place = Place(
        host=text_at(pod, "spec", "nodeName"),
        pod=f"{namespace}/{name}" if name and namespace else name,
        pod_uid=text_at(pod, "metadata", "uid"),
    )
    limits = _limits(pod)
    for group in _STATUSES:
        for status in items_at(pod, "status", group)[:_MOST_CONTAINERS]:
            evidence = Evidence(source, line, f"{group} {text_at(status, 'name')}")
            yield from _status_signs(status, place, limits, evidence, tz)
    message = text_at(pod, "status", "message") or ""
    if text_at(pod, "status", "reason") == "Evicted" and "memory" in message.lower():
        when, doubt = _evicted_at(pod, tz)
        text = "the kubelet evicted the pod, as the node was low on memory"
        evidence = Evidence(source, line, f"Evicted: {message}"[:2048])
        yield Sign(
            "eviction", "kubelet", evidence, "kubelet", place, when=when, uncertainty_s=doubt, text=text
        )


def _evicted_at(pod: Value, tz: tzinfo) -> tuple[datetime | None, float | None]:
    """Return when a pod was disturbed, as its conditions tell."""
    for condition in items_at(pod, "status", "conditions")[:100]:
        if text_at(condition, "type") == "DisruptionTarget":
            return time_of(at(condition, "lastTransitionTime"), tz)
    return None, None


def _limits(pod: Value) -> dict[str, int]:
    """Return the memory limits of a pod's containers by their names."""
    limits: dict[str, int] = {}
    for group in _SPECS:
        for container in items_at(pod, "spec", group)[:_MOST_CONTAINERS]:
            name = text_at(container, "name")
            limit = bytes_of(at(container, "resources", "limits", "memory"))
            if name and limit:
                limits[name] = limit
    return limits


def _status_signs(
    status: Value, place: Place, limits: dict[str, int], evidence: Evidence, tz: tzinfo
) -> Iterator[Sign]:
    """Yield how one container ended, this time and the last."""
    name = text_at(status, "name")
    for state in ("lastState", "state"):
        end = at(status, state, "terminated")
        if not isinstance(end, dict):
            continue
        when, doubt = time_of(at(end, "finishedAt"), tz)
        ended = Ended(
            reason=text_at(end, "reason") or "",
            exit_code=number_at(end, "exitCode"),
            when=when,
            uncertainty_s=doubt,
            started=time_of(at(end, "startedAt"), tz)[0],
            limit=limits.get(name or ""),
            restarts=number_at(status, "restartCount") or 0,
            last=state == "lastState",
        )
        container_id = container_id_of(text_at(end, "containerID") or text_at(status, "containerID"))
        here = replace(place, container=name, container_id=container_id)
        sign = ended_sign(ended, here, evidence._replace(text=f"{evidence.text} {state}: {shown(end, 1800)}"))
        if sign is not None:
            yield sign


def _event_signs(event: Value, source: str, line: int, tz: tzinfo) -> Iterator[Sign | OomKill]:
    """Yield what an event tells, and the kill whose line it quotes."""
    reason, message = (
        text_at(event, "reason") or "",
        text_at(event, "message") or text_at(event, "note") or "",
    )
    repeats = number_at(event, "count") or number_at(event, "series", "count") or 1
    count = number(str(repeats)) or 1
    reporter = text_at(event, "source", "component") or text_at(event, "reportingComponent") or ""
    told = event_told(reason, message, count, "kubelet" if reporter == "kubelet" else "")
    if told is None:
        return
    moment = Moment(None, None, 0)
    for path in (
        ("lastTimestamp",),
        ("series", "lastObservedTime"),
        ("deprecatedLastTimestamp",),
        ("eventTime",),
        ("firstTimestamp",),
        ("metadata", "creationTimestamp"),
    ):
        when, doubt = time_of(at(event, *path), tz)
        if when is not None:
            moment = Moment(when, doubt, 0)
            break
    evidence = Evidence(source, line, f"{reason}: {message}"[:2048])
    if reason == "OOMKilling" and (kill := quoted_kill(message, _event_place(event), moment, evidence)):
        yield kill
    sign = sign_of(told, Stamp(), moment, _event_place(event), evidence)
    yield replace(sign, place=sign.place.filled(_event_place(event)))


def _event_place(event: Value) -> Place:
    """Return the pod or node that an event is about, and the host that reported it."""
    about = at(event, "involvedObject") or at(event, "regarding")
    name, namespace = text_at(about, "name"), text_at(about, "namespace")
    host = text_at(event, "source", "host") or text_at(event, "deprecatedSource", "host")
    if host is None and text_at(event, "reportingComponent") in {"kubelet", "kernel-monitor"}:
        host = text_at(event, "reportingInstance")
    if text_at(about, "kind") == "Node":
        return Place(host=name or host)
    pod = f"{namespace}/{name}" if name and namespace else name
    return Place(host=host, pod=pod, pod_uid=text_at(about, "uid"))
