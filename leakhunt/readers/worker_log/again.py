"""Hears whether tasks that died with one worker were taken by another, whose log is another file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from leakhunt.model.evidence import Place
from leakhunt.model.incident import InFlight, TaskAgain
from leakhunt.readers.kernel_log.listener import Heard, Reading
from leakhunt.readers.markers import Markers
from leakhunt.readers.worker_log.said import read_line

_LONGEST_LINE = 1 << 14
_SAID = re.compile(r"\[[^\]\s]{1,100}\] (received|succeeded|raised|INTERNAL)|Received task: |from broker: ")
_OUTCOMES = {"succeeded": "succeeded", "raised": "failed", "INTERNAL": "failed"}


class Sought:
    """A listener for some tasks alone, by their ids.

    Args:
        reading: the source.
        place: what the source's name tells.
        tasks: the tasks by their ids, each with the line that told of it first.

    Attributes:
        events: what was heard and is not fetched yet.
    """

    def __init__(self, reading: Reading, place: Place, tasks: Mapping[str, InFlight]) -> None:
        self.events: list[Heard] = []
        self._reading, self._place, self._tasks = reading, place, tasks
        self._ids = tuple(task_id.encode() for task_id in tasks)
        self._markers = Markers(self._ids)
        self._again: dict[str, datetime | None] = {}  # when a task was received here

    def wakes(self) -> tuple[bytes, ...] | None:
        """Return the ids; see ``Listener``."""
        return self._ids

    def pass_by(self, data: bytes, first_line: int) -> None:
        """Take whole lines without any of the ids; see ``Listener``."""

    def read(self, data: bytes, first_line: int) -> None:
        """Take whole lines; see ``Listener``."""
        at, line, counted = 0, first_line, 0
        while (hit := self._markers.first(data, at, len(data))) >= 0:
            start = data.rfind(b"\n", 0, hit) + 1
            end = data.find(b"\n", hit)
            end = len(data) if end < 0 else end
            line += data.count(b"\n", counted, start)
            counted, at = start, end + 1
            self._line(data[start : min(end, start + _LONGEST_LINE)], line)

    def settle(self) -> None:
        """Nothing is held back; see ``Listener``."""

    def finish(self) -> None:
        """Nothing is held back; see ``Listener``."""

    def _line(self, raw: bytes, number: int) -> None:
        said = read_line(self._reading, self._place, raw, number)
        match = _SAID.search(said.evidence.text)
        task_id = next((one for one in self._tasks if one in said.evidence.text), None)
        if match is None or task_id is None:
            return
        task = self._tasks[task_id]
        if self._reading.source == task.evidence.source:  # told by the one who follows that log
            return
        outcome = _OUTCOMES.get(match[1] or "", "received")
        if outcome == "received":
            if task.since is not None and said.when is not None and said.when <= task.since:
                return  # before that, or the same line in a copy of that log
            self._again[task_id] = said.when
        elif task_id not in self._again:
            return
        self.events.append(
            TaskAgain(task.name, task_id, outcome, task.since, self._again[task_id], said.evidence)
        )
