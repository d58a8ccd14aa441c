"""``leakhunt diff``."""

from __future__ import annotations

from typing import Any

import click

from leakhunt.analysis.filters import DEFAULT_EXCLUDES
from leakhunt.analysis.ordering import SORTS_DIFF
from leakhunt.api import snapshots as api
from leakhunt.cli.loading import load_all
from leakhunt.cli.options import Size, output, selection
from leakhunt.cli.output import Destination
from leakhunt.model.statistics import DiffResult
from leakhunt.present.snapshots import diff_report
from leakhunt.present.snapshots_document import document
from leakhunt.units import format_size


@click.command(
    short_help="What grew between snapshots, and which task grew it.",
    epilog="""\b
Examples:
  leakhunt diff fixtures/snapshots/celery/global_list/before.bin.xz \\
                fixtures/snapshots/celery/global_list/after.bin.xz \\
                --source fixtures/snapshots/celery/app
  leakhunt diff before.bin after.bin later.bin --group-by task --format json
  leakhunt diff old.bin new.bin --map /srv/releases/41=/srv/app --fail-over 10MiB""",
)
@click.argument("snapshots", nargs=-1, required=True, metavar="BEFORE AFTER [LATER]...")
@selection(SORTS_DIFF)
@click.option("--fail-over", type=Size(), help="Leave with 1 if any one row grew by this much.")
@click.option("--fail-over-total", type=Size(), help="Leave with 1 if all rows together grew by this much.")
@click.option(
    "--details",
    is_flag=True,
    help="Tell also what leakhunt's own snapshots hold beside: types that became more, garbage, how a holder is reached.",
)
@output(["table", "json", "markdown", "csv", "github"])
def diff(
    snapshots: tuple[str, ...],
    *,
    fail_over: int | None,
    fail_over_total: int | None,
    details: bool,
    output_format: str,
    output_file: str | None,
    color: str,
    **chosen: Any,  # noqa: ANN401 - the options of selection()
) -> int:
    """Rank what grew between two or more tracemalloc snapshots, oldest first, and name the task that grew it.

    Reads what any CPython from 3.4 on wrote, plain or compressed (gzip, bzip2, xz, zstd); '-' is standard input.
    Nothing that a snapshot contains is run. From three snapshots on, what grows in every interval comes first.
    What a gc.collect() would free is told, and comes behind what it would not.

    Snapshots that leakhunt took tell more: what each execution of a task left behind, who holds it, and whether RSS grew
    by Python objects, native memory, free memory that the allocator keeps, or pages copied from the parent.
    """
    if len(snapshots) < 2:
        raise click.UsageError("a diff takes two snapshots or more; for one alone: leakhunt top FILE")
    allow_partial = chosen.pop("allow_partial")
    loaded = load_all(snapshots, allow_partial=allow_partial)
    result = api.diff(loaded, **analysis_arguments(chosen))
    destination = Destination(output_format, output_file, color)
    report = diff_report(result, fail_over=fail_over, details=details)
    destination.deliver(report, lambda: document(result))
    reached = _limits_reached(result, fail_over, fail_over_total)
    for sentence in reached:
        click.echo(sentence, err=True)
    return 1 if reached else 0


def analysis_arguments(chosen: dict[str, Any]) -> dict[str, Any]:
    """Turn the options of :func:`selection` into arguments of the API."""
    chosen["default_excludes"] = DEFAULT_EXCLUDES if chosen.pop("use_default_excludes") else ()
    chosen["sources"] = chosen["sources"] or None
    return chosen


def _limits_reached(result: DiffResult, fail_over: int | None, fail_over_total: int | None) -> list[str]:
    reached = []
    if fail_over is not None and result.largest >= max(fail_over, 1):
        reached.append(
            f"limit reached: one row grew {format_size(result.largest)}, --fail-over {format_size(fail_over)}"
        )
    total = result.totals.size_diff - result.hidden.size_diff
    if fail_over_total is not None and total >= max(fail_over_total, 1):
        reached.append(
            f"limit reached: all rows grew {format_size(total)}, --fail-over-total {format_size(fail_over_total)}"
        )
    return reached
