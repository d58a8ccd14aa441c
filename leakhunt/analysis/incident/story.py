"""One story out of what several sources say: kills, whose they were, what was running, and the patterns in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from leakhunt.analysis.incident.deaths import join_deaths
from leakhunt.analysis.incident.loops import ran_twice
from leakhunt.analysis.incident.pairs import WINDOW_S
from leakhunt.analysis.incident.signs import join_signs
from leakhunt.model.incident import Sign, TaskAgain, WorkerDeath
from leakhunt.model.oom import NotAKill, OomKill
from leakhunt.model.verdict import RanTwice
from leakhunt.moments import NEVER

_Told = TypeVar("_Told")
_QUOTED = (
    "the kernel's line stands in another program's: when it was written there says little of when it happened"
)


@dataclass(frozen=True)
class Story:
    """What became of the evidence; see :class:`leakhunt.model.verdict.OomResult`."""

    kills: tuple[OomKill, ...]
    not_kills: tuple[NotAKill, ...]
    twice: tuple[RanTwice, ...]
    warnings: tuple[str, ...]


def join(
    kills: Sequence[OomKill],
    signs: Iterable[Sign],
    deaths: Sequence[WorkerDeath],
    again: Iterable[TaskAgain],
    *,
    window_s: float = WINDOW_S,
) -> Story:
    """Put together what the kernel, other programs and workers tell of the same deaths.

    Args:
        kills: from kernel logs, each once.
        signs: from supervisors, runtimes and other killers.
        deaths: from workers' logs.
        again: from workers' logs.
        window_s: how many seconds after a kill a worker may tell of it.
    """
    told, not_signs = join_signs([_quoted(kill) for kill in kills], _once(signs, _sign_key))
    joined, not_deaths, warnings = join_deaths(told, _once(deaths, _death_key), window_s=window_s)
    ordered = sorted(_without_echoes(joined), key=lambda kill: kill.when or NEVER)
    return Story(tuple(ordered), (*not_signs, *not_deaths), ran_twice(again, ordered), warnings)


def _without_echoes(kills: Sequence[OomKill]) -> Iterator[OomKill]:
    """Yield kills but for bare exits without a time of a container that is known to have been killed: one for each kill."""
    known = Counter((kill.place.container, kill.place.pod) for kill in kills if kill.confidence != "possible")
    for kill in kills:
        name = kill.place.container, kill.place.pod
        bare = kill.killer == "unknown" and kill.when is None and kill.pid is None and kill.worker is None
        if bare and kill.confidence == "possible" and kill.place.container is not None and known[name] > 0:
            known[name] -= 1
        else:
            yield kill


def _quoted(kill: OomKill) -> OomKill:
    """Say of a kill if only a quotation tells of it."""
    return replace(kill, notes=(*kill.notes, _QUOTED)) if kill.quoted else kill


def _once(told: Iterable[_Told], key_of: Callable[[_Told], Hashable]) -> tuple[_Told, ...]:
    """Drop what another copy of the same log has told already."""
    found: dict[Hashable, _Told] = {}
    for one in told:
        found.setdefault(key_of(one), one)
    return tuple(found.values())


def _sign_key(sign: Sign) -> Hashable:
    if sign.when is None:
        return id(sign)
    return sign.kind, sign.program, sign.when, sign.pid, sign.comm, sign.place, sign.evidence.text


def _death_key(death: WorkerDeath) -> Hashable:
    if death.when is None:
        return id(death)
    tasks = tuple(task.id for task in death.tasks[:3])
    return death.program, death.cause, death.name, death.pid, death.when, death.until, death.place, tasks
