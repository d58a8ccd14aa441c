"""What other supervisors than Celery say when a child of theirs is killed."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

from leakhunt.model.incident import InFlight, WorkerDeath
from leakhunt.readers.worker_log.said import Said
from leakhunt.readers.worker_log.supervisor_wording import WORDINGS, Wording
from leakhunt.readers.worker_log.wording import COLOURS

_SIGNALS = {
    b"SIGHUP": 1,
    b"SIGINT": 2,
    b"SIGQUIT": 3,
    b"SIGABRT": 6,
    b"SIGKILL": 9,
    b"SIGSEGV": 11,
    b"SIGTERM": 15,
}
_CAUSES = {9: "sigkill", 15: "terminated"}
_SIGKILL = 9
_MOST_REMEMBERED = 4_096
_ECHO_LINES = 400  # a traceback says the same thing several times over
_MOST_PIDS = 32
_AIRFLOW_TASK = re.compile(rb"<TaskInstance: ([\w.-]{1,500}) (\S{1,250})")
_MOST_LINES_BACK = 40
_LONGEST_LINE = 600


class Told(NamedTuple):
    """What a line tells."""

    wording: Wording
    match: re.Match[bytes]

    @property
    def program(self) -> str:
        """Who speaks."""
        return self.wording.program

    @property
    def dies(self) -> bool:
        """Whether it tells of a death."""
        return self.wording.dies


class Supervisors:
    """Reads them.

    Args:
        tell: takes each death.
    """

    def __init__(self, tell: Callable[[WorkerDeath], None]) -> None:
        self._tell = tell
        self._names: OrderedDict[tuple[bytes, str, bytes], int] = OrderedDict()
        self._doomed: OrderedDict[tuple[bytes, str, int], Said] = OrderedDict()
        self._echoes: OrderedDict[tuple[bytes, str, int | None], int] = OrderedDict()

    @staticmethod
    def program(raw: bytes) -> Told | None:
        """Find what a line tells, and who tells it."""
        for wording in WORDINGS:
            if wording.word in raw and (match := wording.pattern.search(raw)):
                return Told(wording, match)
        return None

    def line(self, told: Told, said: Said, key: bytes, context: bytes = b"") -> None:
        """Read a line.

        Args:
            told: what it tells.
            said: when and where.
            key: what tells its process from others in the log.
            context: the lines in front.
        """
        found = told.match.groupdict()
        name, pids = found.get("name"), _pids(found.get("pid"))
        if not told.dies:
            if name is not None:
                _remember(self._names, (key, told.program, name), pids[0] or 0)
            else:
                _remember(self._doomed, (key, told.program, pids[0] or 0), said)
            return
        for pid in pids:
            self._death(told, said, key, context, pid)

    def _death(self, told: Told, said: Said, key: bytes, context: bytes, pid: int | None) -> None:
        program, found = told.program, told.match.groupdict()
        name = found.get("name")
        if told.wording.echoes:
            last = self._echoes.get((key, program, pid))
            _remember(self._echoes, (key, program, pid), said.evidence.line)
            if last is not None and said.evidence.line - last <= _ECHO_LINES:
                return
        signal, code = _status(found)
        if program == "airflow" and signal != _SIGKILL:
            return
        if pid is None and name is not None:
            pid = self._names.pop((key, program, name), None)
        doom = self._doom(key, program, pid)
        doomed, pid = (None, pid) if doom is None else doom
        tasks = _TASKS[program](found, context, said) if program in _TASKS else ()
        self._tell(
            WorkerDeath(
                program=program,
                cause="timeout" if doomed is not None else _CAUSES.get(signal or 0, "signal"),
                evidence=(said.evidence,) if doomed is None else (said.evidence, doomed.evidence),
                place=said.place,
                name=name.decode("utf-8", "backslashreplace") if name is not None else None,
                pid=pid,
                when=said.when,
                uncertainty_s=said.uncertainty_s,
                signal=signal,
                exit_code=code,
                tasks=tasks,
                busy=True if tasks else None,
            )
        )

    def _doom(self, key: bytes, program: str, pid: int | None) -> tuple[Said, int] | None:
        """Return the line in which a program said that it would kill this process itself, and the process."""
        if pid is None and program == "rq":  # one horse at a time, and its death is told without a pid
            pid = next(
                (one[2] for one in islice(reversed(self._doomed), 100) if one[:2] == (key, program)), None
            )
        said = self._doomed.pop((key, program, pid), None) if pid is not None else None
        return None if said is None or pid is None else (said, pid)


def _remember(memory: OrderedDict, key: object, value: object) -> None:  # type: ignore[type-arg] # of any kind
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > _MOST_REMEMBERED:
        memory.popitem(last=False)


def _pids(text: bytes | None) -> list[int | None]:
    return [int(one) for one in text.split(b", ")[:_MOST_PIDS]] if text else [None]


def _status(found: dict[str, bytes | None]) -> tuple[int | None, int | None]:
    """Return the signal and the exit code that a line gives."""
    text, code, status = found.get("signal"), found.get("code"), found.get("status")
    if status is not None and status.isdigit():
        value = int(status)
        return (value & 0x7F or None, None) if value & 0x7F else (None, value >> 8)
    if code is not None:
        value = int(code)
        return (-value, None) if value < 0 else (None, value)
    if text is None:
        return None, None
    if text in {b"Killed", b"Terminated"}:
        return (_SIGKILL if text == b"Killed" else 15), None
    digits = text.rpartition(b" ")[2].lstrip(b"-")
    return _SIGNALS.get(text, int(digits) if digits.isdigit() else None), None


def _rq_job(found: dict[str, bytes | None], context: bytes, said: Said) -> tuple[InFlight, ...]:
    """Return the job of a work-horse: named by the line, or the last that the worker announced."""
    job, end = found.get("job"), len(context)
    for _ in range(_MOST_LINES_BACK):
        start = context.rfind(b"\n", 0, max(end - 1, 0)) + 1
        head, _, id_ = (
            COLOURS.sub(b"", context[max(start, end - _LONGEST_LINE) : end]).rstrip().rpartition(b" (")
        )
        queue, colon, call = head.partition(b": ")
        if (
            colon
            and queue
            and b"(" in call
            and id_.endswith(b")")
            and (id_[:-1] == job or (job is None and b"-" in id_))
        ):
            return (_task(call.partition(b"(")[0][:300], id_[:-1][:100], said),)
        end = start
        if start == 0:
            break
    return (_task(None, job, said),) if job is not None else ()


def _airflow_task(_found: dict[str, bytes | None], context: bytes, said: Said) -> tuple[InFlight, ...]:
    """Return the last task instance that the log speaks of; a log is of one."""
    spoken = _AIRFLOW_TASK.match(context, max(0, context.rfind(b"<TaskInstance: ")))
    return (_task(spoken[1], spoken[2], said),) if spoken else ()


def _task(name: bytes | None, id_: bytes, said: Said) -> InFlight:
    return InFlight(
        name=name.decode("utf-8", "backslashreplace") if name else None,
        id=id_.decode("utf-8", "backslashreplace"),
        how="named",
        evidence=said.evidence,
    )


_TASKS = {"rq": _rq_job, "airflow": _airflow_task}
