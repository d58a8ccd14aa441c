"""The flight recorder: what this process runs, one line of JSON per event, so that it is known after a SIGKILL.

A line is appended by one ``write``, begins with ``{"e":`` and has these keys (sizes in bytes, ``t`` in epoch seconds;
unknown is null)::

    process  v t pid pids pid_ns ppid start host boot cgroup container pod cpus, what the caller's head has, and again (true in a rotated file)
    start    t id task queue retries redelivered acks_late reject_lost args_size (about) args_hash rss, and while
             tracemalloc traces: traced (bytes), anew (true where earlier figures of it do not compare)
    end      t id task state rss peak, and traced likewise
    recycle  t why rss
    exit     t code rss
    lost     t lines (that could not be written before, because the disk was full for instance)

Files are named ``<host>-<pid>-<start>.jsonl``; ``.1`` is the one before. A process that was forked writes its own. Workers
and their children write at once; any other process, such as those that tasks start, only when it runs a task. Who leaves
as it should and ran none, and is no worker's main process, leaves no file.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress

from leakhunt.capture.folder import Folder
from leakhunt.capture.record.arguments import hash_of, size_of
from leakhunt.capture.record.fields import nothing, number, quoted, settings, text
from leakhunt.capture.record.high_water import HighWater
from leakhunt.capture.record.journal import Journal, reason_of
from leakhunt.capture.record.process_line import describe_process
from leakhunt.capture.record.room import safe_host
from leakhunt.capture.record.salt import salt_of
from leakhunt.capture.record.traced import Traced
from leakhunt.errors import LeakhuntError

VERSION = 1
# What our own lines can raise. A soft time limit may strike here too: it is the task's, and goes its way.
_OURS = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
)
_OF_ALL = frozenset({"pool", "node", "python", "celery", "container", "pod", "limit", "shared"})
_MAIN = "main"  # others' records are read by what its says
_AT_ONCE = frozenset({_MAIN, "child"})
_MOST_KNOWN = 1_000


class _Forks:
    """Counts in each process how many forks lie above it: cheaper to look at than the process's number."""

    count = 0

    @classmethod
    def another(cls) -> None:
        """Count a fork, in the child."""
        cls.count += 1


os.register_at_fork(after_in_child=_Forks.another)


