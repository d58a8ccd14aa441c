"""What supervisors, runtimes and other killers say, put to the kernel's kills; what stays alone is a kill of less certainty."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

from leakhunt.analysis.incident.places import HOST, Kinship, filled, in_container, kinship, place_of
from leakhunt.analysis.incident.timeline import Timeline
from leakhunt.model.evidence import Place
from leakhunt.model.incident import Sign
from leakhunt.model.oom import MemoryLimit, NotAKill, OomKill, Process

_BEFORE = timedelta(seconds=5)  # a clock of whole seconds, or another program's
_AFTER = timedelta(seconds=90)  # supervisors take their time
_SAME_MOMENT_S = 5.0
_MOST_EVIDENCE = 80
_KILLS = frozenset({"killed", "oom", "sigkill"})
_CONFIDENCE = {"killed": "probable", "oom": "probable", "sigkill": "possible"}
_WATCH_THE_MACHINE = frozenset({"earlyoom", "nohang", "lmkd", "lowmemorykiller"})
_RANK = {"confirmed": 0, "probable": 1, "possible": 2}


def join_signs(
    kills: Sequence[OomKill], signs: Iterable[Sign]
) -> tuple[tuple[OomKill, ...], tuple[NotAKill, ...]]:
    """Return the kills with what signs add to them, those that only signs tell of behind, and what is no kill."""
    signs = tuple(signs)
    told = [sign for sign in signs if sign.kind in _KILLS]
    names = _Names(told)
    found = [names.give(kill) for kill in kills]
    kernel = Timeline(found)
    alone: list[Sign] = []
    for sign in sorted(told, key=_order):
        at, sure = _best(found, _near(kernel, sign) if sign.when else range(len(found)), sign)
        if at is None or _another_killer(found[at], sign) or not (sure or sign.killer == "kernel"):
            alone.append(sign)
        else:  # what the kernel did is one of its kills, even where it is not known which
            found[at] = _with(found[at], sign if sure else replace(sign, place=Place()))
    made: list[OomKill] = []
    for sign in alone:
        # Few signs stand alone at one place, and those that do come together.
        recent = range(max(0, len(made) - 64), len(made))
        at, sure = _best(made, recent, sign)
        if at is None or not sure or _another_killer(made[at], sign):
            made.append(_kill_of(sign))
        else:
            made[at] = _with(made[at], sign)
    rest = tuple(_no_kill(sign) for sign in signs if sign.kind not in _KILLS)
    return (*found, *made), rest


class _Names:
    """What ids of containers and pods are called, from whoever says both."""

    def __init__(self, signs: Iterable[Sign]) -> None:
        self._known: dict[str, Place] = {}
        for sign in signs:
            place = sign.place
            for key in filter(None, (place.container_id and place.container_id[:12], place.pod_uid)):
                names = Place(container=place.container if key != place.pod_uid else None, pod=place.pod)
                self._known[key] = filled(self._known.get(key, Place()), names)

    def give(self, kill: OomKill) -> OomKill:
        """Return a kill with the names that its container's and its pod's id have."""
        if not self._known:
            return kill
        where, place = place_of(kill), kill.place
        for key in filter(None, (where.container_id and where.container_id[:12], where.pod_uid)):
            if key in self._known:
                place = filled(place, self._known[key])
        return kill if place is kill.place else replace(kill, place=place)


def _order(sign: Sign) -> tuple[int, float]:
    """Surer words first, so that a bare exit code finds the kill that they made."""
    time = sign.when.timestamp() if sign.when else float("inf")
    return _RANK[_CONFIDENCE[sign.kind]], time


def _near(kernel: Timeline, sign: Sign) -> Iterable[int]:
    if sign.when is None:
        return ()
    first = sign.when - _AFTER
    if sign.started is not None and sign.started < first:
        first = sign.started
    return kernel.between(first, sign.when + _BEFORE, sign.uncertainty_s or 0.0)


def _best(kills: Sequence[OomKill], places: Iterable[int], sign: Sign) -> tuple[int | None, bool]:
    """Return which kill a sign speaks of, or None, and whether that is sure."""
    scored = []
    for at in places:
        score = _score(kills[at], sign)
        if score is not None:
            scored.append((score, -_distance(kills[at], sign), at))
    if not scored:
        return None, False
    score, distance, at = max(scored)
    if score > HOST:
        return at, True
    # Nothing but time and host speak for it: sure only where no other is near.
    return at, len(scored) == 1 and -distance <= _SAME_MOMENT_S


def _score(kill: OomKill, sign: Sign) -> int | None:
    """Return how much speaks for a sign being about a kill; None where something speaks against it."""
    same = kinship(place_of(kill), sign.place)
    if same is None:
        return None
    pid = _same_pid(kill, sign)
    if pid is False:
        return None
    if sign.when is not None and kill.when is not None:
        late = (sign.when - kill.when).total_seconds()
        doubt = (sign.uncertainty_s or 0.0) + (kill.uncertainty_s or 0.0)
        lived = sign.started is None or kill.when >= sign.started - timedelta(seconds=5 + doubt)
        longest = float("inf") if sign.started is not None and _identified(same) else _AFTER.total_seconds()
        if not (-_BEFORE.total_seconds() - doubt <= late <= longest + doubt and lived):
            return None
    elif not (pid or _identified(same)):
        return None
    comm = 2 if sign.comm and sign.comm[:15] == kill.comm else 0
    return same.score + comm + (4 if pid else 0)


def _identified(same: Kinship) -> bool:
    return same.score > HOST


def _same_pid(kill: OomKill, sign: Sign) -> bool | None:
    """Compare pids where both are the host's."""
    if sign.pid is None or kill.pid is None:
        return None
    if sign.pid in {kill.pid, kill.tgid} and (sign.host_pid or not in_container(place_of(kill))):
        return True
    return False if sign.host_pid and sign.kind != "sigkill" and not in_container(sign.place) else None


