"""The memory of many executions, as columns of numbers."""

from __future__ import annotations

from array import array

UNKNOWN = -1
_MOST_TRACINGS = 1_000  # of one process; those beyond are left out


class Executions:
    """The memory of finished executions, in the order of their ends, as columns; -1 is unknown.

    Attributes:
        task: the number of the task's name among all names.
        before: RSS at the start, in bytes.
        after: RSS at the end, in bytes.
        peak: the highest RSS in between, in bytes.
        traced: those during which tracemalloc traced, apart for each time that tracing began; their ``before`` and
            ``after`` are the bytes that it knew of.
    """

    def __init__(self) -> None:
        self.task, self.before, self.after, self.peak = array("l"), array("q"), array("q"), array("q")
        self.traced: list[Executions] = []
        self._untraced = True

    def __len__(self) -> int:
        return len(self.task)

    def add(self, task: int, before: int | None, after: int | None, peak: int | None) -> None:
        """Add an execution; sizes in bytes."""
        self.task.append(task)
        for column, value in ((self.before, before), (self.after, after), (self.peak, peak)):
            column.append(UNKNOWN if value is None else value)

    def add_traced(self, task: int, before: int | None, after: int | None, *, anew: bool) -> None:
        """Note what was traced around an execution, in bytes; ``anew`` where tracing began before it."""
        if before is None or after is None:
            self._untraced = True
            return
        if anew or self._untraced:
            self._untraced = len(self.traced) >= _MOST_TRACINGS
            if self._untraced:
                return
            self.traced.append(Executions())
        self.traced[-1].add(task, before, after, None)
