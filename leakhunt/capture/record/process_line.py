"""Who this process is, for the first line of its record: what others' evidence can name it by."""

from __future__ import annotations

import os

from leakhunt.capture import groups, procfs
from leakhunt.capture.facts.identity import namespaced


def describe_process() -> dict[str, object]:
    """Return what a process can find out about itself at once; unknown is None.

    Returns:
        ``pid``; ``pids``, its numbers from the outermost namespace that it can see to its own; ``pid_ns``, the namespace
        that counts it; ``ppid``; ``start``, when it began in ticks since boot, 0 where unknown; ``host``; ``boot``, the
        boot's id; ``cgroup``, ``container`` and ``pod``; ``cpus``.
    """
    pid = os.getpid()
    group = groups.group_of(pid)
    return {
        "pid": pid,
        "pids": list(namespaced(pid)) or [pid],
        "pid_ns": _pid_namespace(),
        "ppid": os.getppid(),
        "start": procfs.start_ticks(pid),
        "host": os.uname().nodename,
        "boot": procfs.read("/proc/sys/kernel/random/boot_id", 100).strip() or None,
        "cgroup": group.path,
        "container": group.container,
        "pod": group.pod,
        "cpus": os.cpu_count(),
    }


def _pid_namespace() -> int | None:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return None
