"""A process with a stand-in for the agent, which speaks the mailbox and behaves as it is told.

    python stand_in.py FOLDER BEHAVIOUR [NAME=VALUE of the registration]...

It prints ``ready`` once it can be asked, obeys one word a line on its standard input, and ends with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import time
import tracemalloc
from pathlib import Path

from leakhunt.capture.folder import Folder
from leakhunt.capture.letters import Asked, Registration, SnapshotRequest, TraceRequest
from leakhunt.capture.mailbox import AGENTS, Box
from leakhunt.capture.procfs import start_ticks
from leakhunt.errors import LeakhuntError

_KEPT: list[bytes] = []


class StandIn:
    """Answers requests in one of several manners."""

    def __init__(self, folder: str, behaviour: str, about: dict[str, object]) -> None:
        self.folder = folder
        self.behaviour = behaviour
        self.taken = 0
        self.ran = 0
        known = Registration(os.getpid(), start_ticks(os.getpid()), signal=int(signal.SIGURG), host="here")
        registration = known._replace(**about)  # type: ignore[arg-type]  # the tests say what they mean
        self.box = Box(folder, known.folder)
        for path in (folder, f"{folder}/{AGENTS}", self.box.path, f"{folder}/snapshots"):
            Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
        self.box.register(registration)

    def look(self, *_: object) -> None:
        """Take what was asked, and answer."""
        for asked in self.box.asked():
            if self.behaviour == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            elif self.behaviour == "refuse":
                hint = "wait, or use --force"
                self.box.reply(
                    asked.nonce, {"ok": False, "why": "12 MiB are free, 40 MiB needed", "hint": hint}
                )
            elif self.behaviour == "lose":
                self._lose(asked.nonce)
            elif self.behaviour in {"orphan", "orphans", "slow"} and isinstance(
                asked.request, SnapshotRequest
            ):
                self._outlive(asked.nonce)
            elif self.behaviour == "babble":
                Path(self.box.path, f"answer-{asked.nonce}.json").write_text("[1, 2", encoding="utf-8")
            elif self.behaviour == "lie":
                self.box.reply(asked.nonce, {"ok": True, "state": "done", "path": "/etc/passwd", "how": 7})
            elif self.behaviour != "ignore":
                self._answer(asked)

    def _lose(self, nonce: str) -> None:
        """Begin to write, as a child that is killed then."""
        path = f"{self.box.path}/answer-{nonce}.json"
        ready, done = os.pipe()
        child = os.fork()
        if child == 0:
            fd = os.open(f"{path}.part", os.O_CREAT | os.O_WRONLY, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.write(
                fd,
                json.dumps({"state": "writing", "pid": os.getpid(), "deadline": time.time() + 60}).encode(),
            )
            os.rename(f"{path}.part", path)
            os.close(done)
            os.read(ready, 1) if self.behaviour == "never" else os._exit(1)
        os.close(done)
        os.waitpid(child, 0)

    def _outlive(self, nonce: str) -> None:
        """Have a child write that waits until it is let go on; end meanwhile, unless the child is only slow."""
        ready, done = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                self._write_late(nonce, done)
            finally:
                os._exit(0)
        os.read(ready, 1)
        if self.behaviour != "slow":
            os.kill(os.getpid(), signal.SIGKILL)

    def _write_late(self, nonce: str, done: int) -> None:
        held = Folder(self.box.path, os.geteuid()).hold(f"answer-{nonce}.json", b'{"state": "writing"}')
        os.write(done, b".")
        Path(self.folder, "go").read_text(encoding="utf-8")  # a FIFO, and a test at its other end
        if self.behaviour != "orphans":
            path = f"{self.folder}/snapshots/here-late-{nonce}.bin"
            tracemalloc.take_snapshot().dump(path)
            with contextlib.suppress(LeakhuntError):  # nobody waits any more
                self.box.reply(
                    nonce, {"ok": True, "state": "done", "path": path, "how": "fork", "blocks": 12}
                )
        os.close(held)

    def _answer(self, asked: Asked) -> None:
        request = asked.request
        if isinstance(request, SnapshotRequest):
            if not tracemalloc.is_tracing():
                self.box.reply(
                    asked.nonce, {"ok": False, "why": "it does not trace", "hint": "trace it first"}
                )
                return
            self.taken += 1
            path = f"{self.folder}/snapshots/here-{os.getpid()}-{self.taken}.bin"
            tracemalloc.take_snapshot().dump(path)
            word = {"ok": True, "state": "done", "path": path, "how": "fork", "pause": 0.004, "blocks": 12}
            self.box.reply(asked.nonce, {**word, "left_out": ["the number of open files"]})
            return
        if isinstance(request, TraceRequest):
            if request.on:
                tracemalloc.start(request.frames or 25)
            else:
                tracemalloc.stop()
        tracing = tracemalloc.is_tracing()
        answer = {
            "ok": True,
            "tracing": tracing,
            "frames": tracemalloc.get_traceback_limit() if tracing else 0,
        }
        warning = "tracing slows it down" if isinstance(request, TraceRequest) and request.on else None
        counts = {"shop.tasks.sync": self.ran}
        self.box.reply(
            asked.nonce,
            {**answer, "executions": counts, "rss": 4096 + self.ran, "traced": 1, "warning": warning},
        )
        self.ran += 10  # between any two looks, ten tasks have run


def grow(blocks: int) -> None:
    """Keep memory, from a line that can be found in a snapshot."""
    _KEPT.extend(bytes(1000) for _ in range(blocks))


def main() -> None:
    """Register, say so, and do what standard input says."""
    folder, behaviour, *pairs = sys.argv[1:]
    about = {name: json.loads(value) for name, _, value in (pair.partition("=") for pair in pairs)}
    user = about.pop("uid", None)
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    stand_in = StandIn(folder, behaviour, about)
    if behaviour != "deaf":
        signal.signal(signal.SIGURG, stand_in.look)
    if behaviour == "blocked":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGURG})
    print("ready", flush=True)  # noqa: T201 - the handshake
    for line in sys.stdin:
        word, _, number = line.strip().partition(" ")
        if word == "grow":
            grow(int(number))
        elif word == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        print("done", flush=True)  # noqa: T201 - likewise


if __name__ == "__main__":
    main()
