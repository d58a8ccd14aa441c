"""Logs that go on: each is scanned in a thread of its own, and what they say comes out in one stream."""

from __future__ import annotations

import glob
import os
import queue
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

from leakhunt.errors import LeakhuntError
from leakhunt.model.evidence import Place
from leakhunt.model.verdict import LiveSource
from leakhunt.readers import kmsg, live, tail
from leakhunt.readers.kernel_log import structured
from leakhunt.readers.kernel_log.scan import Event, Options, scan
from leakhunt.readers.oom_inputs import Input, gather
from leakhunt.readers.oom_reading import Hearers, Rows, placed, relocated
from leakhunt.readers.places import place_of_path

_MOST_WAITING = 10_000

Bytes = Callable[[threading.Event, Rows], Iterator[bytes]]


@dataclass(frozen=True)
class Followed:
    """A log that goes on.

    Attributes:
        name: what it is called.
        chunks: yields its bytes until the event is set, and nothing where it pauses; tells the rows where files begin.
        kind: its form, or an empty string to find out.
        place: what its name tells of where it is written.
    """

    name: str
    chunks: Bytes = field(repr=False)
    kind: str = ""
    place: Place = field(default_factory=Place)


@dataclass(frozen=True)
class Pause:
    """Nothing was said for a moment; what waits for more may be told now."""


def followed_files(names: Sequence[str]) -> tuple[tuple[Followed, ...], tuple[LiveSource, ...]]:
    """Return what follows the files that the user named, and what there is to say of them.

    They are followed from their beginning, through rotation and truncation. A file that is empty or does not exist yet is
    waited for. Of a folder those are followed that are there now; ``-`` is followed until its other end closes.

    Raises:
        LeakhuntError: a file may not be read, or nothing is left to follow.
    """
    there = [name for name in names if name != "-" and (os.path.lexists(name) or glob.has_magic(name))]
    gathered = gather(there)
    found = [Followed(source.name, _file(source), place=source.place) for source in gathered.inputs]
    told: list[LiveSource] = []
    for skipped in gathered.skipped:
        if _is_empty(skipped.what):
            found.append(_awaited(skipped.what))
        else:
            told.append(LiveSource(skipped.what, used=False, why=skipped.why))
    for name in names:
        if name == "-":
            found.append(Followed("standard input", _standard_input))
        elif name not in there:
            found.append(_awaited(name))
            told.append(LiveSource(name, used=True, why="it does not exist yet"))
    if not found:
        why = "; ".join(f"{one.name}: {one.why}" for one in told) or "no files"
        raise LeakhuntError(f"there is nothing to follow: {why}", "name logs that go on, or a folder of such")
    return tuple(found), tuple(told)


def followed_machine(since: datetime | None = None) -> tuple[tuple[Followed, ...], tuple[LiveSource, ...]]:
    """Return what follows this machine's logs, and which of them can be read.

    The kernel's buffer is followed where that is allowed, as it is faster than the journal; the journal beside it for
    what supervisors say.

    Args:
        since: what is older in the journal is left out.
    """
    if not sys.platform.startswith("linux"):
        return (), (live.elsewhere(),)
    found: list[Followed] = []
    told: list[LiveSource] = []
    try:
        os.close(os.open(kmsg.PATH, os.O_RDONLY | os.O_NONBLOCK))
        found.append(Followed(kmsg.PATH, _kernel_buffer, structured.KMSG))
        told.append(LiveSource(live.BUFFER, used=True, why=kmsg.PATH + live.suspended()))
    except OSError as error:
        refused = kmsg.refusal(kmsg.PATH, error)
        told.append(
            LiveSource(live.BUFFER, used=False, why=f"{refused.message}; {refused.hint}".rstrip("; "))
        )
    kernel = not found
    probe = live.journal_of_machine(kernel=kernel)
    for _ in probe.chunks(newest=1):
        pass
    told.append(probe.verdict())
    if probe.open:
        found.append(Followed(live.JOURNAL, _journal(kernel, since), structured.JOURNAL_JSON))
    return tuple(found), tuple(told)


