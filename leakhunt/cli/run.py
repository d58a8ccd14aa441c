"""``leakhunt run``."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

import click

from leakhunt.capture.folder import Folder, default_path
from leakhunt.capture.settings import PREFIX, Settings, parse_level
from leakhunt.cli.agent_options import chosen_settings, reached_by
from leakhunt.cli.options import Checked, Duration, Size, stacked
from leakhunt.control.launch import mistyped, prepare
from leakhunt.render.text import plain
from leakhunt.units import format_duration, format_size


def _unasked(function: Any) -> Any:  # noqa: ANN401 - a decorator as click has them
    """Add the options that say when snapshots are taken unasked, and how many are kept."""
    return stacked(
        click.option(
            "--every",
            type=click.IntRange(min=1),
            metavar="N",
            help="Take a snapshot every N tasks of a process.",
        ),
        click.option("--interval", type=Duration(), help="Take a snapshot every so often, such as 30m."),
        click.option(
            "--at-rss",
            type=Checked(parse_level, "SIZE|%"),
            help="Take a snapshot when a process's RSS comes to this, such as 1.5GiB; or, with 80%, when all that its "
            "control group uses comes to so much of the group's limit (file cache that is not in use left out).",
        ),
        click.option("--each-growth", type=Size(), help="Take a snapshot each time its memory grew by this."),
        click.option(
            "--at-exit",
            is_flag=True,
            default=None,
            help="Take a light snapshot when a process ends; one that nothing outlives waits up to 5s for it.",
        ),
        click.option(
            "--keep",
            type=click.IntRange(min=1),
            metavar="N",
            help="Keep the newest N snapshots of a process [10].",
        ),
        click.option(
            "--budget", type=Size(), help="Keep at most so many bytes of a process's snapshots [1GiB]."
        ),
        click.option(
            "--total",
            type=Size(),
            help="Drop the oldest snapshots of processes that have ended, from so many bytes of all on [4GiB].",
        ),
    )(function)


@click.command(
    short_help="Start a program so that snapshots can be taken of it.",
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
    epilog="""\b
Examples:
  leakhunt run -- celery -A proj worker
  leakhunt run --trace --every 1000 --at-rss 80% -- celery -A proj worker
  leakhunt run --no-record --dir /srv/leakhunt -- gunicorn shop.wsgi""",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD [ARG]...")
@click.option(
    "--trace/--no-trace",
    default=None,
    help="Trace allocations from the start; else 'leakhunt trace PID on' does it later. Slows the program.",
)
@click.option(
    "--frames",
    type=click.IntRange(1, 65535),
    metavar="N",
    help="Keep N frames of each allocation's stack [25].",
)
@click.option("--record/--no-record", default=None, help="Write the flight recorder's lines (default: yes).")
@_unasked
@reached_by
@click.option("--retainers/--no-retainers", default=None, help="Look for who holds what grew (default: yes).")
@click.option(
    "--trim", is_flag=True, default=None, help="Try with each snapshot what malloc_trim would give back."
)
@click.option("--force", is_flag=True, default=None, help="Take snapshots even where memory may not suffice.")
def run(command: tuple[str, ...], **chosen: Any) -> None:  # noqa: ANN401 - the options above
    """Start a Python program with leakhunt's agent in it, which takes snapshots when it is asked to.

    Nothing in the program has to be changed. For Celery each pool child has its own agent, and so has what else the
    program forks; Python processes that it starts anew answer, and do nothing unasked. Without options the agent waits,
    and the flight recorder writes which task runs when. Options can be set as variables too, such as
    LEAKHUNT_AT_RSS=80%, where the program's image or unit is made.
    """
    if chosen["record"] is None:
        chosen["record"] = _recording()
    settings = chosen_settings(agent=True, **chosen)
    start = prepare(command, settings, os.environ)
    _usable(settings.folder or default_path(os.environ))
    for name, meant in mistyped(os.environ):
        click.echo(
            f"warning: {plain(name)} means nothing to leakhunt{f'; {meant} does' if meant else ''}", err=True
        )
    click.echo(f"leakhunt: {_words(settings)}; from another shell: {_next(command, settings)}", err=True)
    sys.stdout.flush()
    sys.stderr.flush()
    start.replace_this_process()


def _usable(path: str) -> None:
    """Refuse a folder that the program could not use; one that belongs to another user may be meant for that one.

    Raises:
        LeakhuntError: it can be nobody's.
    """
    owner = None
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            owner = os.lstat(path).st_uid
    Folder.open(path, owner)


def _recording() -> bool:
    """Whether to record where no option says so: yes, unless a variable says no."""
    return f"{PREFIX}RECORD" not in os.environ or Settings.from_environment(os.environ).record


def _words(settings: Settings) -> str:
    """Say in one line what is on."""
    level = settings.at_rss
    parts = [
        (f"tracing with {settings.frames} frames", settings.trace),
        ("flight recorder on", settings.record),
        (f"a snapshot every {settings.every} tasks", settings.every),
        (f"a snapshot every {format_duration(settings.interval)}", settings.interval),
        (f"a snapshot at {_level(settings)}", level),
        (f"a snapshot each {format_size(settings.each_growth)} of growth", settings.each_growth),
        ("a snapshot at exit", settings.at_exit),
    ]
    return ", ".join(("agent on", *(text for text, wanted in parts if wanted)))


def _level(settings: Settings) -> str:
    level = settings.at_rss
    if level is None:
        return ""
    return f"{level.share * 100:g}% of the limit" if level.share is not None else format_size(level.size or 0)


def _next(command: tuple[str, ...], settings: Settings) -> str:
    """Say how a snapshot is taken of it."""
    target = "--celery" if "celery" in os.path.basename(command[0]) or "celery" in command[1:3] else "PID"
    snap = f"leakhunt snap {target}"
    return snap if settings.trace else f"leakhunt trace {target} on, {snap}"
