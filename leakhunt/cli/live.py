"""Processes named on the command line, and what is said while they are asked."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, TypeVar

import click

from leakhunt.capture.letters import SnapshotRequest
from leakhunt.cli.options import Duration, Function, stacked
from leakhunt.control.answers import TIMEOUT_S, Taken
from leakhunt.control.ask import Stage
from leakhunt.control.find import Agent, Found, everyone, find, of_celery
from leakhunt.control.missing import workers_in_vain
from leakhunt.errors import LeakhuntError
from leakhunt.render.text import plain
from leakhunt.units import count_of, format_duration, format_size

Item = TypeVar("Item")


class Pid(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.2 on
    """The number of a process."""

    name = "PID"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number, or fail in words."""
        text = str(value)
        if not (text.isascii() and text.isdecimal() and int(text[:12]) > 0):
            self.fail(f"{text[:80]!r} is not a PID: write the number that ps shows", param, ctx)
        return int(text[:12])


EVERY_NODE = "*"
_TICKS = "-\\|/"
_COLUMNS = 80  # where a terminal does not say


def targets(*, everything: bool = True) -> Callable[[Function], Function]:
    """Return the options that name processes, beside their numbers."""
    celery = click.option(
        "--celery",
        is_flag=False,
        flag_value=EVERY_NODE,
        metavar="[NODE]",
        help="Ask the processes of Celery workers in which tasks run; of one node, or those that a glob matches: "
        "'celery@web-*'.",
    )
    if not everything:
        return celery
    return stacked(
        celery, click.option("--all", "everyone", is_flag=True, help="Ask every process that has an agent.")
    )


def timeout_option(function: Function) -> Function:
    """Add the option that bounds the wait."""
    return click.option(
        "--timeout",
        type=Duration(),
        default=f"{TIMEOUT_S:.0f}s",
        show_default=True,
        help="Wait so long for the answer of a process.",
    )(function)


def snapshot_options(function: Function) -> Function:
    """Add the options that say what a snapshot holds."""
    return stacked(
        click.option(
            "--deep/--light",
            default=True,
            help="Count types and garbage and look for who holds what, beside (default: yes).",
        ),
        click.option("--trim", is_flag=True, help="Try what malloc_trim would give back."),
        click.option("--force", is_flag=True, help="Take it even where memory may not suffice."),
        timeout_option,
    )(function)


def request_of(chosen: dict[str, Any]) -> SnapshotRequest:
    """Take the options of :func:`snapshot_options` out of those that were chosen."""
    deep = chosen.pop("deep")
    return SnapshotRequest(
        deep=deep,
        retainers=deep,
        trim=chosen.pop("trim"),
        force=chosen.pop("force"),
        timeout=chosen.pop("timeout"),
    )


def choose(pids: Sequence[int], celery: str | None, *, everyone_: bool | None = None) -> list[Agent]:
    """Find the agents that the command line names; what is wrong with some of them is told, and the others are taken.

    Args:
        pids: processes by number.
        celery: a glob for nodes of Celery.
        everyone_: every process; None where the command has no such option.

    Raises:
        LeakhuntError: there is none of them.
        click.UsageError: none is named, or they are named in two ways.
    """
    if bool(pids) + (celery is not None) + bool(everyone_) != 1:
        ways = "PID, or --celery" if everyone_ is None else "PID..., --celery or --all"
        raise click.UsageError(f"name processes in one way: {ways}")
    if celery is not None:
        found = of_celery("" if celery == EVERY_NODE else celery)
        return _any(found, _celery_words(celery))
    if everyone_:
        return _any(everyone(), "no process with an agent")
    agents: list[Agent] = []
    each(list(dict.fromkeys(pids)), lambda pid: agents.append(find(pid)))
    return agents


def each(items: Sequence[Item], work: Callable[[Item], None]) -> None:
    """Do something with each of several processes; a failure is told, and the others go on.

    Raises:
        LeakhuntError: it failed with all of them; the last failure.
    """
    done = 0
    for place, item in enumerate(items, 1):
        try:
            work(item)
            done += 1
        except LeakhuntError as error:  # noqa: PERF203 - one process's failure is not the others'
            if place == len(items) and not done:
                raise
            complain(error)


