"""The driver: a stream of bytes goes once through what reads the kernel's words, and through the other listeners."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone, tzinfo
from typing import Protocol, Union

from leakhunt.model.oom import SourceSummary
from leakhunt.readers.kernel_log import structured
from leakhunt.readers.kernel_log.buffers import buffers
from leakhunt.readers.kernel_log.ends import Ends
from leakhunt.readers.kernel_log.episodes import Found
from leakhunt.readers.kernel_log.kernel import KernelReader
from leakhunt.readers.kernel_log.listener import Heard, Listener, Listeners, Reading
from leakhunt.readers.kernel_log.times import Clock
from leakhunt.readers.markers import Groups

Event = Union[Found, Heard, SourceSummary]


@dataclass(frozen=True)
class Options:
    """What the caller knows of a source.

    Attributes:
        kind: its form, one of ``structured.KINDS``, or an empty string to find out.
        tz: the zone of stamps without one.
        reference: a moment that no line lies behind, such as the file's last change; tells the year.
        boot_time: when the machine was started.
    """

    kind: str = ""
    tz: tzinfo = timezone.utc
    reference: datetime | None = None
    boot_time: datetime | None = None


def scan(
    chunks: Iterable[bytes], source: str, options: Options | None = None, listeners: Listeners = ()
) -> Iterator[Event]:
    """Read a log to its end and yield what it says of kills; the last event is the summary.

    Args:
        chunks: the bytes in order; an empty one says that there is no more for now.
        source: the name that evidence gets.
        options: what is known beforehand.
        listeners: what makes further readers of the same bytes.

    Yields:
        Kills and what else was found, about in the order of the log.
    """
    options = options or Options()
    size = 0

    def counted() -> Iterator[bytes]:
        nonlocal size
        for chunk in chunks:
            size += len(chunk)
            yield chunk

    kind, whole = structured.identify(counted(), options.kind)
    clock = Clock(options.tz, options.reference, options.boot_time)
    reading = Reading(source, kind, structured.unwrapper(kind), clock)
    kernel, ends = KernelReader(reading), Ends(reading)
    others = [make(reading) for make in listeners]
    gate = _Gate((kernel, *others))
    line = 1
    for data, cut in buffers(structured.as_lines(kind, whole)):
        if data:
            ends.see(data)
            awake = gate.opens_for(data)
            following = (kernel.read if awake & 1 else kernel.pass_by)(data, line)
            for number, other in enumerate(others, 1):
                (other.read if awake >> number & 1 else other.pass_by)(data, line)
            line = following - cut
        else:
            kernel.settle()
            for other in others:
                other.settle()
        yield from _fetched(kernel, others)
    kernel.finish()
    ends.finish()
    for other in others:
        other.finish()
    yield from _fetched(kernel, others)
    first, last = ends.between()
    yield SourceSummary(source, kind, line - 1, size, first, last, kernel.lost, clock.boots)


class _Sleeper(Protocol):
    def wakes(self) -> tuple[bytes, ...] | None: ...


class _Gate:
    """Looks for what would wake those who sleep, in one pass over each buffer for all of them."""

    def __init__(self, sleepers: Sequence[_Sleeper]) -> None:
        self._sleepers = sleepers
        self._wakes: list[tuple[bytes, ...] | None] = []
        self._groups = Groups(())
        self._awake = 0  # a bit for each who reads all

    def opens_for(self, data: bytes) -> int:
        """Return a bit for each who is to read a buffer, as it is awake or one of its words is there."""
        if len(self._sleepers) == 1:  # it looks for its words itself
            return 1
        wakes = [sleeper.wakes() for sleeper in self._sleepers]
        if wakes != self._wakes:
            self._wakes = wakes
            self._groups = Groups([words or () for words in wakes])
            self._awake = sum(1 << number for number, words in enumerate(wakes) if words is None)
        return self._awake | self._groups.of(data)


def _fetched(kernel: KernelReader, others: Iterable[Listener]) -> Iterator[Event]:
    """Yield what was found since the last time."""
    yield from kernel.fetch()
    for other in others:
        if other.events:
            heard, other.events = other.events, []
            yield from heard
