"""Processes that can be asked for snapshots, as a report and as a document of ``leakhunt.agents/1``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from leakhunt.model.agents import AskedProcess
from leakhunt.model.report import Column, Detail, Kind, Line, Report, Table
from leakhunt.moments import format_moment, iso
from leakhunt.units import count_of, format_count, format_size
from leakhunt.version import __version__

_ROLES = {"child": "pool child", "main": "worker"}
_COLUMNS = (
    Column("pid", "PID", Kind.TEXT),
    Column("role", "is", Kind.TEXT),
    Column("rss", "RSS", Kind.SIZE),
    Column("ran", "tasks run", Kind.COUNT),
    Column("frames", "frames", Kind.COUNT),
    Column("traced", "traced", Kind.SIZE),
    Column("snapshots", "snapshots", Kind.COUNT),
    Column("place", "process", Kind.TEXT),
)


def agents_report(processes: Sequence[AskedProcess]) -> Report:
    """Word it: the headline counts who can be asked, and who is traced."""
    lines = tuple(
        Line(
            (
                str(process.pid),
                _role(process),
                process.rss,
                process.ran,
                process.frames if process.tracing else None,
                process.traced if process.tracing else None,
                process.snapshots,
                " ".join(filter(None, (str(process.pid), process.node, process.name))),
            ),
            tuple(_details(process)),
        )
        for process in processes
    )
    return Report(
        headline=_headline(processes),
        facts=(),
        tables=(Table(_COLUMNS, lines),),
        advice=tuple(_advice(processes)),
        warnings=tuple(process.silent for process in processes if process.silent),
    )


def document(processes: Sequence[AskedProcess]) -> dict[str, Any]:
    """Return the same as the document of ``leakhunt.agents/1``: sizes in bytes, unknown is null."""
    return {
        "schema": "leakhunt.agents/1",
        "leakhunt": __version__,
        "processes": [
            {
                **vars(process),
                "until": iso(process.until),
                "executions": None if process.silent else dict(process.executions),
                "ran": process.ran,
                "refused": process.refused or None,
                "silent": process.silent or None,
            }
            for process in processes
        ],
    }


def _role(process: AskedProcess) -> str:
    known = _ROLES.get(process.role, "process")
    return f"{known}, {process.pool}" if process.role == "main" and process.pool else known


def _headline(processes: Sequence[AskedProcess]) -> str:
    answering = [process for process in processes if not process.silent]
    silent = len(processes) - len(answering)
    if not answering:
        agents = count_of(silent, "process")
        return f"{agents} with leakhunt's agent, and {'it does' if silent == 1 else 'they do'} not answer."
    traced = sum(process.tracing for process in answering)
    if len(answering) == 1:
        much = "it is" if traced else "it is not"
    else:
        much = f"{format_count(traced)} {'is' if traced == 1 else 'are'}" if traced else "none is"
    more = f"; {format_count(silent)} more {'does' if silent == 1 else 'do'} not answer" if silent else ""
    return f"{count_of(len(answering), 'process')} can be asked for snapshots; {much} traced{more}."


def _details(process: AskedProcess) -> Iterator[Detail]:
    yield Detail(_role(process), "note")
    if process.until is not None:
        yield Detail(f"tracing stops at {format_moment(process.until)}", "note")
    if process.refused:
        yield Detail(f"its last snapshot was refused: {process.refused}", "note")
    if process.silent:
        yield Detail("does not answer", "note")


def _advice(processes: Sequence[AskedProcess]) -> Iterator[str]:
    asked = [process for process in processes if not process.silent]
    tasks = [process for process in asked if process.ran]
    if not asked:
        return
    largest = max(tasks or asked, key=lambda process: process.rss or 0)
    held = f" ({format_size(largest.rss)})" if largest.rss else ""
    if largest.tracing:
        yield f"What the largest{held} keeps: leakhunt snap {largest.pid} --before-after 5m"
    else:
        yield f"What the largest{held} keeps: leakhunt hunt {largest.pid}, which traces it meanwhile."
