"""The command line: parses words, calls the API, prints text; errors are caught here, once."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from leakhunt.errors import LeakhuntError
from leakhunt.version import __version__

_COMMANDS = ("agents", "attach", "diff", "hunt", "oom-scan", "run", "snap", "tasks", "top", "trace")
_INTERRUPTED = 130


class _Commands(click.Group):
    """The commands, each imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - likewise
        if cmd_name not in _COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command = getattr(importlib.import_module(f"leakhunt.cli.{name}"), name)
        return command if isinstance(command, click.Command) else None


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 ran; 1 ran, and a limit you set was reached; 2 could not run.",
)
@click.version_option(__version__, prog_name="leakhunt", message="%(prog)s %(version)s")
def cli() -> None:
    """Find what grows in long-lived Python workers, and which task grew it."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run leakhunt and leave the process with its exit code.

    Args:
        arguments: the words of the command line; by default the process's own.
    """
    gc.disable()  # one short run makes little garbage; looking for it among a million rows costs seconds
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run leakhunt and return its exit code; no traceback reaches the user."""
    try:
        if sys.platform not in ("linux", "darwin"):
            raise LeakhuntError("leakhunt runs on Linux and macOS only")  # noqa: TRY301 - one place words errors
        code = cli.main(
            None if arguments is None else list(arguments), prog_name="leakhunt", standalone_mode=False
        )
        sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of our output left; nothing more is wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (LeakhuntError, click.ClickException, OSError, MemoryError) as error:
        _complain(error)
        return 2
    return code if isinstance(code, int) else 0


def _complain(error: Exception) -> None:
    """Say what went wrong, where, and what to do next."""
    if isinstance(error, click.ClickException):
        error.show()
        return
    from leakhunt.render.text import plain  # noqa: PLC0415 - only a failing run needs it

    if isinstance(error, OSError):
        error = LeakhuntError(f"the output could not be written: {error.strerror or error}")
    elif not isinstance(error, LeakhuntError):
        error = LeakhuntError("not enough memory", "try a smaller snapshot, or a machine with more")
    color = False if os.environ.get("NO_COLOR") else None
    click.echo(f"{click.style('error:', fg='red', bold=True)} {plain(error.message)}", err=True, color=color)
    if error.hint:
        click.echo(f"\nhint: {plain(error.hint)}", err=True)
