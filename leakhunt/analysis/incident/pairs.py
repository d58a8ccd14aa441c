"""Which kill and which death of a worker may be one, and how much speaks for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from leakhunt.analysis.incident.candidates import Candidates
from leakhunt.analysis.incident.places import HOST, IDENTITY, Kinship, in_container, kinship, place_of
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
_STRANGE = 3  # a process of another name needs more than the time
WORKER_NAMES = ("python", "celery", "[celery", "fork", "gunicorn", "uwsgi", "rq", "dramatiq", "huey", "arq")


@dataclass(frozen=True)
class Pair:
    """A kill and a death that may be one; the higher the score, the likelier.

    Attributes:
        silent: whether no line tells of the death: the whole worker merely stopped.
        same_pid: whether both have the same pid, in the same namespace.
        same_place: whether both are known to have been in the same container or unit.
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
    candidates = Candidates(kills)
    for number, death in enumerate(deaths):
        if death.cause in KILLED or death.cause == "vanished":
            yield from pairs_with(kills, candidates, death, number, window_s)


def pairs_with(
    kills: Sequence[OomKill], candidates: Candidates, death: WorkerDeath, number: int, window_s: float
) -> Iterator[Pair]:
    """Yield the pairs of one death."""
    for at in candidates.of(death.place, death.pid, _span(death, window_s)):
        pair = _pair(kills[at], death, at, number, window_s)
        if pair is not None:
            yield pair


def _span(death: WorkerDeath, window_s: float) -> tuple[float, float] | None:
    """Return the seconds between which the kill of a death lies."""
    if death.when is None:
        return None
    when, doubt = death.when.timestamp(), death.uncertainty_s or 0.0
    if death.cause != "vanished":
        return when - window_s - doubt, when + _EARLY_S + doubt
    last = death.until.timestamp() if death.until is not None else when + _SILENCE_S
    return when - _EARLY_S - doubt, last + doubt


def _pair(kill: OomKill, death: WorkerDeath, at: int, number: int, window_s: float) -> Pair | None:
    """Weigh a kill and a death against each other; None where they cannot be one, or too little speaks for it."""
    same = kinship(place_of(kill), death.place)
    if same is None:
        return None
    pid = _same_pid(kill, death, same)
    distance = _distance(kill, death, window_s)
    if pid is False or distance is None or (distance == UNKNOWN and not (pid or same.score > HOST)):
        return None
    matched = list(same.matched)
    score = same.score
    if pid:
        score += _PID
        matched.append("pid")
    if distance != UNKNOWN:
        score += 2 if distance <= PROMPT_S else 1
        matched.append(f"{distance:.1f} s" if distance else "time")
    if kill.comm is not None:
        alike = is_worker_name(kill.comm, death)
        score += 1 if alike else -_STRANGE
        matched += ["name"] * alike
    if score < _ENOUGH:
        return None
    silent = death.cause == "vanished"
    return Pair(score, distance, at, number, tuple(matched), silent, bool(pid), same.score >= IDENTITY)


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


def _same_pid(kill: OomKill, death: WorkerDeath, same: Kinship) -> bool | None:
    """Compare pids where both are the host's; in a container a worker counts its own."""
    if death.pid is None or kill.pid is None:
        return None
    if in_container(place_of(kill)) or in_container(death.place):
        return None
    if death.pid in {kill.pid, kill.tgid}:
        return True
    in_service = kill.cgroup is not None and kill.cgroup.unit is not None
    # A container would have a name of its own.
    on_host = death.place.unit is not None or "host" in same.matched
    return False if in_service and on_host else None


def is_worker_name(comm: str, death: WorkerDeath) -> bool:
    """Tell whether a process's name is one that workers have, or that one's own."""
    name = comm.lower()
    known = (*WORKER_NAMES, death.program, (death.name or death.program).lower()[:15])
    return name.startswith(known)
