"""Whether workers' clocks are of another time zone than they were read with."""

from __future__ import annotations

import os.path
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

from leakhunt.analysis.incident.candidates import Candidates
from leakhunt.analysis.incident.pairs import KILLED, pairs_with
from leakhunt.model.incident import WorkerDeath
from leakhunt.model.oom import OomKill

_MOST_DEATHS = 50
_STEP_S, _STEPS = 900, 56  # time zones differ by quarters of an hour, up to fourteen hours
_CHANCE = 0.2  # beyond so many hits that mere chance would give, a hit says nothing


def zone_hint(kills: Sequence[OomKill], left: Sequence[WorkerDeath], window_s: float) -> Iterator[str]:
    """Say if the deaths that found no kill would find one if the workers' clocks were of another time zone."""
    lost = [(death, death.when) for death in left if death.cause in KILLED and death.when is not None][
        :_MOST_DEATHS
    ]
    free = [kill for kill in kills if kill.worker is None and kill.when is not None]
    # Kills all day long meet any death in some zone.
    if not lost or not free or len(free) * (window_s + 2) / _STEP_S > _CHANCE * len(lost):
        return
    candidates = Candidates(free)
    hits: Counter[int] = Counter()
    for step in filter(None, range(-_STEPS, _STEPS + 1)):
        for number, (death, when) in enumerate(lost):
            try:
                moved = replace(death, when=when - timedelta(seconds=step * _STEP_S))
            except OverflowError:
                continue
            hits[step] += any(
                pair.distance < window_s + 2 for pair in pairs_with(free, candidates, moved, number, window_s)
            )
    step, count = hits.most_common(1)[0]
    if count > len(lost) // 2:
        minutes = abs(step) * _STEP_S // 60
        span = f"{minutes // 60} h" if not minutes % 60 else f"{minutes // 60} h {minutes % 60} min"
        name = lost[0][0].evidence[0].source
        yield (
            f"{count} of {len(lost)} worker deaths would fall on a kill if the clock of {name} were "
            f"{span} {'behind' if step < 0 else 'ahead of'} what it was read as: if its stamps are of another zone, add "
            f"--tz {shlex.quote(os.path.basename(name) + '=ZONE')}"
        )
