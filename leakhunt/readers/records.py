"""Flight records, as leakhunt's recorder wrote them inside workers: which tasks ran where, and what memory they took."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from leakhunt.errors import LeakhuntError
from leakhunt.model.record import Begun, Life, ProcessKey, RecordFile, Records
from leakhunt.model.snapshot import Skipped
from leakhunt.readers.oom_inputs import Input, Part
from leakhunt.readers.record_lines import (
    as_count,
    as_text,
    begun,
    describe,
    is_record,
    parse_line,
    record_lines,
)
from leakhunt.readers.text_check import EMPTY

_MOST_NAMES = 10_000
_MOST_LIVES = 50_000
_MOST_EXECUTIONS = 5_000_000
_MOST_RUNNING = 100_000
CUT = "its last line is cut, as it may be where a process is killed"


def read_records(inputs: Sequence[Input], since: float = 0.0, until: float = math.inf) -> Records:
    """Read flight records; other files among them are named as skipped.

    Args:
        inputs: what was gathered; a file is read whose first line is a record's.
        since: in epoch seconds; executions that ended before are not counted.
        until: those that ended later are not, either, and those that began later do not count as running.

    Returns:
        The processes and their executions. Lines that two files have in common are read once.
    """
    reader = _Reader(since, until)
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


def _fault(raw: bytes, *, whole: bool) -> str:
    """Say what is wrong with a line; an empty one is nothing."""
    if whole:
        return "a line is no record" if raw else ""
    return CUT if raw else "a line is too long"


class _Reader:
    """Keeps what was read so far."""

    def __init__(self, since: float, until: float) -> None:
        self._since, self._until = since, until
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
        kind, t = line["e"], float(line["t"])
        inside = self._since <= t <= self._until
        life.last = max(life.last, t)
        rss = as_count(line.get("rss"))
        life.rss = life.rss if rss is None else rss
        if kind == "start" and t <= self._until:
            self._start(life, begun(line, source, number, raw))
        elif kind == "end":
            task_id = as_text(line.get("id")) or ""
            start = life.running.pop(task_id, None) or life.unrecorded.pop(task_id, None)
            self._running -= start is not None
            if inside:
                self._end(life, line, start, rss)
        elif kind == "recycle":
            life.left, life.recycled = True, as_text(line.get("why")) or ""
        elif kind == "exit":
            life.left, life.exit_code = True, as_count(line.get("code"))
        elif kind == "lost" and inside:
            life.lost += as_count(line.get("lines")) or 0

    def _start(self, life: Life, task: Begun | None) -> None:
        if task is None or self._running >= _MOST_RUNNING or self._number(task.task) is None:
            self._dropped += 1
            return
        if task.queue is not None and not life.process.shared:  # else it may run inside the one before
            life.unrecorded.update(life.running)
            life.running.clear()
        self._running += task.id not in life.running
        life.running[task.id] = task
        if task.queue is not None and len(life.queues.setdefault(task.task, set())) < 8:
            life.queues[task.task].add(task.queue)

    def _end(self, life: Life, line: dict[str, Any], start: Begun | None, rss: int | None) -> None:
        task = as_text(line.get("task"))
        number = None if task is None else self._number(task)
        known_id = as_text(line.get("id")) is not None
        if task is None or number is None or not known_id or self._executions >= _MOST_EXECUTIONS:
            self._dropped += 1
            return
        if start is None:
            life.unmatched[task] = life.unmatched.get(task, 0) + 1
        state = (as_text(line.get("state")) or "")[:20]
        known = (task, state)
        life.finished[known] = life.finished.get(known, 0) + 1
        self._executions += 1
        before = None if start is None else start.rss
        life.executions.add(number, before, rss, as_count(line.get("peak")))
        traced, anew = (None, False) if start is None else (start.traced, start.anew)
        life.executions.add_traced(number, traced, as_count(line.get("traced")), anew=anew)

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
