"""What an agent works with: its place in the folder, what takes the snapshots, and the flight recorder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress

from leakhunt.capture.enrol import clear, leave, register
from leakhunt.capture.facts.identity import Identity
from leakhunt.capture.folder import Folder
from leakhunt.capture.mailbox import Box
from leakhunt.capture.place import default_path, own_place
from leakhunt.capture.record.recorder import Recorder
from leakhunt.capture.settings import Settings
from leakhunt.capture.taker import Taker, Tasks
from leakhunt.capture.tracing import Tracing
from leakhunt.capture.undisturbed import say
from leakhunt.capture.who import Who
from leakhunt.errors import LeakhuntError


class Station:
    """What an agent works with, in one process and as one user. No method raises.

    Attributes:
        box: the place in the folder; None without one.
        taker: takes the snapshots; None where nothing can be written.
        recorder: the flight recorder, if it runs.
        missing: what was asked for and cannot be had, a sentence each.
        quiet: whether nothing of that is said.
    """

    def __init__(self, *, quiet: bool) -> None:
        """Prepare; nothing is there before :meth:`settle`.

        Args:
            quiet: say nothing of what cannot be had.
        """
        self.box: Box | None = None
        self.taker: Taker | None = None
        self.recorder: Recorder | None = None
        self.missing: list[str] = []
        self.quiet = quiet
        self._folder: Folder | None = None
        self._euid = os.geteuid()

    @property
    def is_anothers(self) -> bool:
        """Whether the program runs as another user by now."""
        return os.geteuid() != self._euid

    def after_fork(self) -> None:
        """In a child: nothing of this is its own."""
        if self.recorder is not None:
            self.recorder.close()
        self.box = self.taker = self.recorder = None

    def settle(
        self,
        settings: Settings,
        who: Who,
        tracing: Tracing,
        *,
        executions: Mapping[str, int],
        head: Callable[[], Mapping[str, object]],
        tasks: Callable[[], Tasks],
        limit: int | None,
    ) -> None:
        """Take a place, and have all that is asked for.

        Args:
            settings: what is asked for.
            who: what the process is.
            tracing: the state of tracing.
            executions: how often each task ran until now; it goes on changing.
            head: gives what else the recorder's first line is to hold.
            tasks: gives the registry of tasks.
            limit: of the control group, in bytes; None where there is none.
        """
        moved, self._euid = self.is_anothers, os.geteuid()
        quiet, self.quiet = self.quiet, self.quiet and not moved  # somebody has to hear that all is lost
        self._identity = Identity.here(*who)
        self._settings, self._tracing = settings, tracing
        self._folder = self.taker = None
        try:
            asked = settings.folder
            folder = Folder.open(own_place(asked, self._euid) if asked else default_path(os.environ))
            snapshots = folder.sub("snapshots")
        except (LeakhuntError, OSError) as error:
            now = f" since process {os.getpid()} runs as the user {self._euid}" if moved else ""
            self.miss(f"nothing can be written{now}: {error}")
        else:
            self._folder = folder
            self.taker = Taker(
                snapshots,
                settings,
                self._identity,
                tracing=tracing,
                executions=executions,
                tasks=tasks,
                place=lambda: self.box.path if self.box is not None else "",
            )
            self.register()
            if settings.record:
                self._record(folder, {**who._asdict(), "limit": limit, "shared": who.shared}, head)
        self.quiet = quiet

    def _record(
        self, folder: Folder, told: dict[str, object], head: Callable[[], Mapping[str, object]]
    ) -> None:
        known = self._identity
        told.update(container=known.container, pod=known.pod, python=known.python)
        with suppress(Exception):  # the program's own settings may be anything
            told.update(head())
        if self.recorder is not None:
            self.recorder.close()
        try:
            self.recorder = Recorder.open(
                folder.sub("records").path,
                told,
                budget=self._settings.record_budget,
                reset_peak=not told.get("max_memory_per_child"),
            )
        except (LeakhuntError, OSError) as error:
            self.miss(f"nothing can be recorded: {error}")

    def register(self) -> None:
        """Write, or write anew, who this is."""
        if self._folder is None:
            return
        try:
            self.box = register(
                self._folder,
                self._identity,
                signal=self._settings.signal,
                tracing=self._tracing.on,
                frames=self._tracing.frames,
            )
            clear(self._folder.path)
        except (LeakhuntError, OSError) as error:
            self.miss(f"nobody can ask this process for a snapshot: {error}")

    def leave(self, code: int | None) -> None:
        """Write the recorder's last line, and give the place up."""
        if self.recorder is not None:
            self.recorder.exited(code)
            self.recorder.close()
        awaited = self.taker is not None and self.taker.is_awaited
        if self.box is not None and not awaited:
            leave(self.box)  # else, as after a kill, it stays: the answer goes there, and others clear it

    def miss(self, text: str) -> None:
        """Note, and say, what cannot be had; where many processes are alike, the first speaks for all."""
        if text and text not in self.missing:
            self.missing.append(text)
            if not self.quiet:
                say(text)
