"""Options that become an agent's settings, for the commands that start one."""

from __future__ import annotations

import os

import click

from leakhunt.capture.settings import Settings, parse_signal
from leakhunt.cli.options import Checked, Function, stacked


def reached_by(function: Function) -> Function:
    """Add the options that say where an agent keeps its files, and how it hears that something is asked."""
    return stacked(
        click.option(
            "--dir",
            "folder",
            type=click.Path(file_okay=False),
            metavar="DIR",
            help="Write everything here, in a folder for its user alone.",
        ),
        click.option(
            "--signal",
            type=Checked(parse_signal, "NAME"),
            help="Announce requests by this signal [URG]; it must be free in the program.",
        ),
    )(function)


def chosen_settings(**chosen: object) -> Settings:
    """Return settings as options say them, by their names; where one is None, as the ``LEAKHUNT_*`` variables do.

    Raises:
        LeakhuntError: a variable cannot be understood.
    """
    given = {name: value for name, value in chosen.items() if value is not None}
    if "folder" in given:
        given["folder"] = os.path.abspath(str(given["folder"]))
    return Settings.from_environment(os.environ)._replace(**given)  # type: ignore[arg-type]
