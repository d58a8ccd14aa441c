"""What supervisors, runtimes and other killers say, put to the kernel's kills; what stays alone is a kill of less certainty."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from leakhunt.analysis.incident.candidates import Candidates
from leakhunt.analysis.incident.evidence import with_more
from leakhunt.analysis.incident.places import HOST, identified, in_container, kinship, place_of
from leakhunt.model.evidence import Place
from leakhunt.model.incident import Sign
from leakhunt.model.oom import CONFIDENCES, MemoryLimit, NotAKill, OomKill, Process
from leakhunt.units import format_size

_BEFORE_S = 5.0  # a clock of whole seconds, or another program's
_AFTER_S = 90.0  # supervisors take their time
_SAME_MOMENT_S = 5.0
_TWO_KILLERS_S = 10.0
_MOST_FRESH = 64
_MOST_ASKED = 64
_ASKED_S = 30.0
_KILLS = frozenset({"killed", "oom", "sigkill"})
_CONFIDENCE = {"killed": "probable", "oom": "probable", "sigkill": "possible"}
_WATCH_THE_MACHINE = frozenset({"earlyoom", "nohang", "lmkd", "lowmemorykiller"})
_RUNTIMES = frozenset({"docker", "containerd", "podman", "crio"})  # each tells once of each death
_REPEATERS = frozenset({"node-problem-detector"})  # tell again of old kills when they start anew


def join_signs(
    kills: Sequence[OomKill], signs: Iterable[Sign]
) -> tuple[tuple[OomKill, ...], tuple[NotAKill, ...]]:
    """Return the kills with what signs add to them, those that only signs tell of behind, and what is no kill."""
    signs = tuple(_explained(signs))
    told = [sign for sign in signs if sign.kind in _KILLS]
    names = _Names(told)
    kernel = _Pool([names.give(kill) for kill in kills])
    alone = [sign for sign in sorted(told, key=_order) if not kernel.takes(sign)]
    others = _Pool([])
    for sign in alone:
        if not others.takes(sign):
            others.add(sign)
    rest = tuple(_no_kill(sign) for sign in signs if sign.kind not in _KILLS)
    return (*kernel.kills, *others.kills), rest


def _explained(signs: Iterable[Sign]) -> Iterator[Sign]:
    """Yield signs; a SIGKILL that somebody had asked for moments before is no riddle."""
    asked: deque[Sign] = deque(maxlen=_MOST_ASKED)
    for sign in sorted(signs, key=lambda sign: sign.when.timestamp() if sign.when is not None else 0.0):
        if sign.kind == "terminated":
            asked.append(sign)
        cause = next((one for one in asked if sign.kind == "sigkill" and _explains(one, sign)), None)
        yield sign if cause is None else replace(sign, kind="terminated", text=cause.text)


def _explains(asked: Sign, sign: Sign) -> bool:
    same = kinship(asked.place, sign.place)
    if same is None or same.score <= HOST:
        return False
    return asked.when is None or sign.when is None or (sign.when - asked.when).total_seconds() <= _ASKED_S


class _Pool:
    """Kills that signs may speak of."""

    def __init__(self, kills: list[OomKill]) -> None:
        self.kills = kills
        self._candidates = Candidates(kills)
        self._fresh: list[int] = []  # made here, and not among the candidates
        self._told: dict[int, dict[str, float | None]] = defaultdict(dict)  # who has told of a kill, and when

    def add(self, sign: Sign) -> None:
        """Make a kill of a sign that nothing else tells of."""
        self._note(len(self.kills), sign)
        self._fresh.append(len(self.kills))
        self.kills.append(_kill_of(sign))
        if len(self._fresh) >= _MOST_FRESH:
            self._candidates, self._fresh = Candidates(self.kills), []

    def takes(self, sign: Sign) -> bool:
        """Give a sign to the kill that it speaks of; tells whether there is one."""
        scored = []
        for at in (*self._candidates.of(sign.place, sign.pid, _span(sign)), *self._fresh):
            score = None if self._has_told(at, sign) else _score(self.kills[at], sign)
            if score is not None:
                scored.append((score, -_distance(self.kills[at], sign), at))
        if not scored:
            return False
        score, distance, at = max(scored)
        kill = self.kills[at]
        # Nothing but time and host speak for it: good only where no other is near.
        sure = score > HOST or (len(scored) == 1 and -distance <= _SAME_MOMENT_S)
        if _another_killer(kill, sign):
            if not (_same_pid(kill, sign) and -distance <= _TWO_KILLERS_S):
                return False
            kill = replace(kill, notes=(*kill.notes, f"{sign.killer} had chosen it, too"))
        elif not (sure or sign.killer == "kernel"):
            return False
        if score <= HOST and not _same_place_known(kill, sign):
            sign = replace(sign, place=Place(host=sign.place.host))  # the time alone gives nobody a place
        self._note(at, sign)
        self.kills[at] = _with(kill, sign)
        return True

    def _note(self, at: int, sign: Sign) -> None:
        self._told[at][sign.program] = sign.when.timestamp() if sign.when is not None else None

    def _has_told(self, at: int, sign: Sign) -> bool:
        """Tell whether the same program has told of this kill at another time or unit: then this is another kill."""
        unit = self.kills[at].place.unit
        if sign.program == "systemd" and at in self._told and None not in {unit, sign.place.unit}:
            return unit != sign.place.unit and "systemd" in self._told[at]
        before = self._told[at].get(sign.program) if sign.program in _RUNTIMES and at in self._told else None
        return (
            before is not None
            and sign.when is not None
            and abs(sign.when.timestamp() - before) > _SAME_MOMENT_S
        )


def _same_place_known(kill: OomKill, sign: Sign) -> bool:
    """Tell whether a kill may be given the place of a sign: it has one already, or the sign knows the process."""
    return identified(place_of(kill)) or bool(sign.comm and sign.comm[:15] == kill.comm)


class _Names:
    """What ids of containers and pods are called, from whoever says both."""

    def __init__(self, signs: Iterable[Sign]) -> None:
        self._known: dict[str, Place] = {}
        for sign in signs:
            place = sign.place
            for key in filter(None, (place.container_id and place.container_id[:12], place.pod_uid)):
                names = Place(container=place.container if key != place.pod_uid else None, pod=place.pod)
                self._known[key] = self._known.get(key, Place()).filled(names)

    def give(self, kill: OomKill) -> OomKill:
        """Return a kill with the names that its container's and its pod's id have."""
        if not self._known:
            return kill
        where, place = place_of(kill), kill.place
        for key in filter(None, (where.container_id and where.container_id[:12], where.pod_uid)):
            if key in self._known:
                place = place.filled(self._known[key])
        return kill if place is kill.place else replace(kill, place=place)


def _order(sign: Sign) -> tuple[int, float]:
    """Surer words first, so that a bare exit code finds the kill that they made."""
    time = sign.when.timestamp() if sign.when else float("inf")
    return CONFIDENCES.index(_CONFIDENCE[sign.kind]), time


def _span(sign: Sign) -> tuple[float, float] | None:
    """Return the seconds between which the kill of a sign lies."""
    if sign.when is None:
        return None
    when, doubt = sign.when.timestamp(), sign.uncertainty_s or 0.0
    first = when - _AFTER_S
    if sign.started is not None:
        first = min(first, sign.started.timestamp())
    return first - doubt, when + _BEFORE_S + doubt


def _score(kill: OomKill, sign: Sign) -> int | None:
    """Return how much speaks for a sign being about a kill; None where something speaks against it."""
    same = kinship(place_of(kill), sign.place)
    if same is None:
        return None
    pid = _same_pid(kill, sign)
    if pid is False:
        return None
    comm = 2 if sign.comm and sign.comm[:15] == kill.comm else 0
    if sign.program in _REPEATERS and comm and sign.pid == kill.pid and kill.pid is not None:
        return same.score + comm + 4
    if sign.when is not None and kill.when is not None:
        late = (sign.when - kill.when).total_seconds()
        doubt = (sign.uncertainty_s or 0.0) + (kill.uncertainty_s or 0.0)
        lived = sign.started is None or (kill.when - sign.started).total_seconds() >= -5 - doubt
        longest = float("inf") if sign.started is not None and same.score > HOST else _AFTER_S
        if not (-_BEFORE_S - doubt <= late <= longest + doubt and lived):
            return None
    elif not (pid or same.score > HOST):
        return None
    return same.score + comm + (4 if pid else 0)


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
    surer = min(kill.confidence, _CONFIDENCE[sign.kind], key=CONFIDENCES.index)
    timed = kill if kill.when is not None else sign
    return replace(
        kill,
        when=timed.when,
        uncertainty_s=timed.uncertainty_s,
        pid=kill.pid if kill.pid is not None else sign.pid,
        comm=kill.comm or sign.comm,
        killer=sign.killer if kill.killer == "unknown" and sign.killer else kill.killer,
        confidence=surer,
        place=kill.place.filled(sign.place),
        memory=memory,
        at_least=kill.at_least or (sign.at_least and kill.confidence != "confirmed"),
        evidence=with_more(kill.evidence, (sign.evidence,)),
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
        place=sign.place,
        memory=MemoryLimit(limit=sign.limit) if sign.limit is not None else None,
        complete=False,
        missing=("kernel report",),
        notes=tuple(_notes(sign)),
        evidence=(sign.evidence,),
        at_least=sign.at_least or sign.count > 1,
    )


def _notes(sign: Sign) -> Iterator[str]:
    if sign.text:
        yield sign.text
    if sign.rss is not None:
        yield f"it used {format_size(sign.rss)}"


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
