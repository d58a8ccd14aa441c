"""One report while it is being read, and the values it becomes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from leakhunt.model.evidence import Evidence
from leakhunt.model.oom import MemoryLimit, Owner, Process, TaskRow
from leakhunt.readers.kernel_log.cgroup import owner_of
from leakhunt.readers.kernel_log.lines import Constraint, Kill, Limited, Selection, TaskLine, Usage
from leakhunt.readers.kernel_log.stamps import Stamp
from leakhunt.readers.kernel_log.times import Moment

MOST_ROWS = 2_000
MOST_EVIDENCE = 40
SMALLEST_PAGE = 4096
_PAGE_SIZES = (SMALLEST_PAGE, 8192, 16384, 65536)
_SCOPES = {
    "CONSTRAINT_CPUSET": "cpuset",
    "CONSTRAINT_MEMORY_POLICY": "mempolicy",
    "CONSTRAINT_MEMCG": "memcg",
    "CONSTRAINT_NONE": "global",
}
_MESSAGES = {
    "Memory cgroup out of memory": "memcg",
    "No available memory (MPOL_BIND)": "mempolicy",
    "No available memory in cpuset": "cpuset",
}


class Places(NamedTuple):
    """Where in a row a column stands; 0 where there is none."""

    uid: int
    tgid: int
    total_vm: int
    rss: int
    swap: int
    oom_score_adj: int


class Table(NamedTuple):
    """How the rows of a task table are read, from text or from bytes as they are."""

    pattern: re.Pattern[str]
    raw: re.Pattern[bytes]
    places: Places


@lru_cache(maxsize=16)
def table_of(names: tuple[str, ...]) -> Table | None:
    """Make the pattern of a table's rows: the pid, a number for each column, and the name, which is the rest."""
    if len(names) > 30 or names[-1] != "name" or not {"uid", "tgid", "rss"} <= set(names):
        return None
    place = {name: number for number, name in enumerate(names[:-1], 1)}
    pattern = r"\[ *(\d{1,10})\]" + r" +(-?\d{1,20})" * (len(names) - 1) + r" (.*)"
    columns = ("uid", "tgid", "total_vm", "rss", "swapents", "oom_score_adj")
    places = Places(*(place.get(name, 0) for name in columns))
    return Table(re.compile(pattern), re.compile(pattern.encode()), places)