def follow(
    sources: Sequence[Followed], options: Options | None = None, hearers: Hearers = ()
) -> Iterator[Event | Pause]:
    """Scan logs that go on, until all have ended or nobody wants more.

    Args:
        sources: the logs.
        options: what is known beforehand.
        hearers: what makes further readers of the same bytes.

    Yields:
        What the logs say, within a fraction of a second of its line; and a pause where none says anything.

    Raises:
        LeakhuntError: a log may not be read any more.
    """
    options = options or Options()
    options = replace(options, boot_time=options.boot_time or live.boot_time())
    done = threading.Event()
    said: queue.Queue[Event | BaseException | None] = queue.Queue(_MOST_WAITING)
    threads = [
        threading.Thread(target=_scan, args=(source, options, hearers, said, done), daemon=True)
        for source in sources
    ]
    for thread in threads:
        thread.start()
    running = len(threads)
    try:
        while running:
            try:
                event = said.get(timeout=tail.PAUSE_S)
            except queue.Empty:
                yield Pause()
                continue
            if event is None:
                running -= 1
            elif isinstance(event, BaseException):
                raise event
            else:
                yield event
    finally:
        done.set()
        for thread in threads:
            while (
                thread.is_alive() and thread is not threading.current_thread()
            ):  # where rubbish is collected
                _empty(said)
                thread.join(tail.PAUSE_S)


def _scan(
    source: Followed,
    options: Options,
    hearers: Hearers,
    said: queue.Queue[Event | BaseException | None],
    done: threading.Event,
) -> None:
    """Scan one log; runs in a thread of its own."""
    rows = Rows()
    options = replace(options, kind=source.kind or options.kind, reference=datetime.now(timezone.utc))
    try:
        for event in scan(source.chunks(done, rows), source.name, options, placed(hearers, source.place)):
            said.put(relocated(event, rows))
            if done.is_set():
                break
    except BaseException as error:  # noqa: BLE001 - it is raised where the events are wanted
        said.put(error)
    said.put(None)


def _empty(said: queue.Queue[Event | BaseException | None]) -> None:
    """Make room for threads that wait to be heard."""
    try:
        while True:
            said.get_nowait()
    except queue.Empty:
        return


def _kernel_buffer(done: threading.Event, rows: Rows) -> Iterator[bytes]:
    rows.begin(kmsg.PATH)
    return _until(done, kmsg.followed_records(pause_s=tail.PAUSE_S))


def _journal(kernel: bool, since: datetime | None) -> Bytes:  # noqa: FBT001 - handed on as it is
    def chunks(done: threading.Event, rows: Rows) -> Iterator[bytes]:
        rows.begin(live.JOURNAL)
        journal = live.journal_of_machine(kernel=kernel, since=since)
        return _until(done, journal.chunks(follow=True, pause_s=tail.PAUSE_S))

    return chunks


def _until(done: threading.Event, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield chunks until nobody wants more."""
    for chunk in chunks:
        if done.is_set():
            return
        yield chunk


def _standard_input(done: threading.Event, rows: Rows) -> Iterator[bytes]:
    if sys.stdin is None or sys.stdin.isatty():
        raise LeakhuntError("standard input is not connected to a log", "pipe something into it")
    rows.begin("standard input")
    return tail.pipe(sys.stdin.buffer.fileno(), done)


def _file(source: Input) -> Bytes:
    def chunks(done: threading.Event, rows: Rows) -> Iterator[bytes]:
        last = source.parts[-1]
        grows = os.path.isfile(last.name) and not last.packed
        for part in source.parts[:-1] if grows else source.parts:
            yield from tail.whole(part, done, rows)
        if grows:
            yield from _grown(last.name, done, rows)

    return chunks


def _awaited(name: str) -> Followed:
    """Return what follows a file that is not there yet, or is empty."""
    return Followed(name, lambda done, rows: _grown(name, done, rows), place=place_of_path(name))


def _is_empty(name: str) -> bool:
    try:
        state = os.stat(name)
    except OSError:  # gone meanwhile, or a member of an archive
        return False
    return stat.S_ISREG(state.st_mode) and not state.st_size


def _grown(name: str, done: threading.Event, rows: Rows) -> Iterator[bytes]:
    """Yield what is written to a file, without NULs; pauses stay."""
    return (chunk.replace(b"\0", b"") for chunk in tail.grow(name, done, rows))
