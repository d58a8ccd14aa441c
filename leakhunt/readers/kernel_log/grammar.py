"""The kernel's words about memory it could not find, of any version: one line of text in, what it says out.

Markers are searched, as prefixes may remain in front. No pattern can take more than linear time.
"""

from __future__ import annotations

import re

from leakhunt.readers.kernel_log.kill_lines import COMM, LONGEST_COMM, kill_line, selection_line
from leakhunt.readers.kernel_log.lines import (
    KIB,
    Buddy,
    Columns,
    Constraint,
    Group,
    Header,
    Limited,
    Line,
    Lost,
    Manual,
    Other,
    Reaped,
    Stats,
    TaskLine,
    Usage,
    limit_of,
)

_ORDER = re.compile(r"\border=(-?\d{1,4})\b")
_PID = re.compile(r"\b(?:PID|Pid): (\d{1,10}),? [Cc]omm: ")
_KERNEL = re.compile(r"(?:Not tainted|Tainted:)[^0-9]{0,80}(\d{1,2}\.\d[^ ]*)")
_USAGE = re.compile(
    r"(?<![\w+])(memory\+swap|memory|swap|kmem): usage (\d{1,20})kB, limit (\d{1,20})kB, failcnt (\d{1,20})"
)
_COLUMNS = re.compile(r"\[ *pid *\] +(uid +tgid +[\w -]+)")
_STATS = re.compile(r"Memory cgroup stats for ([^\s]+?):(?: |$)")
_REAPED = re.compile(r"reaped process :?(\d{1,10}) \((.{0,64}?)\)(?:,|$| anon-rss)")
_UNABLE = re.compile(r"unable to reap pid:(\d{1,10}) \((.{0,64})\)")
_EXITING = re.compile(r"OOM victim (\d{1,10}) \((.{0,64})\) is already exiting")
_PINNED = re.compile(r"oom killer (\d{1,10}) \((.{0,64}?)\) has mm pinned by (\d{1,10})")
_SUPPRESSED = re.compile(r"(\w{1,80}): (\d{1,12}) callbacks suppressed")
_DROPPED = re.compile(r"\*\* (\d{1,12}) printk messages dropped \*\*")
_MISSED = re.compile(r"Missed (\d{1,12}) kernel messages")
_IMUX = re.compile(
    r"imuxsock(?: begins to drop| lost (\d{1,12})) messages|imjournal: (\d{1,12}) messages lost"
)
_TAIL = re.compile(r"(?:^|[ \]])(,(?:oom_memcg=/|task_memcg=/|task=|global_oom,))")
_PIDS = re.compile(r",pid= *(\d{1,10})(?:,uid= *(\d{1,10}))?")
_KEY = re.compile(r",(?=[a-z_]{1,40}=|global_oom(?:,|$))")
_BUDDY = re.compile(r": \d+\*(4|8|16|64)kB ")
_PROCESS_LINES = (
    ("reaped process", "", _REAPED),
    ("unable to reap", "unable-to-reap", _UNABLE),
    ("already exiting", "already-exiting", _EXITING),
    ("mm pinned by", "pinned", _PINNED),
)
_PLAIN_LINES = (
    ("Out of memory and no killable processes", "no-killable-process"),
    ("not syncing: Out of memory", "panic"),
    ("not syncing: System is deadlocked on memory", "panic"),
    ("panic_on_oom is selected", "panic"),
    ("VM_FAULT_OOM leaked out", "page-fault"),
)
_FAILURE = re.compile(
    r": (?:page allocation failure: order:|vmalloc: allocation failure|page allocation stalls for )"
)
# Every line that means something holds one of these, the likeliest in a report first.
WORDS = (
    b"kB ", b"kB, ", b"illed process ", b"ill process ", b"emory", b"oom-k", b"oom_", b"_oom", b".oom.", b"oom killer", b"OOM",
    b" tgid ", b"omm: ", b"limit of ", b",task", b"alloc", b"messages", b"suppressed", b"blob data]",
)  # fmt: skip
# What may follow the kill line of a report: another's, that others of a group die too, and that memory was taken. The
# next report may be as near, where a log is an excerpt.
LATE_WORDS = (
    b"ut of memory", b"memory.oom.group", b"oom_reaper: ", b" invoked oom-killer: ", b"oom-kill:constraint=",
    b" as a result of limit of ",
)  # fmt: skip
# The functions that print reports under the kernel's rate limit.
_LIMITED = {"oom_kill_process", "dump_header", "out_of_memory", "mem_cgroup_out_of_memory"}
_PATHS = {"oom_memcg", "task_memcg"}
_KNOWN = {"nodemask", "cpuset", "mems_allowed", "oom_memcg", "task_memcg", "global_oom"}
_READ = {"constraint", *_KNOWN, "task", "pid", "uid", ""}


