"""Whether snapshots can be compared, and what it does to the result when they differ."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from leakhunt.analysis.executions import one_series, same_process, started_apart, traced_anew
from leakhunt.model.capture import Capture
from leakhunt.model.capture_reading import parse_capture
from leakhunt.model.snapshot import Snapshot
from leakhunt.moments import format_moment

_VERSION = re.compile(r"/(?:lib|lib64)/python(\d\.\d+)t?/")
_OF_FIELDS = {2: "3.4-3.5", 3: "3.6-3.8", 4: "3.9+"}


def python_of(snapshot: Snapshot) -> str | None:
    """Return the Python that wrote a snapshot: as stored, or by its library's paths, or by the form of its traces."""
    stored = snapshot.capture.get("python") if snapshot.capture else None
    if isinstance(stored, str):
        return stored
    versions = Counter(match[1] for name in snapshot.filenames if (match := _VERSION.search(name)))
    if versions:
        return versions.most_common(1)[0][0]
    return _OF_FIELDS.get(snapshot.trace_fields)


def differences(snapshots: Sequence[Snapshot]) -> tuple[str, ...]:
    """Say what makes snapshots hard to compare, and what that does to the result."""
    warnings = []
    limits = {snapshot.traceback_limit for snapshot in snapshots if snapshot.traceback_limit is not None}
    if len(limits) > 1:
        told = " and ".join(str(limit) for limit in sorted(limits))
        warnings.append(
            f"traceback limits differ ({told} frames): equal stacks are cut differently, so --group-by traceback and "
            "--cumulative show growth where there is none"
        )
    pythons = {python for snapshot in snapshots if (python := python_of(snapshot))}
    exact = pythons.difference(_OF_FIELDS.values())
    if len(exact) > 1 or len({snapshot.trace_fields for snapshot in snapshots if snapshot.blocks}) > 1:
        told = " and ".join(sorted(pythons))
        warnings.append(
            f"written by different Pythons ({told}): the standard library's lines moved and its objects have other "
            "sizes, so look at your own code only"
        )
    captures = [parse_capture(snapshot.capture) for snapshot in snapshots if snapshot.capture is not None]
    order = tuple(_of_order(snapshots)) if same_process(captures) else ()
    warnings += [*_of_processes(captures), *order, *_of_tracing(captures)]
    sizes = [snapshot.size for snapshot in snapshots]
    if (
        not order
        and one_series(captures)
        and len(sizes) > 1
        and (sizes[0] > 2 * sizes[-1] or min(sizes) < 0.9 * min(sizes[0], sizes[-1]))
    ):
        warnings.append("sizes fall between the snapshots: are they in the order of time, oldest first?")
    if any(snapshot.partial for snapshot in snapshots):
        warnings.append("a snapshot is cut, so its sums are too small and growth is not what it seems")
    return tuple(warnings)


def _of_processes(told: Sequence[Capture]) -> Iterator[str]:
    """Say that snapshots are of different processes; only the first thing that differs is named."""
    starts = {one.started for one in told if started_apart(told)}
    for what, key, values in (
        ("hosts", "host", {one.host for one in told}),
        ("processes", "pid", {one.pid for one in told}),
        ("processes", "started", {start and format_moment(start) for start in starts}),
        ("boots of a machine", "boot id", {one.boot_id for one in told}),
    ):
        known = sorted(map(str, values - {None}))
        if len(known) > 1:
            counted = (
                ", and growth is not divided by executions" if any(one.executions for one in told) else ""
            )
            yield (
                f"snapshots are of different {what}: what differs may be work, not time{counted} "
                f"({key} {' and '.join(known)})"
            )
            return


def _of_order(snapshots: Sequence[Snapshot]) -> Iterator[str]:
    """Say in which order snapshots were taken, if it is another."""
    taken = [
        (when, snapshot.path)
        for snapshot in snapshots
        if snapshot.capture is not None and (when := parse_capture(snapshot.capture).when) is not None
    ]
    if taken != (in_time := sorted(taken, key=lambda one: one[0])):
        names = " ".join(path for _, path in in_time)
        yield f"snapshots are not in the order in which they were taken, which is {names}"


def _of_tracing(told: Sequence[Capture]) -> Iterator[str]:
    """Say what the times and the tracing make of the growth."""
    if told and traced_anew(told[0], told[-1]) and (began := told[-1].tracing.since) is not None:
        yield (
            f"tracing began between the snapshots, at {format_moment(began)} UTC: what was allocated before is not in "
            "the last one, and growth is not divided by executions"
        )
    if len({one.tracing.inherited for one in told} & {"included", "left out"}) > 1:
        yield (
            "what the parent had allocated before the fork is in some of the snapshots only: its blocks look like "
            "growth or shrinkage"
        )
