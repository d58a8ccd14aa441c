"""Whether workers' clocks are of another time zone than they were read with."""

from __future__ import annotations

import os.path
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

from leakhunt.analysis.incident.pairs import KILLED, near, pair
from leakhunt.analysis.incident.timeline import Timeline
from leakhunt.model.incident import WorkerDeath
from leakhunt.model.oom import OomKill

_MOST_COMPARED = 1_000_000
_STEP_S, _STEPS = 900, 56  # time zones differ by quarters of an hour, up to fourteen hours


def zone_hint(kills: Sequence[OomKill], left: Sequence[WorkerDeath], window_s: float) -> Iterator[str]:
    """Say if the deaths that found no kill would find one if the workers' clocks were of another time zone."""
    lost = [(death, death.when) for death in left if death.cause in KILLED and death.when is not None]
    free = [kill for kill in kills if kill.worker is None and kill.when is not None]
    if not lost or not free or len(lost) * len(free) > _MOST_COMPARED:
        return
    timeline = Timeline(free)
    hits: Counter[int] = Counter()
    for step in filter(None, range(-_STEPS, _STEPS + 1)):
        for death, when in lost:
            moved = replace(death, when=when - timedelta(seconds=step * _STEP_S))
            if any(pair(free[at], moved, at, 0, window_s) for at in near(timeline, moved, window_s)):
                hits[step] += 1
    step, count = hits.most_common(1)[0] if hits else (0, 0)
    if count > len(lost) // 2:
        minutes = abs(step) * _STEP_S // 60
        span = f"{minutes // 60} h" if not minutes % 60 else f"{minutes // 60} h {minutes % 60} min"
        name = lost[0][0].evidence[0].source
        yield (
            f"{count} of {len(lost)} worker deaths would fall on a kill if the clock of {name} were "
            f"{span} {'behind' if step < 0 else 'ahead of'} what it was read as: if its stamps are of another zone, add "
            f"--tz {shlex.quote(os.path.basename(name) + '=ZONE')}"
        )
