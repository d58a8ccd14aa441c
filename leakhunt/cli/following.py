"""``leakhunt oom-scan --follow``: kills as they happen."""

from __future__ import annotations

import queue
import shlex
import subprocess
import threading
from collections.abc import Sequence
from typing import Any

import click

from leakhunt.api.following import Told, follow_kills, follow_sources
from leakhunt.api.oom import Settings
from leakhunt.cli.output import Destination
from leakhunt.errors import LeakhuntError
from leakhunt.present.oom import kill_report
from leakhunt.present.oom_document import kill_document
from leakhunt.render import json
from leakhunt.render.text import plain

_FORMATS = ("table", "ndjson", "json")
_LONGEST_S = 300.0
_AT_ONCE = 4
_MOST_WAITING = 10_000
_STDERR = 2


def tell(
    paths: Sequence[str],
    settings: Settings,
    destination: Destination,
    command: str | None,
    *,
    fail_on_kill: bool,
) -> int:
    """Print each kill, and give it to a command, until the logs end or somebody interrupts.

    Raises:
        LeakhuntError: a log may not be read, or the options do not go together.
    """
    if destination.output_format not in _FORMATS:
        raise LeakhuntError(
            f"--follow does not go with --format {destination.output_format}",
            f"it is one of {', '.join(_FORMATS)}",
        )
    if not destination.to_stdout:
        raise LeakhuntError("--follow does not go with --output", "let the shell write: ... >> kills.ndjson")
    runner = _Runner(command) if command is not None else None
    found = False
    try:
        sources, live = follow_sources(paths, settings)
        for source in live:
            click.echo(
                f"{'following' if source.used else 'not readable:'} {source.name}: {plain(source.why)}",
                err=True,
            )
        for told in follow_kills(sources, settings):
            if runner is not None:
                runner.start(told)
            _print(told, destination)
            found = found or told.kill.confidence != "possible"
            if fail_on_kill and found:
                break
    except KeyboardInterrupt:  # how following ends
        pass
    if runner is not None:
        runner.finish()
    return 1 if fail_on_kill and found else 0


def _print(told: Told, destination: Destination) -> None:
    if destination.output_format == "table":
        destination.deliver(kill_report(told.kill), dict)
    else:
        destination.deliver_lines([_document(told)])


def _document(told: Told) -> dict[str, Any]:
    """Return a kill as JSON, so that who is called by it can pass over what was told before."""
    return {**kill_document(told.kill), "again": told.again}


class _Runner:
    """Runs a command for each kill, beside the following.

    Args:
        command: its words, as a shell would split them; no shell runs it.

    Raises:
        LeakhuntError: the words cannot be split.
    """

    def __init__(self, command: str) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise LeakhuntError(f"--exec {command!r}: a quotation has no end") from error
        if not self._words:
            raise LeakhuntError("--exec names no command")
        self._texts: queue.Queue[str | None] = queue.Queue(_MOST_WAITING)
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(_AT_ONCE)]
        for thread in self._threads:
            thread.start()

    def start(self, told: Told) -> None:
        """Run the command with a kill as JSON on its input, as soon as few enough others run."""
        self._texts.put(json.line(_document(told)))

    def finish(self) -> None:
        """Wait for what still runs."""
        for _ in self._threads:
            self._texts.put(None)
        for thread in self._threads:
            thread.join(_LONGEST_S)

    def _work(self) -> None:
        while (text := self._texts.get()) is not None:
            self._run(text)

    def _run(self, text: str) -> None:
        try:
            done = subprocess.run(  # noqa: S603 - the user's own command; our standard output is for kills
                self._words, input=text.encode(), stdout=_STDERR, check=False, timeout=_LONGEST_S
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = error.strerror if isinstance(error, OSError) else f"runs longer than {_LONGEST_S:.0f} s"
            click.echo(f"warning: --exec {plain(self._words[0])}: {reason}", err=True)
            return
        if done.returncode:
            click.echo(f"warning: --exec {plain(self._words[0])}: left with {done.returncode}", err=True)
