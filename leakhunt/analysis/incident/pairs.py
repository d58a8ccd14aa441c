"""Which kill and which death of a worker may be one, and how much speaks for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from leakhunt.analysis.incident.places import HOST, in_container, kinship, place_of
from leakhunt.analysis.incident.timeline import Timeline
from leakhunt.model.incident import WorkerDeath
from leakhunt.model.oom import OomKill

WINDOW_S = 15.0  # a worker tells of a child's death up to 11 s later
PROMPT_S = 2.0
KILLED = frozenset({"sigkill", "oom"})
UNKNOWN = float("inf")
_EARLY_S = 1.0
_RESTART_S = 120.0
_SILENCE_S = 600.0
_PID = 4
_ENOUGH = 2
_WORKER_NAMES = ("python", "celery", "[celery", "fork", "gunicorn", "uwsgi", "rq", "dramatiq", "huey", "arq")


@dataclass(frozen=True)
class Pair:
    """A kill and a death that may be one; the higher the score, the likelier.

    Attributes:
        silent: whether no line tells of the death: the whole worker merely stopped.
        same_pid: whether both have the same pid, in the same namespace.
        same_place: whether both are known to have been at the same place.
    """

    score: int
    distance: float
    kill: int
    death: int
    matched: tuple[str, ...]
    silent: bool
    same_pid: bool
    same_place: bool


def pairs_of(kills: Sequence[OomKill], deaths: Sequence[WorkerDeath], window_s: float) -> Iterator[Pair]:
    """Yield what may belong together."""
    timeline = Timeline(kills)
    undated = [at for at, kill in enumerate(kills) if kill.when is None]
    for number, death in enumerate(deaths):
        if death.cause not in KILLED | {"vanished"}:
            continue
        for at in (*near(timeline, death, window_s), *undated):
            found = pair(kills[at], death, at, number, window_s)
            if found is not None:
                yield found


def near(timeline: Timeline, death: WorkerDeath, window_s: float) -> Iterable[int]:
    """Return the places of the kills whose time fits a death."""
    if death.when is None:
        return ()
    doubt = death.uncertainty_s or 0.0
    if death.cause == "vanished":
        last = death.until or death.when + timedelta(seconds=_SILENCE_S)
        return timeline.between(death.when - timedelta(seconds=_EARLY_S), last, doubt)
    return timeline.between(
        death.when - timedelta(seconds=window_s), death.when + timedelta(seconds=_EARLY_S), doubt
    )


def pair(kill: OomKill, death: WorkerDeath, at: int, number: int, window_s: float) -> Pair | None:
    """Weigh a kill and a death against each other; None where they cannot be one, or too little speaks for it."""
    where = place_of(kill)
    same = kinship(where, death.place)
    pid = _same_pid(kill, death)
    distance = _distance(kill, death, window_s)
    if same is None or pid is False or distance is None:
        return None
    if distance == UNKNOWN and not (pid or same.score > HOST):
        return None
    matched = list(same.matched)
    score = same.score
    if pid:
        score += _PID
        matched.append("pid")
    if distance <= PROMPT_S:
        score += 2
    elif distance != UNKNOWN:
        score += 1
    if distance != UNKNOWN:
        matched.append(f"{distance:.1f} s" if distance else "time")
    if kill.comm is not None:
        alike = _is_worker_name(kill.comm, death)
        score += 1 if alike else -1
        if alike:
            matched.append("name")
    if score < _ENOUGH:
        return None
    silent = death.cause == "vanished"
    return Pair(score, distance, at, number, tuple(matched), silent, bool(pid), same.score > HOST)


def _distance(kill: OomKill, death: WorkerDeath, window_s: float) -> float | None:
    """Return how many seconds lie between a kill and what the worker tells; infinity if unknown, None if too many."""
    if kill.when is None or death.when is None:
        return UNKNOWN
    doubt = (kill.uncertainty_s or 0.0) + (death.uncertainty_s or 0.0)
    late = (death.when - kill.when).total_seconds()
    if death.cause != "vanished":
        if not -_EARLY_S - doubt <= late <= window_s + doubt:
            return None
        return max(0.0, abs(late) - doubt) if doubt > PROMPT_S else abs(late)
    if late > _EARLY_S + doubt:
        return None
    if death.until is None:
        return -late if -late <= _SILENCE_S + doubt else None
    restart = (death.until - kill.when).total_seconds()
    return min(abs(late), abs(restart)) if -doubt <= restart <= _RESTART_S + doubt else None


def _same_pid(kill: OomKill, death: WorkerDeath) -> bool | None:
    """Compare pids where both are the host's; in a container a worker counts its own."""
    if death.pid is None or kill.pid is None:
        return None
    if in_container(place_of(kill)) or in_container(death.place):
        return None
    if death.pid in {kill.pid, kill.tgid}:
        return True
    on_host = kill.cgroup is not None and kill.cgroup.unit is not None and death.place.unit is not None
    return False if on_host else None


def _is_worker_name(comm: str, death: WorkerDeath) -> bool:
    name = comm.lower()
    known = (*_WORKER_NAMES, death.program, (death.name or death.program).lower()[:15])
    return name.startswith(known)