class Recorder:
    """Writes the lines of one process. No method raises: what cannot be written is lost, and counted."""

    def __init__(self, folder: str, head: Mapping[str, object], *, budget: int, reset_peak: bool) -> None:
        self._folder, self._budget = folder, budget
        self._head = dict(head)
        self._shared = bool(self._head.get("shared"))
        self._memory = HighWater(reset=reset_peak and not self._shared)
        self._traced = None if self._shared else Traced()
        self._known: dict[tuple[object, ...], str] = {}
        self._salt = b""
        self._waits = False  # for a first task, before there is a file
        self._adopt()

    @classmethod
    def open(
        cls, folder_path: str, head: Mapping[str, object], *, budget: int = 64 << 20, reset_peak: bool = True
    ) -> Recorder | None:
        """Begin a record of this process.

        Args:
            folder_path: where the records are; made for this user alone.
            head: what is known of the process beyond what it can find out: ``role``, ``pool``, ``node``, ``name``,
                ``container``, ``limit``, ``tasks``, ...; ``shared`` is true where several tasks run in it at once, so
                that its memory is no single task's. Plain data.
            budget: bytes for all records in the folder.
            reset_peak: whether the kernel's mark of the peak may be set back. Not where
                ``worker_max_memory_per_child`` is set: the pool compares that mark after each task.

        Returns:
            None where nothing can be written now; the program may try again.
        """
        try:
            Folder.open(folder_path)
            recorder = cls(folder_path, head, budget=budget, reset_peak=reset_peak)
        except (LeakhuntError, *_OURS):
            return None
        return recorder if recorder.is_writing else None

    @property
    def is_writing(self) -> bool:
        """Whether there is a file to write to, or none is wanted before there is a task."""
        return self._waits or self._journal.is_ready()

    # --- events ---------------------------------------------------------------------------------------------------

    def started(
        self,
        task: str,
        task_id: str,
        *,
        queue: object = None,
        retries: object = 0,
        redelivered: object = False,
        acks_late: object = False,
        reject_lost: object = False,
        args: object = None,
        kwargs: object = None,
        argsrepr: object = None,
        kwargsrepr: object = None,
    ) -> None:
        """Write that a task begins; the values of its arguments are never written.

        Args:
            task: its name.
            task_id: its id.
            queue: the routing key or queue it came by.
            retries: how often it was retried.
            redelivered: whether the broker says that it was delivered before.
            acks_late: the task's setting.
            reject_lost: the task's ``reject_on_worker_lost``.
            args: the arguments, of which the size is estimated.
            kwargs: likewise.
            argsrepr: the message's header, of which a hash is taken.
            kwargsrepr: likewise.
        """
        try:
            if not self._is_ready(begins=True):
                return
            rss = self._memory.rss()
            traced = self._traced.begin() if self._traced is not None else ""
            key = (task, queue, acks_late, reject_lost, retries, redelivered)
            fixed = self._known.get(key) or self._fix(key, settings(key))
            hashed = hash_of(argsrepr, kwargsrepr, self._salt)
            line = (
                f'{{"e":"start","t":{time.time():.6f},"id":{text(task_id)},{fixed}'
                f'"args_size":{size_of(args, kwargs)},"args_hash":{quoted(hashed)},"rss":{number(rss)}{traced}}}\n'
            ).encode("ascii")
            self._ran = True
            self._journal.append(line)
            if len(self._running) >= _MOST_KNOWN:
                self._running.pop(next(iter(self._running)))
            self._running[task_id] = line
            if not self._shared:
                self._memory.begin(task_id, rss)
        except _OURS as error:
            self._journal.lose(reason_of(error))

    def ended(self, task: str, task_id: str, state: str | None) -> None:
        """Write that a task ended, in one of Celery's states."""
        try:
            self._running.pop(task_id, None)
            if not self._is_ready():
                return
            rss = self._memory.rss()
            peak = None if self._shared else self._memory.end(task_id, rss)
            traced = self._traced.end() if self._traced is not None else ""
            key = (task, state)
            fixed = self._known.get(key) or self._fix(key, f'"task":{text(task)},"state":{text(state)},')
            self._journal.append(
                (
                    f'{{"e":"end","t":{time.time():.6f},"id":{text(task_id)},{fixed}'
                    f'"rss":{number(rss)},"peak":{number(peak)}{traced}}}\n'
                ).encode("ascii")
            )
        except _OURS as error:
            self._journal.lose(reason_of(error))

    def recycled(self, why: str) -> None:
        """Write that the pool replaces this process, and why."""
        self._event("recycle", "why", text(why))

    def exited(self, code: int | None) -> None:
        """Write that this process leaves, with its exit code; where there is nothing else to tell, remove its file."""
        if self._ran or code or self._journal.lost or self._described.get("role") == _MAIN or self._is_new():
            self._event("exit", "code", number(code if type(code) is int else None))
        else:
            self._journal.remove()

    def close(self) -> None:
        """Let go of the files; a later event opens them again."""
        self._journal.close()
        self._memory.close()

    def _event(self, kind: str, key: str, value: str) -> None:
        try:
            if not self._is_ready():
                return
            self._journal.append(
                f'{{"e":"{kind}","t":{time.time():.6f},"{key}":{value},"rss":{number(self._memory.rss())}}}\n'.encode(
                    "ascii"
                )
            )
        except _OURS as error:
            self._journal.lose(reason_of(error))

    def _fix(self, key: tuple[object, ...], fixed: str) -> str:
        """Remember the part of a line that is the same for all executions of a task."""
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[key] = fixed
        return fixed

    def _is_new(self) -> bool:
        """Tell whether this process was forked from the one that the recorder knows."""
        return self._generation != _Forks.count

    def _is_ready(self, *, begins: bool = False) -> bool:
        """Tell whether there is a file to write to, after seeing to it; after a fork, become the child's recorder.

        Args:
            begins: whether a task does, for which a file is begun where there is none.
        """
        if self._is_new():
            self._head = {key: value for key, value in self._head.items() if key in _OF_ALL}
            self._head.update(role="forked", forked_from=self._pid)
            self.close()
            self._memory = HighWater(reset=self._memory.may_reset)
            self._traced = None if self._shared else Traced()
            self._adopt()
        if self._waits:
            if not begins:
                return False
            with self._waking:
                if self._waits:
                    self._open()
                    self._waits = False
        elif self._journal.is_ready():
            return True
        elif self._journal.is_due():
            self._open()
        if self._journal.is_ready():
            return True
        self._journal.lose()
        return False

    def _adopt(self) -> None:
        """Begin the record of the process that this is."""
        self._generation = _Forks.count
        self._pid = os.getpid()
        self._running: dict[object, bytes] = {}
        self._ran = False
        self._described = {**describe_process(), **self._head}
        host = safe_host(str(self._described["host"]))
        stem = f"{host}-{self._described['pid']}-{self._described['start']}"
        self._journal = Journal(self._folder, host, stem, budget=self._budget, opening=self._opening)
        self._waking = threading.RLock()
        self._waits = self._described.get("role") not in _AT_ONCE
        if not self._waits:
            self._open()

    def _open(self) -> None:
        """Open the record first: it has the lowest number then, and who takes that is noticed."""
        self._salt = self._salt or salt_of(self._folder)
        self._memory.close()
        with suppress(OSError):
            self._journal.open()
            self._journal.append(b"")
        self._memory.open()

    def _opening(self, again: bool) -> bytes:  # noqa: FBT001 - its one argument
        """Return the line about the process, and the lines of what it runs where they may be in another file."""
        line = {"e": "process", "v": VERSION, "t": round(time.time(), 6), **self._described}
        if again:
            line["again"] = True
        first = json.dumps(line, default=nothing, separators=(",", ":")).encode("ascii") + b"\n"
        return first + b"".join(list(self._running.values()))
