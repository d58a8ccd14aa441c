"""Options that several commands share, each declared once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import tzinfo
from typing import Any, TypeVar

import click

from leakhunt.errors import LeakhuntError
from leakhunt.moments import parse_zone
from leakhunt.units import parse_duration, parse_size

Function = TypeVar("Function", bound=Callable[..., Any])


class Size(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.2 on
    """A size in bytes as people write it."""

    name = "SIZE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the size, or let click refuse it."""
        if isinstance(value, int):
            return value
        try:
            return parse_size(str(value))
        except LeakhuntError as error:
            self.fail(f"{error.message}; {error.hint}", param, ctx)


class PathMap(click.ParamType):  # type: ignore[type-arg]  # likewise
    """A pair of path prefixes, ``OLD=NEW``."""

    name = "OLD=NEW"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Split the pair, or let click refuse it."""
        if isinstance(value, tuple):
            return value[0], value[1]
        old, equals, new = str(value).partition("=")
        if not (old and equals and new):
            self.fail(f"{value!r} is not OLD=NEW, such as /srv/releases/41=/srv/app", param, ctx)
        return old, new


class Duration(click.ParamType):  # type: ignore[type-arg]  # likewise
    """A span of time in seconds as people write it."""

    name = "DURATION"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read the duration, or let click refuse it."""
        if isinstance(value, float):
            return value
        try:
            return parse_duration(str(value))
        except LeakhuntError as error:
            self.fail(f"{error.message}; {error.hint}", param, ctx)


class Checked(click.ParamType):  # type: ignore[type-arg]  # likewise
    """What a function of leakhunt reads.

    Args:
        parse: reads it, or raises a ``LeakhuntError``.
        name: what help calls it.
    """

    def __init__(self, parse: Callable[[str], Any], name: str) -> None:
        self._parse = parse
        self.name = name

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - what the function returns
        """Read it, or let click refuse it."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except LeakhuntError as error:
            self.fail(f"{error.message}; {error.hint}", param, ctx)


class Zone(click.ParamType):  # type: ignore[type-arg]  # likewise
    """A time zone, for all files or for those that match a glob."""

    name = "[GLOB=]ZONE"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tzinfo]:
        """Read the zone, or let click refuse it."""
        if isinstance(value, tuple):
            return value[0], value[1]
        glob, _, zone = str(value).rpartition("=")
        try:
            return glob, parse_zone(zone)
        except LeakhuntError as error:
            self.fail(f"{error.message}; {error.hint}", param, ctx)


def stacked(*decorators: Callable[[Function], Function]) -> Callable[[Function], Function]:
    """Make one decorator of several, in the order in which help shows them."""

    def decorate(function: Function) -> Function:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def top(text: str) -> Callable[[Function], Function]:
    """Return the option that says how much is listed; ``text`` is its help."""
    return click.option(
        "-n",
        "--top",
        "limit",
        type=click.IntRange(min=0),
        default=10,
        show_default=True,
        metavar="N",
        help=text,
    )


def selection(sorts: Sequence[str]) -> Callable[[Function], Function]:
    """Return the options that choose and gather rows."""
    return stacked(
        click.option(
            "-g",
            "--group-by",
            type=click.Choice(["lineno", "filename", "traceback", "module", "package", "task"]),
            default="lineno",
            show_default=True,
            help="What a row is.",
        ),
        click.option(
            "--cumulative",
            is_flag=True,
            help="Count a block at every place on its stack, once for each place however often it recurs there "
            "(tracemalloc counts it once per recurrence, and so passes 100 %).",
        ),
        top("List N rows; 0 lists all."),
        click.option(
            "--sort",
            type=click.Choice(list(sorts)),
            default=sorts[0],
            show_default=True,
            help="Rank rows by this.",
        ),
        click.option(
            "-i",
            "--include",
            multiple=True,
            metavar="PATTERN",
            help="Keep only what this matches: a path glob ('*/shop/*.py'), or a dotted module or package "
            "('shop.tasks', 'celery') wherever it is installed; ':LINE' may follow. Repeatable.",
        ),
        click.option(
            "-x", "--exclude", multiple=True, metavar="PATTERN", help="Drop what this matches. Repeatable."
        ),
        click.option(
            "--all-frames", is_flag=True, help="Match against every frame of a stack, not the newest alone."
        ),
        click.option(
            "--domain", type=click.IntRange(min=0), metavar="N", help="Keep only this tracemalloc domain."
        ),
        click.option(
            "--default-excludes/--no-default-excludes",
            "use_default_excludes",
            default=True,
            help="Drop what the tracer and the import system allocate (default: yes).",
        ),
        click.option(
            "--map",
            "maps",
            type=PathMap(),
            multiple=True,
            help="Read path prefix OLD as NEW, so that two releases compare and local sources are found. Repeatable.",
        ),
        click.option(
            "--source",
            "sources",
            type=click.Path(exists=True, file_okay=False),
            multiple=True,
            metavar="DIR",
            help="Look for task functions and source lines here (default: the current folder). Nothing is imported "
            "or run. Repeatable.",
        ),
        click.option("--allow-partial", is_flag=True, help="Read snapshots that were cut, up to the cut."),
    )


def output(formats: Sequence[str]) -> Callable[[Function], Function]:
    """Return the options that choose where the result goes and how it looks."""
    return stacked(
        click.option(
            "-f",
            "--format",
            "output_format",
            type=click.Choice(list(formats)),
            default=formats[0],
            show_default=True,
            help="How the result is written.",
        ),
        click.option(
            "-o",
            "--output",
            "output_file",
            type=click.Path(dir_okay=False),
            metavar="FILE",
            help="Write the result here, whole or not at all, instead of to standard output.",
        ),
        click.option(
            "--color",
            type=click.Choice(["auto", "always", "never"]),
            default="auto",
            show_default=True,
            help="Colour the table; NO_COLOR is honoured.",
        ),
    )
