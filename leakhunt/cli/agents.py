"""``leakhunt agents``."""

from __future__ import annotations

import click

from leakhunt.cli import live
from leakhunt.cli.options import Duration, output
from leakhunt.cli.output import Destination
from leakhunt.control.listing import asked
from leakhunt.model.agents import AskedProcess
from leakhunt.present.agents import agents_report, document


@click.command(
    short_help="List the processes that can be asked for snapshots.",
    epilog="""\b
Examples:
  leakhunt agents
  leakhunt agents --celery 'celery@web-*'
  leakhunt agents --format json""",
)
@click.option(
    "--celery",
    is_flag=False,
    flag_value=live.EVERY_NODE,
    metavar="[NODE]",
    help="List the processes of Celery workers in which tasks run, and no others.",
)
@click.option(
    "--timeout",
    type=Duration(),
    default="5s",
    show_default=True,
    help="Wait so long for the answer of a process.",
)
@output(["table", "json", "markdown", "csv"])
def agents(
    celery: str | None, timeout: float, *, output_format: str, output_file: str | None, color: str
) -> int:
    """List the processes of this machine that have leakhunt's agent, and how they are going.

    Each is asked by a signal, as by 'leakhunt trace --all status'. Leaves with 2 if there is none.
    """
    processes: list[AskedProcess] = []
    for agent in live.choose((), celery, everyone_=celery is None):
        with live.Progress(agent.title) as progress:
            one = asked(agent, timeout, lambda passed, stage: progress.phase(stage.value, passed, timeout))
        if one is not None:
            processes.append(one)
    destination = Destination(output_format, output_file, color)
    destination.deliver(agents_report(processes), lambda: document(processes))
    live.tell_in_vain()
    return 0
