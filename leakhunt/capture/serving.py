"""What is asked of an agent, done and answered."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

from leakhunt.capture.folder import Folder
from leakhunt.capture.letters import Asked, SnapshotRequest, TraceRequest
from leakhunt.capture.mailbox import Box
from leakhunt.capture.taker import Taker
from leakhunt.capture.tracing import Tracing
from leakhunt.capture.triggers import rss_now
from leakhunt.errors import LeakhuntError


class Desk(NamedTuple):
    """What is needed to do what is asked.

    Attributes:
        box: where it is asked.
        taker: takes the snapshots.
        tracing: the state of tracing.
        frames: how many are kept where the request does not say.
        executions: how often each task ran until now.
        changed: is called when tracing has changed, before that is answered.
    """

    box: Box
    taker: Taker
    tracing: Tracing
    frames: int
    executions: Mapping[str, int]
    changed: Callable[[], None]

    def serve(self) -> None:
        """Do and answer what was asked since the last time.

        Raises:
            LeakhuntError: the box cannot be read.
        """
        for asked in self.box.asked():
            self._answer(asked)

    def _answer(self, asked: Asked) -> None:
        """Do one thing; a snapshot is answered by whoever writes it."""
        request = asked.request
        if request is None:
            answer = refusal(asked.why)
        elif isinstance(request, SnapshotRequest):
            self.taker.take("asked", request, (Folder.open(self.box.path), f"answer-{asked.nonce}.json"))
            return
        elif isinstance(request, TraceRequest):
            answer = self._trace(request)
        else:
            answer = self._status()
        with suppress(LeakhuntError):
            self.box.reply(asked.nonce, answer)

    def _trace(self, request: TraceRequest) -> dict[str, object]:
        tracing = self.tracing
        frames = request.frames or self.frames
        done = tracing.start(frames, request.seconds) if request.on else tracing.stop()
        if not done.ok:
            return refusal(done.warning)
        self.changed()
        return {"ok": True, **self._traced(), "until": tracing.until, "warning": done.warning or None}

    def _status(self) -> dict[str, object]:
        return {
            "ok": True,
            **self._traced(),
            "executions": dict(self.executions),
            "rss": rss_now(),
            "traced": tracemalloc.get_traced_memory()[0],
            "refused": self.taker.refused or None,
        }

    def _traced(self) -> dict[str, object]:
        return {"tracing": self.tracing.on, "frames": self.tracing.frames}


def refusal(why: str) -> dict[str, object]:
    """Return the answer to what is not done."""
    return {"state": "done", "ok": False, "why": why, "hint": None}
