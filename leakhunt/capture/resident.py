"""The agent in a worker: answers requests, takes snapshots by itself, keeps the flight recorder, and disturbs nothing."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable, Mapping

from leakhunt.capture import aside, parting
from leakhunt.capture.bell import Bell
from leakhunt.capture.groups import Use, use_of, used
from leakhunt.capture.record.recorder import Recorder
from leakhunt.capture.serving import Desk
from leakhunt.capture.settings import Settings
from leakhunt.capture.station import Station
from leakhunt.capture.taker import Tasks
from leakhunt.capture.tracing import Tracing
from leakhunt.capture.triggers import Triggers, rss_now
from leakhunt.capture.undisturbed import undisturbed
from leakhunt.capture.watch import Watch
from leakhunt.capture.who import Who


class Agent:
    """What leakhunt does in one process. No method raises, and none but :meth:`start` says anything.

    A process that was forked waits until there is something to do, since most of them end soon or become another
    program: until our signal comes, a task ends, or a snapshot is due. Only then it takes its place in the folder.

    Attributes:
        settings: what it was asked to do.
        who: what the process is.
        pid: the process that it works for; 0 after a fork, until there is something to do.
        executions: how often each task ran in this process.
        defers: whether a forked child does nothing before somebody says what it is.
        tracing: the state of tracing.
    """

    def __init__(self, settings: Settings, *, quiet: bool = False) -> None:
        """Prepare an agent; nothing is done before :meth:`start`.

        Args:
            settings: what it is asked to do.
            quiet: say nothing of what cannot be had; it is in ``missing`` anyway.
        """
        self.settings = settings
        self.who = Who()
        self.pid = 0
        self.defers = False
        self.tracing = Tracing()
        self._leaves = False
        self._waiting = 0  # the forked process that has nothing to do yet
        self._parent = -1  # the process that forked this one
        self._use = Use()
        self._station = Station(quiet=quiet)
        self._bell = Bell(settings.signal, self._serve)
        self._forget()

    def _forget(self) -> None:
        """Be as new: a child of a fork counts for itself."""
        self.executions: dict[str, int] = {}
        self._counting = aside.allocate_lock()
        self._serving = aside.allocate_lock()
        self._waking = aside.allocate_lock()
        self._watch: Watch | None = None
        self._triggers: Triggers | None = None

    @property
    def missing(self) -> list[str]:
        """What was asked for and cannot be had, a sentence each."""
        return self._station.missing

    @property
    def recorder(self) -> Recorder | None:
        """The flight recorder, if it runs."""
        return self._station.recorder

    @property
    def here(self) -> bool:
        """Whether it works for this process: not for the one that forked it."""
        return self.pid == os.getpid()

    # --- its life -------------------------------------------------------------------------------------------------

    def start(
        self,
        who: Who,
        head: Callable[[], Mapping[str, object]] = dict,
        tasks: Callable[[], Tasks] = dict,
    ) -> None:
        """Begin, or begin anew as what the process has turned out to be: take a place, listen, trace and record.

        Args:
            who: what the process is.
            head: gives what else the recorder's first line is to hold; ``max_memory_per_child`` among it.
            tasks: gives the registry of tasks; asked when a snapshot is taken, in the process that writes it.
        """
        self.who, self._head, self._tasks = who, head, tasks
        self.pid = os.getpid()
        self._waiting = 0
        if not self._leaves:
            self._leaves = True
            atexit.register(self.leave)
        undisturbed(self._start)

    def _start(self) -> None:
        self._use = use_of(self.pid)
        if self.who.role == "child":
            self.tracing.leave_out()
        if not self.who.works:
            if self.tracing.ours:
                self.tracing.stop()
        elif self.settings.trace:
            self.tracing.start(self.settings.frames)
        self._watch_for_triggers()
        self._settle()
        level = self.settings.at_rss
        if level is not None and level.share is not None and not self._use.limit:
            self._station.miss(
                "without a memory limit no share of it is reached: no snapshot is taken for at-rss"
            )
        self._look_after()
        self._station.quiet = True  # from here on it is the program that speaks

    def _settle(self) -> None:
        """Take a place, listen and record; anew where the program has changed its user."""
        self._station.settle(
            self.settings,
            self.who,
            self.tracing,
            executions=self.executions,
            head=self._head,
            tasks=self._tasks,
            limit=self._use.limit,
        )
        self._station.miss(self._bell.hang())

    def before_fork(self) -> None:
        """In a process that is about to fork: let go of the thread."""
        if self._watch is not None and self._watch.looks:
            undisturbed(self._watch.end)

    def go_on(self) -> None:
        """In a process that has forked: have the thread again."""
        if self._watch is not None:
            undisturbed(self._look_after)

    def after_fork(self) -> None:
        """In a child: keep nothing of the parent's, and wait until there is something to do."""
        if not self.pid and not self._waiting:
            return
        self.pid = self._waiting = 0
        self._parent = os.getppid()
        self._forget()
        self._station.after_fork()
        self._bell.after_fork()
        self.tracing.after_fork()
        if not self.defers:
            self.who, self._head, self._tasks = Who(), dict, dict
            self._waiting = os.getpid()
            undisturbed(self._watch_for_triggers)
            undisturbed(self._look_after)

    def _wake(self) -> bool:
        """Work for a process that has waited; tell whether this is the one that the agent works for."""
        if not self.here and self._waiting != os.getpid():
            return False
        if not self.here or self._station.is_anothers:
            with self._waking:
                if not self.here or self._station.is_anothers:
                    self.pid = os.getpid()
                    self._settle()
        return True

    def leave(self, code: int | None = None) -> None:
        """End: the last snapshot and the recorder's last line; the place in the folder is given up."""
        last = self.settings.at_exit and self.who.works
        if not self.here and not (last and self._waiting == os.getpid()):
            return
        begun = time.monotonic()

        def patience() -> float:
            outlived = self.who.role == "child" or self._parent == os.getppid()
            return parting.patience(outlived=outlived) - (time.monotonic() - begun)

        if self._watch is not None:
            self._watch.stop()
        with parting.Parting() as end:
            if last:
                end.wait(parting.ours, patience)
                end.do(lambda: undisturbed(lambda: self._take("exit")))
            end.do(lambda: undisturbed(lambda: self._station.leave(code)))
            if self.settings.at_exit:
                end.wait(parting.ours if last else parting.writers(), patience)
        self.pid = 0

    # --- tasks ----------------------------------------------------------------------------------------------------

    def task_ended(self, name: str) -> None:
        """Count an execution, and take a snapshot if one is due; called in the thread that ran it."""
        if not self.here:
            undisturbed(self._wake)
        if not self.here:
            return
        with self._counting:
            self.executions[name] = self.executions.get(name, 0) + 1
        if not self._bell.hangs:
            undisturbed(self._serve)
        triggers = self._triggers
        if triggers is not None:
            due = triggers.after_task(time.monotonic(), rss_now() if triggers.watches_memory else None)
            if due:
                undisturbed(lambda: self._take(due))

    def trace(self, frames: int) -> None:
        """Trace allocations from now on."""
        undisturbed(self._wake)
        self.tracing.start(frames)
        self._traced_otherwise()

    # --- requests and snapshots -----------------------------------------------------------------------------------

    def snapshot(self, reason: str = "api") -> str:
        """Take a snapshot now, and return where it will be; empty where that is not possible."""
        taken: list[str] = []
        undisturbed(lambda: taken.append(self._take(reason)))
        return "".join(taken)

    def _take(self, reason: str) -> str:
        if not self._wake() or self._station.taker is None:
            return ""
        outcome = self._station.taker.take(reason)
        if outcome.busy and self._triggers is not None:
            self._triggers.missed(reason)
        return outcome.path

    def _serve(self) -> None:
        """Do what is asked."""
        if not self._wake():
            return
        box, taker = self._station.box, self._station.taker
        if box is None or taker is None:
            return
        with self._serving:
            frames = self.settings.frames
            Desk(box, taker, self.tracing, frames, self.executions, self._traced_otherwise).serve()

    def _traced_otherwise(self) -> None:
        self._station.register()
        self._look_after()

    # --- while no task ends ---------------------------------------------------------------------------------------

    def _watch_for_triggers(self) -> None:
        """Watch from now on for what makes a snapshot due."""
        self._triggers = None
        if self.who.works and self.settings.automatic:
            now, rss = time.monotonic(), rss_now()
            self._triggers = Triggers(self.settings, limit=self._use.limit, now=now, rss=rss)

    def _look_after(self) -> None:
        """Have a thread look at the clock where something may come true while no task ends."""
        timed = self._triggers is not None and self._triggers.watches_time
        if (timed or self.tracing.until is not None) and (self._watch is None or not self._watch.looks):
            due = self._watch.due if self._watch is not None else None
            self._watch = Watch(self._look, self.settings.interval or 1.0, due)

    def _look(self) -> bool:
        """Look at the clock and at the memory; false when there is nothing more to look for."""
        if os.getpid() not in {self.pid, self._waiting}:
            return False
        if self.tracing.stop_when_due() and self.here:
            self._station.register()
        triggers = self._triggers
        if triggers is None or not triggers.watches_time:
            return self.tracing.until is not None
        group = used(self._use.folder, triggers.group_from) if triggers.group_from else None
        due = triggers.at(time.monotonic(), rss_now() if triggers.watches_memory else None, group)
        if due:
            self._take(due)
        return True
