"""``leakhunt hunt``."""

from __future__ import annotations

import os
import shlex
from typing import Any

import click

from leakhunt.analysis.ordering import SORTS_DIFF
from leakhunt.api import snapshots as api
from leakhunt.capture.settings import Settings
from leakhunt.cli import live
from leakhunt.cli.diff import analysis_arguments
from leakhunt.cli.options import Duration, output, selection
from leakhunt.cli.output import Destination
from leakhunt.control.answers import Taken, status
from leakhunt.control.attach import attach, can_attach
from leakhunt.control.find import Agent
from leakhunt.control.hunt import Listener, Plan
from leakhunt.control.hunt import hunt as hunt_down
from leakhunt.model.snapshot import Columns, Snapshot
from leakhunt.present.snapshots import diff_report
from leakhunt.present.snapshots_document import document

_FOR_S = 300.0
_FOR_TASKS_S = 3600.0
_EMPTY = Snapshot("", (), Columns(), None, 0)


@click.command(
    short_help="Trace a running worker, and tell what grew and which task grew it.",
    epilog="""\b
Examples:
  leakhunt hunt 4242
  leakhunt hunt --celery celery@web-1 --tasks 1000 --group-by task
  leakhunt hunt 4242 --for 30m --format json -o growth.json""",
)
@click.argument("pid", required=False, type=live.Pid(), metavar="[PID]")
@live.targets(everything=False)
@click.option(
    "--for",
    "seconds",
    type=Duration(),
    help="Let it work so long between the snapshots [5m; 1h with --tasks].",
)
@click.option(
    "--tasks",
    type=click.IntRange(min=1),
    metavar="N",
    help="Let it run N tasks between the snapshots; --for is the longest wait.",
)
@click.option(
    "--warm-up",
    type=Duration(),
    default="30s",
    show_default=True,
    help="Trace it so long before the first snapshot, so that caches fill; not where it is traced already.",
)
@click.option(
    "--frames",
    type=click.IntRange(1, 65535),
    default=25,
    show_default=True,
    metavar="N",
    help="Keep N frames of each allocation's stack; with few, deep libraries cut the task's frame off.",
)
@live.snapshot_options
@click.option("-q", "--quiet", is_flag=True, help="Print the result, and failures; nothing else.")
@selection(SORTS_DIFF)
@output(["table", "json", "markdown", "csv", "github"])
def hunt(
    pid: int | None,
    *,
    celery: str | None,
    seconds: float | None,
    tasks: int | None,
    warm_up: float,
    frames: int,
    quiet: bool,
    **chosen: Any,  # noqa: ANN401 - the options of the other groups
) -> int:
    """Switch tracing on in one process, take two snapshots with its work between them, and print what grew.

    Of several pool children it takes the one with the most memory. Tracing slows the process while it lasts, and is
    switched off at the end if it was off before. Ctrl-C takes the second snapshot at once and prints what grew so far.
    A process of Python 3.14 or later needs no agent beforehand: it is brought in as by 'leakhunt attach'.
    """
    request = live.request_of(chosen)
    agent = _target(pid, celery, request.timeout, quiet=quiet)
    longest = seconds if seconds is not None else _FOR_TASKS_S if tasks else _FOR_S
    plan = Plan(longest, tasks or 0, frames, warm_up, request)
    return follow(agent, plan, chosen, quiet=quiet)


def follow(agent: Agent, plan: Plan, chosen: dict[str, Any], *, quiet: bool) -> int:
    """Carry a plan out and print the difference as ``leakhunt diff`` does.

    Args:
        agent: whose process.
        plan: what is done with it.
        chosen: the options of ``selection`` and ``output``.
        quiet: say nothing that is no failure.
    """
    destination = Destination(*(chosen.pop(name) for name in ("output_format", "output_file", "color")))
    allow_partial = chosen.pop("allow_partial")
    arguments = analysis_arguments(chosen)
    api.diff(
        (_EMPTY, _EMPTY), **arguments
    )  # options that do not go together are told before the wait, not after it
    snapshots: list[Snapshot] = []
    with live.Progress(agent.title) as progress:

        def note(text: str) -> None:
            progress.clear()
            live.say(f"{agent.title}: {text}")

        def taken(snapshot: Taken) -> None:
            progress.clear()
            if not quiet:
                live.tell_taken(agent, snapshot)
                live.say(f"{agent.title}: {snapshot.path}")
            # Read now: the worker's ring of files may drop it before the end.
            snapshots.append(api.load(snapshot.path, allow_partial=allow_partial))

        hunt_down(agent, plan, Listener(progress.phase, note, taken))
    if not quiet:
        live.say(f"Look again: leakhunt diff {' '.join(shlex.quote(shot.path) for shot in snapshots)}")
    result = api.diff(snapshots, **arguments)
    destination.deliver(diff_report(result), lambda: document(result))
    return 0


def _target(pid: int | None, celery: str | None, timeout: float, *, quiet: bool) -> Agent:
    """Find the one process to hunt in; bring an agent into it where there is none and that can be done."""
    if pid is not None and celery is None and can_attach(pid):
        with live.Progress(str(pid)) as progress:
            agent = attach(pid, Settings.from_environment(os.environ), waiting=progress.waiting)
        if not quiet:
            live.say(f"{agent.title}: the agent was brought into it, and stays there")
        return agent
    agents = live.choose(() if pid is None else (pid,), celery)
    if len(agents) == 1:
        return agents[0]
    sizes: dict[Agent, int] = {}

    def look(agent: Agent) -> None:
        sizes[agent] = status(agent, timeout).rss or 0

    live.each(agents, look)
    largest = max(sizes, key=lambda agent: sizes[agent])
    if not quiet:
        live.say(f"{largest.title}: {_why_it(largest, sizes)}")
    return largest


def _why_it(chosen: Agent, sizes: dict[Agent, int]) -> str:
    """Say why this process was chosen, and how the others are hunted in."""
    others = sorted((agent for agent in sizes if agent is not chosen), key=lambda agent: -sizes[agent])
    if not others:
        return "the only one that answers"
    what = "pool children" if all(agent.registration.role == "child" for agent in sizes) else "processes"
    if len(others) == 1:
        return f"the larger of 2 {what}; for the other: leakhunt hunt {others[0].pid}"
    return f"the largest of {len(sizes)} {what}; for the next: leakhunt hunt {others[0].pid}"
