"""The lines of killers in user space that tell all in one line: oomd, Ray, Talos, Android's, and a tracer of the kernel's.

Wordings as in facebookincubator/oomd ``src/oomd/plugins/BaseKillPlugin.cpp``, Ray's ``node_manager.cc`` as quoted by its
documentation, siderolabs/talos as quoted in its issues 12526 and 13622, AOSP's ``lmkd.c`` of three releases and the kernel's ``lowmemorykiller.c``, and bcc's ``tools/oomkill.py``.
"""

from __future__ import annotations

import re

from leakhunt.model.evidence import Place
from leakhunt.readers.signs.told import KIB, Told, Wording, number, place_of_cgroup

_KMSG = frozenset({"kernel", "oomd"})
_OOMD = frozenset({"oomd"})
_MOST_PID = 1 << 22
_MOST_BYTES = 1 << 60
_GIB = 1 << 30

_OOMD_KILL = re.compile(
    r"oomd kill: [\d.]{1,20} [\d.]{1,20} [\d.]{1,20} (\S{1,4000}) (\d{1,20}) ruleset:\[.{0,400}\] "
    r"detectorgroup:\[.{0,400}\] killer:(\(dry\))?(\S{1,200})(?: v\d)?"
)
_OOMD_PIDS = re.compile(
    r"(?:\[?[\w./-]{0,200}BaseKillPlugin\.cpp:\d{1,6}\]? )Killed (\d{1,9}): ?(\d{1,10})(?:\((.{0,15}?)\))?(?= |\[E|$).*"
)
_RAY = re.compile(
    r"node_manager\.cc:\d{1,6}: (\d{1,9}) [Ww]orkers \(tasks / actors\) killed due to memory pressure \(OOM\)"
    r"(?:, \d{1,9} [Ww]orkers crashed due to other reasons)?(?: at node \(ID: \w{1,80}, IP: ([\w.:-]{1,80})\))?"
)
_RAY_WORKER = re.compile(
    r"Memory on the node \(IP: ([\w.:-]{1,80}), ID: \w{1,80}\) where the (?:task|actor)"
    r"(?: \((?:task|actor) ID: \w{1,80}, name=(.{1,200}?), pid=(\d{1,10}), memory used=(\d{1,9}\.?\d{0,9})([KMG]?)B\))?"
    r" was running was .{1,80}, which exceeds the memory usage threshold of .{1,40}\. Ray killed this worker"
)
_RAY_OLD = re.compile(
    r"System memory low at node .{1,200} killing latest task with name (.{1,200}) and actor ID"
)
_TALOS = re.compile(
    r"Sending SIGKILL to cgroup \{.{0,400}?\"cgroup\": ?\"(?:/sys/fs/cgroup)?(/[^\"]{1,4000})\""
)
_LMKD = re.compile(
    r"Kill '(.{1,200}?)' \((\d{1,10})\), uid \d{1,10}, oom_(?:score_)?adj -?\d{1,5} to free (\d{1,15})kB.*"
)
_LOWMEMORYKILLER = re.compile(r"lowmemorykiller: Killing '(.{1,200}?)' \((\d{1,10})\), adj -?\d{1,5},?.*")
_LOGCAT = re.compile(
    r"(?:(?:\d{1,6} +\d{1,6} +)?[VDIWEF][ /]|^)(?:lowmemorykiller|lmkd) {0,8}(?:\( {0,5}\d{1,6}\))?: "
)
_TRACED = re.compile(
    r"Triggered by PID \d{1,10} \(\"(.{0,16}?)\"\), OOM kill of PID (\d{1,10}) \(\"(.{0,16}?)\"\), (\d{1,15}) pages"
)
_PREFIXED = 400  # a level may stand in front
_UNITS = {"": 1, "K": KIB, "M": KIB * KIB, "G": _GIB}


def oomd_kill(line: str) -> Told | None:
    """Read oomd's line in the kernel's log; a dry run is no kill."""
    match = _OOMD_KILL.search(line)
    if match is None or match[3]:
        return None
    path = match[1] if match[1].startswith("/") else f"/{match[1]}"
    rss = number(match[2], _MOST_BYTES)
    place = place_of_cgroup(path)
    return Told("killed", "oomd", "oomd killed the control group", "oomd", place, rss=rss, at_least=True)


