"""``leakhunt tasks``."""

from __future__ import annotations

import click

from leakhunt.api import tasks as api
from leakhunt.cli.loading import reading
from leakhunt.cli.options import output, stacked, top
from leakhunt.cli.output import Destination
from leakhunt.cli.period import moment, period
from leakhunt.present.tasks import rows_report, tasks_report
from leakhunt.present.tasks_document import document


@click.command(
    short_help="Which task types keep memory, and which ones spike.",
    epilog="""\b
Examples:
  leakhunt tasks --since 2h
  leakhunt tasks fixtures/records/mixed
  leakhunt tasks fixtures/records/killed --format json""",
)
@click.argument("paths", nargs=-1, metavar="[FILE|FOLDER]...")
@stacked(period("Count what ended"), top("List N task types; 0 lists all."))
@output(["table", "json", "markdown", "csv"])
def tasks(
    paths: tuple[str, ...],
    *,
    since: str | None,
    until: str | None,
    limit: int,
    output_format: str,
    output_file: str | None,
    color: str,
) -> int:
    """Tell from flight records what memory each task type keeps and needs, and what was running at a kill.

    Reads what workers wrote under leakhunt run --record (or LEAKHUNT_RECORD=1), by default this user's own records; folders,
    archives and compressed files of such, too. A task keeps memory where far more groups of its executions grow than
    shrink, the later ones still do, and its processes grew accordingly; it spikes where one execution needs much more
    than there was at its start.
    """
    with reading(paths) as progress:
        result = api.tasks(paths, since=moment(since), until=moment(until), progress=progress)
    report = rows_report(result) if output_format == "csv" else tasks_report(result, limit=limit)
    Destination(output_format, output_file, color).deliver(report, lambda: document(result))
    return 0
