"""What reads other programs' lines beside the kernel's, out of the same stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, Union

from leakhunt.model.incident import Sign, TaskAgain, WorkerDeath
from leakhunt.readers.kernel_log.stamps import Stamp
from leakhunt.readers.kernel_log.times import Clock

Heard = Union[Sign, WorkerDeath, TaskAgain]


class Reading(NamedTuple):
    """A source that is being read.

    Attributes:
        source: its name, for evidence.
        kind: its form, one of ``structured.KINDS``.
        unwrap: makes stamps and texts of a line: what stands in front, and what was said.
        clock: places stamps in time; a listener asks, and leaves it to the driver to note lines.
    """

    source: str
    kind: str
    unwrap: Callable[[bytes], Iterable[tuple[Stamp, str]]]
    clock: Clock


class Listener(Protocol):
    """Hears all of a stream, in order, and keeps what it understood until that is fetched.

    Attributes:
        events: what was heard and is not fetched yet; the driver empties it.
    """

    events: list[Heard]

    def read(self, data: bytes, first_line: int) -> None:
        """Take whole lines.

        Args:
            data: lines, each ended by a newline; one of more than a mebibyte comes in pieces of the same number.
            first_line: the number of the first of them, counted from 1.
        """

    def wakes(self) -> tuple[bytes, ...] | None:
        """Return the words of which a buffer must hold one to mean anything to it now; None where it reads all."""

    def pass_by(self, data: bytes, first_line: int) -> None:
        """Take whole lines that hold none of these words; see :meth:`read`."""

    def settle(self) -> None:
        """Release what nothing further is expected for at once; called where a live source pauses."""

    def finish(self) -> None:
        """Release everything, at the end of the source."""


Listeners = Sequence[Callable[[Reading], Listener]]
