"""The lines that name who is killed, in the words of every kernel since 2.6."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from leakhunt.readers.kernel_log.lines import KIB, Kill, Other, Selection

COMM = 15
LONGEST_COMM = 64  # 15 bytes, each of them escaped at worst
_KILLED = re.compile(r"Killed process (\d{1,10})(?:, UID (\d{1,10}),)? \(")
_UID_BEHIND = re.compile(r"\), UID (\d{1,10}),? (?=total-vm:)")  # late EL7
_SELECTED = re.compile(r"[Kk]ill process (\d{1,10}) \(")
_SHARING = re.compile(r"[Kk]ill process (\d{1,10}) \((.{0,64})\) sharing same memory")
_SCORE = re.compile(r"\) score (-?\d{1,20}) (?:or|and) ")
_MESSAGES = (
    "Memory cgroup out of memory",
    "Out of memory",
    "Out of memory (oom_kill_allocating_task)",
    "Out of Memory",
    "No available memory (MPOL_BIND)",
    "No available memory in cpuset",
)
_FULL = re.compile(
    r"total-vm:(\d{1,18})kB, anon-rss:(\d{1,18})kB, file-rss:(\d{1,18})kB(?:, shmem-rss:(\d{1,18})kB"
    r"(?:, UID:(\d{1,10}) pgtables:(\d{1,18})kB oom_score_adj:(-?\d{1,5}))?)?(?=\s|$)"
)
# The whole of such a line, its name being no riddle.
_USUAL = re.compile(
    rf"(?:({'|'.join(map(re.escape, _MESSAGES))}): )?{_KILLED.pattern}([^()]{{1,{COMM}}})\) {_FULL.pattern}"
)
_SIZES = re.compile(
    r"((?:total-vm|vsz|anon-rss|file-rss|shmem-rss|pgtables)(?=:\d{1,20}kB)|UID|oom_score_adj):(-?\d{1,20})"
)


def _comm(text: str, start: int, closings: tuple[str, ...]) -> tuple[str, int] | None:
    """Return the comm that starts there and where it ends: the last closing within reach counts."""
    window = text[start : start + LONGEST_COMM + 16]
    at, closing = max((window.rfind(closing), closing) for closing in closings)
    return (window[:at], start + at + len(closing)) if at >= 0 else None


def _comm_and_uid(text: str, start: int, uid: str | None) -> tuple[tuple[str, int] | None, str | None]:
    """Return the comm and where it ends, and the uid, of a line that names the uid behind the comm."""
    window = text[start : start + LONGEST_COMM + 32]
    closings = list(_UID_BEHIND.finditer(window))
    if not closings:
        return None, uid
    last = closings[-1]
    return (window[: last.start()], start + last.end() + len("total-vm:")), last[1]


def kill_line(text: str) -> Kill | None:
    """Read the kill itself, in any of its forms."""
    if usual := _USUAL.fullmatch(text):
        message, pid, uid, comm, *fields = usual.groups()
        return _whole(message, (int(pid), comm, uid), fields, 0)
    match = _KILLED.search(text)
    if match is None:
        return None
    message = _message(text, match.start())
    start = match.start() - (len(message) + 2 if message else 0)
    rest = text[match.end() :].rstrip()
    bare = len(rest) <= COMM + len(").") and rest.endswith((")", ")."))
    found = None if bare else _comm(text, match.end(), (") total-vm:", ") vsz:"))
    uid = match[2]
    if found is None and not bare:
        found, uid = _comm_and_uid(text, match.end(), uid)
    cut = False
    sizes: dict[str, int] = {}
    if found:
        comm, end = found
        rest = text[end - len("total-vm:") : end + 400]
        if full := _FULL.match(rest):  # as all kernels since 2.6.36 print them
            return _whole(message, (int(match[1]), comm, uid), full.groups(), start)
        for name, number in _SIZES.findall(rest):
            sizes.setdefault(name, int(number))
        cut = _is_cut(rest, sizes)
    elif bare or (len(rest) <= LONGEST_COMM and rest.endswith((")", ")."))):
        comm = rest[: rest.rfind(")")]
    else:
        at = max(rest[: LONGEST_COMM + 16].rfind(closing) for closing in (") ", "), UID "))
        comm, cut = (rest[:at] if at >= 0 else rest[:COMM].rstrip(".…")), True
    if "vsz" in sizes:
        sizes["total-vm"] = sizes["vsz"]
    sized = {name: number * KIB for name, number in sizes.items()}
    return Kill(
        message=message,
        pid=int(match[1]),
        comm=comm,
        uid=int(uid) if uid else sizes.get("UID"),
        total_vm=sized.get("total-vm"),
        anon_rss=sized.get("anon-rss"),
        file_rss=sized.get("file-rss"),
        shmem_rss=sized.get("shmem-rss"),
        pgtables=sized.get("pgtables"),
        oom_score_adj=sizes.get("oom_score_adj"),
        start=start,
        cut=cut,
    )


def _whole(message: str | None, who: tuple[int, str, str | None], fields: Sequence[Any], start: int) -> Kill:
    """Return a kill whose line has all of its fields."""
    pid, comm, early_uid = who
    total_vm, anon, file, shmem, uid, pgtables, adj = fields
    uid = early_uid or uid
    return Kill(
        message,
        pid,
        comm,
        None if uid is None else int(uid),
        int(total_vm) * KIB,
        int(anon) * KIB,
        int(file) * KIB,
        None if shmem is None else int(shmem) * KIB,
        None if pgtables is None else int(pgtables) * KIB,
        None if adj is None else int(adj),
        start,
        cut=False,
    )


def _message(text: str, end: int) -> str | None:
    """Return what the kernel says before it names a process, which begins there."""
    if text.endswith(": ", 0, end):
        for message in _MESSAGES:
            if text.endswith(message, 0, end - 2):
                return message
    return None


def _is_cut(rest: str, sizes: dict[str, int]) -> bool:
    """Tell whether a kill line ends before its time: inside a field, or with fields missing that such a line has."""
    if "file-rss" not in sizes or ("UID" in sizes and "oom_score_adj" not in sizes):
        return True
    return "UID" not in sizes and rest[rest.rfind("kB") + 2 :].startswith(",")


def selection_line(text: str) -> Selection | Other | None:
    """Read who was chosen, or who dies because it shares the memory."""
    if match := _SHARING.search(text):
        return Other("shares-memory", int(match[1]), match[2])
    match = _SELECTED.search(text)
    if match is None:
        return None
    window = text[match.end() : match.end() + LONGEST_COMM + 40]
    scores = list(_SCORE.finditer(window))
    if not scores:
        return None
    score = scores[-1]
    return Selection(_message(text, match.start()), int(match[1]), window[: score.start()], int(score[1]))