@dataclass
class Report:
    """What was read of one report; it may have several kills, if a whole group was killed."""

    number: int
    stamp: Stamp
    place: Moment
    invoker: Process | None = None
    kernel: str | None = None
    order: int | None = None
    manual: bool = False
    limited: Limited | None = None
    memory: Usage | None = None
    swap: Usage | None = None
    version: int | None = None
    table: Table | None = None
    rows: list[tuple[str, ...] | tuple[bytes, ...]] = field(default_factory=list)
    rows_omitted: int = 0
    constraint: Constraint | None = None
    selection: Selection | None = None
    group: str | None = None
    page_size: int | None = None
    dropped: int = 0
    kills: int = 0
    evidence: list[Evidence] = field(default_factory=list)

    def keep(self, evidence: Evidence) -> None:
        """Keep a line, up to a bound."""
        if len(self.evidence) < MOST_EVIDENCE:
            self.evidence.append(evidence)

    def begin_table(self, table: Table | None) -> None:
        """Read rows under a heading from now on; what stood under another heading cannot be read by this one."""
        if table is None or table == self.table:
            return
        self.rows_omitted += len(self.rows)
        self.rows.clear()
        self.table = table

    def add_row(self, row: tuple[str, ...] | tuple[bytes, ...]) -> None:
        """Keep a row of the task table, up to a bound; numbers are made of it only if it is needed."""
        if len(self.rows) < MOST_ROWS:
            self.rows.append(row)
        else:
            self.rows_omitted += 1

    def add_raw_rows(self, lines: list[bytes]) -> int:
        """Keep lines, from the first on, that are rows of the task table; tells how many they are."""
        if self.table is None:
            return 0
        search = self.table.raw.search
        for number, line in enumerate(lines):
            match = search(line)
            if match is None:
                return number
            self.add_row(match.groups())
        return len(lines)

    def takes_task_line(self, line: TaskLine) -> bool:
        """Tell whether the task line is of this report: of the thread that asked."""
        return self.invoker is not None and self.invoker.pid is None and line.comm == self.invoker.comm

    @property
    def empty(self) -> bool:
        """Whether nothing but a table or a name was read."""
        named = (self.invoker, self.constraint, self.selection, self.limited)
        return all(part is None for part in named)

    def scope(self, message: str | None) -> str:  # noqa: PLR0911 - by falling authority
        """Say whose limit it was; a control group named as limited decides, whatever the constraint says."""
        if self.manual or self.order == -1:
            return "manual"
        constraint = self.constraint
        if message is None and self.selection is not None:
            message = self.selection.message
        if constraint and constraint.constraint and "BPF" in constraint.constraint:
            return "bpf"
        if self.limited or (constraint and constraint.oom_memcg is not None):
            return "memcg"
        if message in _MESSAGES:
            return _MESSAGES[message]
        if self.memory is not None:
            return "memcg"
        if constraint and constraint.constraint in _SCOPES:
            return _SCOPES[constraint.constraint]
        return "global" if message else "unknown"

    def owner(self) -> Owner | None:
        """Read the control groups."""
        if self.constraint is not None:
            limited, victim = self.constraint.oom_memcg, self.constraint.task_memcg
            if limited is not None or victim is not None:
                return owner_of(limited, victim or self.group)
        if self.limited is not None:
            return owner_of(self.limited.limited, self.limited.victim)
        return owner_of(None, self.group) if self.group else None

    def limit(self) -> MemoryLimit | None:
        """Return use and limits, or None where the report shows none."""
        memory, swap = self.memory, self.swap
        if memory is None and swap is None:
            return None
        return MemoryLimit(
            usage=memory.usage if memory else None,
            limit=memory.limit if memory else None,
            failcnt=memory.failcnt if memory else None,
            swap_usage=swap.usage if swap else None,
            swap_limit=swap.limit if swap else None,
            version=self.version,
        )

    def page_size_of(self, kill: Kill) -> int | None:
        """Compare the kill line's total-vm with the pages of its row; else take the smallest free block."""
        if self.table is not None and kill.total_vm:
            places = self.table.places
            for row in self.rows:
                if kill.pid in (int(row[places.tgid]), int(row[0])):
                    pages = int(row[places.total_vm]) if places.total_vm else 0
                    for size in _PAGE_SIZES:
                        if pages * size == kill.total_vm:
                            return size
        return self.page_size

    @property
    def chosen(self) -> Process | None:
        """Whom the kernel chose, by the line that says so."""
        constraint, selection = self.constraint, self.selection
        if constraint is not None and constraint.pid is not None:
            return Process(constraint.pid, constraint.task or "")
        return None if selection is None else Process(selection.pid, selection.comm, selection.score)

    def name_of(self, kill: Kill) -> str:
        """Return the name on a kill line; where the line is cut inside it, the report may know the rest."""
        if not kill.cut or kill.total_vm is not None:
            return kill.comm
        named = [(one.pid, comm) for one, comm in self._chosen()]
        if self.table is not None:
            named += [(int(row[0]), _name(row[-1])) for row in self.rows]
        names = (name for pid, name in named if pid == kill.pid and name.startswith(kill.comm))
        return next(names, kill.comm)

    def _chosen(self) -> Iterator[tuple[Constraint | Selection, str]]:
        """Yield the lines that name whom the kernel chose, each with the name."""
        if self.constraint is not None and self.constraint.task is not None:
            yield self.constraint, self.constraint.task
        if self.selection is not None:
            yield self.selection, self.selection.comm

    def names(self, pid: int) -> bool:
        """Tell whether the report says that the kernel chose that process."""
        return any(line is not None and line.pid == pid for line in (self.constraint, self.selection))

    def may_choose(self, pid: int) -> bool:
        """Tell whether that process may be the one that was chosen, or a thread of it."""
        if self.constraint is None or self.constraint.pid is None or self.names(pid):
            return True
        return self.table is not None and not self.is_process(pid)

    def is_process(self, pid: int) -> bool:
        """Tell whether the table has a process of that pid."""
        return self.table is not None and any(int(row[self.table.places.tgid]) == pid for row in self.rows)

    def task_rows(self, page_size: int) -> tuple[TaskRow, ...]:
        """Return the task table, each row once."""
        if self.table is None:
            return ()
        uid, tgid, _, rss, swap, adj = self.table.places
        return tuple(
            TaskRow(
                int(row[0]),
                int(row[tgid]),
                int(row[uid]),
                _name(row[-1]),
                int(row[rss]) * page_size,
                int(row[swap]) * page_size if swap else None,
                int(row[adj]) if adj else None,
            )
            for row in dict.fromkeys(self.rows)
        )


def _name(raw: str | bytes) -> str:
    """Return the last column of a row, as text and without what a terminal left behind it."""
    return (raw if isinstance(raw, str) else raw.decode("utf-8", "backslashreplace")).rstrip()


def fits(report: Report, kill: Kill) -> bool:
    """Tell whether a kill line can be the end of a report.

    A report that names its victim is followed by that victim's line, by its thread's (whose id is no process's), or,
    to 5.0, by that of a child.
    """
    constraint, message = report.constraint, kill.message
    if constraint is not None and constraint.pid is not None and constraint.pid != kill.pid:
        return not report.is_process(kill.pid)
    return message != "Memory cgroup out of memory" or report.scope(message) != "global"


def joined(head: Constraint, tail: Constraint) -> Constraint:
    """Put a cut ``oom-kill:`` line together again."""
    return Constraint(
        constraint=head.constraint,
        oom_memcg=head.oom_memcg or tail.oom_memcg,
        task_memcg=head.task_memcg or tail.task_memcg,
        global_oom=head.global_oom or tail.global_oom,
        cpuset=head.cpuset,
        task=head.task or tail.task,
        pid=tail.pid,
        uid=tail.uid,
        extra=head.extra,
    )


def add_usage(report: Report, line: Usage) -> None:
    """Keep a line about use and limit; which ones there are tells the version of control groups."""
    if line.what == "memory":
        report.memory = line
    elif line.what == "kmem":
        report.version = report.version or 1
    else:
        report.swap = line
        report.version = 2 if line.what == "swap" else 1
