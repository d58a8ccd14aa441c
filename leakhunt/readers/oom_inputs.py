"""What the user named, turned into logs to read: files, patterns, folders, archives, standard input."""

from __future__ import annotations

import contextlib
import glob
import os
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import BinaryIO, cast

from leakhunt.errors import LeakhuntError
from leakhunt.model.evidence import Place
from leakhunt.model.snapshot import Skipped
from leakhunt.readers.archives import Member, is_archive, members
from leakhunt.readers.folders import Found, walk
from leakhunt.readers.kernel_log import structured
from leakhunt.readers.places import place_of_path
from leakhunt.readers.rotation import name_of_set, sets
from leakhunt.readers.streams import Evidence, Stream
from leakhunt.readers.text_check import why_not_text

HEAD = 1 << 16
_LONGEST_HOLE = 8 << 30  # of NULs
_LONGEST_SET = timedelta(days=300)  # stamps without a year are told apart no further
_IN_LINES = structured.PLAIN | {structured.JOURNAL_JSON, structured.DOCKER_JSON, structured.JSON_LINES}

Progress = Callable[[int], object]


class Kept:
    """Temporary files behind inputs, closed when the last of these is gone, or before on demand."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.close = weakref.finalize(self, stack.close)


@dataclass(frozen=True)
class Part:
    """One file of a log.

    Attributes:
        name: as the user named it, or found below what was named; evidence carries it.
        open: opens it from its start, decompressed.
        modified: when it was last changed.
        packed: whether it is compressed or in an archive.
    """

    name: str
    open: Callable[[], Stream] = field(repr=False)
    modified: datetime | None = None
    packed: bool = False


@dataclass(frozen=True)
class Input:
    """One log, perhaps in several rotated files.

    Attributes:
        name: what it is called: its newest file.
        parts: its files, the oldest first.
        place: what its names tell of where it was written.
        kept: what must live as long as it is read.
    """

    name: str
    parts: tuple[Part, ...]
    place: Place = field(default_factory=Place)
    kept: Kept | None = field(default=None, repr=False, compare=False)

    @property
    def reference(self) -> datetime | None:
        """A moment that no line lies behind, for stamps without a year."""
        return self.parts[-1].modified

    def head(self, size: int = HEAD) -> bytes:
        """Return the first bytes, decompressed; fewer where there are no more.

        Raises:
            LeakhuntError: it may not be read.
        """
        return _head(self.parts[0], size)


@dataclass(frozen=True)
class Gathered:
    """What is to be read, in order, and what is not."""

    inputs: tuple[Input, ...]
    skipped: tuple[Skipped, ...]
    kept: Kept = field(repr=False, compare=False)

    def close(self) -> None:
        """Let go of what was kept of archives, pipes and standard input."""
        self.kept.close()

    def __enter__(self) -> Gathered:  # noqa: PYI034 - Self came with Python 3.11
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def gather(names: Sequence[str], progress: Progress | None = None) -> Gathered:
    """Find the logs in what the user named.

    Args:
        names: files, folders, archives, patterns that no shell has expanded, or ``-`` for standard input.
        progress: called with the bytes of files that were read since the last call.

    Returns:
        Each file once, those of one rotated log together; and what was passed over, with the reason.

    Raises:
        LeakhuntError: a file that was named does not exist or may not be read.
    """
    with contextlib.ExitStack() as kept:
        gatherer = _Gatherer(progress, kept)
        for name in _expanded(names):
            gatherer.take(name)
        inputs = tuple(gatherer.inputs())
        lasting = Kept(kept.pop_all())
    return Gathered(
        tuple(replace(source, kept=lasting) for source in inputs), tuple(gatherer.skipped), lasting
    )


def _expanded(names: Iterable[str]) -> Iterator[str]:
    """Expand patterns; a file whose name looks like one is that file."""
    for name in names:
        if name == "-" or os.path.lexists(name) or not glob.has_magic(name):
            yield name
            continue
        found = sorted(glob.glob(name, recursive=True))
        if not found:
            raise LeakhuntError(f"{name}: no such file", "see what there is: ls")
        yield from found


class _Gatherer:
    """Keeps what was found so far."""

    def __init__(self, progress: Progress | None, kept: contextlib.ExitStack) -> None:
        self.skipped: list[Skipped] = []
        self._progress = progress
        self._kept = kept
        self._parts: dict[str, Part] = {}
        self._places: dict[str, Place] = {}
        self._files: dict[tuple[int, int], str] = {}

    def take(self, name: str) -> None:
        """Take what the user named."""
        if name == "-":
            self._take_standard_input(
                Part("standard input", self._evidence(name).open, datetime.now(timezone.utc))
            )
            return
        if os.path.isdir(name):
            walked = walk(name)
            self.skipped += walked.skipped
            for found in walked.files:
                self._take_found(found)
            return
        evidence = self._evidence(name)
        state = os.stat(name)
        self._take_file(name, evidence, (state.st_dev, state.st_ino), state.st_mtime, named=True)

    def _evidence(self, name: str) -> Evidence:
        evidence = Evidence(name, self._progress)
        self._kept.callback(evidence.close)
        return evidence

    def inputs(self) -> Iterator[Input]:
        """Yield the logs, files of one log together where they have the same form."""
        for names in sets(self._parts):
            for together in _alike([self._parts[name] for name in names]):
                names_here = tuple(part.name for part in together)
                yield Input(name_of_set(names_here), tuple(together), self._places[together[-1].name])

    def _take_standard_input(self, part: Part) -> None:
        """Take what is piped in: a log, or an archive of logs."""
        head, _packed, fault = _opening(part, HEAD)
        why = why_not_text(head, named=True) if head or not fault else fault
        if is_archive(head):
            self._take_archive(part)
        elif why:
            self.skipped.append(Skipped(part.name, why))
        else:
            self._keep(part)

    def _take_found(self, found: Found) -> None:
        """Take a file from a folder; what is wrong with it is no reason to stop."""
        try:
            evidence = Evidence(found.path, self._progress)
            self._take_file(found.path, evidence, found.identity, found.modified, named=False)
        except LeakhuntError as error:
            self.skipped.append(Skipped(found.path, error.message.removeprefix(f"{found.path}: ")))

    def _take_file(
        self, name: str, evidence: Evidence, identity: tuple[int, int], modified: float, *, named: bool
    ) -> None:
        if identity in self._files and identity[1]:  # another name of it may tell more of its place
            known = self._files[identity]
            self._places[known] = self._places[known].filled(place_of_path(name))
            return
        when = _utc(modified)
        part = Part(name, evidence.open, when)
        head, packed, fault = _opening(part, HEAD)
        if is_archive(head):
            self._take_archive(part)
            return
        why = why_not_text(head, named=named) if head or not fault else fault
        if why:
            self.skipped.append(Skipped(name, why))
            return
        self._files[identity] = name
        self._keep(replace(part, packed=packed))

    def _take_archive(self, archive: Part) -> None:
        """Take the members of an archive that are text."""
        spool = cast("BinaryIO", self._kept.enter_context(tempfile.TemporaryFile()))  # noqa: SIM115 - closed with the stack
        for member in members(archive.name, archive.open, archive.modified, spool):
            if isinstance(member, Member):
                part = Part(member.name, member.open, member.modified, packed=True)
                why = why_not_text(_head(part, HEAD), named=False)
                if not why:
                    self._keep(part)
                    continue
                member = Skipped(member.name, why)  # noqa: PLW2901 - the same thing, seen closer
            self.skipped.append(member)

    def _keep(self, part: Part) -> None:
        self._parts.setdefault(part.name, part)
        self._places.setdefault(part.name, place_of_path(part.name))


def _alike(parts: list[Part]) -> Iterator[list[Part]]:
    """Cut a rotated log where its form changes or its files lie far apart."""
    together: list[Part] = []
    last = ""
    for part in parts:
        kind = structured.kind_of(_head(part, HEAD)) if len(parts) > 1 else ""
        near = not together or _near(together[0].modified, part.modified)
        if together and not (kind == last and kind in _IN_LINES and near):
            yield together
            together = []
        together.append(part)
        last = kind
    yield together


def _near(one: datetime | None, other: datetime | None) -> bool:
    return one is None or other is None or abs(other - one) < _LONGEST_SET


def _head(part: Part, size: int) -> bytes:
    """Return the first bytes of a file."""
    return _opening(part, size)[0]


def _opening(part: Part, size: int) -> tuple[bytes, bool, str]:
    """Return the first bytes of a file, whether it is compressed, and what is wrong with it so far.

    NULs at its beginning are passed over, as where a log was emptied while its program wrote on; a file of NULs alone is
    given as it is.
    """
    stream = part.open()
    try:
        head, passed = b"", 0
        while len(head) < size and (data := stream.read()):
            if not head and passed < _LONGEST_HOLE:
                left = data.lstrip(b"\0")
                passed += len(data) - len(left)
                data = left
            head += data
        if not head and passed:
            head = bytes(1)
        return head[:size], bool(stream.compression), stream.fault
    finally:
        stream.close()


def _utc(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None
