"""A kill that was read, until nothing more can be learnt of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from leakhunt.model.evidence import Evidence, Place
from leakhunt.model.oom import KILL_LINE_END, OomKill
from leakhunt.readers.kernel_log.lines import Kill
from leakhunt.readers.kernel_log.report import SMALLEST_PAGE, Report
from leakhunt.readers.kernel_log.stamps import Stamp
from leakhunt.readers.kernel_log.times import Moment

_NOWHERE = Place()
SAME_KILL_S = 30.0
MOST_SIGHTINGS = 40
_MAY_BE_MISSING = {"task table", "page size", "unit of pgtables"}
_CUT = "its kill line is cut off in the middle, so that its sizes are missing"
_PGTABLES_BUG = re.compile(r"5\.4\.[0-6](?!\d)")


@dataclass
class Sighting:
    """A kill that was read and may still be seen again, or turn out to be one of a group."""

    kill: Kill
    report: Report
    stamp: Stamp
    place: Moment
    quoted: bool
    member: bool
    evidence: list[Evidence]
    copies: int = 1

    def is_again(self, kill: Kill, stamp: Stamp, place: Moment, *, quoted: bool) -> bool:
        """Tell whether a kill line is of this kill."""
        mine = self.kill
        if mine.pid != kill.pid or (mine.comm != kill.comm and not (mine.cut or kill.cut)):
            return False
        sizes = (mine.total_vm, mine.anon_rss, mine.file_rss) == (kill.total_vm, kill.anon_rss, kill.file_rss)
        if not (sizes or self.report.group or mine.cut or kill.cut):
            return False
        if self.stamp.host and stamp.host and self.stamp.host != stamp.host:
            return False
        if self.stamp.monotonic is not None and stamp.monotonic is not None:
            same_boot = self.place.boot_number == place.boot_number
            return same_boot and abs(self.stamp.monotonic - stamp.monotonic) <= SAME_KILL_S
        if self.place.when and place.when and not (quoted or self.quoted):
            return abs((self.place.when - place.when).total_seconds()) <= SAME_KILL_S
        return True

    def see_again(self, kill: Kill, stamp: Stamp, place: Moment, evidence: Evidence, *, quoted: bool) -> None:
        """Count a copy, and keep the better of both."""
        self.copies += 1
        if len(self.evidence) < MOST_SIGHTINGS:
            self.evidence.append(evidence)
        if (self.quoted and not quoted) or (self.kill.cut and not kill.cut):
            # When a quotation was written says little.
            said_late = self.quoted and not quoted and place.when is not None
            self.kill, self.quoted = kill, quoted and self.quoted
            self.stamp = stamp if self.stamp.monotonic is None else self.stamp
            self.place = place if self.place.when is None or said_late else self.place

    def value(self) -> OomKill:
        """Return the kill with all that its report says."""
        kill, report = self.kill, self.report
        constraint, selection, selected = report.constraint, report.selection, report.chosen
        tgid = None
        if report.is_process(kill.pid) or (selected and constraint and selected.pid == kill.pid):
            tgid = kill.pid
        elif selected and constraint and not self.member:
            tgid = selected.pid
        page_size = report.page_size_of(kill)
        scope = report.scope(kill.message)
        missing = self._missing(scope, page_size)
        uid = kill.uid
        if uid is None and constraint is not None and constraint.pid in {kill.pid, tgid}:
            uid = constraint.uid
        return OomKill(
            pid=kill.pid,
            comm=report.name_of(kill),
            when=self.place.when,
            uncertainty_s=self.place.uncertainty_s,
            monotonic=self.stamp.monotonic,
            boot=self.stamp.boot,
            boot_number=self.place.boot_number,
            host=self.stamp.host,
            confidence=self._confidence(),
            scope=scope,
            tgid=tgid,
            uid=uid,
            total_vm=kill.total_vm,
            anon_rss=kill.anon_rss,
            file_rss=kill.file_rss,
            shmem_rss=kill.shmem_rss,
            pgtables=kill.pgtables,
            oom_score_adj=kill.oom_score_adj,
            score=selection.score if selection is not None and selection.pid == kill.pid else None,
            invoker=report.invoker,
            selected=selected,
            kernel=report.kernel,
            cgroup=report.owner(),
            place=_NOWHERE,
            memory=report.limit(),
            group=report.group,
            episode=report.number,
            quoted=self.quoted,
            page_size=page_size or SMALLEST_PAGE,
            tasks=() if self.member else report.task_rows(page_size or SMALLEST_PAGE),
            tasks_omitted=0 if self.member else report.rows_omitted,
            complete=not set(missing) - _MAY_BE_MISSING,
            missing=missing,
            evidence=(*(() if self.member else report.evidence), *self.evidence),
            notes=(_CUT,) if kill.cut and kill.total_vm is None else (),
            copies=self.copies,
            drifts=self.place.drifts,
        )

    def _confidence(self) -> str:
        """A kill line with its sizes is the kernel's; without, something else must say that the kernel wrote it.

        What another program quotes was the kernel's once, or made up: it is another program's word.
        """
        kernel = self.stamp.kernel and not self.quoted
        if self.kill.total_vm is not None or kernel or not self.report.empty:
            return "probable" if self.quoted else "confirmed"
        return "possible"

    def _missing(self, scope: str, page_size: int | None) -> tuple[str, ...]:
        report = self.report
        missing = []
        if report.invoker is None:
            missing.append("header")
        if scope == "memcg" and report.memory is None:
            missing.append("memory usage")
        if report.table is None:
            missing.append("task table")
        elif page_size is None:
            missing.append("page size")
        if report.constraint is None and report.selection is None:
            missing.append("selection")
        if self.kill.cut:
            missing.append(KILL_LINE_END)
        if report.dropped:
            missing.append("dropped lines")
        if self.kill.pgtables and report.kernel and _PGTABLES_BUG.match(report.kernel):
            missing.append("unit of pgtables")
        return tuple(missing)
