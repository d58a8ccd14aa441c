"""The control group of a process: its path, its limit and use of memory, its container and pod."""

from __future__ import annotations

import re
from typing import NamedTuple

from leakhunt.capture import procfs

_UNLIMITED = 1 << 60  # version 1 writes a page less than 2**63 where nothing is limited
_MOST_LEVELS = 64
_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_ECS = re.compile(r"/ecs/[^/]{1,200}/([0-9a-f]{32}-\d{1,20})(?=/|$)")
_POD = re.compile(
    r"pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})(?=\.slice|/|$)"
)
_POD_FOLDER = re.compile(
    r"/pods/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32})/"
)
# Where runtimes keep what they put in a container's /etc: docker's and podman's folders are named by the container.
_FOLDER = re.compile(r"/(?:containers|overlay-containers)/([0-9a-f]{64})/")


class Group(NamedTuple):
    """Where a process stands in the control groups.

    Attributes:
        path: of the memory controller's group, as the process sees it; None where there is none.
        container: the container's id of 64 digits, or of ECS.
        pod: the pod's id, with dashes.
    """

    path: str | None = None
    container: str | None = None
    pod: str | None = None


class Use(NamedTuple):
    """How much memory a control group uses, and may use.

    Attributes:
        usage: bytes; None where unknown.
        limit: bytes; None where there is none.
        folder: of the group that has the limit; empty without one.
    """

    usage: int | None = None
    limit: int | None = None
    folder: str = ""


def group_of(pid: int) -> Group:
    """Return the control group of a process."""
    text = procfs.read(f"/proc/{pid}/cgroup")
    version, path = _memory_line(text)
    if version == 0:
        return Group()
    mounts = procfs.read(f"/proc/{pid}/mountinfo")
    return Group(path, *owner_of(text, mounts))


def use_of(pid: int, root: str = "") -> Use:
    """Return the nearest limit above a process, and how much of it is used.

    The limit is the smallest of the group's own and those of the groups around it; the use is of the group that
    has it. Without any limit the use is of the process's own group.

    Args:
        pid: the process.
        root: a folder that stands for ``/``.
    """
    version, folders = folders_of(pid, root)
    names = ("memory.current", "memory.max") if version == 2 else _VERSION_1
    best = Use()
    for folder in folders:
        usage = _number(procfs.read(f"{folder}/{names[0]}", 64))
        limit = _number(procfs.read(f"{folder}/{names[1]}", 64))
        if limit is not None and (best.limit is None or limit < best.limit):
            best = Use(usage, limit, folder)
        elif best.usage is None:
            best = best._replace(usage=usage)
    return best


def used(folder: str, exact_from: int = 0) -> int | None:
    """Return how many bytes a group uses, without files that were read and are not in use; None where unknown.

    The kernel lets go of those files first when memory is short.

    Args:
        folder: the group's, of either version.
        exact_from: below so many bytes these files are not looked up, and count.
    """
    for name, cache in (
        ("memory.current", "inactive_file"),
        ("memory.usage_in_bytes", "total_inactive_file"),
    ):
        usage = _number(procfs.read(f"{folder}/{name}", 64))
        if usage is not None and usage >= exact_from:
            pairs = (line.partition(" ") for line in procfs.read(f"{folder}/memory.stat").splitlines())
            usage -= next((_number(value) or 0 for key, _, value in pairs if key == cache), 0)
        if usage is not None:
            return max(0, usage)
    return None


def folders_of(pid: int, root: str = "") -> tuple[int, list[str]]:
    """Return the version of the groups that count a process's memory, and their folders, its own first.

    Args:
        pid: the process.
        root: a folder that stands for ``/``.
    """
    version, path = _memory_line(procfs.read(f"{root}/proc/{pid}/cgroup"))
    mount = _mount(procfs.read(f"{root}/proc/{pid}/mountinfo"), version) if version else None
    if mount is None or path is None:
        return version, []
    inner, point = mount
    return version, [f"{root}{point}{level}" for level in _levels(path, inner)]


_VERSION_1 = ("memory.usage_in_bytes", "memory.limit_in_bytes")


def _memory_line(text: str) -> tuple[int, str | None]:
    """Return the version and path of the group that counts a process's memory."""
    unified = None
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            return 1, path
        if number == "0" and not controllers:
            unified = path
    return (2, unified) if unified is not None else (0, None)


def _mount(text: str, version: int) -> tuple[str, str] | None:
    """Return which group is mounted, and where, from a ``mountinfo``."""
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        words, kind = before.split(" "), after.split(" ")
        if len(words) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2" if version == 2 else kind[0] == "cgroup" and "memory" in kind[2].split(","):
            return words[3], words[4]
    return None


def _levels(path: str, mounted: str) -> list[str]:
    """Return the folders below the mount, from a process's group up to the one that is mounted."""
    if path.startswith("/.."):  # the process was moved outside of the namespace that looks at it
        return [""]
    if mounted != "/" and (path == mounted or path.startswith(mounted + "/")):
        path = path[len(mounted) :]
    elif mounted not in {"/", path} and not mounted.startswith("/.."):
        return [""]  # a container of version 1 sees its own group as the root of the mount
    parts = [part for part in path.split("/") if part][:_MOST_LEVELS]
    return ["".join("/" + part for part in parts[:end]) for end in range(len(parts), -1, -1)]


def _number(text: str) -> int | None:
    text = text.strip()
    number = int(text) if text.isdecimal() else None
    return None if number is None or number >= _UNLIMITED else number


def owner_of(groups: str, mounts: str) -> tuple[str | None, str | None]:
    """Return container and pod, by the groups' paths or else by what is mounted in ``/etc``."""
    paths = [line.split(":", 2)[-1] for line in groups.splitlines()]
    containers = [found for path in paths for found in [*_ID.findall(path), *_ECS.findall(path)]]
    pods = [found for path in paths for found in _POD.findall(path)]
    for line in mounts.splitlines():
        words = line.split(" ")
        if len(words) > 4 and words[4].startswith(("/etc/", "/dev/termination-log")):
            containers += _FOLDER.findall(words[3])
            pods += _POD_FOLDER.findall(words[3])
    return containers[0] if containers else None, pods[0].replace("_", "-") if pods else None
