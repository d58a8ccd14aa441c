"""One input of any kind, to what it tells of deaths: logs through their listeners, documents through their readers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Union

from leakhunt.errors import LeakhuntError
from leakhunt.model.evidence import Place
from leakhunt.model.incident import Counter, Sign
from leakhunt.model.oom import SourceSummary
from leakhunt.model.snapshot import Skipped
from leakhunt.readers.kernel_log import structured
from leakhunt.readers.kernel_log.listener import Heard, Reading
from leakhunt.readers.kernel_log.scan import Event, Options
from leakhunt.readers.oom_inputs import Input, Part
from leakhunt.readers.oom_reading import read, utf8
from leakhunt.readers.signs.collapse import collapse
from leakhunt.readers.signs.documents import DOCUMENT_KINDS, kind_of, read_document
from leakhunt.readers.signs.lines import Signs
from leakhunt.readers.worker_log.listener import WorkerLog

Told = Union[Event, Counter, Skipped]
KINDS = (*structured.KINDS, *DOCUMENT_KINDS)
_MOST_HELD = 10_000


class CollapsedSigns:
    """Hears supervisors, runtimes and killers, and holds back what they say until each death can be given once.

    Attributes:
        events: what was heard and is not fetched yet.
    """

    def __init__(self, reading: Reading, place: Place) -> None:
        self.events: list[Heard] = []
        self._signs = Signs(reading, place)

    def read(self, data: bytes, first_line: int) -> None:
        """Take whole lines; see ``Listener``."""
        self._signs.read(data, first_line)
        if len(self._signs.events) > _MOST_HELD:
            self._release()

    def wakes(self) -> tuple[bytes, ...] | None:
        """Return the words that wake it; see ``Listener``."""
        return self._signs.wakes()

    def pass_by(self, data: bytes, first_line: int) -> None:
        """Take whole lines without any of these words; see ``Listener``."""
        self._signs.pass_by(data, first_line)

    def settle(self) -> None:
        """Release what is known."""
        self._signs.settle()
        self._release()

    def finish(self) -> None:
        """Release everything."""
        self._signs.finish()
        self._release()

    def _release(self) -> None:
        told, self._signs.events = self._signs.events, []
        self.events += collapse(sign for sign in told if isinstance(sign, Sign))


HEARERS = (CollapsedSigns, WorkerLog)


def tell(source: Input, options: Options) -> Iterator[Told]:
    """Read an input to its end.

    Args:
        source: what to read.
        options: what is known of it; a ``kind`` of ``KINDS`` is believed.

    Yields:
        What it tells, about in its order, its summary, and the damage that was met.

    Raises:
        LeakhuntError: it may not be read, or unfolds without end.
    """
    kind = options.kind or kind_of(source.head())
    if kind in DOCUMENT_KINDS:
        for part in source.parts:
            yield from _document(part, kind, options)
    else:
        yield from read(source, options, HEARERS)


def _document(part: Part, kind: str, options: Options) -> Iterator[Told]:
    """Read a document, and sum it up as a source; damage ends it, and what was read before holds."""
    size = lines = 0
    stream = part.open()

    def counted() -> Iterator[bytes]:
        nonlocal size, lines
        for chunk in utf8(stream):
            size += len(chunk)
            lines += chunk.count(b"\n")
            yield chunk

    signs: list[Sign] = []
    fault = ""
    try:
        for found in read_document(counted(), part.name, kind, options.tz):
            if isinstance(found, Sign):
                signs.append(found)
            else:
                yield found
    except LeakhuntError as error:
        fault = "; ".join(filter(None, (error.message.removeprefix(f"{part.name}: "), error.hint)))
    finally:
        stream.close()
    yield from collapse(signs)
    times = [sign.when for sign in signs if sign.when is not None]
    first, last = (min(times), max(times)) if times else (None, None)
    yield SourceSummary(part.name, kind, lines, size, first, last, 0)
    if fault or stream.fault:
        yield Skipped(part.name, fault or stream.fault)
