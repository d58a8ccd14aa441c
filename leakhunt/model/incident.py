"""What programs other than the kernel say of a death: supervisors, container runtimes, other killers, workers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from leakhunt.model.evidence import Evidence, Place


@dataclass(frozen=True)
class Sign:
    """What a supervisor, a runtime or another killer says of a death. Kills are made of signs by joining them.

    Attributes:
        kind: ``killed`` (a program says that it killed for want of memory), ``oom`` (a program says that somebody, the
            kernel as a rule, did), ``sigkill`` (a SIGKILL or exit code 137, which proves nothing), ``attempt`` (a killer
            asked politely, or failed), or what is no kill: ``terminated`` (somebody asked for it),
            ``eviction``, ``timeout``, ``recycled``, ``exit``.
        program: who says so: ``systemd``, ``systemd-oomd``, ``earlyoom``, ``docker``, ``kubernetes``, ...
        killer: who killed, as the program says: ``kernel``, ``systemd-oomd``, ``earlyoom``, ...; empty where it does not.
        place: where.
        when: in UTC; None where no clock is known.
        uncertainty_s: how far off ``when`` may be, in seconds.
        monotonic: seconds since boot.
        boot: the boot's id.
        pid: as the program counts; see ``host_pid``.
        host_pid: whether ``pid`` is one of the host's; None where it may be either.
        comm: the process's name.
        rss: in bytes.
        limit: the memory limit that the program says was in force, in bytes.
        exit_code: of the process or the container.
        count: how many deaths this stands for.
        at_least: whether there may have been more than ``count``.
        started: when the process or container that died had begun.
        text: what happened, in a few words of ours.
        evidence: the line.
    """

    kind: str
    program: str
    evidence: Evidence
    killer: str = ""
    place: Place = field(default_factory=Place)
    when: datetime | None = None
    uncertainty_s: float | None = None
    monotonic: float | None = None
    boot: str | None = None
    pid: int | None = None
    host_pid: bool | None = None
    comm: str | None = None
    rss: int | None = None
    limit: int | None = None
    exit_code: int | None = None
    count: int = 1
    at_least: bool = False
    started: datetime | None = None
    text: str = ""


@dataclass(frozen=True)
class InFlight:
    """A task that a worker had begun, or at least taken, and not finished.

    Attributes:
        name: the task's name; None where only its id is known.
        child: the pool child that had it, ``ForkPoolWorker-3``, where a line says so.
        pid: that child's, as the worker counts.
        how: how the task is tied to the child: ``accepted`` (a line says which child took it), ``child`` (the child logged
            under the task's id), ``named`` (the line of the death names it), ``job`` (the line of the death gives the
            pool's number of it, and the log shows that many tasks handed over since the worker's start), ``received`` (one
            of those that were not finished).
        since: when that was.
        deliveries: how often the log shows the task being received, this time included.
        arguments: a short hash of the arguments where the log shows them; equal arguments have equal hashes.
        queue: the queue, where the log shows it.
        evidence: the line.
    """

    name: str | None
    id: str | None
    how: str
    evidence: Evidence
    child: str | None = None
    pid: int | None = None
    since: datetime | None = None
    deliveries: int = 1
    arguments: str | None = None
    queue: str | None = None


@dataclass(frozen=True)
class WorkerDeath:
    """A worker process that ended before its time, as its log tells.

    Attributes:
        program: ``celery``, ``gunicorn``, ``uwsgi``, ``rq``, ``dramatiq``, ``supervisord``, ``airflow``, ``shell``, ...
        cause: ``sigkill`` (nobody says why), ``oom`` (the log says so), ``time-limit``, ``timeout``, ``recycled``,
            ``terminated`` (on request), ``signal`` (another signal or exit code), ``vanished`` (the whole worker stopped
            in mid-sentence and was started again, or its log ends so).
        name: of the child, ``ForkPoolWorker-3``; None for a worker as a whole.
        pid: as the worker counts: in a container that is not the host's.
        when: of the line, which follows the death by up to some seconds; for ``vanished`` the last line before it.
        until: for ``vanished``, when the worker was seen again; None at the end of a log.
        signal: the number, 9 for SIGKILL, where the line says so.
        exit_code: likewise.
        tasks: those that may have died with it, the likeliest first.
        tasks_omitted: how many more there were.
        busy: whether a task died with it: True where the worker says so, False where it would have said so and did not;
            None where that is not known.
        evidence: the lines, the one that tells of the death first.
    """

    program: str
    cause: str
    evidence: tuple[Evidence, ...]
    place: Place = field(default_factory=Place)
    name: str | None = None
    pid: int | None = None
    when: datetime | None = None
    uncertainty_s: float | None = None
    until: datetime | None = None
    signal: int | None = None
    exit_code: int | None = None
    tasks: tuple[InFlight, ...] = ()
    tasks_omitted: int = 0
    busy: bool | None = None


@dataclass(frozen=True)
class TaskAgain:
    """A task that was in flight at a death and was seen again later: it has probably begun twice.

    Attributes:
        outcome: ``received``, ``succeeded``, ``failed`` or ``lost`` (in flight at another death).
        first: when it was received first.
        again: when it was seen again, for the first time since that death; ``last`` for the last time, if that is another.
        times: how often it began again since that death; 0 where only its end shows it.
        recorded: whether a flight record tells of it, and no log.
    """

    name: str | None
    id: str
    outcome: str
    first: datetime | None
    again: datetime | None
    evidence: Evidence
    last: datetime | None = None
    times: int = 1
    recorded: bool = False


@dataclass(frozen=True)
class Counter:
    """A count of kills that the kernel keeps, to compare with the kills found.

    Attributes:
        source: the file it was read from.
        name: ``oom_kill``, ``oom``, ``oom_group_kill``, ...
        scope: ``host`` (since boot), the control group's path (since it was made), or empty where it is some group's.
    """

    source: str
    name: str
    value: int
    scope: str
