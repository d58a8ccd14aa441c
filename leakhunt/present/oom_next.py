"""What to do next about a kill: a command that can be run as it is printed, or advice where none helps."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import NamedTuple

from leakhunt.analysis.incident.covered import SILENT
from leakhunt.analysis.incident.pairs import WORKER_NAMES
from leakhunt.analysis.incident.places import place_of
from leakhunt.model.evidence import Place
from leakhunt.model.oom import OomKill
from leakhunt.units import format_duration, format_size

_KUBERNETES = frozenset({"kubernetes", "containerd", "crio"})
_ENGINES = {None: "docker", "docker": "docker", "ecs": "docker", "podman": "podman"}
_STAMP = re.compile(r"-([0-9]{8}T[0-9]{6})-[0-9]{1,9}\.bin$")
_SAME_MOMENT_S = 5.0
_MOST = 0.5  # of what a process held: an execution that took so much is no leak's last drop
_RUNNING = "such a worker, once 'leakhunt run' has started it"


class NextStep(NamedTuple):
    """A command, and what it is for; without one the purpose is the advice."""

    purpose: str
    command: str = ""


def next_step(kill: OomKill, paths: Sequence[str], *, details: bool = False) -> NextStep | None:
    """Return what to do next; words from a log are quoted for the shell.

    Args:
        kill: the kill.
        paths: what the user named; nothing where this machine was looked at.
        details: whether the report's parts are shown already.
    """
    unsure = kill.worker is not None and kill.confidence == "possible"
    step = (_kernel_log(kill, paths) if unsure else None) or _snapshot(kill) or _one_execution(kill)
    if step is not None or unsure:
        return step
    if kill.worker is None and (step := _worker_log(kill, paths)) is not None:
        return step
    return _growth(kill, paths, details=details)


def _scan(paths: Sequence[str], *more: str) -> str:
    """Return the same command with more, or nothing where its input cannot be read again."""
    files = [f"./{path}" if path.startswith("-") else path for path in paths]
    return "" if "-" in paths else shlex.join(["leakhunt", "oom-scan", *files, *more])


def _worker_log(kill: OomKill, paths: Sequence[str]) -> NextStep | None:
    fetch = _fetch_log(kill)
    if not fetch:
        return None
    words = [f"{fetch} > worker.log 2>&1", _scan(paths or ("kernel.log",), "worker.log")]
    if not paths:
        words.insert(0, "dmesg --time-format iso > kernel.log")
    other = kill.comm is not None and not kill.comm.lower().startswith(WORKER_NAMES)
    what = "its own log of that time" if other else "the worker's log, which names the task"
    return NextStep(what, "; ".join(filter(None, words)))


def _kernel_log(kill: OomKill, paths: Sequence[str]) -> NextStep | None:
    if any(SILENT in note for note in kill.notes):
        return None
    if kill.here and paths:
        return NextStep("what the logs of this machine, where it ran, say of it", "leakhunt oom-scan")
    scan = _scan(paths, "kernel.json")
    if not scan:
        return None
    words = f"journalctl -k -o json > kernel.json; {scan}"
    return NextStep("the kernel's log of that time, on that machine", words)


def _snapshot(kill: OomKill) -> NextStep | None:
    """Name what that very process held shortly before."""
    path = kill.snapshot
    if path is None:
        return None
    named = _STAMP.search(path)
    written = _parsed(named[1]) if named is not None else None
    before = ""
    if written is not None and kill.when is not None:
        seconds = (kill.when - written).total_seconds()
        if seconds < -_SAME_MOMENT_S:  # another process's, which has its name by chance
            return None
        before = f", {format_duration(max(seconds, 0.0))} before" if seconds >= 1 else ", just before"
    shown = f"./{path}" if path.startswith("-") else path
    return NextStep(
        f"what that very process held{before}, by its last snapshot", shlex.join(["leakhunt", "top", shown])
    )


def _parsed(stamp: str) -> datetime | None:
    """Read the time in a snapshot's name; None where it is none."""
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%S").replace(tzinfo=timezone.utc)
    except ValueError:
        return None


def _one_execution(kill: OomKill) -> NextStep | None:
    """Advise where the memory is this one execution's, and not what those before it left."""
    task, held = kill.task, kill.rss
    if task is None or task.took is None or held is None or task.took < _MOST * held:
        return None
    listed = f" ({format_size(kill.anon_rss)} of them anonymous)" if kill.anon_rss not in {None, held} else ""
    sizes = f"{format_size(task.took)} of the {format_size(held)} resident{listed}"
    return NextStep(f"this execution took {sizes}: give {task.name} a queue of its own, or smaller input")


def _growth(kill: OomKill, paths: Sequence[str], *, details: bool) -> NextStep | None:
    task, worker = kill.task, kill.worker
    hunt = (
        ["leakhunt", "hunt", "--celery"]
        if worker and worker.program == "celery"
        else ["leakhunt", "hunt", "PID"]
    )
    if task is not None and task.name is not None:
        package = task.name.partition(".")[0]
        return NextStep(f"what {package} keeps in {_RUNNING}", shlex.join([*hunt, f"--include={package}"]))
    if worker is not None and worker.program == "celery":
        return NextStep(f"what tasks keep in {_RUNNING}", shlex.join([*hunt, "--group-by", "task"]))
    again = _scan(paths, "--details")
    return NextStep("who used the memory", again) if kill.tasks and not details and again else None


def _fetch_log(kill: OomKill) -> str:
    """Return a command that prints the log of the owner's worker; none if a name would be taken for an option."""
    place = place_of(kill)
    names = (place.pod, place.container, place.unit)
    if any(part.startswith("-") for name in names if name for part in name.split("/")):
        return ""
    if place.pod:
        namespace, _, pod = place.pod.rpartition("/")
        where = ["-n", namespace] if namespace else []
        container = ["-c", place.container] if place.container else []
        return shlex.join(["kubectl", "logs", "--previous", "--timestamps", *where, pod, *container])
    if place.container or place.container_id:
        return _container_log(kill, place)
    if place.unit and place.unit.endswith(".service"):
        return shlex.join(["journalctl", "-o", "json", "-u", place.unit])
    return ""


def _container_log(kill: OomKill, place: Place) -> str:
    owner = kill.cgroup
    runtime = owner.runtime if owner is not None else None
    if place.pod_uid or runtime in _KUBERNETES:
        words = (
            ["crictl", "logs", "--timestamps", (place.container_id or "")[:13]] if place.container_id else []
        )
    elif runtime == "nomad":
        words = ["nomad", "alloc", "logs", "-stderr", place.container_id] if place.container_id else []
    elif runtime in _ENGINES:
        words = [
            _ENGINES[runtime],
            "logs",
            "--timestamps",
            place.container or (place.container_id or "")[:12],
        ]
    else:
        words = []
    return shlex.join(words)
