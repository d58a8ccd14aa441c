"""Kills seen more than once, in one source or in several, told once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from leakhunt.model.oom import CONFIDENCES, KILL_LINE, KILL_LINE_END, OomKill

_SAME_BOOT_S = 30.0
_SAME_TIME_S = 90.0
_MOST_EVIDENCE = 80
_MOST_OF_A_PID = 64
_PARTS = {KILL_LINE, KILL_LINE_END}  # what is missing of a kill whose sizes another copy may tell


def merge(kills: Iterable[OomKill]) -> tuple[OomKill, ...]:
    """Return each kill once, in the order of the first sighting, with the evidence of all.

    The same pid, name and sizes are the same kill where host, boot and time allow it; a quotation may be of any time. A
    copy that was cut in front of the sizes, or inside them, is of the same process.
    """
    told = tuple(kills)
    once = _merged(told)
    # A copy with a better clock may have shown that two of them are one.
    return once if len(once) == len(told) else _merged(once)


def _merged(kills: Sequence[OomKill]) -> tuple[OomKill, ...]:
    found: list[OomKill] = []
    places: dict[tuple[object, ...], list[int]] = {}
    pids: dict[int, list[int]] = {}
    cut: dict[int, list[int]] = {}
    for kill in kills:
        key = (kill.pid, kill.comm, kill.total_vm, kill.anon_rss, kill.file_rss)
        same = places.setdefault(key, [])
        mine = set(_pids_of(kill))
        others = [
            at for pid in mine for at in (pids if _is_cut(kill) else cut).get(pid, ())[-_MOST_OF_A_PID:]
        ]
        for place in (*same, *others):
            if may_be_same(found[place], kill):
                found[place] = _joined(found[place], kill)
                break
        else:
            place = len(found)
            same.append(place)
            found.append(kill)
        for pid in mine:
            _note(pids, pid, place)
            if _is_cut(kill):
                _note(cut, pid, place)
    return tuple(found)


def _note(places: dict[int, list[int]], pid: int, place: int) -> None:
    known = places.setdefault(pid, [])
    if not known or known[-1] != place:
        known.append(place)


def _pids_of(kill: OomKill) -> Iterator[int]:
    """Yield the numbers of the process: where the kernel names a thread, a cut report names the process."""
    chosen = kill.selected.pid if kill.selected is not None and kill.tgid != kill.pid else None
    yield from (pid for pid in (kill.pid, kill.tgid, chosen) if pid is not None)


def _is_cut(kill: OomKill) -> bool:
    """Tell whether the line that told of a kill, or the end of it, is missing."""
    return not _PARTS.isdisjoint(kill.missing)


def may_be_same(one: OomKill, other: OomKill) -> bool:
    """Tell whether nothing speaks against two kills of the same process and sizes being one."""
    for left, right in ((one.host, other.host), (one.boot, other.boot)):
        if left and right and left != right:
            return False
    cut = _is_cut(one) or _is_cut(other)
    if one.quoted or other.quoted:
        return cut or one.anon_rss is not None
    one_source = {item.source for item in one.evidence} & {item.source for item in other.evidence}
    if one_source and one.boot_number != other.boot_number:
        return False
    if one.monotonic is not None and other.monotonic is not None:
        return abs(one.monotonic - other.monotonic) <= _SAME_BOOT_S
    if one.when is not None and other.when is not None:
        doubt = (one.uncertainty_s or 0.0) + (other.uncertainty_s or 0.0)
        return abs((one.when - other.when).total_seconds()) <= max(_SAME_TIME_S, doubt)
    return cut or one.anon_rss is not None


def _joined(one: OomKill, other: OomKill) -> OomKill:
    """Keep the fuller report, and fill its gaps from the other; of the clocks the best tells the time."""
    best, rest = sorted((one, other), key=_worth, reverse=True)
    timed = min((best, rest), key=_doubt)
    evidence = tuple(dict.fromkeys((*best.evidence, *rest.evidence)))  # the first tells whose the episode is
    missing = tuple(part for part in best.missing if part in rest.missing) if _is_cut(rest) else best.missing
    return replace(
        best,
        when=timed.when,
        uncertainty_s=timed.uncertainty_s,
        drifts=timed.drifts,
        monotonic=best.monotonic if best.monotonic is not None else rest.monotonic,
        boot=best.boot or rest.boot,
        host=best.host or rest.host,
        confidence=min(best.confidence, rest.confidence, key=CONFIDENCES.index),
        scope=best.scope if best.scope != "unknown" else rest.scope,
        tgid=best.tgid if best.tgid is not None else rest.tgid,
        uid=best.uid if best.uid is not None else rest.uid,
        cgroup=best.cgroup or rest.cgroup,
        memory=best.memory or rest.memory,
        invoker=best.invoker or rest.invoker,
        selected=best.selected or rest.selected,
        kernel=best.kernel or rest.kernel,
        group=best.group or rest.group,
        tasks=best.tasks or rest.tasks,
        missing=missing,
        evidence=evidence[:_MOST_EVIDENCE],
        copies=one.copies + other.copies,
    )


def _worth(kill: OomKill) -> tuple[bool, bool, bool, bool, int, bool]:
    """Rank what two copies tell: first whether the kill line is there at all."""
    there = KILL_LINE not in kill.missing
    sized = kill.total_vm is not None
    return there, sized, not kill.quoted, kill.complete, -len(kill.missing), bool(kill.tasks)


def _doubt(kill: OomKill) -> tuple[bool, bool, bool, float]:
    """Rank the clocks of two copies, the best first: a clock that drifts, or a quotation's, is better than none."""
    doubt = kill.uncertainty_s if kill.uncertainty_s is not None else float("inf")
    return kill.when is None, kill.quoted, kill.drifts, doubt
