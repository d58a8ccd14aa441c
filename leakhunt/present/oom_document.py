"""Kills as documents of the JSON contract ``leakhunt.oom/1``: sizes in bytes, times in UTC, unknown is null."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from leakhunt.analysis.incident.places import place_of
from leakhunt.model.evidence import Evidence
from leakhunt.model.oom import IncompleteReport, Loss, LostTask, NotAKill, OomKill, Owner, Process, WorkerRef
from leakhunt.model.verdict import KillGroup, OomResult
from leakhunt.moments import iso
from leakhunt.present.tasks_document import unended
from leakhunt.version import __version__

SCHEMA = "leakhunt.oom/1"


def document(result: OomResult) -> dict[str, Any]:
    """Return a whole result; the lists that may be long are iterators, which make their items on demand."""
    return {
        "schema": SCHEMA,
        "leakhunt": __version__,
        "filters": list(result.filtered),
        "sources": [
            {
                "path": source.source,
                "kind": source.kind,
                "lines": source.lines,
                "bytes": source.bytes,
                "first": iso(source.first),
                "last": iso(source.last),
                "lost": source.lost,
            }
            for source in result.sources
        ],
        "live": [asdict(source) for source in result.live],
        "kills": map(kill_document, result.kills),
        "hidden": result.hidden,
        "unseen": result.unseen,
        "incomplete": map(_incomplete, result.incomplete),
        "groups": map(_group, result.groups),
        "loops": [
            {**asdict(loop), "first": iso(loop.first), "last": iso(loop.last), "members": list(loop.members)}
            for loop in result.loops
        ],
        "ran_twice": [
            {**asdict(task), "first": iso(task.first), "again": iso(task.again), "last": iso(task.last)}
            for task in result.twice
        ],
        "unended": [unended(task) for task in result.unended],
        "not_kills": map(_not_kill, result.not_kills),
        "losses": map(_loss, result.losses),
        "counters": [asdict(counter) for counter in result.counters],
        "warnings": list(result.warnings),
        "skipped": [asdict(skipped) for skipped in result.skipped],
    }


def kill_document(kill: OomKill) -> dict[str, Any]:
    """Return one kill, as it stands in the list of all and alone on a line."""
    memory, task = kill.memory, kill.task
    return {
        "when": iso(kill.when),
        "uncertainty_s": kill.uncertainty_s,
        "monotonic": kill.monotonic,
        "boot": kill.boot,
        "host": kill.host,
        "confidence": kill.confidence,
        "killer": kill.killer,
        "scope": kill.scope,
        "pid": kill.pid,
        "tgid": kill.tgid,
        "comm": kill.comm,
        "uid": kill.uid,
        "total_vm": kill.total_vm,
        "anon_rss": kill.anon_rss,
        "file_rss": kill.file_rss,
        "shmem_rss": kill.shmem_rss,
        "pgtables": kill.pgtables,
        "oom_score_adj": kill.oom_score_adj,
        "score": kill.score,
        "invoker": _process(kill.invoker),
        "selected": None if kill.selected is None else kill.selected._asdict(),
        "kernel": kill.kernel,
        "cgroup": _owner(kill.cgroup),
        "place": dict(vars(place_of(kill))),
        "group": kill.group,
        "memory": None
        if memory is None
        else {
            "usage": memory.usage,
            "limit": memory.limit,
            "failcnt": memory.failcnt,
            "swap_usage": memory.swap_usage,
            "swap_limit": memory.swap_limit,
        },
        "tasks": [row._asdict() for row in kill.tasks],
        "tasks_omitted": kill.tasks_omitted,
        "worker": _worker(kill.worker),
        "task": None if task is None else _task(task),
        "complete": kill.complete,
        "missing": list(kill.missing),
        "notes": list(kill.notes),
        "at_least": kill.at_least,
        "evidence": _evidence(kill.evidence),
        "quoted": kill.quoted,
        "copies": kill.copies,
        "snapshot": kill.snapshot,
    }


def _process(process: Process | None) -> dict[str, Any] | None:
    return None if process is None else {"pid": process.pid, "comm": process.comm}


def _owner(owner: Owner | None) -> dict[str, Any] | None:
    return None if owner is None else dict(vars(owner))


def _worker(worker: WorkerRef | None) -> dict[str, Any] | None:
    return None if worker is None else {**vars(worker), "matched": list(worker.matched)}


def _task(task: LostTask) -> dict[str, Any]:
    return {
        "name": task.name,
        "id": task.id,
        "how": task.how,
        "candidates": [candidate._asdict() for candidate in task.candidates],
        "omitted": task.omitted,
    }


def _evidence(lines: Sequence[Evidence]) -> list[dict[str, Any]]:
    return [line._asdict() for line in lines]


def _incomplete(report: IncompleteReport) -> dict[str, Any]:
    return {
        "when": iso(report.when),
        "uncertainty_s": report.uncertainty_s,
        "monotonic": report.monotonic,
        "host": report.host,
        "scope": report.scope,
        "invoker": _process(report.invoker),
        "victim": _process(report.victim),
        "cgroup": _owner(report.cgroup),
        "missing": list(report.missing),
        "evidence": _evidence(report.evidence),
    }


def _group(group: KillGroup) -> dict[str, Any]:
    values = asdict(group)
    tasks = [{"name": name, "kills": kills} for name, kills in group.tasks]
    lists = {"sizes": list(group.sizes), "members": list(group.members), "tasks": tasks}
    return {**values, **lists, "first": iso(group.first), "last": iso(group.last)}


def _loss(loss: Loss) -> dict[str, Any]:
    return {"kind": loss.kind, "count": loss.count, "evidence": loss.evidence._asdict()}


def _not_kill(one: NotAKill) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "when": iso(one.when),
        "monotonic": one.monotonic,
        "host": one.host,
        "process": _process(one.process),
        "place": dict(vars(one.place)),
        "text": one.text,
        "evidence": _evidence((one.evidence,)),
    }
