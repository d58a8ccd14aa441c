"""``leakhunt snap``."""

from __future__ import annotations

import os
from typing import Any

import click

from leakhunt.analysis.ordering import SORTS_DIFF
from leakhunt.capture.letters import SnapshotRequest
from leakhunt.cli import live
from leakhunt.cli.options import Duration, output, selection
from leakhunt.control.answers import snapshot
from leakhunt.control.find import Agent
from leakhunt.control.hunt import Plan
from leakhunt.errors import LeakhuntError


@click.command(
    short_help="Take a snapshot of a running process.",
    epilog="""\b
Examples:
  leakhunt snap 4242
  leakhunt top "$(leakhunt snap 4242)"
  leakhunt snap 4242 --before-after 5m --group-by task""",
)
@click.argument("pids", nargs=-1, type=live.Pid(), metavar="[PID]...")
@live.targets()
@live.snapshot_options
@click.option("-q", "--quiet", is_flag=True, help="Print the paths, and failures; nothing else.")
@click.option(
    "--before-after",
    type=Duration(),
    help="Take two of one process, so far apart, and print what grew; the options below are those of 'leakhunt diff'.",
)
@selection(SORTS_DIFF)
@output(["table", "json", "markdown", "csv", "github"])
def snap(
    pids: tuple[int, ...],
    *,
    celery: str | None,
    everyone: bool,
    quiet: bool,
    before_after: float | None,
    **chosen: Any,  # noqa: ANN401 - the options of the other groups
) -> int:
    """Have running processes write a snapshot each, and print where it is.

    A process needs leakhunt's agent: 'leakhunt run', leakhunt.celery.install(app) or 'leakhunt attach'. It is asked by
    a signal, and a fork of it writes the file, so it stands still for a moment only. Paths go to standard output, one
    a line, everything else to standard error. Leaves with 0 if at least one snapshot was taken, with 2 if none was.
    """
    agents = live.choose(pids, celery, everyone_=everyone)
    request = live.request_of(chosen)
    if before_after is None:
        _each(agents, request, quiet=quiet)
        return 0
    if len(agents) > 1:
        raise LeakhuntError(
            f"--before-after takes one process, and these are {len(agents)}: {', '.join(agent.title for agent in agents[:8])}",
            "name one by its number, or let 'leakhunt hunt --celery' choose",
        )
    from leakhunt.cli.hunt import follow  # noqa: PLC0415 - only for this

    return follow(agents[0], Plan(before_after, request=request), chosen, quiet=quiet)


def _each(agents: list[Agent], request: SnapshotRequest, *, quiet: bool) -> None:
    """Ask one process after the other, and print the paths."""

    def take(agent: Agent) -> None:
        with live.Progress(agent.title) as progress:
            taken = snapshot(agent, request, progress.waiting)
        if not quiet:
            live.tell_taken(agent, taken)
        click.echo(os.fsencode(taken.path))

    live.each(agents, take)
