"""``leakhunt agents``."""

from __future__ import annotations

import click

from leakhunt.cli import live
from leakhunt.cli.options import Duration
from leakhunt.control.listing import Listed, listed
from leakhunt.render.text import plain
from leakhunt.units import count_of, format_size

_HEAD = ("PID", "is", "RSS", "tracing", "tasks run", "snapshots", "name")
_NUMBERS = frozenset({"PID", "RSS", "tasks run", "snapshots"})


@click.command(
    short_help="List the processes that can be asked for snapshots.",
    epilog="""\b
Examples:
  leakhunt agents
  leakhunt agents --celery 'celery@web-*'""",
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
def agents(celery: str | None, timeout: float) -> None:
    """List the processes of this machine that have leakhunt's agent, and how they are going.

    Each is asked by a signal, as by 'leakhunt trace --all status'. Leaves with 2 if there is none.
    """
    found = live.choose((), celery, everyone_=celery is None)
    rows = []
    for agent in found:
        with live.Progress(agent.title) as progress:
            one = listed(agent, timeout, progress.waiting)
        if one is None:
            continue
        rows.append(_row(one))
        if one.silent:
            live.say(f"warning: {one.silent}")
    widths = [max(map(len, column)) for column in zip(_HEAD, *rows)]
    for row in (_HEAD, *rows):
        cells = (
            text.rjust(width) if name in _NUMBERS else text.ljust(width)
            for name, text, width in zip(_HEAD, row, widths)
        )
        click.echo("  ".join(cells).rstrip())
    live.tell_in_vain()


def _row(one: Listed) -> tuple[str, ...]:
    """Return what stands in a line; what is not known is a question mark."""
    known, said = one.agent.registration, one.status
    frames = said.frames if said is not None else known.frames
    tracing = said.tracing if said is not None else known.tracing
    return (
        str(one.agent.pid),
        plain(one.role),
        "?" if said is None or said.rss is None else format_size(said.rss),
        count_of(frames, "frame") if tracing else "no",
        "?" if said is None else f"{said.ran:,}",
        "?" if one.snapshots is None else f"{one.snapshots:,}",
        plain(" ".join(filter(None, (known.node, known.name)))),
    )