def _distance(kill: OomKill, sign: Sign) -> float:
    if kill.when is None or sign.when is None:
        return 0.0
    return abs((sign.when - kill.when).total_seconds())


def _another_killer(kill: OomKill, sign: Sign) -> bool:
    """Tell whether a sign names a killer that is another than the kill's."""
    return bool(sign.killer and kill.killer not in {sign.killer, "unknown"} and sign.kind == "killed")


def _with(kill: OomKill, sign: Sign) -> OomKill:
    """Add what a sign says to a kill."""
    memory = kill.memory or (MemoryLimit(limit=sign.limit) if sign.limit is not None else None)
    surer = min(kill.confidence, _CONFIDENCE[sign.kind], key=_RANK.__getitem__)
    timed = kill if kill.when is not None else sign
    return replace(
        kill,
        when=timed.when,
        uncertainty_s=timed.uncertainty_s,
        pid=kill.pid if kill.pid is not None else sign.pid,
        comm=kill.comm or sign.comm,
        killer=sign.killer if kill.killer == "unknown" and sign.killer else kill.killer,
        confidence=surer,
        place=filled(kill.place, sign.place),
        memory=memory,
        at_least=kill.at_least or (sign.at_least and kill.confidence != "confirmed"),
        evidence=(*kill.evidence, sign.evidence)[:_MOST_EVIDENCE],
        copies=kill.copies + 1,
    )


def _kill_of(sign: Sign) -> OomKill:
    """Make a kill of a sign that nothing else tells of."""
    return OomKill(
        pid=sign.pid,
        comm=sign.comm,
        when=sign.when,
        uncertainty_s=sign.uncertainty_s,
        monotonic=sign.monotonic,
        boot=sign.boot,
        host=None if in_container(sign.place) else sign.place.host,
        confidence=_CONFIDENCE[sign.kind],
        killer=sign.killer or "unknown",
        scope="global" if sign.killer in _WATCH_THE_MACHINE else "unknown",
        anon_rss=sign.rss,
        place=sign.place,
        memory=MemoryLimit(limit=sign.limit) if sign.limit is not None else None,
        complete=False,
        missing=("kernel report",),
        notes=(sign.text,) if sign.text else (),
        evidence=(sign.evidence,),
        at_least=sign.at_least or sign.count > 1,
    )


def _no_kill(sign: Sign) -> NotAKill:
    process = Process(sign.pid, sign.comm) if sign.comm is not None else None
    return NotAKill(
        sign.kind,
        sign.when,
        sign.monotonic,
        sign.place.host,
        process,
        sign.evidence,
        sign.place,
        sign.text,
    )
