"""The options that choose a time: from when, and up to when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone, tzinfo

import click

from leakhunt.cli.options import Function, stacked
from leakhunt.moments import parse_moment


def period(what: str) -> Callable[[Function], Function]:
    """Return the options; ``what`` is what they choose, with its verb."""
    return stacked(
        click.option(
            "--since", metavar="WHEN", help=f"{what} from then on: '2026-11-21 03:10', 2h (ago), today."
        ),
        click.option("--until", metavar="WHEN", help=f"{what} up to then."),
    )


def moment(text: str | None, zone: tzinfo = timezone.utc) -> datetime | None:
    """Read what was typed, in a zone unless it names one.

    Raises:
        LeakhuntError: it is no moment.
    """
    return None if text is None else parse_moment(text, zone, datetime.now(timezone.utc))
