"""All that a snapshot tells beside its traces: one plain dict, as ``schemas/capture-1.json`` has it."""

from __future__ import annotations

import gc
import os
import threading
import time
import tracemalloc
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, TypeVar

from leakhunt.capture.facts import allocator, garbage, handles, heap, memory, peek, sites
from leakhunt.capture.facts import retainers as holding
from leakhunt.capture.facts.identity import Identity
from leakhunt.version import __version__

SCHEMA = 1
_MOST_TASKS = 10_000
# The parts of the time that is left, for each question in its turn.
_LOOKING = 0.6  # the traces are written after it
_WALK = 0.5
_GARBAGE = 0.4
_TYPES = 0.3

_T = TypeVar("_T")


def collect(
    identity: Identity,
    tracing: Mapping[str, object],
    executions: Mapping[str, int],
    tasks: Mapping[str, Mapping[str, object]],
    *,
    deep: bool,
    retainers: bool,
    trim: bool,
    deadline: float,
    number: int = 0,
    reason: str = "api",
    gc_enabled: bool | None = None,
    shared: memory.Sharing | None = None,
    earlier: Mapping[sites.Line, int] | None = None,
    sized: Callable[[Mapping[sites.Line, int]], None] | None = None,
) -> dict[str, Any]:
    """Return what is known of the worker at this moment.

    Args:
        identity: the worker; in a forked child its parent.
        tracing: ``since``, ``frames`` and ``inherited``, as the agent knows them.
        executions: runs of each task so far.
        tasks: the registry, name to file, first and last line.
        deep: look at all objects; in a forked child alone, with the collector off.
        retainers: look for who holds what, where that is deep.
        trim: try what ``malloc_trim`` gives back, in a forked child alone.
        deadline: by ``time.monotonic``, for the whole snapshot: when three fifths of the time until then are over,
            what is not known is left out, and the dict says so.
        number: of the snapshot in this process.
        reason: why it is taken.
        gc_enabled: whether the collector was on in the worker; None where that is as it is now.
        shared: how much of the worker's memory was its own before the fork.
        earlier: bytes by file and line of an earlier snapshot: the lines that grew most are looked at too.
        sized: told the bytes by file and line, which are the next snapshot's earlier ones.

    Returns:
        Plain data; sizes in bytes, times in seconds since 1970, None for what is unknown.
    """
    left_out: list[str] = []
    forked = os.getpid() != identity.pid
    facts = _head(identity, number=number, reason=reason, forked=forked, left_out=left_out)
    facts["tracing"] = {
        "since": tracing.get("since"),
        "frames": tracing.get("frames")
        or (tracemalloc.get_traceback_limit() if tracemalloc.is_tracing() else 0),
        "inherited": tracing.get("inherited") or "none",
    }
    facts["executions"] = dict(list(executions.items())[:_MOST_TASKS])
    facts["tasks"] = {name: dict(task) for name, task in list(tasks.items())[:_MOST_TASKS]}
    nothing: dict[str, object] = {}
    no_names: list[str] = []
    facts["memory"] = _tried(
        "memory", lambda: memory.ledger(identity.pid, deep=deep, trim=trim, shared=shared), nothing, left_out
    )
    facts["gc"] = heap.collector()
    if gc_enabled is not None:
        facts["gc"]["enabled"] = gc_enabled
    facts["types"] = []
    opened = _tried(
        "open files", lambda: handles.handles(identity.pid), handles.Handles(None, [], {}), left_out
    )
    facts.update(opened._asdict())
    facts["threads"] = []
    facts["retainers"] = []
    threads: list[object] = []
    if deep:
        with allocator.untraced() if forked else nullcontext():  # tracing makes all of it five times as slow
            threads = _deep(
                facts, _until(deadline, _LOOKING), retainers=retainers, earlier=earlier, sized=sized
            )
    facts["threads"] = _tried(
        "threads", lambda: handles.thread_names(identity.pid, threads), no_names, left_out
    )
    return facts


