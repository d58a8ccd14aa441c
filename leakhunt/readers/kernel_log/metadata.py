"""Whose words a JSON wrapping holds: the fields of the journal, of log shippers and of clouds that name places."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

# Whom a journal entry is about, the most exact first: a manager speaks of units, all others for their own.
UNIT_FIELDS = ("UNIT", "USER_UNIT", "OBJECT_SYSTEMD_UNIT", "_SYSTEMD_USER_UNIT", "_SYSTEMD_UNIT")
CONTAINER_FIELDS = ("CONTAINER_NAME", "CONTAINER_ID_FULL", "CONTAINER_ID")
_CONTAINER_ID = re.compile(r"(?:[a-z-]{1,20}://)?([0-9a-f]{12,64})")
_LONGEST_NAME = 255

_Path = tuple[str, ...]
_HOSTS: tuple[_Path, ...] = (
    ("_HOSTNAME",),
    ("kubernetes", "host"),
    ("kubernetes", "pod_node_name"),
    ("kubernetes", "node", "name"),
    ("nodeName",),
    ("labels", "compute.googleapis.com/resource_name"),
    ("labels", "node_name"),
    ("host", "name"),
    ("hostname",),
)
_PODS: tuple[_Path, ...] = (
    ("kubernetes", "pod_name"),
    ("kubernetes", "pod", "name"),
    ("kubernetes.pod_name",),
    ("kubernetes.pod.name",),
    ("podName",),
    ("resource", "labels", "pod_name"),
    ("resource", "attributes", "k8s.pod.name"),
    ("resource", "k8s.pod.name"),
    ("labels", "pod"),
)
_NAMESPACES: tuple[_Path, ...] = (
    ("kubernetes", "namespace_name"),
    ("kubernetes", "pod_namespace"),
    ("kubernetes", "namespace"),
    ("kubernetes.namespace_name",),
    ("kubernetes.namespace",),
    ("namespace",),
    ("resource", "labels", "namespace_name"),
    ("resource", "attributes", "k8s.namespace.name"),
    ("resource", "k8s.namespace.name"),
    ("labels", "namespace"),
)
_CONTAINERS: tuple[_Path, ...] = (
    ("kubernetes", "container_name"),
    ("kubernetes", "container", "name"),
    ("kubernetes.container_name",),
    ("kubernetes.container.name",),
    ("containerName",),
    ("container", "name"),
    ("CONTAINER_NAME",),
    ("resource", "labels", "container_name"),
    ("resource", "attributes", "k8s.container.name"),
    ("resource", "k8s.container.name"),
    ("container_name",),
    ("labels", "container"),
)
_IDS: tuple[_Path, ...] = (
    ("CONTAINER_ID_FULL",),
    ("CONTAINER_ID",),
    ("kubernetes", "container_id"),
    ("kubernetes", "docker_id"),
    ("docker", "container_id"),
    ("container", "id"),
    ("container_id",),
)
_UNITS: tuple[_Path, ...] = (*((name,) for name in UNIT_FIELDS), ("labels", "unit"))
_ROOTS = frozenset(path[0] for paths in (_HOSTS, _PODS, _CONTAINERS, _IDS, _UNITS) for path in paths)


class Whose(NamedTuple):
    """What a wrapping says of where its message comes from; as in a ``Stamp``."""

    host: str | None = None
    unit: str | None = None
    container: str | None = None
    container_id: str | None = None
    pod: str | None = None


_NOBODY = Whose()


def whose(value: dict[str, Any]) -> Whose:
    """Read the well-known fields that name a host, a unit, a container or a pod."""
    if _ROOTS.isdisjoint(value):
        return _NOBODY
    hosts = (
        (*_HOSTS, ("host",)) if "ident" in value else _HOSTS
    )  # else it may be the one that a browser asked for
    container, container_id = _first(value, _CONTAINERS), _container_id(value)
    pod = _first(value, _PODS)
    namespace = _first(value, _NAMESPACES) if pod is not None else None
    unit = None
    if (
        container is None and container_id is None
    ):  # else it is that of the daemon which speaks for the container
        unit = _first(value, _UNITS)
    return Whose(
        _first(value, hosts),
        unit,
        container.lstrip("/") if container is not None else None,
        container_id,
        f"{namespace}/{pod}" if namespace is not None else pod,
    )


def _container_id(value: dict[str, Any]) -> str | None:
    match = _CONTAINER_ID.fullmatch(_first(value, _IDS) or "")
    return match[1] if match else None


def _first(value: dict[str, Any], paths: tuple[_Path, ...]) -> str | None:
    """Return the first text among the fields of those paths."""
    for path in paths:
        if path[0] in value:
            node: Any = value
            for key in path:
                node = node.get(key) if isinstance(node, dict) else None
            if isinstance(node, str) and 0 < len(node) <= _LONGEST_NAME:
                return node
    return None
