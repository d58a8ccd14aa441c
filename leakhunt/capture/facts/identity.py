"""Who a process is: what it is called by the kernel, by its container and by its queue."""

from __future__ import annotations

import os
import platform
import re
import sys
from typing import NamedTuple

from leakhunt.capture import groups, procfs
from leakhunt.capture.facts.redaction import redact

_MOST_PACKAGES = 2000
_PACKAGE = re.compile(r"(?P<name>[A-Za-z0-9][\w.]{0,99})-(?P<version>\d[\w.!+]{0,99})(?:-py\d[\d.]{0,5})?")


class Identity(NamedTuple):
    """A process, for those who find its files later.

    Attributes:
        pid: as the process counts.
        pids: in each of its namespaces, the outermost that it can see first; empty where unknown.
        ppid: of the process that started it.
        started: seconds since 1970; None where unknown.
        role: ``main`` (a worker that tasks are not run in), ``child`` (of a pool) or ``process`` (any other).
        pool: of Celery, such as ``prefork``.
        node: the worker's name, such as ``celery@web1``.
        name: what multiprocessing calls it, such as ``ForkPoolWorker-1``.
        host: the machine's name, or what a container says is its.
        boot_id: of the running kernel.
        cgroup: path of the control group.
        container: the container's id.
        pod: the pod's id.
        command: its command line, without secrets.
        python: the version of Python.
        packages: what is installed, name to version.
    """

    pid: int
    pids: tuple[int, ...] = ()
    ppid: int = 0
    started: float | None = None
    role: str = "process"
    pool: str | None = None
    node: str | None = None
    name: str | None = None
    host: str = ""
    boot_id: str | None = None
    cgroup: str | None = None
    container: str | None = None
    pod: str | None = None
    command: tuple[str, ...] = ()
    python: str = ""
    packages: dict[str, str] = {}  # noqa: RUF012 - nothing of ours changes it

    @classmethod
    def here(
        cls,
        role: str = "process",
        pool: str | None = None,
        node: str | None = None,
        name: str | None = None,
    ) -> Identity:
        """Return who this process is; to be asked anew after a fork.

        Args:
            role: ``main``, ``child`` or ``process``.
            pool: the pool that runs its tasks.
            node: the worker's name.
            name: what multiprocessing calls it.
        """
        pid = os.getpid()
        group = groups.group_of(pid)
        return cls(
            pid=pid,
            pids=namespaced(pid),
            ppid=os.getppid(),
            started=procfs.started(pid),
            role=role,
            pool=pool,
            node=node,
            name=name,
            host=os.uname().nodename,
            boot_id=procfs.read("/proc/sys/kernel/random/boot_id", 100).strip() or None,
            cgroup=group.path,
            container=group.container,
            pod=group.pod,
            command=tuple(redact(command_line())),
            python=platform.python_version(),
            packages=packages(sys.path),
        )


def namespaced(pid: int) -> tuple[int, ...]:
    """Return a process's ids in its namespaces, the outermost that can be seen first."""
    found = procfs.fields(procfs.read(f"/proc/{pid}/status")).get("NSpid", "").split()
    return tuple(int(number) for number in found if number.isdecimal())


def command_line() -> list[str]:
    """Return how this program was started; Celery's children overwrite what the kernel shows."""
    # Before Python 3.10 only the program's own arguments are known.
    given = getattr(sys, "orig_argv", None) or [sys.executable, *getattr(sys, "argv", ())]
    return [word for word in given if type(word) is str]


def packages(path: list[str]) -> dict[str, str]:
    """Return what is installed, by the names of the folders that describe it; none is opened.

    Args:
        path: the folders that Python imports from; the first that has a package counts.
    """
    found: dict[str, str] = {}
    for folder in path[:100]:
        if type(folder) is not str:
            continue
        for entry in procfs.names(folder or ".", 20_000):
            stem, _, kind = entry.rpartition(".")
            match = _PACKAGE.fullmatch(stem) if kind in {"dist-info", "egg-info"} else None
            if match is not None and len(found) < _MOST_PACKAGES:
                found.setdefault(re.sub(r"[._]{1,9}", "-", match["name"]).lower(), match["version"])
    return dict(sorted(found.items()))