def oomd_pids(line: str) -> Told | None:
    """Read oomd's own log of the processes it killed; the first stands for all."""
    match = _OOMD_PIDS.search(line)
    count = number(match[1]) if match else None
    if match is None or not count:
        return None
    alone = count == 1
    return Told(
        "killed",
        "oomd",
        "oomd killed the process" if alone else "oomd killed the processes of a control group",
        "oomd",
        pid=number(match[2], _MOST_PID) if alone else None,
        host_pid=True if alone else None,
        comm=match[3] if alone else None,
        deaths=count,
    )


def ray_summary(line: str) -> Told | None:
    """Read Ray's summary of the last minute."""
    match = _RAY.search(line)
    count = number(match[1]) if match else None
    if match is None or not count:
        return None
    place = Place(host=match[2])
    return Told("killed", "ray", "Ray killed workers", "ray", place, deaths=count, here=True, shaped=True)


def ray_worker(line: str) -> Told | None:
    """Read why Ray killed a worker."""
    match = _RAY_WORKER.search(line)
    if match is None:
        return None
    rss = int(float(match[4]) * _UNITS[match[5]]) if match[4] else None
    return Told(
        "killed",
        "ray",
        "Ray killed a worker" + (f" that ran {match[2]}" if match[2] else ""),
        "ray",
        Place(host=match[1]),
        pid=number(match[3], _MOST_PID),
        rss=rss,
        here=True,
        shaped=True,
    )


def ray_old(line: str) -> Told | None:
    """Read Ray's older wording."""
    match = _RAY_OLD.search(line)
    return (
        Told("killed", "ray", f"Ray killed a worker that ran {match[1]}", "ray", here=True) if match else None
    )


def talos(line: str) -> Told | None:
    """Read whose control group Talos killed."""
    match = _TALOS.search(line)
    if match is None:
        return None
    place = place_of_cgroup(match[1])
    return Told(
        "killed", "talos", "Talos killed the control group", "talos", place, at_least=True, shaped=True
    )


def lmkd(line: str) -> Told | None:
    """Read Android's low memory killer daemon."""
    tag = _LOGCAT.search(line)
    match = _LMKD.fullmatch(line, tag.end() if tag else 0)
    if match is None:
        return None
    return Told(
        "killed",
        "lmkd",
        "Android's lmkd killed the process",
        "lmkd",
        pid=number(match[2], _MOST_PID),
        host_pid=True,
        comm=match[1],
        rss=(number(match[3], _MOST_BYTES >> 10) or 0) * KIB or None,
        shaped=tag is not None,
    )


def lowmemorykiller(line: str) -> Told | None:
    """Read Android's killer inside the kernel."""
    match = _LOWMEMORYKILLER.search(line, 0, _PREFIXED)
    if match is None:
        return None
    return Told(
        "killed",
        "lowmemorykiller",
        "Android's lowmemorykiller killed the process",
        "lowmemorykiller",
        pid=number(match[2], _MOST_PID),
        host_pid=True,
        comm=match[1],
    )


def traced(line: str) -> Told | None:
    """Read what a tracer saw the kernel do; its pages are those of the limit, not of the victim."""
    match = _TRACED.search(line)
    if match is None:
        return None
    return Told(
        "oom",
        "oomkill",
        f"the kernel's OOM killer, called by {match[1] or 'a process'}",
        "kernel",
        pid=number(match[2], _MOST_PID),
        host_pid=True,
        comm=match[3] or None,
        shaped=True,
    )


_LMKD_TAGS = frozenset({"lmkd", "lowmemorykiller", "kernel"})
WORDINGS = (
    Wording("oomd kill: ", _KMSG, oomd_kill),
    Wording("BaseKillPlugin.cpp:", _OOMD, oomd_pids),
    Wording("killed due to memory pressure (OOM)", frozenset(), ray_summary),
    Wording("Ray killed this worker", frozenset(), ray_worker),
    Wording("System memory low at node", frozenset(), ray_old),
    Wording("runtime.OOMController", frozenset(), talos),
    Wording("), uid ", _LMKD_TAGS, lmkd),
    Wording("lowmemorykiller: Killing '", frozenset({"kernel", "lowmemorykiller"}), lowmemorykiller),
    Wording(", OOM kill of PID ", frozenset(), traced),
)
