"""What the tests of worker logs share: hearing bytes as a whole, and wrapping lines as their carriers do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone

from leakhunt.model.evidence import Place
from leakhunt.model.incident import TaskAgain, WorkerDeath
from leakhunt.readers.kernel_log import structured
from leakhunt.readers.kernel_log.listener import Heard, Reading
from leakhunt.readers.kernel_log.times import Clock
from leakhunt.readers.worker_log.listener import WorkerLog

START = datetime(2026, 11, 21, 3, 10, 42, tzinfo=timezone.utc)


def listening(kind: str = structured.TEXT, place: Place | None = None) -> WorkerLog:
    """Return a listener to a log of a kind."""
    clock = Clock(reference=datetime(2026, 12, 1, tzinfo=timezone.utc))
    return WorkerLog(Reading("worker.log", kind, structured.unwrapper(kind), clock), place or Place())


def hear(data: bytes, *, step: int = 1 << 20, kind: str = "") -> list[Heard]:
    """Hear a log in pieces of a size; returns all that was understood."""
    kind = kind or structured.kind_of(data)
    listener = listening(kind)
    rest, line = b"", 1
    parts = [data[at : at + step] for at in range(0, len(data), step)]
    for part in structured.as_lines(kind, parts):
        whole = rest + part
        end = whole.rfind(b"\n") + 1
        if end:
            listener.read(whole[:end], line)
            line += whole.count(b"\n", 0, end)
        rest = whole[end:]
    if rest:
        listener.read(rest, line)
    listener.finish()
    return listener.events


def deaths(heard: Iterable[Heard]) -> list[WorkerDeath]:
    """Return the deaths."""
    return [one for one in heard if isinstance(one, WorkerDeath)]


def again(heard: Iterable[Heard]) -> list[TaskAgain]:
    """Return the tasks that were seen again."""
    return [one for one in heard if isinstance(one, TaskAgain)]


def stamp(seconds: float) -> str:
    """Return a time as Celery writes it."""
    when = START + timedelta(seconds=seconds)
    return f"{when:%Y-%m-%d %H:%M:%S},{when.microsecond // 1000:03d}"


def at(seconds: float) -> datetime:
    """Return a time of the test's, as stamps give it."""
    return START + timedelta(milliseconds=round(seconds * 1000))


def main(seconds: float, message: str, level: str = "INFO") -> str:
    """Return a line of the main process."""
    return f"[{stamp(seconds)}: {level}/MainProcess] {message}"


def child(
    seconds: float, number: int, message: str, level: str = "INFO", style: str = "ForkPoolWorker"
) -> str:
    """Return a line of a pool child."""
    return f"[{stamp(seconds)}: {level}/{style}-{number}] {message}"


def banner(size: int, node: str = "celery@w1") -> list[str]:
    """Return what a worker prints at its start."""
    return [
        f" -------------- {node} v5.7.0 (collider)",
        f"- *** --- * --- .> concurrency: {size} (prefork)",
        "",
    ]


def task_id(number: int) -> str:
    """Return the id of a task."""
    return f"{number:08x}-64b1-4a6c-8f2e-00c0ffee0000"


def _rfc(number: int) -> str:
    when = START + timedelta(milliseconds=7 * number)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond:06d}000Z"


def _journal(number: int, line: str) -> str:
    micro = int((START + timedelta(milliseconds=7 * number)).timestamp() * 1e6)
    entry = {"__REALTIME_TIMESTAMP": str(micro), "_HOSTNAME": "web-1", "_SYSTEMD_UNIT": "celery.service"}
    return json.dumps({**entry, "MESSAGE": line})


def _journal_numbers(number: int, line: str) -> str:
    entry = json.loads(_journal(number, ""))
    return json.dumps({**entry, "MESSAGE": list(f"\x1b[31m{line}\x1b[0m".encode())})


WRAPPINGS: dict[str, Callable[[int, str], str]] = {
    "plain": lambda _number, line: line,
    "coloured": lambda _number, line: f"\x1b[33m{line}\x1b[0m",
    "docker-json": lambda number, line: json.dumps(
        {"log": f"{line}\n", "stream": "stderr", "time": _rfc(number)}
    ),
    "cri": lambda number, line: f"{_rfc(number)} stderr F {line}",
    "compose": lambda _number, line: f"celery-slow_1  | {line}",
    "kubectl": lambda _number, line: f"[pod/worker-7d9f8-abcde/celery] {line}",
    "docker-t": lambda number, line: f"{_rfc(number)} {line}",
    "journal-json": _journal,
    "journal-numbers": _journal_numbers,
    "syslog": lambda _number, line: f"Nov 21 03:10:42 web-1 celery[812]: {line}",
}


def wrapped(lines: Iterable[str], wrapping: str) -> bytes:
    """Return lines as one of their carriers brings them."""
    wrap = WRAPPINGS[wrapping]
    return "".join(f"{wrap(number, line)}\n" for number, line in enumerate(lines)).encode()
