"""This machine's own logs: the journal, the kernel's buffer, and the counts that the kernel keeps."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from typing import Union

from leakhunt.errors import LeakhuntError
from leakhunt.model.evidence import Place
from leakhunt.model.incident import Counter
from leakhunt.model.oom import OomKill
from leakhunt.model.verdict import LiveSource
from leakhunt.readers import kept_counts, kmsg, programs
from leakhunt.readers.kernel_log import structured
from leakhunt.readers.kernel_log.scan import Event, Options, scan
from leakhunt.readers.oom_reading import Hearers, placed

JOURNAL, BUFFER, GROUPS, COUNTER = "journal", "kernel buffer", "control groups", "kernel counter"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
_FIELDS = (
    "MESSAGE,_HOSTNAME,_BOOT_ID,_TRANSPORT,_PID,SYSLOG_IDENTIFIER,_SOURCE_MONOTONIC_TIMESTAMP,UNIT,USER_UNIT,"
    "OBJECT_SYSTEMD_UNIT,_SYSTEMD_UNIT,_SYSTEMD_USER_UNIT,CONTAINER_NAME,CONTAINER_ID,CONTAINER_ID_FULL"
)
# Whom the journal is asked for: each line is one group of matches, which journalctl joins by "or".
_KERNEL = ("_TRANSPORT=kernel",)
_OTHERS: tuple[tuple[str, ...], ...] = (
    ("SYSLOG_IDENTIFIER=systemd", *(f"PRIORITY={level}" for level in range(6))),  # not every unit that starts
    *((f"SYSLOG_IDENTIFIER={name}",) for name in ("systemd-oomd", "earlyoom", "nohang", "oomd", "lmkd")),
    *(
        (f"SYSLOG_IDENTIFIER={name}",)
        for name in ("dockerd", "docker", "containerd", "kubelet", "node-problem-detector")
    ),
    *(
        (f"SYSLOG_IDENTIFIER={name}",)
        for name in ("celery", "gunicorn", "uwsgi", "supervisord", "rq", "dramatiq")
    ),
    *((f"_COMM={name}",) for name in ("celery", "gunicorn", "uwsgi", "supervisord", "rq", "dramatiq")),
)
_RIGHTS = ("insufficient permissions", "not seeing messages from", "ermission denied")
_KERNEL_ENTRY = b'"_TRANSPORT":"kernel"'

Found = Union[Event, Counter, LiveSource]


def read_machine(
    options: Options | None = None, hearers: Hearers = (), since: datetime | None = None
) -> Iterator[Found]:
    """Read what this machine tells of kills.

    Args:
        options: what is known beforehand; the boot time is found where it is not given.
        hearers: what makes further readers of the same bytes.
        since: what is older in the journal is left out.

    Yields:
        What the logs say, the counts that are not 0, and for each source whether it was read and with what right it
        could be.
    """
    if not sys.platform.startswith("linux"):
        yield elsewhere()
        return
    options = options or Options()
    options = replace(
        options, boot_time=options.boot_time or boot_time(), reference=datetime.now(timezone.utc)
    )
    journal = journal_of_machine(kernel=True, since=since)
    yield from scan_if_any(journal.chunks(), journal.name, options, hearers)
    yield journal.verdict()
    if journal.kernel:
        yield LiveSource(BUFFER, used=False, why="not needed: the journal has the kernel's messages")
    else:
        yield from _read_buffer(options, hearers)
    yield from _read_counts()


def boot_time() -> datetime | None:
    """Return when the kernel's clock began, as far as that clock ran: it stands still while the machine is suspended."""
    try:
        return datetime.fromtimestamp(time.time() - time.clock_gettime(time.CLOCK_MONOTONIC), timezone.utc)
    except (AttributeError, OSError, ValueError, OverflowError):
        return None


def elsewhere() -> LiveSource:
    """Say what there is to read on a system other than Linux."""
    system = {"darwin": "macOS", "win32": "Windows"}.get(sys.platform, sys.platform)
    return LiveSource(
        BUFFER,
        used=False,
        why=f"{system} keeps no log of kills as Linux does: name files from the Linux machine",
    )


