"""Tracing of allocations, on and off at run time, without touching what the program itself has begun."""

from __future__ import annotations

import time
import tracemalloc
from typing import NamedTuple

# What to expect, said whenever tracing is switched on. How much it is here, only a measurement can tell: see the bench.
COST = (
    "what allocates runs 6 (1 frame) to 25 times slower (25 frames), in places more; what does not, hardly; "
    "and each live block costs memory of its own"
)
NOT_OURS = "the program itself traces its allocations: left as it is"


class Traced(NamedTuple):
    """What became of a request.

    Attributes:
        ok: whether it is as asked for now.
        warning: what has to be known about it; empty where nothing.
    """

    ok: bool
    warning: str = ""


class Tracing:
    """The state of tracing in this process.

    Attributes:
        since: when the agent began to trace, seconds since the epoch; None where it does not.
        inherited: what a forked process did with the traces of what its parent had allocated: ``none`` (there were
            none), ``left out`` or ``included``.
    """

    def __init__(self) -> None:
        self.since: float | None = None
        self.inherited = "none"
        self._deadline: float | None = None  # by time.monotonic: somebody may set the clock

    @property
    def on(self) -> bool:
        """Whether allocations are traced, by whomever."""
        return tracemalloc.is_tracing()

    @property
    def ours(self) -> bool:
        """Whether it was the agent who began."""
        return self.since is not None and tracemalloc.is_tracing()

    @property
    def frames(self) -> int:
        """How many frames are kept of each stack; 0 while nothing is traced."""
        return tracemalloc.get_traceback_limit() if tracemalloc.is_tracing() else 0

    @property
    def until(self) -> float | None:
        """When it is to stop by itself, seconds since the epoch as the clock goes now; None for never."""
        return None if self._deadline is None else time.time() + self._deadline - time.monotonic()

    def start(self, frames: int, seconds: float | None = None) -> Traced:
        """Trace from now on, or go on with another end.

        Another number of frames means to begin anew: the traces until now are lost.

        Args:
            frames: how many of each stack.
            seconds: stop after so long; None is never.
        """
        if self.on and not self.ours:
            held = self.frames
            same = f"{NOT_OURS}, with {held} {'frame' if held == 1 else 'frames'}"
            return Traced(ok=True, warning=same)
        warning = COST
        if self.ours and self.frames != frames:
            tracemalloc.stop()
            warning = f"tracing began anew with {frames} frames, what was traced before is lost; {COST}"
        if not self.on:
            tracemalloc.start(frames)
            self.since = time.time()
            self.inherited = "none"
        self._deadline = None if seconds is None else time.monotonic() + seconds
        return Traced(ok=True, warning=warning)

    def stop(self) -> Traced:
        """Stop, if it was the agent who began; all traces are lost."""
        if self.on and not self.ours:
            return Traced(ok=False, warning=NOT_OURS)
        if self.on:
            tracemalloc.stop()
        self.since = self._deadline = None
        return Traced(ok=True)

    def stop_when_due(self) -> bool:
        """Stop when its time is over, and tell whether it was."""
        if self._deadline is None or time.monotonic() < self._deadline:
            return False
        self.stop()
        return True

    def after_fork(self) -> None:
        """In a child: note that the traces of what the parent had allocated are there.

        They stay: to drop them touches all of them, which takes the longer the more they are, and most children end soon
        or become another program.
        """
        if self.on:
            self.inherited = "included"

    def leave_out(self) -> None:
        """In a child that begins to work: drop what it inherited, unless the traces are the program's own."""
        if self.ours and self.inherited == "included":
            tracemalloc.clear_traces()
            self.since = time.time()
            self.inherited = "left out"

    def told(self) -> dict[str, object]:
        """Return what a snapshot says about it."""
        return {"since": self.since, "frames": self.frames, "inherited": self.inherited}
