"""The agent in a worker: answers requests, takes snapshots by itself, keeps the flight recorder, and disturbs nothing."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from leakhunt.capture import aside
from leakhunt.capture.bell import Bell
from leakhunt.capture.enrol import clear, leave, register
from leakhunt.capture.facts.identity import Identity
from leakhunt.capture.folder import Folder, default_path
from leakhunt.capture.groups import use_of
from leakhunt.capture.mailbox import Box
from leakhunt.capture.record.recorder import Recorder
from leakhunt.capture.serving import Desk
from leakhunt.capture.settings import Settings
from leakhunt.capture.snapshots.snapshot import wait
from leakhunt.capture.taker import Taker, Tasks
from leakhunt.capture.tracing import Tracing
from leakhunt.capture.triggers import Triggers, rss_now
from leakhunt.capture.undisturbed import say, undisturbed
from leakhunt.capture.watch import Watch
from leakhunt.capture.who import Who
from leakhunt.errors import LeakhuntError

_PARTING = 60.0  # seconds that a leaving process waits for its last snapshot


class Agent:
    """What leakhunt does in one process. No method raises, and none but :meth:`start` says anything.

    Attributes:
        settings: what it was asked to do.
        who: what the process is.
        pid: the process that it works for; 0 after a fork, until it starts there.
        executions: how often each task ran in this process.
        defers: whether a forked child waits for somebody who knows what it is, instead of starting by itself.
        missing: what was asked for and cannot be had, a sentence each.
        recorder: the flight recorder, if it runs.
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
        self.missing: list[str] = []
        self.tracing = Tracing()
        self.recorder: Recorder | None = None
        self._quiet = quiet
        self._leaves = False
        self._bell = Bell(settings.signal, self._serve)
        self._forget()

    def _forget(self) -> None:
        """Be as new: a child of a fork counts for itself."""
        self.executions: dict[str, int] = {}
        self._counting = aside.allocate_lock()
        self._serving = aside.allocate_lock()
        self._box: Box | None = None
        self._taker: Taker | None = None
        self._folder: Folder | None = None
        self._watch: Watch | None = None
        self._triggers: Triggers | None = None

    # --- its life -------------------------------------------------------------------------------------------------

    @property
    def here(self) -> bool:
        """Whether it works for this process: not for the one that forked it."""
        return self.pid == os.getpid()

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
        if not self._leaves:
            self._leaves = True
            atexit.register(self.leave)
        undisturbed(self._start)

    def _start(self) -> None:
        self._since = time.time()
        self._identity = Identity.here(*self.who)
        limit = use_of(self.pid).limit
        path = self.settings.folder or default_path(os.environ)
        try:
            self._folder = Folder.open(path)
            snapshots = self._folder.sub("snapshots")
            self._taker = Taker(
                snapshots,
                self.settings,
                self._identity,
                tracing=self.tracing,
                executions=self.executions,
                tasks=self._tasks,
            )
        except (LeakhuntError, OSError) as error:
            self._folder = None
            self._miss(f"nothing can be written: {error}")
        self._miss(self._bell.hang())
        level = self.settings.at_rss
        if level is not None and level.share is not None and not limit:
            self._miss("without a memory limit no share of it is reached: no snapshot is taken for at-rss")
        self._triggers = None
        if not self.who.works:
            if self.tracing.ours:
                self.tracing.stop()
        elif self.settings.trace:
            self.tracing.start(self.settings.frames)
        if self.who.works and self.settings.automatic:
            self._triggers = Triggers(self.settings, limit=limit, now=time.monotonic(), rss=rss_now())
        if self._folder is not None:
            self._register()
            self._record(self._folder, limit)
        self._look_after()
        self._quiet = True  # from here on it is the program that speaks

    def _record(self, folder: Folder, limit: int | None) -> None:
        if not self.settings.record:
            return
        known = self._identity
        head: dict[str, object] = {**self.who._asdict(), "limit": limit, "shared": self.who.shared}
        head.update(container=known.container, pod=known.pod, python=known.python)
        with suppress(Exception):  # the program's own settings may be anything
            head.update(self._head())
        if self.recorder is not None:
            self.recorder.close()
        try:
            self.recorder = Recorder.open(
                folder.sub("records").path,
                head,
                budget=self.settings.record_budget,
                reset_peak=not head.get("max_memory_per_child"),
            )
        except (LeakhuntError, OSError) as error:
            self._miss(f"nothing can be recorded: {error}")

    def after_fork(self) -> None:
        """In a child: become its agent, or wait until somebody knows what it is."""
        if not self.pid:
            return
        self.pid = 0
        recorder, self.recorder = self.recorder, None
        if recorder is not None:
            recorder.close()
        self._forget()
        undisturbed(self.tracing.after_fork)
        if not self.defers:
            self.start(Who())

    def leave(self, code: int | None = None) -> None:
        """End: the last snapshot and the recorder's last line; the place in the folder is given up."""
        if self.here:
            undisturbed(lambda: self._leave(code))
            self.pid = 0

    def _leave(self, code: int | None) -> None:
        if self._watch is not None:
            self._watch.stop()
        if self.settings.at_exit and self.who.works:
            wait(_PARTING)
            if self._take("exit"):
                wait(_PARTING)
        if self.recorder is not None:
            self.recorder.exited(code)
            self.recorder.close()
        if self._box is not None:
            leave(self._box)

    # --- tasks ----------------------------------------------------------------------------------------------------

    def task_ended(self, name: str) -> None:
        """Count an execution, and take a snapshot if one is due; called in the thread that ran it."""
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
        self.tracing.start(frames)
        self._traced_otherwise()

    # --- requests and snapshots -----------------------------------------------------------------------------------

    def snapshot(self, reason: str = "api") -> str:
        """Take a snapshot now, and return where it will be; empty where that is not possible."""
        taken: list[str] = []
        undisturbed(lambda: taken.append(self._take(reason)))
        return "".join(taken)

    def _take(self, reason: str) -> str:
        return self._taker.take(reason).path if self._taker is not None and self.here else ""

    def _serve(self) -> None:
        """Do what is asked."""
        box, taker = self._box, self._taker
        if box is None or taker is None or not self.here:
            return
        with self._serving:
            if os.geteuid() != self._euid:
                self._register()  # the program has changed its user since
            frames = self.settings.frames
            Desk(box, taker, self.tracing, frames, self.executions, self._traced_otherwise).serve()

    def _traced_otherwise(self) -> None:
        self._register()
        self._look_after()

    # --- while no task ends ---------------------------------------------------------------------------------------

    def _look_after(self) -> None:
        """Have a thread look at the clock where something may come true while no task ends."""
        timed = self._triggers is not None and self._triggers.watches_time
        if (timed or self.tracing.until is not None) and (self._watch is None or not self._watch.looks):
            self._watch = Watch(self._look, self.settings.interval or 1.0)

    def _look(self) -> bool:
        """Look at the clock and at the memory; false when there is nothing more to look for."""
        if not self.here:
            return False
        if self.tracing.stop_when_due():
            self._register()
        triggers = self._triggers
        if triggers is None or not triggers.watches_time:
            return self.tracing.until is not None
        due = triggers.at(time.monotonic(), rss_now() if triggers.watches_memory else None)
        if due:
            self._take(due)
        return True

    # --- its place ------------------------------------------------------------------------------------------------

    def _register(self) -> None:
        """Write, or write anew, who this is."""
        if self._folder is None:
            return
        self._euid = os.geteuid()
        try:
            self._box = register(
                self._folder,
                self._identity,
                since=self._since,
                signal=self.settings.signal,
                recording=self.settings.record,
                tracing=self.tracing.on,
                frames=self.tracing.frames,
            )
            clear(self._folder.path)
        except (LeakhuntError, OSError) as error:
            self._miss(f"nobody can ask this process for a snapshot: {error}")

    def _miss(self, text: str) -> None:
        """Note, and say, what cannot be had; where many processes are alike, the first speaks for all."""
        if text and text not in self.missing:
            self.missing.append(text)
            if not self._quiet:
                say(text)
