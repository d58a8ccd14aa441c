"""``leakhunt attach``."""

from __future__ import annotations

from typing import Any

import click

from leakhunt.cli import live
from leakhunt.cli.agent_options import chosen_settings, reached_by
from leakhunt.cli.options import Duration
from leakhunt.control.attach import TIMEOUT_S
from leakhunt.control.attach import attach as bring


@click.command(
    short_help="Bring the agent into a running process of Python 3.14 or later.",
    epilog="""\b
Examples:
  leakhunt attach 4242
  leakhunt attach 4242 --record
  leakhunt attach 4242 --python /opt/app/bin/python3.14""",
)
@click.argument("pid", type=live.Pid(), metavar="PID")
@click.option("--trace", is_flag=True, default=None, help="Trace allocations from now on; slows the program.")
@click.option(
    "--frames", type=click.IntRange(1, 65535), metavar="N", help="Keep N frames of each stack [25]."
)
@click.option("--record", is_flag=True, default=None, help="Write the flight recorder's lines from now on.")
@reached_by
@click.option(
    "--python",
    type=click.Path(dir_okay=False),
    default="",
    metavar="FILE",
    help="Reach the process through this interpreter; it must be of the process's version.",
)
@click.option(
    "--timeout",
    type=Duration(),
    default=f"{TIMEOUT_S:.0f}s",
    show_default=True,
    help="Wait so long until the process comes to it.",
)
def attach(
    pid: int,
    *,
    python: str,
    timeout: float,
    **chosen: Any,  # noqa: ANN401 - the agent's settings
) -> None:
    """Load leakhunt's agent into a process that runs already, so that 'leakhunt snap' and 'leakhunt trace' reach it.

    It takes CPython 3.14 or later in the process, its user or root, and the right to reach into it: what is missing is
    said. The process runs a few lines of leakhunt's own in its main thread, at the next line of its program.
    """
    settings = chosen_settings(**chosen)
    with live.Progress(str(pid)) as progress:
        agent = bring(pid, settings, python=python, timeout=timeout, waiting=progress.waiting)
    on = "tracing" if agent.registration.tracing else "not tracing yet: leakhunt trace " + str(pid) + " on"
    live.say(f"{agent.title}: the agent is in it, {on}")