def _celery_words(node: str) -> str:
    return "no Celery worker with an agent" + ("" if node == EVERY_NODE else f" whose node matches {node!r}")


def _any(found: Found, none: str) -> list[Agent]:
    if found.agents:
        return list(found.agents)
    tell_in_vain()
    hint = "start it as 'leakhunt run -- celery -A proj worker', or call leakhunt.celery.install(app) in it"
    if found.closed:
        others = count_of(found.closed, "process")
        hint = f"{others} of other users may not be looked at: run this as the worker's user, or as root; else {hint}"
    raise LeakhuntError(f"{none} runs here", hint)


def tell_in_vain() -> None:
    """Tell of the Celery workers that were started under leakhunt, and whose agents have nowhere to write."""
    for error in workers_in_vain():
        complain(error)


def say(text: str) -> None:
    """Say something beside the result."""
    click.echo(plain(text), err=True)


def complain(error: LeakhuntError) -> None:
    """Tell of a failure after which the command goes on."""
    say(f"warning: {error.message}")
    if error.hint:
        say(f"hint: {error.hint}")


def tell_taken(agent: Agent, taken: Taken) -> None:
    """Say what a snapshot cost, and what it lacks."""
    parts = []
    if taken.pause is not None:
        parts.append(f"stood still for {_brief(taken.pause)}")
    if taken.how == "in process":
        parts.append("taken in the worker itself")
    if taken.blocks:
        held = f" of {format_size(taken.traced)}" if taken.traced is not None else ""
        parts.append(f"{count_of(taken.blocks, 'traced block')}{held}")
    if taken.size is not None:
        parts.append(f"a file of {format_size(taken.size)}")
    say(f"{agent.title}: {', '.join(parts) or 'done'}")
    if taken.blocks == 0:
        say(
            f"{agent.title}: nothing is traced in it; before a snapshot that can be compared: leakhunt trace {agent.pid} on"
        )
    for sentence in taken.left_out:
        say(f"{agent.title}: left out: {sentence}")


def _brief(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else format_duration(seconds)


def _width() -> int:
    """Return how many places a line has on the terminal that standard error is."""
    with contextlib.suppress(OSError, ValueError):
        return os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS
    return _COLUMNS


class Progress:
    """One line on standard error that says what is waited for, if it is a terminal."""

    def __init__(self, title: str = "") -> None:
        self._title = title
        self._shown = sys.stderr.isatty()
        self._text = ""
        self._tick = 0
        self._said: set[Stage] = set()

    def __enter__(self) -> Progress:  # noqa: PYI034 - Self is not in the library of 3.9
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def waiting(self, passed: float, stage: Stage) -> None:
        """Show what is waited for; what the user would not expect is said, too."""
        if stage.is_news and stage not in self._said:
            self._said.add(stage)
            self.clear()
            say(f"{self._title}: {stage.value}")
        if passed >= 0.5:
            self.phase(stage.value, passed, None)

    def phase(self, what: str, passed: float, seconds: float | None) -> None:
        """Show what happens now, for how long, and how long it takes if that is known."""
        if not self._shown:
            return
        self._tick += 1
        of = f" of {format_duration(round(seconds))}" if seconds is not None else ""
        ending = f": {what}, {format_duration(int(passed))}{of}"
        width = _width() - 2  # a terminal may go on to the next line at the last place
        text = plain(f"{_TICKS[self._tick % 4]} {self._title}")[: max(0, width - len(ending))] + ending
        text = text[:width]
        if text != self._text:
            click.echo(f"\r{text.ljust(len(self._text))}", err=True, nl=False)
            self._text = text

    def clear(self) -> None:
        """Take the line away, so that something else can be said."""
        if self._text:
            click.echo(f"\r{' ' * len(self._text)}\r", err=True, nl=False)
            self._text = ""
