"""Which killed process left a flight record, and so which task it was running.

A record's process is known by its number, which the kernel's line has too where the record was written in the machine's
first namespace, by its boot, its container and control group, and by the pool child's name where a worker's log was
joined before. What lived on after the kill, or left by itself, was not killed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import NamedTuple

from leakhunt.analysis.incident.evidence import with_more
from leakhunt.analysis.incident.places import IDENTITY, kinship, place_of
from leakhunt.model.columns import UNKNOWN
from leakhunt.model.evidence import Evidence, Place
from leakhunt.model.incident import InFlight, WorkerDeath
from leakhunt.model.oom import Candidate, LostTask, OomKill, WorkerRef
from leakhunt.model.record import FIRST_NAMESPACE, Begun, Life
from leakhunt.units import count_of, format_size

HOW = "recorded"
_TICKS_S = 100.0  # in which the kernel tells when a process began
_DOUBT_S = 2.0
_PID = 8  # what the same number weighs
_LARGE = 1 << 20
_MOST_CANDIDATES = 20


class _Fit(NamedTuple):
    """How well a record fits a kill: the higher the score, the better; ``sure`` where it leaves no doubt."""

    score: int
    sure: bool
    matched: tuple[str, ...]
    life: Life


def join_records(
    kills: Sequence[OomKill], lives: Sequence[Life], boot: str | None = None
) -> tuple[OomKill, ...]:
    """Add to kills what the flight records of the killed processes tell.

    Args:
        kills: after workers' logs were joined.
        lives: of all records.
        boot: this machine's since it was last started; None where that is not known.
    """
    index = _Index(lives)
    return tuple(_told(kill, _best(kill, index.of(kill)), boot) for kill in kills) if lives else tuple(kills)


def in_flight(lives: Iterable[Life]) -> Iterator[WorkerDeath]:
    """Yield what was running at the end of each record, as a worker's log would tell it, to look for loops in."""
    for life in lives:
        if life.running:
            tasks = tuple(_task(life, begun) for begun in life.running.values())
            yield WorkerDeath(_program(life), "unended", (), _place(life), life.process.name, tasks=tasks)


def _task(life: Life, begun: Begun) -> InFlight:
    return InFlight(
        begun.task,
        begun.id,
        HOW,
        _line(begun),
        child=life.process.name,
        pid=life.process.key.pid,
        since=datetime.fromtimestamp(begun.when, timezone.utc),
        deliveries=1 + begun.redelivered,
        arguments=begun.args_hash,
        queue=begun.queue,
    )


class _Index:
    """The records, by what a kill can find them by."""

    def __init__(self, lives: Sequence[Life]) -> None:
        self._named: dict[tuple[str, object], list[Life]] = defaultdict(list)
        for life in lives:
            process = life.process
            for key in {
                ("pid", _host_pid(life)),
                ("pid", process.key.pid),
                ("container", process.container[:12] if process.container else None),
                ("pod", process.pod),
            }:
                if key[1] is not None:
                    self._named[key].append(life)

    def of(self, kill: OomKill) -> list[Life]:
        """Return the records that may be of a killed process."""
        place = place_of(kill)
        worker = kill.worker.pid if kill.worker is not None else None
        container = place.container_id[:12] if place.container_id else None
        keys = {
            ("pid", kill.pid),
            ("pid", kill.tgid),
            ("pid", worker),
            ("container", container),
            ("pod", place.pod_uid),
        }
        found = (life for key in keys if key[1] is not None for life in self._named.get(key, ()))
        return list({id(life): life for life in found}.values())


def _best(kill: OomKill, lives: Iterable[Life]) -> list[_Fit]:
    """Return the records that fit best, as many as fit equally well."""
    fits = [fit for fit in (_fit(kill, life) for life in lives) if fit is not None]
    best = max((fit.score for fit in fits), default=0)
    equal = [fit for fit in fits if fit.score == best]
    if len(equal) > 1 and best >= _PID:  # a number is given anew in the course of time
        equal = [max(equal, key=lambda fit: fit.life.last)]
    return equal


def _fit(kill: OomKill, life: Life) -> _Fit | None:
    """Weigh a record against a kill; None where it is of another process."""
    boots = _same_boot(kill, life)
    timed = _timed(kill, life, boots=boots)
    same = kinship(place_of(kill), _place(life))
    if life.left or boots is False or timed is False or (same is None and not boots):
        return None
    score, matched = (same.score, list(same.matched)) if same is not None else (0, [])
    pids = _same_pid(kill, life)
    own = _same_worker(kill, life)
    if pids is False or own is False:
        return None
    if pids or own:
        score += _PID
        matched.append("pid")
    if boots:
        score += 1
        matched.append("boot")
    if not (pids or own) and (score < IDENTITY or not life.running):
        return None
    known = boots or own or (same is not None and same.score > 0)
    return _Fit(score, bool((pids or own) and (timed or boots) and known), tuple(matched), life)


def _same_boot(kill: OomKill, life: Life) -> bool | None:
    boot = life.process.key.boot
    if kill.boot is None or boot is None:
        return None
    return kill.boot.replace("-", "") == boot.replace("-", "")


