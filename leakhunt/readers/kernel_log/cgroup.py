"""From control group paths to whose process it was."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from leakhunt.model.oom import Owner

_HEX_ID = re.compile(r"[0-9a-f]{64}|[0-9a-f]{12}|[0-9a-f]{32}-\d{1,20}")
_SCOPES = (
    ("docker-", "docker"),
    ("cri-containerd-", "containerd"),
    ("containerd-", "containerd"),
    ("nerdctl-", "containerd"),
    ("crio-", "crio"),
    ("libpod-", "podman"),
)
_POD = re.compile(
    r"pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?"
)
_QOS = re.compile(r"(?:^|[/-])(burstable|besteffort)(?=[/.-]|$)")
_USER = re.compile(r"(?:user-|user@|uid_)(\d{1,10})(?:\.slice|\.service)?")
_UNIT = re.compile(r"[^/]+\.(?:service|scope|socket|mount|swap)")
_PLAIN_PARENTS = {"docker": "docker", "buildkit": "docker", "ecs": "ecs", "nomad": "nomad"}


@dataclass
class _Found:
    runtime: str | None = None
    container_id: str | None = None
    unit: str | None = None


@lru_cache(maxsize=256)
def owner_of(limited: str | None, victim: str | None) -> Owner | None:
    """Read the paths of the limited control group and of the victim's; the last matching component wins.

    Where only the limited one is known, it names the owner.
    """
    if limited is None and victim is None:
        return None
    path = victim or limited or ""
    components = [part for part in path.split("/") if part]
    found = _Found()
    for place, part in enumerate(components):
        _read_component(part, components[:place], found)
    pods = _POD.findall(path)
    pod = pods[-1].replace("_", "-") if pods else None
    qos = None
    if pod is not None or "kubepods" in path:
        found.runtime = found.runtime or "kubernetes"
        levels = _QOS.findall(path)
        qos = levels[-1] if levels else ("guaranteed" if pod is not None else None)
    users = _USER.findall(path)
    unit = found.unit
    instance = None
    if unit is not None:
        name = unit.rpartition(".")[0]
        instance = unescape(name.partition("@")[2]) if "@" in name else None
        found.runtime = found.runtime or "systemd"
    return Owner(
        limited=limited,
        victim=victim,
        runtime=found.runtime,
        container_id=found.container_id,
        pod_uid=pod,
        qos=qos,
        unit=unit,
        instance=instance,
        user=int(users[-1]) if users else None,
    )


def _read_component(part: str, above: list[str], found: _Found) -> None:
    """Let one component speak; what it says replaces what components above it said."""
    parent = above[-1] if above else ""
    container = _container(part, above)
    if container is not None:
        found.runtime, found.container_id = container
        found.unit = None
    elif _UNIT.fullmatch(part):
        if found.unit is None or not part.startswith(("user@", "init.scope")):
            found.unit = part
        if parent == "machine.slice":
            found.runtime = found.runtime or "machine"


def _container(part: str, above: list[str]) -> tuple[str, str] | None:  # noqa: PLR0911 - a line a form
    """Return runtime and container of a component that is one."""
    parent = above[-1] if above else ""
    if part.endswith(".scope"):
        name = part[: -len(".scope")]
        for opening, runtime in _SCOPES:
            if name.startswith(opening) and _HEX_ID.fullmatch(name[len(opening) :]):
                return runtime, name[len(opening) :]
        return ("nomad", name.partition(".")[0]) if parent == "share.slice" else None
    if _HEX_ID.fullmatch(part):
        nearby = "ecs" if "ecs" in above else "kubernetes" if _POD.match(parent) else "containerd"
        return _PLAIN_PARENTS.get(parent, nearby), part
    if parent in {"nomad", "lxc", "lxc.payload"}:
        return parent.partition(".")[0], part
    if part.startswith("lxc.payload."):
        return "lxc", part[len("lxc.payload.") :]
    if part.startswith("job_") and not {"slurm", "slurmstepd.scope"}.isdisjoint(above):
        return "slurm", part[len("job_") :]
    return None


def unescape(name: str) -> str:
    r"""Undo systemd's ``\x2d`` in a unit's name."""
    return re.sub(r"\\x([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), name)
