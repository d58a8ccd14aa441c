"""``leakhunt oom-scan``."""

from __future__ import annotations

from datetime import timezone, tzinfo
from typing import Any

import click

from leakhunt.analysis.incident.choose import Choice
from leakhunt.analysis.incident.pairs import WINDOW_S
from leakhunt.api import oom as api
from leakhunt.cli.loading import reading
from leakhunt.cli.options import Duration, Zone, output, stacked, top
from leakhunt.cli.output import Destination
from leakhunt.cli.period import moment, period
from leakhunt.model.oom import CONFIDENCES
from leakhunt.present.oom import oom_report
from leakhunt.present.oom_document import document, kill_document
from leakhunt.present.oom_tables import rows_report
from leakhunt.units import count_of


def _choosing(function: Any) -> Any:  # noqa: ANN401 - a decorator as click has them
    """Add the options that choose what is shown, and what is known beforehand."""
    return stacked(
        period("Show kills"),
        click.option("--host", default="", metavar="GLOB", help="Show kills on this machine."),
        click.option("--comm", default="", metavar="GLOB", help="Show kills of processes of this name."),
        click.option(
            "--container",
            default="",
            metavar="GLOB",
            help="Show kills in this container, pod, unit or control group, by name or id.",
        ),
        click.option(
            "--min-confidence",
            type=click.Choice(CONFIDENCES),
            default="possible",
            show_default=True,
            help="Show what is at least so sure: a kernel's kill line, another program's word, a bare SIGKILL.",
        ),
        click.option(
            "--tz",
            "zones",
            type=Zone(),
            multiple=True,
            help="The zone of stamps that have none: UTC (the default), local, +02:00, Europe/Berlin; for one file "
            "'worker.log=Europe/Berlin'. Repeatable.",
        ),
        click.option(
            "--boot-time",
            metavar="WHEN",
            help="When the machine was started, for logs that count from there.",
        ),
        click.option(
            "--window",
            type=Duration(),
            default=f"{WINDOW_S:.0f}s",
            show_default=True,
            help="How long after a kill a worker may tell of it.",
        ),
        click.option(
            "--as",
            "kind",
            type=click.Choice(api.KINDS),
            metavar="KIND",
            help=f"What the inputs are, where that is not found out: {', '.join(api.KINDS)}.",
        ),
    )(function)


def _showing(function: Any) -> Any:  # noqa: ANN401 - likewise
    """Add the options that say how much is told."""
    return stacked(
        top("List the newest N kills; 0 lists all."),
        click.option("--details", is_flag=True, help="Show the parts of each kernel report."),
        click.option("--evidence", is_flag=True, help="Show the lines themselves, with file and number."),
        click.option(
            "--all", "everything", is_flag=True, help="Show what is not an OOM kill, too: time limits, ..."
        ),
    )(function)


@click.command(
    "oom-scan",
    short_help="What died, who killed it, and which task it was running.",
    epilog="""\b
Examples:
  leakhunt oom-scan
  leakhunt oom-scan fixtures/oom/mixed
  kubectl get pods -A -o json | leakhunt oom-scan - kern.log worker.log""",
)
@click.argument("paths", nargs=-1, metavar="[FILE|FOLDER]...")
@_choosing
@_showing
@click.option("--follow", is_flag=True, help="Go on, and print each kill within a second of its line.")
@click.option(
    "--exec",
    "command",
    metavar="CMD",
    help='With --follow: run this program (no shell) with each kill as JSON on its input (again, with "again": true, when its task becomes known); older ones too, unless --since leaves them out. What it prints goes to standard error.',
)
@click.option(
    "--fail-on-kill", is_flag=True, help="Leave with 1 if a kill is shown that is at least probable."
)
@output(["table", "json", "ndjson", "markdown", "csv"])
def oom_scan(
    paths: tuple[str, ...],
    *,
    follow: bool,
    command: str | None,
    fail_on_kill: bool,
    output_format: str,
    output_file: str | None,
    color: str,
    **chosen: Any,  # noqa: ANN401 - the options of the two groups above
) -> int:
    """Find processes that were killed for want of memory, and tell which task each was running.

    Reads this machine, or logs from anywhere: of the kernel, systemd, Docker, Kubernetes, earlyoom and the like, and of
    Celery and other workers, in any mix, plain or compressed; '-' is standard input. What belongs together is told
    once. Nothing that a log names is opened or run.
    """
    shown = {name: chosen.pop(name) for name in ("limit", "details", "evidence", "everything")}
    settings = _settings(**chosen)
    destination = Destination(output_format, output_file, color)
    if command is not None and not follow:
        raise click.UsageError("--exec goes with --follow")
    if follow:
        from leakhunt.cli.following import tell  # noqa: PLC0415 - only for this

        return tell(paths, settings, destination, command, fail_on_kill=fail_on_kill)
    with reading(paths) as progress:
        result = api.scan(paths, settings, progress=progress)
    if output_format == "csv":
        destination.deliver(rows_report(result), dict)
    elif output_format == "ndjson":
        destination.deliver_lines(kill_document(kill) for kill in result.kills)
    elif output_format == "json":
        destination.deliver_document(document(result))
    else:
        destination.deliver(oom_report(result, **shown), dict)
    sure = sum(kill.confidence != "possible" for kill in result.kills)
    if fail_on_kill and (reached := sure or (0 if result.filtered else result.unseen)):
        click.echo(f"limit reached: {count_of(reached, 'OOM kill')}, --fail-on-kill", err=True)
        return 1
    return 0


def _settings(
    *,
    zones: tuple[tuple[str, tzinfo], ...],
    since: str | None,
    until: str | None,
    boot_time: str | None,
    window: float,
    kind: str | None,
    **choice: str,
) -> api.Settings:
    """Turn the options into what the API takes."""
    tz = next((zone for glob, zone in zones if not glob), timezone.utc)
    return api.Settings(
        kind=kind or "",
        tz=tz,
        zones=tuple((glob, zone) for glob, zone in zones if glob),
        boot_time=moment(boot_time, tz),
        window_s=window,
        choice=Choice(since=moment(since, tz), until=moment(until, tz), **choice),
    )