class Journal:
    """The systemd journal, read by ``journalctl``.

    Args:
        groups: matches; an entry is wanted that has all of one group.
        since: what is older is left out.

    Attributes:
        name: what evidence calls it.
        kernel: whether it has shown messages of the kernel.
    """

    name = "journal"

    def __init__(self, groups: Iterable[tuple[str, ...]], since: datetime | None = None) -> None:
        self.kernel = False
        self._words = [word for group in groups for word in ("+", *group)][1:]
        self._since = since
        self._any = False
        self._program = programs.find("journalctl")
        self._said = ""

    def chunks(
        self, *, newest: int | None = None, follow: bool = False, pause_s: float | None = None
    ) -> Iterator[bytes]:
        """Yield its entries as JSON, oldest first.

        Args:
            newest: so many of the newest, or None for all.
            follow: whether to go on with what is added.
            pause_s: after so long a wait nothing is yielded.
        """
        if self._program is None:
            return
        for fields in (("--output-fields", _FIELDS), ()):  # systemd before 236 cannot choose fields
            words = [self._program, "--output=json", "--all", "--no-pager", *fields, *self._words]
            if follow:
                words[1:1] = ["--follow", "--no-tail"]
            if newest is not None:
                words[1:1] = [f"--lines={newest}"]
            if self._since is not None:
                words[1:1] = [f"--since=@{int(self._since.timestamp())}"]
            output = programs.Output(words)
            for chunk in output.chunks(pause_s):
                self._any = self._any or bool(chunk)
                self.kernel = self.kernel or _KERNEL_ENTRY in chunk
                yield chunk
            self._said = output.said
            if self._any or not output.code or "unrecognized option" not in output.said:
                return

    @property
    def open(self) -> bool:
        """Whether what is written to it from now on can be read."""
        closed = ("No journal files", *_RIGHTS)
        return self._program is not None and not any(words in self._said for words in closed)

    def verdict(self) -> LiveSource:
        """Say whether it was read, and what right is missing."""
        if self._program is None:
            return LiveSource(JOURNAL, used=False, why="journalctl is not installed here")
        if any(words in self._said for words in _RIGHTS):
            why = "not all of it may be read: run as root, or join the group systemd-journal or adm"
            return LiveSource(JOURNAL, used=self._any, why=why)
        if self._any:
            return LiveSource(JOURNAL, used=True, why="journalctl, all boots that it keeps")
        why = (
            self._said.splitlines()[0].rstrip(".")
            if self._said
            else "it has no entries of the kernel or of supervisors"
        )
        return LiveSource(JOURNAL, used=False, why=why[:1].lower() + why[1:])


def journal_of_machine(*, kernel: bool, since: datetime | None = None) -> Journal:
    """Return the journal of supervisors and workers, with or without the kernel's messages."""
    return Journal((_KERNEL, *_OTHERS) if kernel else _OTHERS, since)


def scan_if_any(chunks: Iterable[bytes], name: str, options: Options, hearers: Hearers) -> Iterator[Event]:
    """Scan a source of this machine; one that yields nothing has no summary either."""
    rest = iter(chunks)
    for first in rest:
        yield from scan(_with(first, rest), name, options, placed(hearers, Place()))


def _with(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _read_buffer(options: Options, hearers: Hearers) -> Iterator[Found]:
    """Read the kernel's buffer from its device, else from ``dmesg``."""
    kind = replace(options, kind=structured.KMSG)
    try:
        for event in scan_if_any(kmsg.records(), kmsg.PATH, kind, hearers):
            yield _of_this_boot(event)
        yield LiveSource(BUFFER, used=True, why=kmsg.PATH + suspended())
    except LeakhuntError as refused:
        yield from _read_dmesg(replace(options, kind=structured.TEXT), hearers, refused)


def _read_dmesg(options: Options, hearers: Hearers, refused: LeakhuntError) -> Iterator[Found]:
    """Read the kernel's buffer with ``dmesg``, which may be allowed what we are not."""
    program = programs.find("dmesg")
    why = f"{refused.message}; {refused.hint}".rstrip("; ")
    if program is None:
        yield LiveSource(BUFFER, used=False, why=why)
        return
    output = programs.Output([program, "-r"])
    for event in scan_if_any(output.chunks(), "dmesg", options, hearers):
        yield _of_this_boot(event)
    if output.code == 0:
        yield LiveSource(BUFFER, used=True, why="dmesg" + suspended())
        return
    if "not permitted" in output.said:
        why = "run as root or with CAP_SYSLOG: kernel.dmesg_restrict is set"
    yield LiveSource(BUFFER, used=False, why=why)


def suspended() -> str:
    """Say how far off times in the buffer may be, where the machine has been asleep."""
    try:
        asleep = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    except (AttributeError, OSError):
        return ""
    return f"; times may be up to {asleep:.0f} s late, as the machine was suspended" if asleep >= 1 else ""


def _of_this_boot(event: Event) -> Event:
    """Give a kill the name of this machine and of its boot, which the buffer leaves out."""
    if isinstance(event, OomKill):
        return replace(event, host=event.host or os.uname().nodename, boot=event.boot or _boot_id())
    return event


def _boot_id() -> str | None:
    """Return this boot's id as the journal writes it."""
    try:
        with open(BOOT_ID, encoding="ascii") as file:
            return file.read(64).strip().replace("-", "") or None
    except (OSError, ValueError):
        return None


def _read_counts() -> Iterator[Counter | LiveSource]:
    """Read what the kernel counted."""
    places = kept_counts.hierarchies()
    yield from kept_counts.group_counts(places)
    if places:
        yield LiveSource(
            GROUPS, used=True, why=", ".join(f"{place.mount} ({place.file})" for place in places)
        )
    else:
        yield LiveSource(GROUPS, used=False, why="no control groups with memory limits are mounted here")
    counts = list(kept_counts.host_counts())
    yield from counts
    why = f"oom_kill in {kept_counts.VMSTAT}"
    yield LiveSource(
        COUNTER, used=bool(counts), why=why if counts else f"no {why}: the kernel has it since 4.13"
    )
