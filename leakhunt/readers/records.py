"""Flight records, as leakhunt's recorder wrote them inside workers: which tasks ran where, and what memory they took."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

from leakhunt.errors import LeakhuntError
from leakhunt.model.record import Begun, Life, ProcessKey, RecordedProcess, RecordFile, Records
from leakhunt.model.snapshot import Skipped
from leakhunt.readers.oom_inputs import Input, Part
from leakhunt.readers.streams import Stream
from leakhunt.readers.text_check import EMPTY

_MARK = b'{"e":"'
_KINDS = tuple(_MARK + kind + b'"' for kind in (b"process", b"start", b"end", b"lost", b"recycle", b"exit"))
_LONGEST_LINE = 1 << 20
_SHOWN = 400
_MOST_SIZE = 1 << 60
_MOST_NAMES = 10_000
_MOST_LIVES = 50_000
_MOST_EXECUTIONS = 5_000_000
_MOST_RUNNING = 100_000
_LATEST = 253_402_300_000.0  # the year 9999
CUT = "its last line is cut, as it may be where a process is killed"


def is_record(head: bytes) -> bool:
    """Tell by its first bytes whether a file is a flight record."""
    return head.lstrip(b"\n").startswith(_KINDS)


def read_records(inputs: Sequence[Input]) -> Records:
    """Read flight records; other files among them are named as skipped.

    Args:
        inputs: what was gathered; a file is read whose first line is a record's.

    Returns:
        The processes and their executions. Lines that two files have in common are read once.
    """
    reader = _Reader()
    for part in _in_order(inputs, reader.skipped):
        with telling(part.name, reader.skipped):
            reader.read(part)
    return reader.result()


@contextmanager
def telling(name: str, skipped: list[Skipped]) -> Iterator[None]:
    """Note what is wrong with one file of several, and go on."""
    try:
        yield
    except LeakhuntError as error:
        skipped.append(Skipped(name, error.message.removeprefix(f"{name}: ")))


def record_lines(stream: Stream) -> Iterator[tuple[int, bytes, bool]]:
    """Yield a record's lines with their numbers, and whether each is whole; one without an end is not.

    Raises:
        LeakhuntError: the disk refused, or a small compressed file unfolds without end.
    """
    number, rest, too_long = 1, b"", False
    while data := stream.read():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield number, b"" if too_long else line, not too_long and len(line) <= _LONGEST_LINE
            number, too_long = number + 1, False
        if len(rest) > _LONGEST_LINE:
            rest, too_long = b"", True
    if rest:
        yield number, rest, False


def parse_line(line: bytes) -> dict[str, Any] | None:
    """Read one line of a record; None where it is none."""
    if not line.startswith(_MARK):
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or moment(value.get("t")) is None:
        return None
    return value


def moment(value: object) -> float | None:
    """Return a time in epoch seconds, if it is one."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    return float(value) if 0 < value < _LATEST and math.isfinite(value) else None


def utc(seconds: float) -> datetime:
    """Return epoch seconds as a moment."""
    return datetime.fromtimestamp(seconds, timezone.utc)


def describe(line: dict[str, Any]) -> RecordedProcess:
    """Return the process that a line of kind ``process`` is about."""
    pid = _count(line.get("pid")) or 0
    pids = line.get("pids")
    numbers = [_count(one) for one in pids[:32]] if isinstance(pids, list) else []
    key = ProcessKey(
        _text(line.get("host")) or "", _text(line.get("boot")), pid, _count(line.get("start")) or 0
    )
    return RecordedProcess(
        key,
        pids=tuple(number for number in numbers if number is not None) or (pid,),
        pid_ns=_count(line.get("pid_ns")),
        ppid=_count(line.get("ppid")),
        limit=_count(line.get("limit")),
        shared=line.get("shared") is True,
        began=utc(line["t"]),
        **{
            name: _text(line.get(name))
            for name in ("role", "pool", "node", "name", "cgroup", "container", "pod")
        },
    )


def begun(line: dict[str, Any], source: str, number: int, raw: bytes) -> Begun | None:
    """Return the task that a line of kind ``start`` is about; None where it does not say."""
    task, task_id = _text(line.get("task")), _text(line.get("id"))
    if task is None or task_id is None:
        return None
    return Begun(
        task,
        task_id,
        float(line["t"]),
        _text(line.get("queue")),
        _count(line.get("retries")) or 0,
        line.get("redelivered") is True,
        _count(line.get("args_size")),
        _text(line.get("args_hash")),
        _count(line.get("rss")),
        source,
        number,
        raw[:_SHOWN].decode("utf-8", "replace"),
        _count(line.get("traced")),
        line.get("anew") is True,
    )


def _fault(raw: bytes, *, whole: bool) -> str:
    """Say what is wrong with a line; an empty one is nothing."""
    if whole:
        return "a line is no record" if raw else ""
    return CUT if raw else "a line is too long"