def parse(text: str) -> Line | None:  # noqa: C901, PLR0911, PLR0912 - a table of markers, the commonest first
    """Say what a line means, or None for a line that is not about running out of memory."""
    if "illed process " in text and (kill := kill_line(text)):
        return kill
    if "invoked oom-killer" in text:
        return _header(text)
    if "oom-kill:constraint=" in text:
        return _constraint(text)
    if ": usage " in text and (match := _USAGE.search(text)):
        return Usage(match[1], int(match[2]) * KIB, limit_of(int(match[3])), int(match[4]))
    if "omm: " in text and (match := _PID.search(text)):
        return _task_line(text, match)
    if "ill process " in text and (selection := selection_line(text)):
        return selection
    if " tgid " in text and (match := _COLUMNS.search(text)):
        return Columns(tuple(match[1].split()))
    if "ask" in text and (placed := _placed(text)):
        return placed
    if "Memory " in text:
        _, reached, path = text.partition("Memory limit reached of cgroup ")
        if reached:
            return Limited(path.strip(), None)
        if match := _STATS.search(text):
            return Stats(match[1])
    if "kB " in text and (match := _BUDDY.search(text)):
        return Buddy(int(match[1]) * KIB)
    if "anual OOM execution" in text:
        return Manual()
    return _other(text)


def _placed(text: str) -> Line | None:
    """Read the lines that place tasks in control groups, and what is left of a cut ``oom-kill:`` line."""
    before, found, after = text.partition(" killed as a result of limit of ")
    if found:
        _, task_in, victim = before.rpartition("Task in ")
        return Limited(after.strip(), victim) if task_in else None
    before, found, _ = text.partition(" are going to be killed due to memory.oom.group")
    if found:
        _, tasks_in, path = before.rpartition("Tasks in ")
        return Group(path) if tasks_in else None
    tail = _TAIL.search(text)
    if tail and "oom-kill:" not in text:
        return _constraint(text[tail.start(1) :])
    return None


def _header(text: str) -> Header | None:
    comm, _, rest = text.partition(" invoked oom-killer")
    order = _ORDER.search(rest)
    if not rest.startswith(":") or "gfp_mask=" not in rest[:80]:
        return None
    return Header(comm[-LONGEST_COMM:].lstrip(), int(order[1]) if order else None)


def _task_line(text: str, match: re.Match[str]) -> TaskLine:
    rest = text[match.end() :]
    comm, kernel = rest[:15], None
    for marker in (" Kdump: loaded", " Not tainted", " Tainted: "):
        at = rest.find(marker)
        if at >= 0:
            comm = rest[:at]
            found = _KERNEL.search(rest, at)
            kernel = found[1] if found else None
            break
    return TaskLine(int(match[1]), comm[-LONGEST_COMM:].strip(), kernel)


def _constraint(text: str) -> Constraint:
    """Read from the right: pid and uid, then the task, whose name may hold anything; then the keys before it."""
    at = text.find("oom-kill:constraint=")
    body = text[at + len("oom-kill:") :] if at >= 0 else text
    uid, pid, task = None, None, None
    before = body
    at_pid = body.rfind(",pid=")
    if at_pid >= 0 and (tail := _PIDS.match(body, at_pid)):
        pid, uid = int(tail[1]), int(tail[2]) if tail[2] else None
        before = body[:at_pid]
    at_task = before.find(",task=", max(0, len(before) - LONGEST_COMM - 6))
    if at_task >= 0 and len(before) - at_task - 6 > 15:  # a path that holds the word: the last one counts
        at_task = before.rfind(",task=")
    if at_task >= 0:
        task, before = before[at_task + 6 :], before[:at_task]
    keys: dict[str, str] = {}
    last = ""
    for token in _KEY.split(before):
        name, equals, value = token.partition("=")
        if last in _PATHS and name not in _KNOWN:
            keys[last] += "," + token
            continue
        last = name.lstrip(",")
        keys.setdefault(last, value if equals else "")
    return Constraint(
        constraint=keys.get("constraint"),
        oom_memcg=keys.get("oom_memcg"),
        task_memcg=keys.get("task_memcg"),
        global_oom="global_oom" in keys,
        cpuset=keys.get("cpuset"),
        task=task,
        pid=pid,
        uid=uid,
        extra=tuple((name, value) for name, value in keys.items() if name not in _READ),
    )


def _other(text: str) -> Line | None:
    """Read the rarer lines, each behind a cheap test."""
    if "oom" in text or "OOM" in text or "ill process" in text:
        for word, kind, pattern in _PROCESS_LINES:
            if word in text and (match := pattern.search(text)):
                return Reaped(int(match[1]), match[2]) if not kind else Other(kind, int(match[1]), match[2])
    if " memory" in text or "panic_on_oom" in text or "VM_FAULT" in text:
        for words, kind in _PLAIN_LINES:
            if words in text:
                return Other("panic" if "not syncing" in text else kind)
    if ": page alloc" in text or ": vmalloc: alloc" in text:
        match = _FAILURE.search(text)
        if match and match.start():
            at = match.start()
            return Other("allocation-failure", None, text[max(0, at - COMM) : at].rpartition(": ")[2])
    return _lost(text)


def _lost(text: str) -> Lost | None:
    if "callbacks suppressed" in text:
        match = _SUPPRESSED.search(text)
        return Lost("suppressed", int(match[2])) if match and match[1] in _LIMITED else None
    if "messages" in text:
        if match := _DROPPED.search(text) or _MISSED.search(text):
            return Lost("dropped", int(match[1]))
        if match := _IMUX.search(text):
            number = match[1] or match[2]
            return Lost("dropped", int(number) if number else None)
        if "kmsg buffer overrun, some messages lost" in text:
            return Lost("dropped", None)
    return Lost("unreadable", None) if " blob data]" in text else None
