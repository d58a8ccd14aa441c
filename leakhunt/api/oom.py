"""What logs tell of kills for want of memory: oom_scan."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone, tzinfo
from fnmatch import fnmatchcase
from heapq import nlargest
from os.path import basename
from typing import Any, TypeVar

from leakhunt.analysis.incident.choose import Choice
from leakhunt.analysis.incident.counted import shortfall, unseen
from leakhunt.analysis.incident.covered import undated, with_silence
from leakhunt.analysis.incident.groups import group
from leakhunt.analysis.incident.loops import loops_of
from leakhunt.analysis.incident.pairs import WINDOW_S
from leakhunt.analysis.incident.records import in_flight, join_records
from leakhunt.analysis.incident.story import join
from leakhunt.analysis.incident.unended import unexplained
from leakhunt.capture.place import default_path
from leakhunt.errors import LeakhuntError
from leakhunt.model.incident import Counter, Sign, TaskAgain, WorkerDeath
from leakhunt.model.oom import IncompleteReport, Loss, NotAKill, OomKill, SourceSummary
from leakhunt.model.record import Life
from leakhunt.model.snapshot import Skipped
from leakhunt.model.verdict import LiveSource, OomResult, RanTwice
from leakhunt.moments import NEVER
from leakhunt.readers.alive import read_alive
from leakhunt.readers.kernel_log.merge import merge
from leakhunt.readers.kernel_log.scan import Options
from leakhunt.readers.live import boot_time, read_machine
from leakhunt.readers.oom_inputs import Input, gather
from leakhunt.readers.oom_reading import read
from leakhunt.readers.signs.documents import kind_of
from leakhunt.readers.telling import HEARERS, KINDS, Told, tell
from leakhunt.readers.worker_log.again import Sought
from leakhunt.readers.worker_log.records import apart, hear_folder, hear_records

__all__ = ["KINDS", "Collected", "Settings", "oom_scan", "result_of", "scan"]

Kind = TypeVar("Kind")
Dated = TypeVar("Dated", Sign, WorkerDeath)
_MOST_KEPT = 100_000
_MOST_WHOLE = 100  # kills that are kept with all of their reports
_ROWS, _LINES = 5, 3  # of a report, beyond that
_FOREMOST = ("illed process ", "oom-kill:", "invoked oom-killer")
_LOSES = frozenset({"sigkill", "oom", "vanished"})
_MOST_SOUGHT = 200
_SHORTEST_ID = 16


@dataclass(frozen=True)
class Settings:
    """How to read, and what to show.

    Attributes:
        kind: what the inputs are, one of ``KINDS``, or an empty string to find out.
        tz: the zone of stamps that have none.
        zones: the same for files whose name or path matches a glob.
        boot_time: when the machine was started, for logs that count seconds from there.
        window_s: how many seconds after a kill a worker may tell of it.
        choice: which kills to show.
    """

    kind: str = ""
    tz: tzinfo = timezone.utc
    zones: tuple[tuple[str, tzinfo], ...] = ()
    boot_time: datetime | None = None
    window_s: float = WINDOW_S
    choice: Choice = field(default_factory=Choice)

    def options(self, name: str = "") -> Options:
        """Return what the readers are told of an input."""
        zones = (
            zone for glob, zone in self.zones if fnmatchcase(name, glob) or fnmatchcase(basename(name), glob)
        )
        return Options(kind=self.kind, tz=next(zones, self.tz), boot_time=self.boot_time)


def oom_scan(
    paths: Sequence[str | os.PathLike[str]] = (),
    *,
    kind: str = "",
    tz: tzinfo = timezone.utc,
    zones: Sequence[tuple[str, tzinfo]] = (),
    boot_time: datetime | None = None,
    window_s: float = WINDOW_S,
    since: datetime | None = None,
    until: datetime | None = None,
    host: str = "",
    comm: str = "",
    container: str = "",
    min_confidence: str = "possible",
) -> OomResult:
    """Find the processes that were killed for want of memory, and tell which task each was running.

    Args:
        paths: logs and documents of any kind, folders of such, archives; ``-`` is standard input. None at all reads
            this machine's logs.
        kind: what the inputs are, one of ``leakhunt oom-scan --as``; by default that is found out.
        tz: the zone of stamps that have none.
        zones: pairs of a glob and the zone of files whose name or path matches it.
        boot_time: when the machine was started, for logs that count seconds from there.
        window_s: how many seconds after a kill a worker may tell of it.
        since: leave out what was killed before; aware.
        until: leave out what was killed after; aware.
        host: a glob for the machine's name.
        comm: a glob for the name of the process.
        container: a glob for the name or id of container, pod, unit or control group.
        min_confidence: ``confirmed``, ``probable`` or ``possible``.

    Raises:
        LeakhuntError: a file that was named cannot be read.
    """
    choice = Choice(since, until, host, comm, container, min_confidence)
    return scan(paths, Settings(kind, tz, tuple(zones), boot_time, window_s, choice))


def scan(
    paths: Sequence[str | os.PathLike[str]],
    settings: Settings,
    *,
    progress: Callable[[int], object] | None = None,
) -> OomResult:
    """Do what :func:`oom_scan` does, with all settings in one; ``progress`` is told of bytes of files as they are read.

    Raises:
        LeakhuntError: a file that was named cannot be read.
    """
    collected = Collected()
    if not paths:
        collected.take(read_machine(settings.options(), HEARERS, settings.choice.since))
        collected.take(hear_folder(os.path.join(default_path(os.environ), "records")))
        return result_of(collected, settings, booted=boot_time())
    names = tuple(os.fspath(path) for path in paths)
    gathered = gather(names, progress)
    collected.take(gathered.skipped)
    records, logs = apart(gathered.inputs)
    collected.take(hear_records(records))
    for source in logs:
        collected.take(
            tell(source, settings.options(source.name))
            if len(gathered.inputs) == 1
            else _tell(source, settings)
        )
    if len(logs) > 1:
        collected.take(_begun_elsewhere(logs, collected, settings))
    if not collected.of(SourceSummary):  # an empty log proves nothing, least of all to --fail-on-kill
        why = "; ".join(f"{one.what}: {one.why}" for one in collected.of(Skipped)[:3]) or "no files"
        raise LeakhuntError(f"there is nothing to read: {why}", "name logs, or a folder of logs")
    return result_of(collected, settings, paths=names)


def _tell(source: Input, settings: Settings) -> Iterator[Told]:
    """Read one input of several: what is wrong with it is told, and the others are read."""
    try:
        yield from tell(source, settings.options(source.name))
    except LeakhuntError as error:
        yield Skipped(source.name, error.message.removeprefix(f"{source.name}: "))


def _begun_elsewhere(
    inputs: Sequence[Input], collected: Collected, settings: Settings
) -> Iterator[TaskAgain]:
    """Look into all logs once more for tasks that died with one worker: another may have taken them."""
    lost = [task for death in collected.of(WorkerDeath) if death.cause in _LOSES for task in death.tasks]
    tasks = {task.id: task for task in lost if task.id is not None and len(task.id) >= _SHORTEST_ID}
    if not tasks or len(tasks) > _MOST_SOUGHT:
        return
    for source in inputs:
        if not kind_of(source.head()):
            options = settings.options(source.name)
            for event in read(source, options, [lambda reading, place: Sought(reading, place, tasks)]):
                if isinstance(event, TaskAgain):
                    yield event


class Collected:
    """What the sources told, kind by kind.

    Args:
        most: so many of each kind are kept, the newest, and up to twice as many.

    Attributes:
        dropped: how many are not.
    """

    def __init__(self, most: int = _MOST_KEPT) -> None:
        self.dropped = 0
        self._most = most
        self._dropped_kills = False
        self._found: dict[type, list[Any]] = defaultdict(list)

    def take(self, events: Iterable[object]) -> None:
        """Sort events by what they are."""
        for event in events:
            found = self._found[type(event)]
            found.append(_slim(event) if isinstance(event, OomKill) and len(found) >= _MOST_WHOLE else event)
            if len(found) >= 2 * self._most:
                del found[: self._most]
                self.dropped += self._most
                self._dropped_kills = self._dropped_kills or isinstance(event, OomKill)

    @property
    def warnings(self) -> Iterator[str]:
        """Say if not all was kept."""
        if self.dropped:
            yield f"there is very much of it: {self.dropped:,} of the oldest pieces of evidence are left out"

    def of(self, kind: type[Kind]) -> list[Kind]:
        """Return what was told of one kind, in order."""
        return self._found[kind]

    def since_kept(self, kind: type[Dated]) -> list[Dated]:
        """Return what was told of one kind, but for what belongs to kills that are not kept any more."""
        found = self.of(kind)
        if not self._dropped_kills:
            return found
        first = min((kill.when for kill in self.of(OomKill) if kill.when is not None), default=None)
        if first is None:
            return found
        return [one for one in found if one.when is None or one.when >= first]


def _of_shown(twice: Iterable[RanTwice], kills: Iterable[OomKill]) -> Iterator[RanTwice]:
    """Yield those tasks that were running when a kill that is shown happened."""
    lost = [kill.task for kill in kills if kill.task is not None]
    ids = {task.id for task in lost} | {one.id for task in lost for one in task.candidates}
    return (one for one in twice if one.id in ids)


def _slim(kill: OomKill) -> OomKill:
    """Return a kill with the largest processes of its report and its foremost lines, where there are very many."""
    if len(kill.tasks) <= _ROWS and len(kill.evidence) <= _LINES:
        return kill
    rows = nlargest(_ROWS, kill.tasks, key=lambda row: row.rss + (row.swap or 0))
    lines = sorted(kill.evidence, key=lambda line: not any(word in line.text for word in _FOREMOST))
    return replace(
        kill,
        tasks=tuple(rows),
        tasks_omitted=kill.tasks_omitted + len(kill.tasks) - len(rows),
        evidence=tuple(lines[:_LINES]),
    )


def result_of(
    collected: Collected, settings: Settings, *, paths: Sequence[str] = (), booted: datetime | None = None
) -> OomResult:
    """Join what was collected, choose what is asked for, and look for patterns in it.

    Args:
        collected: what the sources told.
        settings: how to join, and what to choose.
        paths: what the user named.
        booted: when this machine was started, if its own counters are among it.
    """
    choice = settings.choice
    deaths, counters = collected.since_kept(WorkerDeath), collected.of(Counter)
    story = join(
        merge(collected.of(OomKill)),
        collected.since_kept(Sign),
        deaths,
        collected.of(TaskAgain),
        window_s=settings.window_s,
    )
    sources = tuple(collected.of(SourceSummary))
    lives = collected.of(Life)
    alive = read_alive() if lives else None
    told = join_records(story.kills, lives, alive.boot if alive is not None else None)
    kills = tuple(kill for kill in with_silence(told, sources) if choice.takes(kill))
    not_kills = [one for one in (*collected.of(NotAKill), *story.not_kills) if choice.takes_time(one.when)]
    return OomResult(
        sources=sources,
        kills=kills,
        incomplete=tuple(one for one in collected.of(IncompleteReport) if choice.takes_time(one.when)),
        groups=group(kills),
        loops=loops_of(kills, (*deaths, *in_flight(lives))),
        twice=tuple(_of_shown(story.twice, kills)) if choice.words else story.twice,
        unended=tuple(unexplained(lives, told, alive, choice)),
        not_kills=tuple(sorted(not_kills, key=lambda one: one.when or NEVER)),
        losses=tuple(collected.of(Loss)),
        counters=tuple(counters),
        live=tuple(collected.of(LiveSource)),
        paths=tuple(paths),
        unseen=unseen(counters, story.kills, booted),
        hidden=len(story.kills) - len(kills),
        filtered=choice.words,
        warnings=(
            *collected.warnings,
            *story.warnings,
            *undated(kills),
            *(shortfall(counters, story.kills, booted) if choice.since is None else ()),
        ),
        skipped=tuple(collected.of(Skipped)),
    )
