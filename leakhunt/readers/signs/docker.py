"""What ``docker inspect`` and ``docker events`` say as JSON; Podman's are alike.

Docker misses kills: with cgroup v2 it saw only those of the main process for long (moby/moby#38352), so that
``OOMKilled: false`` says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone, tzinfo

from leakhunt.model.evidence import Evidence, Place
from leakhunt.model.incident import Sign
from leakhunt.readers.kernel_log.stamps import Stamp
from leakhunt.readers.kernel_log.times import Moment
from leakhunt.readers.signs.runtimes import docker_told
from leakhunt.readers.signs.told import sign_of
from leakhunt.readers.signs.values import (
    Value,
    at,
    bytes_of,
    container_id_of,
    flag_at,
    number_at,
    shown,
    text_at,
    time_of,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LABELS = (
    "name",
    "exitCode",
    "signal",
    "io.kubernetes.pod.name",
    "io.kubernetes.pod.namespace",
    "io.kubernetes.pod.uid",
    "io.kubernetes.container.name",
)


def inspect_signs(value: Value, source: str, line: int, tz: tzinfo) -> Iterator[Sign]:
    """Yield how an inspected container ended.

    Args:
        value: the object.
        source: the name that evidence gets.
        line: where it stands, or 0.
        tz: the zone of times without one.
    """
    state = at(value, "State")
    if not isinstance(state, dict):
        return
    killed, code = flag_at(state, "OOMKilled"), number_at(state, "ExitCode")
    if not killed and code != 137:
        return
    running = flag_at(state, "Running")
    if running and not killed:
        return
    when, doubt = (None, None) if running else time_of(at(state, "FinishedAt"), tz)
    name, namespace = _label(value, "io.kubernetes.pod.name"), _label(value, "io.kubernetes.pod.namespace")
    yield Sign(
        "oom" if killed else "sigkill",
        "docker",
        Evidence(source, line, f"State: {shown(state, 1800)}"),
        "kernel" if killed else "",
        Place(
            container_id=container_id_of(text_at(value, "Id") or text_at(value, "ID")),
            container=_label(value, "io.kubernetes.container.name")
            or (text_at(value, "Name") or "").lstrip("/")
            or None,
            pod=f"{namespace}/{name}" if name and namespace else name,
            pod_uid=_label(value, "io.kubernetes.pod.uid"),
        ),
        when=when,
        uncertainty_s=doubt,
        limit=bytes_of(at(value, "HostConfig", "Memory")),
        exit_code=None if running else code,
        at_least=(number_at(value, "RestartCount") or 0) > 1,
        started=time_of(at(state, "StartedAt"), tz)[0],
        text="a process of the container was killed for its memory"
        if killed
        else "the container ended by SIGKILL",
    )


def event_signs(value: Value, source: str, line: int, tz: tzinfo) -> Iterator[Sign]:
    """Yield what an event tells.

    Args:
        value: the object.
        source: the name that evidence gets.
        line: where it stands, or 0.
        tz: the zone of times without one.
    """
    if (text_at(value, "Type") or "container") != "container":
        return
    action = text_at(value, "Action") or text_at(value, "status") or text_at(value, "Status") or ""
    said = {
        label: text
        for label in _LABELS
        if (text := text_at(value, "Actor", "Attributes", label) or text_at(value, "Attributes", label))
    }
    code = number_at(value, "ContainerExitCode")
    if code is not None:
        said.setdefault("exitCode", str(code))
    if podman := text_at(value, "Name"):
        said.setdefault("name", podman)
    container = container_id_of(text_at(value, "Actor", "ID") or text_at(value, "id") or text_at(value, "ID"))
    told = docker_told(action, container, said)
    if told is None:
        return
    moment = _moment(value, tz)
    yield sign_of(told, Stamp(), moment, Place(), Evidence(source, line, shown(value)))


def _label(value: Value, name: str) -> str | None:
    return text_at(value, "Config", "Labels", name)


def _moment(value: Value, tz: tzinfo) -> Moment:
    """Return when an event was: in nanoseconds, in seconds, or as a text."""
    nano, seconds = number_at(value, "timeNano"), number_at(value, "time")
    try:
        if nano is not None:
            return Moment(_EPOCH + timedelta(microseconds=nano // 1000), 1e-6, 0)
        if seconds is not None:
            return Moment(_EPOCH + timedelta(seconds=seconds), 1.0, 0)
    except OverflowError:
        return Moment(None, None, 0)
    when, doubt = time_of(at(value, "Time"), tz)
    return Moment(when, doubt, 0)
