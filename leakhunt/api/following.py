"""Kills told while logs go on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from leakhunt.api.oom import Collected, Settings, result_of
from leakhunt.errors import LeakhuntError
from leakhunt.model.evidence import Evidence
from leakhunt.model.oom import OomKill
from leakhunt.model.verdict import LiveSource
from leakhunt.readers.follow import Followed, Pause, follow, followed_files, followed_machine
from leakhunt.readers.telling import HEARERS

_OFTEN_S = 0.3  # at the longest, so that a log that never pauses is told of, too
_MOST_RECENT = 500  # events of a kind that later ones may belong to
_MOST_FRESH = 250  # that are not looked at yet


def follow_sources(
    paths: Sequence[str | os.PathLike[str]], settings: Settings
) -> tuple[tuple[Followed, ...], tuple[LiveSource, ...]]:
    """Return the logs to follow, and what there is to say of them: which could be read, and which are waited for.

    Raises:
        LeakhuntError: a file may not be read, or none of this machine's logs.
    """
    if paths:
        return followed_files([os.fspath(path) for path in paths])
    sources, live = followed_machine(settings.choice.since)
    if not sources:
        raise LeakhuntError("; ".join(f"{one.name}: {one.why}" for one in live), "name files to follow")
    return sources, live


class Told(NamedTuple):
    """A kill as it is known now, and whether it was told before, when less was known."""

    kill: OomKill
    again: bool


def follow_kills(sources: Sequence[Followed], settings: Settings) -> Iterator[Told]:
    """Yield each kill within a second of its line, and again when its worker or task becomes known.

    A SIGKILL that only a worker tells of is held back as long as the kernel's line may still come.
    """
    collected = Collected(most=_MOST_RECENT)
    told: dict[Evidence, OomKill] = {}
    waiting: dict[Evidence, float] = {}
    fresh, last = 0, time.monotonic()
    for event in follow(sources, settings.options(), HEARERS):
        if not isinstance(event, Pause):
            collected.take([event])
            fresh += 1
            if fresh < _MOST_FRESH and time.monotonic() - last < _OFTEN_S:
                continue
        last = time.monotonic()
        if fresh or waiting:
            yield from _new(collected, settings, told, waiting)
            fresh = 0
    waiting.update(dict.fromkeys(waiting, 0.0))
    yield from _new(collected, settings, told, waiting)


def _new(
    collected: Collected, settings: Settings, told: dict[Evidence, OomKill], waiting: dict[Evidence, float]
) -> Iterator[Told]:
    """Yield what was not told yet, or not all of it."""
    now = time.monotonic()
    kills = {kill.evidence[0]: kill for kill in result_of(collected, settings).kills if kill.evidence}
    for key in [key for key in waiting if key not in kills]:  # it was the kernel's after all
        del waiting[key]
    for key, kill in kills.items():
        if kill.confidence == "possible" and key not in told:
            if now < waiting.setdefault(key, now + settings.window_s):
                continue
            del waiting[key]
        before = told.get(key)
        if before is None or (before.worker, before.task) != (kill.worker, kill.task):
            told[key] = kill
            yield Told(kill, before is not None)
    for key in [key for key in told if key not in kills]:
        del told[key]
