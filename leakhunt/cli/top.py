"""``leakhunt top``."""

from __future__ import annotations

from typing import Any

import click

from leakhunt.analysis.ordering import SORTS_TOP
from leakhunt.api import snapshots as api
from leakhunt.cli.diff import analysis_arguments
from leakhunt.cli.loading import load_all
from leakhunt.cli.options import output, selection
from leakhunt.cli.output import Destination
from leakhunt.present.snapshots import top_report
from leakhunt.present.snapshots_document import document


@click.command(
    short_help="What is in one snapshot.",
    epilog="""\b
Examples:
  leakhunt top fixtures/snapshots/celery/global_list/after.bin.xz
  leakhunt top fixtures/snapshots/pythons/cp314.bin --group-by package --cumulative
  zcat now.bin.gz | leakhunt top - --format json""",
)
@click.argument("snapshot", metavar="SNAPSHOT")
@selection(SORTS_TOP)
@click.option(
    "--details",
    is_flag=True,
    help="Tell also what leakhunt's own snapshots hold beside: types, garbage, open files, connections, threads.",
)
@output(["table", "json", "markdown", "csv"])
def top(
    snapshot: str,
    *,
    details: bool,
    output_format: str,
    output_file: str | None,
    color: str,
    **chosen: Any,  # noqa: ANN401 - the options of selection()
) -> int:
    """Rank what is in one tracemalloc snapshot, and name the tasks that allocated it.

    Reads what any CPython from 3.4 on wrote, plain or compressed (gzip, bzip2, xz, zstd); '-' is standard input.
    Nothing that a snapshot contains is run. A snapshot that leakhunt took also tells what the process's memory is made
    of, who holds the largest sites, and which tasks had run.
    """
    allow_partial = chosen.pop("allow_partial")
    (loaded,) = load_all([snapshot], allow_partial=allow_partial)
    result = api.top(loaded, **analysis_arguments(chosen))
    destination = Destination(output_format, output_file, color)
    destination.deliver(top_report(result, details=details), lambda: document(result))
    return 0
