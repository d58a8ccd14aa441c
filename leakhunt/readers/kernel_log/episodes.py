"""From lines to kills: which report a line belongs to, and which kill line ends it."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Union

from leakhunt.model.evidence import Evidence
from leakhunt.model.oom import IncompleteReport, Loss, NotAKill, OomKill, Process
from leakhunt.readers.kernel_log import lines as said
from leakhunt.readers.kernel_log.chosen import unfinished
from leakhunt.readers.kernel_log.lines import Kill, Line
from leakhunt.readers.kernel_log.report import Report, add_usage, fits, joined, table_of
from leakhunt.readers.kernel_log.sighting import Sighting
from leakhunt.readers.kernel_log.stamps import Stamp
from leakhunt.readers.kernel_log.times import Clock, Moment

Found = Union[OomKill, IncompleteReport, NotAKill, Loss]

_MOST_PENDING = 64
_MOST_OPEN = 32
_STORM_S = 5.0
_KNOWN_PIDS = 1024
_MANUAL_LINES = 30
_ENDS_WITHOUT_KILL = {"panic", "no-killable-process", "already-exiting"}


class Episodes:
    """Puts the parsed lines of one source together.

    Attributes:
        events: what is known for certain and not yet fetched.
        lost: how many lines the source says are missing.
    """

    def __init__(self, clock: Clock) -> None:
        self.events: list[Found] = []
        self.lost = 0
        self._clock = clock
        self._open: dict[tuple[str | None, str | None], Report] = {}
        self._current: Report | None = None
        self._pending: deque[Sighting] = deque()
        self._seen: dict[int, Sighting] = {}  # the newest of a pid among them
        self._pids: OrderedDict[int, None] = OrderedDict()
        self._manual = 0
        self._numbers = 0
        self._last: tuple[Stamp, Moment, int] | None = None

    @property
    def waiting(self) -> bool:
        """Whether a report lacks its kill line still."""
        return bool(self._open) and not all(report.kills for report in self._open.values())

    @property
    def table_open(self) -> bool:
        """Whether rows of a task table may follow."""
        report = self._current
        return report is not None and report.table is not None and not report.kills

    def row(self, text: str) -> bool:
        """Take a row of the task table that is being read; tells whether it was one."""
        report = self._current
        if report is None or report.table is None:
            return False
        match = report.table.pattern.search(text)
        if match is None:
            return False
        report.add_row(match.groups())
        return True

    def raw_rows(self, lines: list[bytes]) -> int:
        """Take rows of the task table that is being read; tells how many lines, from the first on, were rows."""
        report = self._current
        return report.add_raw_rows(lines) if report is not None else 0

    def feed(self, stamp: Stamp, line: Line, evidence: Evidence) -> None:
        """Take a line that means something."""
        self._manual -= 1
        if isinstance(line, Kill):
            self._kill(stamp, line, evidence)
        elif isinstance(line, said.Header):
            self._header(stamp, line, evidence)
        elif isinstance(line, said.Manual):
            self._manual = _MANUAL_LINES
        elif isinstance(line, said.Lost):
            self._loss(line, evidence)
        elif isinstance(line, said.Reaped):
            self._reaped(stamp, line, evidence)
        elif isinstance(line, said.Other):
            self._other(stamp, line, evidence)
        elif isinstance(line, (said.TaskLine, said.Buddy, said.Stats, said.Group)):
            self._remark(stamp, line, evidence)
        else:
            self._part(stamp, line, evidence)

    def note_dropped(self, count: int, evidence: Evidence) -> None:
        """Remember that the kernel dropped lines here; a report with its kill line is complete."""
        for report in self._open.values():
            if not report.kills:
                report.dropped += count
        self._loss(said.Lost("dropped", count), evidence)

    def settle(self) -> None:
        """Release what nothing further is expected for; called where a live source pauses."""
        while self._pending:
            self._release()
        for key in [key for key, report in self._open.items() if report.kills]:
            self._forget(key)

    def close(self) -> None:
        """Release everything, at the end of the source."""
        for key in list(self._open):
            self._close(key)
        self.settle()

    def expire(self) -> None:
        """Give up on reports that the log left behind long ago."""
        for key in list(self._open):
            self._close(key)

    def _find(self, stamp: Stamp) -> Report | None:
        """Return the open report that a line belongs to: of the same caller, or the only one of the host."""
        exact = self._open.get((stamp.host, stamp.caller))
        if exact is not None:
            return exact
        if stamp.caller is not None:
            return self._open.get((stamp.host, None))
        here = [report for (host, _), report in self._open.items() if host == stamp.host]
        return here[-1] if here else None

    def _start(self, stamp: Stamp, number: int | None = None) -> Report:
        key = (stamp.host, stamp.caller)
        self._close(key)
        if len(self._open) >= _MOST_OPEN:
            self._close(next(iter(self._open)))
        if number is None:
            self._numbers += 1
            number = self._numbers
        report = self._open[key] = Report(number, stamp, self._clock.place(stamp))
        self._current = report
        return report

    def _close(self, key: tuple[str | None, str | None]) -> None:
        report = self._forget(key)
        if report is not None and not report.kills and not report.empty:
            self._give_up(report)

    def _give_up(self, report: Report, reaped: Process | None = None) -> None:
        """Tell of a report whose kill line is missing."""
        found = unfinished(report, reaped)
        if isinstance(found, OomKill) and found.pid is not None:
            self._know(found.pid)
        self.events.append(found)

    def _forget(self, key: tuple[str | None, str | None]) -> Report | None:
        report = self._open.pop(key, None)
        if report is self._current:
            self._current = None
        return report

    def _header(self, stamp: Stamp, line: said.Header, evidence: Evidence) -> None:
        report = self._start(stamp)
        report.invoker = Process(None, line.comm)
        report.order = line.order
        report.manual = self._manual > 0
        self._manual = 0
        report.keep(evidence)

    def _remark(
        self, stamp: Stamp, line: said.TaskLine | said.Buddy | said.Stats | said.Group, evidence: Evidence
    ) -> None:
        """Take a line that says more of a report, but makes none; a group that dies is told of behind its first kill."""
        report = self._find(stamp)
        if isinstance(line, said.Group):
            report = report or self._start(stamp)
            report.group = line.path
        if report is None:
            return
        if isinstance(line, said.Buddy):
            report.page_size = report.page_size or line.page_size
            return
        if isinstance(line, said.TaskLine):
            if not report.takes_task_line(line):
                return
            report.invoker, report.kernel = Process(line.pid, line.comm), line.kernel
        report.keep(evidence)

    def _part(self, stamp: Stamp, line: Line, evidence: Evidence) -> None:
        """Take a part of a report, which may be the first that is there of it."""
        report = self._find(stamp)
        if (
            report is None
            or report.kills
            or (isinstance(line, said.Selection) and report.selection is not None)
        ):
            report = self._start(stamp)
        if isinstance(line, said.Constraint):
            report = self._constraint(report, stamp, line)
        elif isinstance(line, said.Limited):
            report.limited = line
        elif isinstance(line, said.Usage):
            add_usage(report, line)
        elif isinstance(line, said.Columns):
            report.begin_table(table_of(line.names))
            self._current = report
        elif isinstance(line, said.Selection):
            report.selection = line
        report.keep(evidence)

    def _constraint(self, report: Report, stamp: Stamp, line: said.Constraint) -> Report:
        """Keep the summary line, or what is left of one that was cut; a second one is of another report."""
        if report.constraint is not None:
            if line.constraint is None and report.constraint.pid is None:
                line = joined(report.constraint, line)
            else:
                report = self._start(stamp)
        report.constraint = line
        return report

    def _kill(self, stamp: Stamp, kill: Kill, evidence: Evidence) -> None:
        place = self._clock.place(stamp)
        quoted = stamp.tag not in {"", "kernel"} or (kill.start > 0 and stamp.monotonic is None)
        seen = self._seen.get(kill.pid)
        if seen is not None and seen.is_again(kill, stamp, place, quoted=quoted):
            seen.see_again(kill, stamp, place, evidence, quoted=quoted)
            return
        report = self._find(stamp)
        member = False
        if report is not None and report.kills:
            member = report.group is not None
            if not member:
                report = None
        elif report is not None and not fits(report, kill):
            report = None
        if report is None:
            number = self._storm(stamp, place)
            report = Report(number or self._next(), stamp, place)
        report.kills += 1
        self._last = (stamp, place, report.number)
        sighting = Sighting(kill, report, stamp, place, quoted, member, [evidence])
        self._pending.append(sighting)
        self._seen[kill.pid] = sighting
        self._know(kill.pid)
        while len(self._pending) > _MOST_PENDING:
            self._release()

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers

    def _storm(self, stamp: Stamp, place: Moment) -> int | None:
        """Return the episode that a kill without a report belongs to: that of a kill moments ago."""
        if self._last is None:
            return None
        last, last_place, number = self._last
        if last.host != stamp.host:
            return None
        if last.monotonic is not None and stamp.monotonic is not None:
            return number if 0 <= stamp.monotonic - last.monotonic <= _STORM_S else None
        if last_place.when is not None and place.when is not None:
            return number if abs((place.when - last_place.when).total_seconds()) <= _STORM_S else None
        return None

    def _know(self, pid: int) -> None:
        self._pids[pid] = None
        if len(self._pids) > _KNOWN_PIDS:
            self._pids.popitem(last=False)

    def _release(self) -> None:
        sighting = self._pending.popleft()
        if self._seen.get(sighting.kill.pid) is sighting:
            del self._seen[sighting.kill.pid]
        self.events.append(sighting.value())

    def _loss(self, line: said.Lost, evidence: Evidence) -> None:
        if line.kind in {"dropped", "gap"}:
            self.lost += line.lines or 1
        self.events.append(Loss(line.kind, line.lines, evidence))

    def _reaped(self, stamp: Stamp, line: said.Reaped, evidence: Evidence) -> None:
        """A reaped process whose kill was not seen: its kill line is missing."""
        if line.pid in self._pids:
            return
        self._know(line.pid)
        waiting = [key for key, one in self._open.items() if not one.kills and one.may_choose(line.pid)]
        waiting.sort(key=lambda key: not self._open[key].names(line.pid))
        report = self._forget(waiting[0]) if waiting else None
        report = report or Report(self._next(), stamp, self._clock.place(stamp))
        report.keep(evidence)
        self._give_up(report, Process(line.pid, line.comm))

    def _other(self, stamp: Stamp, line: said.Other, evidence: Evidence) -> None:
        process = Process(line.pid, line.comm) if line.comm is not None else None
        if line.kind in _ENDS_WITHOUT_KILL and (report := self._find(stamp)) is not None and not report.kills:
            self._forget(next(key for key, one in self._open.items() if one is report))
            process = process or report.invoker
        place = self._clock.place(stamp)
        self.events.append(NotAKill(line.kind, place.when, stamp.monotonic, stamp.host, process, evidence))
