"""What a line of the kernel can say about memory it could not find."""

from __future__ import annotations

from typing import NamedTuple, Union

KIB = 1024
_NO_LIMIT_KIB = 1 << 52  # the kernel's words for no limit lie at 2**53 KiB, or a page below it
_NO_LIMIT_32 = {8589934588, 8589934591, 4294967292}


class Header(NamedTuple):
    """Who asked for memory: the first line of a report."""

    comm: str
    order: int | None


class TaskLine(NamedTuple):
    """The asking thread and the kernel's version."""

    pid: int
    comm: str
    kernel: str | None


class Limited(NamedTuple):
    """The limited control group, and the victim's (2.6.30 to 4.20)."""

    limited: str
    victim: str | None


class Usage(NamedTuple):
    """Use and limit in bytes of ``memory``, ``memory+swap``, ``swap`` or ``kmem``; no limit is None."""

    what: str
    usage: int
    limit: int | None
    failcnt: int


class Stats(NamedTuple):
    """The opening of a control group's statistics."""

    path: str


class Columns(NamedTuple):
    """The header of the task table."""

    names: tuple[str, ...]


class Constraint(NamedTuple):
    """The summary line ``oom-kill:``."""

    constraint: str | None
    oom_memcg: str | None
    task_memcg: str | None
    global_oom: bool
    cpuset: str | None
    task: str | None
    pid: int | None
    uid: int | None
    extra: tuple[tuple[str, str], ...] = ()


class Selection(NamedTuple):
    """Who was chosen (to 5.0)."""

    message: str | None
    pid: int
    comm: str
    score: int | None


class Kill(NamedTuple):
    """The kill itself; sizes in bytes."""

    message: str | None
    pid: int
    comm: str
    uid: int | None
    total_vm: int | None
    anon_rss: int | None
    file_rss: int | None
    shmem_rss: int | None
    pgtables: int | None
    oom_score_adj: int | None
    start: int
    cut: bool


class Group(NamedTuple):
    """A whole control group is going to be killed."""

    path: str


class Manual(NamedTuple):
    """A person, or a program, asked for a kill by SysRq."""


class Reaped(NamedTuple):
    """The victim's memory was taken; a confirmation."""

    pid: int
    comm: str


class Other(NamedTuple):
    """A line that is no kill."""

    kind: str
    pid: int | None = None
    comm: str | None = None


class Lost(NamedTuple):
    """Lines are missing."""

    kind: str
    lines: int | None


class Buddy(NamedTuple):
    """The smallest block of a buddy list, in bytes: the page size."""

    page_size: int


Line = Union[
    Header, TaskLine, Limited, Usage, Stats, Columns, Constraint, Selection, Kill, Group, Manual, Reaped, Other, Lost, Buddy
]  # fmt: skip


def limit_of(kib: int) -> int | None:
    """Return a limit in bytes, or None where the kernel means that there is none."""
    return None if kib >= _NO_LIMIT_KIB or kib in _NO_LIMIT_32 else kib * KIB
