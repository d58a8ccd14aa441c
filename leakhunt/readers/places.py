"""Where a line was written: what stands in front of it, and what the name of its file tells."""

from __future__ import annotations

import re

from leakhunt.model.evidence import Place
from leakhunt.readers.kernel_log.stamps import Stamp

_UID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}"
_LONGEST_PATH = 4096
# The kubelet's folder of a pod; names of namespaces and pods hold no underscore.
_POD_FOLDER = re.compile(
    r"(?:^|[/:])(?P<namespace>[a-z0-9-]{1,63})_(?P<pod>[a-z0-9.-]{1,253})_(?P<uid>" + _UID + r")"
    r"(?:/(?P<container>[a-z0-9-]{1,63})/\d{1,9}\.log[^/]{0,40})?(?=/|$)"
)
_POD_FILE = re.compile(
    r"(?:^|[/:])(?P<pod>[a-z0-9.-]{1,253})_(?P<namespace>[a-z0-9-]{1,63})_(?P<container>[a-z0-9-]{1,63})"
    r"-(?P<id>[0-9a-f]{64})\.log[^/]{0,40}$"
)
_CONTAINER_FILE = re.compile(r"(?:^|[/:])(?P<id>[0-9a-f]{64})-json\.log[^/]{0,40}$")
_CONTAINER_FOLDER = re.compile(r"(?:^|/)(?:overlay-)?containers/(?P<id>[0-9a-f]{64})/")
_NODE_FILE = re.compile(r"(?:^|[/:])(?P<node>[\w.-]{1,120}@[\w.-]{1,200})\.log[^/]{0,40}$")
_UNIT_FILE = re.compile(
    r"(?:^|[/:])(?P<unit>[\w.@\\:-]{1,200}\.(?:service|scope))(?:\.(?:log|txt|json)[^/]{0,40})?$"
)
_SHORT_ID = re.compile(r"[0-9a-f]{12}")


def place_of(stamp: Stamp, base: Place) -> Place:
    """Say where a line was written: its own words win over what is known of its source.

    Args:
        stamp: what stood in front of the line.
        base: what the source's name tells.
    """
    host, unit, container, container_id, pod = (
        stamp.host,
        stamp.unit,
        stamp.container,
        stamp.container_id,
        stamp.pod,
    )
    if container_id is None and len(stamp.tag) == 12 and _SHORT_ID.fullmatch(stamp.tag):
        container_id = stamp.tag  # what docker's syslog driver calls a program
    if host is unit is container is container_id is pod is None:
        return base
    if pod is not None and base.pod is not None and base.pod.endswith(f"/{pod}"):
        pod = base.pod
    if (
        container_id is not None
        and base.container_id is not None
        and base.container_id.startswith(container_id)
    ):
        container_id = base.container_id
    return Place(
        host=host or base.host,
        unit=unit or base.unit,
        container_id=container_id or base.container_id,
        container=container or base.container,
        pod=pod or base.pod,
        pod_uid=base.pod_uid,
        node=base.node,
        cgroup=base.cgroup,
    )


def place_of_path(path: str) -> Place:
    """Read what a file's name tells: of a pod, a container, a unit or a Celery node.

    Args:
        path: as the user named it, or the end of it; of this machine or of another.
    """
    path = path.replace("\\", "/") if "/" not in path else path
    path = path[-_LONGEST_PATH:]
    for pattern in (_POD_FILE, _POD_FOLDER, _CONTAINER_FILE, _CONTAINER_FOLDER, _UNIT_FILE, _NODE_FILE):
        if match := pattern.search(path):
            return _place(match.groupdict())
    return Place()


def _place(found: dict[str, str | None]) -> Place:
    pod, namespace = found.get("pod"), found.get("namespace")
    return Place(
        unit=found.get("unit"),
        container_id=found.get("id"),
        container=found.get("container"),
        pod=f"{namespace}/{pod}" if pod is not None else None,
        pod_uid=found.get("uid"),
        node=found.get("node"),
    )
