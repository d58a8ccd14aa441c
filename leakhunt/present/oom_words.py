"""Kills in sentences: who, whose, by whose limit, running what, how sure, and what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from leakhunt.analysis.incident.groups import owner_name
from leakhunt.analysis.incident.places import in_container, place_of
from leakhunt.model.oom import KILL_LINE, LostTask, OomKill, TaskRow
from leakhunt.model.verdict import KillGroup
from leakhunt.units import count_of, format_count, format_duration, format_size

_SCOPES = {
    "global": "because the machine had no memory left",
    "cpuset": "because the memory nodes of its cpuset had no memory left",
    "mempolicy": "because the memory nodes of its policy had no memory left",
    "manual": "because somebody asked for it (SysRq f)",
    "bpf": "by the rule of a BPF program",
}
_PATTERNS = {
    "growing": "larger each time: a suspected leak",
    "flat": "about the same size each time",
    "unsteady": "of different sizes: spikes rather than a steady leak",
}
_HOW = {
    "accepted": "the log says which child took it",
    "child": "that child was logging under it",
    "named": "the log names it",
    "job": "WorkerLostError's job number counts to it",
    "only": "the only one unfinished",
    "recorded": "its flight record has no end",
}
_KINDS = {
    "time-limit": "hard time limit",
    "timeout": "timeout of its main process",
    "recycled": "recycled on purpose",
    "terminated": "ended on request",
    "signal": "another signal or exit code",
    "vanished": "stopped without a word",
    "attempt": "asked to end, or not killed",
    "exit": "exit code",
    "panic": "kernel panic, nobody killed",
    "no-killable-process": "nobody left to kill",
    "allocation-failure": "failed allocation",
    "unable-to-reap": "victim not reaped",
    "already-exiting": "victim was leaving already",
    "page-fault": "page fault retried",
    "shares-memory": "shares a victim's memory",
    "pinned": "memory pinned",
}
_MOST_NAMED = 3


def sentence(kill: OomKill, *, owned: bool = True) -> str:
    """Say who was killed, whose it was unless that is said already, and by whose limit."""
    owner = whose(kill) if owned else ""
    quoted = ", as another program's log quotes it" if kill.quoted else ""
    return f"{who(kill)}{f' {owner}' if owner else ''}, killed {why(kill)}{quoted}"


def who(kill: OomKill) -> str:
    """Name the process: ``ForkPoolWorker-3 (celery, pid 4242)``; a worker that it merely may have been is not named."""
    process = ", ".join(filter(None, (kill.comm, _pid(kill))))
    worker = None if doubtful(kill) else kill.worker
    if worker is not None and worker.name:
        return f"{worker.name} ({process})" if process else worker.name
    if worker is not None and worker.whole and not process:
        return f"the whole {worker.program} worker"
    if kill.comm is None:
        return f"a process ({_pid(kill)})" if kill.pid is not None else "a process"
    return f"{kill.comm} ({_pid(kill)})" if kill.pid is not None else kill.comm


def doubtful(kill: OomKill) -> bool:
    """Tell whether the process may have been another than the worker that it was put to."""
    return kill.worker is not None and kill.worker.confidence == "possible"


def _pid(kill: OomKill) -> str:
    """Name the process by its number; where the kernel names a thread of it, both."""
    if kill.pid is None:
        return ""
    return f"thread {kill.pid} of pid {kill.tgid}" if kill.tgid not in {None, kill.pid} else f"pid {kill.pid}"


def whose(kill: OomKill) -> str:
    """Name the owner with its kind, and the machine: ``of pod shop/worker-1 (worker) on node-7``; empty if unknown."""
    kind, name = owner_name(kill)
    place = place_of(kill)
    owner = "" if kind == "comm" else f"of {_owner(kind, name)}"
    host = kill.host or (place.host if not in_container(place) else None)
    return f"{owner} on {host}".strip() if host and kind != "node" else owner


def _owner(kind: str, name: str) -> str:
    return {"cgroup": f"control group {name}", "node": f"worker {name}", "comm": name}.get(
        kind, f"{kind} {name}"
    )


def group_name(group: KillGroup) -> str:
    """Name the owner of repeated kills."""
    if group.kind != "comm":
        return _owner(group.kind, group.name)
    return f"processes named {group.name}" if group.name != "unknown" else "unnamed processes"


def why(kill: OomKill) -> str:
    """Say by whom and by whose limit."""
    if kill.killer == "unknown":
        return (
            "by SIGKILL, and nothing says by whom" if kill.confidence == "possible" else "for lack of memory"
        )
    if kill.killer != "kernel":
        return f"by {kill.killer}"
    if kill.scope == "memcg":
        return f"by the kernel at {_limit(kill)}"
    return f"by the kernel {_SCOPES.get(kill.scope, 'for lack of memory')}"


def _limit(kill: OomKill) -> str:
    """Name the limit that was reached, and its size."""
    limit = kill.memory.limit if kill.memory is not None else None
    size = f" of {format_size(limit)}" if limit is not None else ""
    owner = kill.cgroup
    if owner is None or owner.limited is None:
        return f"a memory limit{size}"
    if owner.victim in {None, owner.limited}:
        return f"its {_kind(kill)} limit{size}"
    last = owner.limited.rstrip("/").rpartition("/")[2]
    if owner.pod_uid and (owner.pod_uid in last or owner.pod_uid.replace("-", "_") in last):
        return f"the limit{size} of its whole pod"
    if last.startswith("user-"):
        return f"the limit{size} of its user, {last}"
    return f"the limit{size} of {owner.limited}"


def _kind(kill: OomKill) -> str:
    owner = kill.cgroup
    if owner is not None and owner.container_id:
        return "container's"
    return "unit's" if owner is not None and owner.unit else "control group's"


def held(kill: OomKill) -> str:
    """Say how much memory the process had, by kinds."""
    parts = (("anonymous", kill.anon_rss), ("file", kill.file_rss), ("shared", kill.shmem_rss))
    return ", ".join(f"{format_size(size)} {name}" for name, size in parts if size)


def task_of(kill: OomKill) -> str:
    """Name the task that was running, or those that it may have been; ``possibly`` where the worker may be another."""
    if kill.task is None:
        return "task unknown"
    return f"possibly {task_words(kill.task)}" if doubtful(kill) else task_words(kill.task)


def task_words(task: LostTask) -> str:
    """Name the task that was running, or those that it may have been."""
    if task.id is not None or (task.name is not None and not task.candidates):
        name = task.name or "a task"
        return f"task {name}[{task.id}] ({_HOW.get(task.how, task.how)})" if task.id else f"task {name}"
    total = len(task.candidates) + task.omitted
    if task.name is not None:
        return f"task {task.name}, one of {total} messages of it in flight"
    counts = Counter(candidate.name or candidate.id or "unknown" for candidate in task.candidates)
    names = [f"{name} ({count})" if count > 1 else name for name, count in counts.items()]
    more = f" and {format_count(len(names) - _MOST_NAMED)} more" if len(names) > _MOST_NAMED else ""
    listed = f"{', '.join(names[:_MOST_NAMED])}{more}"
    if task.how == "all":
        return f"all {format_count(total)} tasks in flight were lost: {listed}"
    return f"one of {format_count(total)} tasks in flight, the likeliest first: {listed}"


def kind_of(kind: str) -> str:
    """Name what is no OOM kill."""
    return _KINDS.get(kind, kind)


def certainty(kill: OomKill) -> str:
    """Say how sure the kill is, and how sure it is that it was that worker."""
    words = {
        "confirmed": "confirmed by the kernel",
        "probable": "probable: another program says so, no kernel line does",
        "possible": "possible: a SIGKILL, with no kernel line",
    }[kill.confidence]
    if kill.confidence == "probable" and KILL_LINE in kill.missing:
        words = "probable: the kernel's report says so, but for its last line"
    worker = kill.worker
    if worker is None or worker.matched == ("its own log",):
        return words
    why = ", ".join(map(_matched, worker.matched))
    if not doubtful(kill):
        return f"{words}; worker {worker.confidence} ({why})"
    whole = f"the whole {worker.program} worker" if worker.whole else f"a process of {worker.program}"
    return f"{words}; possibly {worker.name or whole} ({why})"


def _matched(what: str) -> str:
    """Say what a match is a match of; a time says so itself."""
    if what == "name":
        return "a worker's name"
    return (
        f"same {what}"
        if what[:1].isalpha() and what != "time"
        else f"{what} apart"
        if what != "time"
        else "right time"
    )


def running(kill: OomKill | None) -> str:
    """Say in half a sentence what was running; empty if nothing is known."""
    task = kill.task if kill is not None else None
    if kill is None or task is None:
        return ""
    total, possibly = len(task.candidates) + task.omitted, "possibly " if doubtful(kill) else ""
    if task.how == "all":
        return f", {possibly}with {count_of(total, 'task')} in flight"
    if task.name is not None:
        return f", {possibly}running {task.name}"
    return f", {possibly}running one of {count_of(total, 'task')}" if total else ""


def others(kill: OomKill) -> list[str]:
    """Say what is to be known of the other processes that the report names."""
    words = []
    if kill.selected is not None and kill.selected.pid not in {kill.pid, kill.tgid}:
        words.append(
            f"chosen was {_process(kill.selected.comm, kill.selected.pid)}; a child of it was killed"
        )
    if kill.invoker is not None and kill.scope != "manual" and kill.invoker.comm != kill.comm:
        words.append(
            f"asked for by {_process(kill.invoker.comm, kill.invoker.pid)}, which only wanted memory"
        )
    biggest = max(kill.tasks, key=_footprint, default=None)
    if biggest is not None and biggest.pid not in {kill.pid, kill.tgid}:
        words.append(
            f"the largest then was {_process(biggest.comm, biggest.pid)} with {format_size(_footprint(biggest))}"
        )
    return words


def _footprint(row: TaskRow) -> int:
    return row.rss + (row.swap or 0)


def _process(comm: str, pid: int | None) -> str:
    return f"{comm} (pid {pid})" if pid is not None else comm


def rhythm(group: KillGroup) -> str:
    """Say how far apart the kills of one owner are; empty where that is not known."""
    if group.interval_s is None:
        return ""
    if group.interval_s < 1:
        return "at once"
    every = format_duration(group.interval_s)
    if group.regular is None:
        return f"{every} apart"
    return f"every {every}" if group.regular else f"about every {every}"


def repetition(group: KillGroup, *, looped: bool) -> Iterator[str]:
    """Say how the kills of one owner repeat, and what their sizes tell.

    Args:
        group: the kills.
        looped: whether one message, delivered again and again, explains them all.
    """
    sizes = [format_size(size) for size in group.sizes]
    if len(sizes) > 5:
        sizes[2:-2] = ["..."]
    limit = f" at a limit of {format_size(group.limit)}" if group.limit is not None else ""
    series = " -> ".join(sizes)
    yield ", ".join(filter(None, (rhythm(group), f"{series}{limit}" if series else limit.strip())))
    if group.pattern is None or looped:
        return
    if group.pattern == "flat" and group.limit is not None and group.sizes[-1] > group.limit // 2:
        yield (
            "at its limit each time, at even intervals: as a steady leak does, or a task that runs by the clock"
            if group.regular
            else "at its limit each time, at uneven intervals: a leak under an uneven load, or spikes"
        )
        return
    slope = (
        f", {_signed(group.slope)} an hour" if group.slope is not None and group.pattern == "growing" else ""
    )
    yield f"{_PATTERNS[group.pattern]}{slope}"


def _signed(slope: float) -> str:
    return f"{'-' if slope < 0 else '+'}{format_size(abs(round(slope)))}"
