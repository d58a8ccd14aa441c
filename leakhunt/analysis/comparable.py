"""Whether snapshots can be compared, and what it does to the result when they differ."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from leakhunt.model.snapshot import Snapshot

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
    for key, consequence in (
        ("host", "of different hosts: what differs may be work, not time"),
        ("pid", "of different processes: what differs may be work, not time"),
    ):
        values = {str(value) for s in snapshots if s.capture and (value := s.capture.get(key)) is not None}
        if len(values) > 1:
            warnings.append(f"{consequence} ({key} {' and '.join(sorted(values))})")
            break
    sizes = [snapshot.size for snapshot in snapshots]
    if len(sizes) > 1 and (sizes[0] > 2 * sizes[-1] or min(sizes) < 0.9 * min(sizes[0], sizes[-1])):
        warnings.append("sizes fall between the snapshots: are they in the order of time, oldest first?")
    if any(snapshot.partial for snapshot in snapshots):
        warnings.append("a snapshot is cut, so its sums are too small and growth is not what it seems")
    return tuple(warnings)
