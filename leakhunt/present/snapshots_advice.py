"""What to do next about what grew between snapshots."""

from __future__ import annotations

import glob
import shlex
from collections.abc import Iterator

from leakhunt.analysis.executions import comparable_parts, one_series, same_process
from leakhunt.model.ledger import GARBAGE
from leakhunt.model.statistics import LEAK, SUSPECT, DiffResult, StatisticDiff
from leakhunt.present import snapshots_ledger
from leakhunt.present.snapshots_headline import STEADY, shrank, untraced_names
from leakhunt.units import count_of

_MOST = 3  # commands printed


def of_diff(result: DiffResult) -> Iterator[str]:
    """Yield what helps against this kind of growth, what it proves, and the command that tells more."""
    if result.ledger:
        yield from snapshots_ledger.advice(result.ledger)
    told = [info.told for info in result.snapshots]
    commands = () if one_series(told) else _each_by_itself(result)
    yield from commands
    first = next((row for row in result.rows if row.size_diff > 0), None)
    compares_better = len(commands) > 1
    if first is None or compares_better or shrank(result) or _is_beside(result) or untraced_names(result):
        return
    if one_series(told):
        yield from _proof(result, first)
    if first.traceback and result.settings.group_by == "lineno":
        frame = first.traceback[-1]
        place = shlex.quote(f"{glob.escape(frame.filename)}:{frame.lineno}")
        yield f"Who calls it: the same command with --group-by traceback --include {place}"


def _proof(result: DiffResult, first: StatisticDiff) -> Iterator[str]:
    """Say what the growth of the first row proves."""
    if result.ledger and result.ledger.kind == GARBAGE:
        return  # whatever it proves of the rows, the collector comes first
    if result.leading is not None and result.leading.freeable:
        yield "Garbage is no leak: the collector frees it when it runs, and gc.collect() between tasks does at once."
    elif len(result.snapshots) == 2:
        yield _of_two(first)
    elif first.verdict == LEAK:
        yield "Growth in every interval, in proportion to the tasks run: a leak."
    elif first.trend == STEADY:
        yield "Growth in every interval is a suspect; in proportion to the tasks run, it is a leak."


def _of_two(first: StatisticDiff) -> str:
    """Say what two snapshots prove of the first row."""
    if first.verdict == SUSPECT:
        return (
            "Two snapshots, with about a whole number of blocks per execution, make a suspect: a third after the same "
            "work tells a leak from a cache that is filling."
        )
    return "Two snapshots show growth, not a leak: a third after the same work tells a leak from a cache that filled."


def _each_by_itself(result: DiffResult) -> tuple[str, ...]:
    """Return the commands that compare what can be compared: the snapshots of each process under one tracing."""
    infos = result.snapshots
    told = [info.told for info in infos]
    parts = [
        [infos[at].path for at in part if infos[at].blocks and infos[at].path != "-"]
        for part in comparable_parts(told)
    ]
    commands = tuple(f"leakhunt diff {shlex.join(part)}" for part in parts if len(part) > 1)
    of = "process" if not same_process(told) else "tracing"
    if not commands:
        return (
            f"Growth shows between two snapshots of one {of}: take a second, and compare it with the first.",
        )
    rest = len(commands) - _MOST
    more = (f"{count_of(rest, f'more {of}')} likewise.",) if rest > 0 else ()
    return (f"Each {of} by itself:", *commands[:_MOST], *more)


def _is_beside(result: DiffResult) -> bool:
    """Tell whether the growth is not in the rows."""
    size = result.totals.size_diff - result.hidden.size_diff
    return bool(snapshots_ledger.headline(result.ledger, size, "")[0])