def _timed(kill: OomKill, life: Life, *, boots: bool | None) -> bool | None:
    """Tell whether a process lived up to a kill: it began before, and wrote nothing later; None without a clock."""
    if kill.when is not None:
        when, doubt = kill.when.timestamp(), _DOUBT_S + (kill.uncertainty_s or 0.0)
        began = life.process.began.timestamp() if life.process.began is not None else 0.0
        return began - doubt <= when and life.last <= when + doubt
    if kill.monotonic is not None and life.process.key.start and boots is not False:
        return life.process.key.start / _TICKS_S <= kill.monotonic + _DOUBT_S
    return None


def _host_pid(life: Life) -> int | None:
    """Return a process's number on its machine, where it could know it."""
    process = life.process
    if process.pid_ns == FIRST_NAMESPACE or len(process.pids) > 1:
        return process.pids[0]
    return None


def _same_pid(kill: OomKill, life: Life) -> bool | None:
    """Compare the kernel's number of a process with the record's; None where they count in different namespaces."""
    host_pid = _host_pid(life)
    if host_pid is None or kill.pid is None or kill.killer == "unknown":
        return None
    return host_pid in {kill.pid, kill.tgid}


def _same_worker(kill: OomKill, life: Life) -> bool | None:
    """Compare what a worker's log calls the process that died with what the record calls it."""
    worker, process = kill.worker, life.process
    if worker is None or worker.whole or worker.confidence == "possible":
        return None
    if worker.node and process.node and worker.node != process.node:
        return False
    if worker.name and process.name and worker.name != process.name:
        return False
    if worker.pid is None:
        return None
    return worker.pid == process.key.pid and bool(worker.name and process.name)


def _told(kill: OomKill, fits: Sequence[_Fit], boot: str | None) -> OomKill:
    """Add what the records tell."""
    if not fits:
        return kill
    if len(fits) > 1:
        return _one_of(kill, fits)
    fit = fits[0]
    life, process = fit.life, fit.life.process
    confidence = "certain" if fit.sure else "likely"
    running = list(life.running.values())
    worker = WorkerRef(
        name=process.name,
        pid=process.key.pid,
        queue=running[0].queue if running else None,
        program=_program(life),
        node=process.node,
        confidence=confidence,
        matched=fit.matched,
    )
    kept = (
        kill.worker is not None
        and kill.worker.confidence == "certain"
        and kill.worker.matched != ("its own log",)
    )
    return replace(
        kill,
        worker=kill.worker if kept else worker,
        task=_lost(running, took=_took(kill, life)) or (None if fit.sure else kill.task),
        place=kill.place.filled(_place(life)),
        notes=(*kill.notes, *_history(life, running)),
        evidence=with_more(kill.evidence, tuple(map(_line, running[:3]))),
        snapshot=life.snapshot if fit.sure else None,
        here=boot is not None and process.key.boot == boot,
    )


def _one_of(kill: OomKill, fits: Sequence[_Fit]) -> OomKill:
    """Say which tasks ran in those processes of a container that may be the one."""
    if kill.task is not None and kill.task.id is not None:
        return kill
    running = [begun for fit in fits for begun in fit.life.running.values()]
    return replace(
        kill,
        task=_lost(running, how="received"),
        evidence=with_more(kill.evidence, tuple(map(_line, running[:3]))),
    )


def _took(kill: OomKill, life: Life) -> int | None:
    """Return what a process held beyond what it held when its task began; None where it ran several at once."""
    rss = [begun.rss for begun in life.running.values()]
    if len(rss) != 1 or rss[0] is None or kill.rss is None or life.process.shared:
        return None
    return kill.rss - rss[0]


def _lost(running: Sequence[Begun], how: str = "all", took: int | None = None) -> LostTask | None:
    if not running:
        return None
    if len(running) == 1:
        return LostTask(running[0].task, running[0].id, HOW, took=took)
    names = {begun.task for begun in running}
    candidates = tuple(Candidate(begun.task, begun.id, HOW) for begun in running[:_MOST_CANDIDATES])
    name = names.pop() if len(names) == 1 and how != "all" else None
    return LostTask(name, None, how, candidates, len(running) - len(candidates))


def _history(life: Life, running: Sequence[Begun]) -> Iterator[str]:
    """Say what the record tells of the time before."""
    now = running[0].rss if running else life.rss
    said = f"its flight record: {count_of(len(life.executions), 'execution')} before"
    if now is not None:
        first = next((size for size in life.executions.before[:1] if size not in {UNKNOWN, now}), None)
        said += f", {format_size(now)} resident when {'this one began' if running else 'the last ended'}"
        said += f", {format_size(first)} when the first did" if first is not None else ""
    yield said
    if not running:
        yield "its flight record says that it was running no task"
    for begun in running[:1]:
        if begun.redelivered:
            yield "the broker had delivered that task before"
        if begun.retries:
            yield f"that task had been retried {count_of(begun.retries, 'time')}"
        if (begun.args_size or 0) >= _LARGE:
            yield f"its arguments hold about {format_size(begun.args_size or 0)}"


def _place(life: Life) -> Place:
    process = life.process
    hosted = process.pid_ns in {None, FIRST_NAMESPACE}  # in a container, the name is the container's
    return Place(
        host=process.key.host if hosted else None,
        container_id=process.container,
        pod_uid=process.pod,
        node=process.node,
        cgroup=process.cgroup if process.cgroup != "/" else None,
    )


def _program(life: Life) -> str:
    return "celery" if life.process.node is not None else "python"


def _line(begun: Begun) -> Evidence:
    return Evidence(begun.source, begun.line, begun.text)
