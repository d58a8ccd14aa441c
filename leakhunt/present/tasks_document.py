"""What task types do to memory, as a document of ``leakhunt.tasks/1``."""

from __future__ import annotations

from typing import Any

from leakhunt.model.record import ProcessSummary, RunningTask, Suspicion, TaskMemory, TasksResult
from leakhunt.moments import iso
from leakhunt.version import __version__


def document(result: TasksResult) -> dict[str, Any]:
    """Return the result as the document of ``leakhunt.tasks/1``: sizes in bytes, unknown is null."""
    return {
        "schema": "leakhunt.tasks/1",
        "leakhunt": __version__,
        "tasks": [_task(task) for task in result.tasks],
        "running": [unended(task) for task in result.running],
        "processes": [_process(process) for process in result.processes],
        "warnings": list(result.warnings),
        "skipped": [vars(skipped) for skipped in result.skipped],
    }


def _task(task: TaskMemory) -> dict[str, Any]:
    return {
        "name": task.name,
        "executions": task.executions,
        "failures": task.failures,
        "killed": task.killed,
        "kept_per_execution": None if task.kept is None else task.kept._asdict(),
        "kept_total": task.kept_total,
        "peak": None if task.peak is None else task.peak._asdict(),
        "verdict": task.verdict,
        "why": task.why,
        "suspected": None if task.suspected is None else _suspicion(task.suspected),
        "counted": task.counted,
        "measured": task.measured or None,
        "warm_up": task.warm_up,
        "queues": list(task.queues),
        "own_queue": task.own_queue,
        "recycle_after": task.recycle_after,
    }


def _suspicion(suspicion: Suspicion) -> dict[str, Any]:
    return {
        "tasks": list(suspicion.tasks),
        "per_execution": suspicion.each,
        "total": suspicion.total,
        "executions": suspicion.executions,
        "ran": suspicion.ran,
    }


def unended(task: RunningTask) -> dict[str, Any]:
    """Return a task that began and did not end, as ``leakhunt.oom/1`` has it, too."""
    return {
        "task": task.task,
        "id": task.id,
        "pid": task.pid,
        "since": iso(task.since),
        "ended": task.ended,
        "proof": task.proof,
        "host": task.host,
        "queue": task.queue,
        "retries": task.retries,
        "redelivered": task.redelivered,
        "rss": task.rss,
    }


def _process(summary: ProcessSummary) -> dict[str, Any]:
    process = summary.process
    return {
        "host": process.key.host,
        "boot": process.key.boot,
        "pid": process.key.pid,
        "pids": list(process.pids),
        "role": process.role,
        "pool": process.pool,
        "node": process.node,
        "name": process.name,
        "container": process.container,
        "shared": process.shared,
        "began": iso(process.began),
        "last": iso(summary.last),
        "ended": summary.ended,
        "exit_code": summary.exit_code,
        "executions": summary.executions,
        "growth": summary.growth,
        "lost": summary.lost,
    }