def _head(
    identity: Identity, *, number: int, reason: str, forked: bool, left_out: list[str]
) -> dict[str, Any]:
    """Return the opening of the dict: what it is, and of whom."""
    facts: dict[str, Any] = {
        "schema": SCHEMA,
        "version": __version__,
        "when": time.time(),
        "number": number,
        "reason": reason,
        "how": "fork" if forked else "in process",
        "left_out": left_out,
    }
    facts.update(identity._asdict())
    facts.update(pids=list(identity.pids), command=list(identity.command), packages=dict(identity.packages))
    return facts


def _deep(
    facts: dict[str, Any],
    deadline: float,
    *,
    retainers: bool,
    earlier: Mapping[sites.Line, int] | None,
    sized: Callable[[Mapping[sites.Line, int]], None] | None,
) -> list[object]:
    """Look at all objects, and add what they tell; return those that are threads."""
    left_out: list[str] = facts["left_out"]
    collecting = gc.isenabled()
    gc.disable()
    try:
        everything = heap.walk(_until(deadline, _WALK))
        if not everything.complete:
            left_out.append("types, retainers: not all objects were looked at")
        dead = _garbage(facts, everything, _until(deadline, _GARBAGE))
        unknown: list[heap.Kind] = []
        kinds = _tried(
            "types",
            lambda: heap.kinds((everything.objects, everything.atoms), _until(deadline, _TYPES)),
            unknown,
            left_out,
        )
        facts["types"] = heap.largest(kinds)
        found = _tried("retainers", lambda: sites.traced(sites.Owners(), deadline), None, left_out)
        _estimate(facts["memory"], found)
        if retainers and found is not None:
            nobody = holding.Found([], [])
            held = _tried(
                "retainers",
                lambda: holding.retainers(everything, found, deadline, earlier, dead),
                nobody,
                left_out,
            )
            facts["retainers"] = held.rows
            left_out += held.left_out
        if sized is not None and found is not None:
            sized(found.sizes)
        return _threads(everything)
    finally:
        if collecting:
            gc.enable()


def _garbage(facts: dict[str, Any], everything: heap.Heap, deadline: float) -> frozenset[int]:
    """Add what a collection would free; return the ids of it."""
    left_out: list[str] = facts["left_out"]
    if heap.FREE_THREADED:
        left_out.append("garbage: Python without a global lock does not keep plain counts of references")
        return frozenset()
    if not everything.complete:
        left_out.append("garbage: not all objects were looked at")
        return frozenset()
    found = _tried("garbage", lambda: garbage.find(everything, deadline), None, left_out)
    if found is None:
        return frozenset()
    facts["gc"]["garbage"] = _tried("garbage", lambda: garbage.summary(found, deadline), None, left_out)
    return frozenset(map(id, found.tracked)) | frozenset(map(id, found.released))


def _estimate(ledger: dict[str, Any], found: sites.Traced | None) -> None:
    """Add what tracing itself costs, now that the number of traces is known."""
    admitted = ledger.get("tracer")
    if found is not None and type(admitted) is int:
        ledger["tracer_estimate"] = memory.tracer_estimate(admitted, found.traces, found.frames)


def _threads(everything: heap.Heap) -> list[object]:
    """Return the objects that are threads."""
    known: dict[int, bool] = {}
    found: list[object] = []
    for thing in everything.objects:
        number = id(type(thing))
        if number not in known:
            known[number] = peek.is_a(thing, threading.Thread)
        if known[number]:
            found.append(thing)
    return found


def _until(deadline: float, part: float) -> float:
    """Return the moment when a part of the time that is left is over."""
    now = time.monotonic()
    return now + max(0.0, deadline - now) * part


def _tried(what: str, ask: Callable[[], _T], otherwise: _T, left_out: list[str]) -> _T:
    """Return an answer, or else another one and the reason: a snapshot with a gap is better than none."""
    try:
        return ask()
    except heap.OutOfTimeError:
        left_out.append(f"{what}: the time was over")
    except MemoryError:
        left_out.append(f"{what}: no memory was left")
    except Exception as error:  # noqa: BLE001 - whatever it is, the worker's snapshot goes on
        left_out.append(f"{what}: {peek.kind_of(type(error))}")
    return otherwise
