"""``leakhunt run``."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import Any

import click

from leakhunt.capture.folder import Folder
from leakhunt.capture.place import default_path, own_place
from leakhunt.capture.settings import PREFIX, Settings, parse_level
from leakhunt.cli.agent_options import chosen_settings, reached_by
from leakhunt.cli.options import Checked, Duration, Size, stacked
from leakhunt.control.launch import mistyped, prepare
from leakhunt.errors import LeakhuntError
from leakhunt.render.text import plain
from leakhunt.units import format_duration, format_size

_PROBE = "can-be-written"
_TAKES_NOTHING = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT})  # no reason for a worker not to start


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
    why_not = _why_not(settings.folder)
    for name, meant in mistyped(os.environ):
        click.echo(
            f"warning: {plain(name)} means nothing to leakhunt{f'; {meant} does' if meant else ''}", err=True
        )
    said = f"no agent: {why_not}" if why_not else _promise(command, settings, is_python=start.is_python)
    click.echo(f"leakhunt: {plain(said)}", err=True)
    sys.stdout.flush()
    sys.stderr.flush()
    start.replace_this_process()


def _why_not(asked: str) -> str:
    """Tell why the program's agent will not be able to write; empty where it will.

    Args:
        asked: the folder that is asked for; empty for the default.

    Raises:
        LeakhuntError: the folder can be nobody's, or cannot be made.
    """
    path = own_place(asked, os.geteuid()) if asked else default_path(os.environ)
    owner = None
    if os.geteuid() == 0:  # it may be meant for the user that the program becomes
        with contextlib.suppress(OSError):
            owner = os.lstat(path).st_uid
    try:
        folder = Folder.open(path, owner)
        folder.write(_PROBE, b"leakhunt")
        folder.remove(_PROBE)
    except (LeakhuntError, OSError) as error:
        system = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(system, OSError) or (error is not system and system.errno not in _TAKES_NOTHING):
            raise
        full = system.errno in {errno.ENOSPC, errno.EDQUOT}
        remedy = "make room there, or choose" if full else "choose"
        return f"nothing can be written in {path}: {system.strerror}; {remedy} another folder with --dir or LEAKHUNT_DIR"
    return ""


def _recording() -> bool:
    """Whether to record where no option says so: yes, unless a variable says no."""
    return f"{PREFIX}RECORD" not in os.environ or Settings.from_environment(os.environ).record


def _promise(command: tuple[str, ...], settings: Settings, *, is_python: bool) -> str:
    """Say in one line what is on, and what can be done with it."""
    words = f"{_words(settings)}; from another shell: {_next(command, settings)}"
    if is_python:
        return words
    name = os.path.basename(command[0])
    return f"{name} is no Python; in each Python that it starts or embeds: {words}"


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