class _Reader:
    """Keeps what was read so far."""

    def __init__(self) -> None:
        self.skipped: list[Skipped] = []
        self._files: list[RecordFile] = []
        self._lives: dict[ProcessKey, Life] = {}
        self._tasks: dict[str, int] = {}
        self._executions = self._running = self._dropped = 0

    def result(self) -> Records:
        """Return all of it."""
        lives = sorted(
            self._lives.values(), key=lambda life: (life.process.began is None, life.process.began)
        )
        dropped = f"there is very much of it: {self._dropped:,} lines are left out"
        return Records(
            tuple(lives),
            tuple(self._tasks),
            tuple(self._files),
            tuple(self.skipped),
            (dropped,) if self._dropped else (),
        )

    def read(self, part: Part) -> None:
        """Read one file."""
        stream = part.open()
        life: Life | None = None
        floor, faults = 0.0, Counter[str]()
        number = size = 0
        first = last = 0.0
        try:
            for number, raw, whole in record_lines(stream):
                size += len(raw) + 1
                line = parse_line(raw) if whole else None
                if line is None:
                    faults[_fault(raw, whole=whole)] += 1
                    continue
                first, last = first or float(line["t"]), float(line["t"])
                if line["e"] == "process":
                    found = self._life(line)
                    if found is not None and found is not life:
                        life, floor = found, found.last
                        life.sources.append(part.name)
                elif life is None:
                    faults["the line about its process is missing before a line"] += 1
                elif line["t"] > floor:
                    self._take(life, line, part.name, number, raw)
        finally:
            stream.close()
        self._files.append(RecordFile(part.name, number, size, first, last))
        faults[stream.fault] += 1
        for what, count in faults.items():
            if what:
                self.skipped.append(Skipped(part.name, what if count == 1 else f"{what} ({count:,} times)"))

    def _life(self, line: dict[str, Any]) -> Life | None:
        process = describe(line)
        life = self._lives.get(process.key)
        if life is None:
            if len(self._lives) >= _MOST_LIVES:
                self._dropped += 1
                return None
            life = self._lives[process.key] = Life(process)
        return life

    def _take(self, life: Life, line: dict[str, Any], source: str, number: int, raw: bytes) -> None:
        kind = line["e"]
        life.last = max(life.last, float(line["t"]))
        rss = _count(line.get("rss"))
        life.rss = life.rss if rss is None else rss
        if kind == "start":
            self._start(life, begun(line, source, number, raw))
        elif kind == "end":
            self._end(life, line, rss)
        elif kind == "recycle":
            life.left, life.recycled = True, _text(line.get("why")) or ""
        elif kind == "exit":
            life.left, life.exit_code = True, _count(line.get("code"))
        elif kind == "lost":
            life.lost += _count(line.get("lines")) or 0

    def _start(self, life: Life, task: Begun | None) -> None:
        if task is None or self._running >= _MOST_RUNNING or self._number(task.task) is None:
            self._dropped += 1
            return
        self._running += task.id not in life.running
        life.running[task.id] = task
        if task.queue is not None and len(life.queues.setdefault(task.task, set())) < 8:
            life.queues[task.task].add(task.queue)

    def _end(self, life: Life, line: dict[str, Any], rss: int | None) -> None:
        task, task_id = _text(line.get("task")), _text(line.get("id"))
        number = None if task is None else self._number(task)
        if task is None or task_id is None or number is None or self._executions >= _MOST_EXECUTIONS:
            self._dropped += 1
            return
        start = life.running.pop(task_id, None)
        if start is None:
            life.unmatched[task] = life.unmatched.get(task, 0) + 1
        self._running -= start is not None
        state = (_text(line.get("state")) or "")[:20]
        known = (task, state)
        life.finished[known] = life.finished.get(known, 0) + 1
        self._executions += 1
        before = None if start is None else start.rss
        life.executions.add(number, before, rss, _count(line.get("peak")))
        traced, anew = (None, False) if start is None else (start.traced, start.anew)
        life.executions.add_traced(number, traced, _count(line.get("traced")), anew=anew)

    def _number(self, task: str) -> int | None:
        number = self._tasks.get(task)
        if number is None and len(self._tasks) < _MOST_NAMES:
            number = self._tasks[task] = len(self._tasks)
        return number


def _in_order(inputs: Iterable[Input], skipped: list[Skipped]) -> list[Part]:
    """Return the files that are records by the time of their first lines, so that a rotated one comes first."""
    dated = []
    for source in inputs:
        for part in source.parts:
            head = b""
            with telling(part.name, skipped):
                head = Input(part.name, (part,)).head()
            if not is_record(head):
                skipped.append(Skipped(part.name, "it is no flight record" if head else EMPTY))
                continue
            first = parse_line(head.lstrip(b"\n").partition(b"\n")[0])
            dated.append((0.0 if first is None else float(first["t"]), part))
    return [part for _, part in sorted(dated, key=lambda one: (one[0], one[1].name))]


def _count(value: object) -> int | None:
    """Return a whole number that is neither negative nor absurd."""
    return value if type(value) is int and 0 <= value < _MOST_SIZE else None


def _text(value: object) -> str | None:
    return value[:_SHOWN] if isinstance(value, str) and value else None
