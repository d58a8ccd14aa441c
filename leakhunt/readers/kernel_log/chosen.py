"""Reports whose kill line is missing: what is left tells of a kill, or only that there was no memory.

As in the kernel's ``mm/oom_kill.c``: ``oom-kill:`` is printed once a process is chosen, and two lines can follow it, the
kill line or that the process is leaving already. The reaper takes memory of those who were killed, but also of processes
that were leaving when memory ran out, about which nothing else is printed.
"""

from __future__ import annotations

from leakhunt.model.oom import KILL_LINE, IncompleteReport, OomKill, Process
from leakhunt.readers.kernel_log.report import SMALLEST_PAGE, Report

_OPENINGS = ("oom-kill:constraint=", "oom_reaper: reaped process ")
_REAPED = "the kernel took back its memory, as it does with whom it killed; the line that says so is missing"
_CHOSEN = "the kernel had chosen it, and kills whom it chooses; the line that says so is missing"


def unfinished(report: Report, reaped: Process | None = None) -> OomKill | IncompleteReport:
    """Return what there is of a report without its kill line.

    Args:
        report: all that was read of it.
        reaped: whose memory the kernel took back behind it.

    Returns:
        A kill that is probable where the report says who was chosen, or the reaper who died of it; else what is known.
    """
    constraint, selection, chosen = report.constraint, report.selection, report.chosen
    # A number without the field behind it may be cut; kernels that print a selection may kill a child instead.
    whole = constraint is not None and constraint.uid is not None and selection is None
    victim = reaped or chosen
    if victim is None or _is_quoted(report) or (report.empty if reaped is not None else not whole):
        return _incomplete(report, victim)
    return _kill(report, victim, chosen, _REAPED if reaped is not None else _CHOSEN)


def _is_quoted(report: Report) -> bool:
    """Tell whether somebody but the kernel says all this: of a quotation nobody knows what was left out."""
    stamp = report.stamp
    if stamp.tag not in {"", "kernel"}:
        return True
    return stamp.monotonic is None and not any(line.text.startswith(_OPENINGS) for line in report.evidence)


def _incomplete(report: Report, victim: Process | None) -> IncompleteReport:
    selection = report.selection
    parts = (("header", report.invoker), ("selection", victim), (KILL_LINE, None))
    return IncompleteReport(
        when=report.place.when,
        uncertainty_s=report.place.uncertainty_s,
        monotonic=report.stamp.monotonic,
        host=report.stamp.host,
        scope=report.scope(selection.message if selection else None),
        invoker=report.invoker,
        victim=victim,
        cgroup=report.owner(),
        memory=report.limit(),
        missing=tuple(name for name, part in parts if part is None),
        evidence=tuple(report.evidence),
    )


def _kill(report: Report, victim: Process, chosen: Process | None, note: str) -> OomKill:
    """Return a kill that only the lines around its kill line tell of."""
    constraint, selection = report.constraint, report.selection
    page_size = report.page_size or SMALLEST_PAGE
    scope = report.scope(None)
    parts = (
        ("header", report.invoker is None),
        ("memory usage", scope == "memcg" and report.memory is None),
        ("task table", report.table is None),
        ("page size", report.table is not None and report.page_size is None),
        ("selection", chosen is None),
        (KILL_LINE, True),
        ("dropped lines", report.dropped > 0),
    )
    return OomKill(
        pid=victim.pid,
        comm=victim.comm,
        when=report.place.when,
        uncertainty_s=report.place.uncertainty_s,
        monotonic=report.stamp.monotonic,
        boot=report.stamp.boot,
        boot_number=report.place.boot_number,
        host=report.stamp.host,
        confidence="probable",
        scope=scope,
        tgid=victim.pid if victim.pid is not None and report.is_process(victim.pid) else None,
        uid=constraint.uid if constraint is not None and constraint.pid == victim.pid else None,
        score=selection.score if selection is not None and selection.pid == victim.pid else None,
        invoker=report.invoker,
        selected=chosen,
        kernel=report.kernel,
        cgroup=report.owner(),
        memory=report.limit(),
        group=report.group,
        episode=report.number,
        page_size=page_size,
        tasks=report.task_rows(page_size),
        tasks_omitted=report.rows_omitted,
        complete=False,
        missing=tuple(name for name, absent in parts if absent),
        evidence=tuple(report.evidence),
        notes=(note,),
        drifts=report.place.drifts,
    )
