"""``leakhunt trace``."""

from __future__ import annotations

import click

from leakhunt.capture.letters import TraceRequest
from leakhunt.cli import live
from leakhunt.cli.options import Duration
from leakhunt.control.answers import Status, status
from leakhunt.control.answers import trace as ask_to_trace
from leakhunt.control.find import Agent
from leakhunt.render.text import plain
from leakhunt.units import format_size

_ACTIONS = ("on", "off", "status")


@click.command(
    short_help="Switch the tracing of allocations on and off in a running process.",
    epilog="""\b
Examples:
  leakhunt trace 4242 on
  leakhunt trace 4242 4243 on --frames 25 --for 10m
  leakhunt trace --celery celery@web-1 status""",
)
@click.argument("words", nargs=-1, metavar="[PID]... on|off|status")
@live.targets()
@click.option(
    "--frames",
    type=click.IntRange(1, 65535),
    metavar="N",
    help="Keep N frames of each allocation's stack [the worker's setting, else 25]; with few, deep libraries cut the "
    "task's frame off.",
)
@click.option("--for", "seconds", type=Duration(), help="Stop again after so long.")
@live.timeout_option
def trace(
    words: tuple[str, ...],
    *,
    celery: str | None,
    everyone: bool,
    frames: int | None,
    seconds: float | None,
    timeout: float,
) -> None:
    """Switch the tracing of allocations on or off in running processes, or tell how they are going.

    Tracing slows a program down by a factor, not by percents, and takes memory for each live block: switch it on for as
    long as it is needed. Only what is allocated while it is on can be found in a snapshot. Switching off forgets
    everything that was traced. Leaves with 0 if at least one process answered, with 2 if none did.
    """
    if celery in _ACTIONS and not words:  # what followed --celery was no node
        words, celery = (celery,), live.EVERY_NODE
    *numbers, action = words or ("",)
    if action not in _ACTIONS:
        raise click.UsageError(
            f"say what to do, on, off or status: leakhunt trace {' '.join(words) or 'PID'} on"
        )
    if action != "on" and (frames is not None or seconds is not None):
        raise click.UsageError("--frames and --for go with 'on'")
    pids = [live.Pid().convert(number, None, None) for number in numbers]
    agents = live.choose(pids, celery, everyone_=everyone)
    warnings: dict[str, list[Agent]] = {}

    def work(agent: Agent) -> None:
        with live.Progress(agent.title) as progress:
            if action == "status":
                answer = status(agent, timeout, progress.waiting)
            else:
                request = TraceRequest(action == "on", frames or 0, seconds)
                answer = ask_to_trace(agent, request, timeout, progress.waiting)
        _tell(agent, answer, action)
        if answer.warning:
            warnings.setdefault(answer.warning, []).append(agent)

    try:
        live.each(agents, work)
    finally:
        for warning, warned in warnings.items():  # what holds for all of them is said once
            live.say(f"{warned[0].title if len(warned) == 1 else f'each of these {len(warned)}'}: {warning}")


def _tell(agent: Agent, answer: Status, action: str) -> None:
    """Print how a process is going."""
    words = [f"tracing with {answer.frames} frames" if answer.tracing else "not tracing"]
    if action == "status":
        if answer.traced:
            words.append(f"{format_size(answer.traced)} traced")
        if answer.rss is not None:
            words.append(f"RSS {format_size(answer.rss)}")
        if answer.executions:
            words.append(f"{answer.ran:,} tasks run")
    click.echo(plain(f"{agent.title}: {', '.join(words)}"))
    if answer.refused:
        live.say(f"{agent.title}: its last snapshot was refused: {answer.refused}")
