"""What a command and an agent write to each other: who the agent is, and what may be asked of it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, Union

from leakhunt.errors import LeakhuntError

SCHEMA = 1
_MOST_FRAMES = 65_535  # tracemalloc takes no more


class Registration(NamedTuple):
    """Who an agent is.

    Attributes:
        pid: the process, as it sees itself.
        start: when it was started, in ticks since the boot; 0 where unknown.
        namespace: the inode of its pid namespace; 0 where unknown.
        role: ``main`` or ``child`` of a Celery worker, else ``process``.
        pool: Celery's pool, such as ``prefork``.
        node: Celery's node, such as ``celery@web-1``.
        name: the process's name, such as ``ForkPoolWorker-1``.
        host: the machine's or the container's name.
        signal: the number of the signal that makes it look for requests.
        tracing: whether allocations are traced.
        frames: how many frames of each; 0 while not traced.
    """

    pid: int
    start: int
    namespace: int = 0
    role: str = "process"
    pool: str | None = None
    node: str | None = None
    name: str | None = None
    host: str = ""
    signal: int = 0
    tracing: bool = False
    frames: int = 0

    @property
    def folder(self) -> str:
        """The name of its folder below ``agents``."""
        return f"{self.pid}-{self.start}"


class SnapshotRequest(NamedTuple):
    """Take a snapshot.

    Attributes:
        deep: count types and garbage too.
        retainers: look for who holds the largest sites.
        trim: try what ``malloc_trim`` would give back.
        force: even where memory may not suffice.
        timeout: seconds after which nobody waits for it any more.
    """

    deep: bool = True
    retainers: bool = True
    trim: bool = False
    force: bool = False
    timeout: float = 120.0


class TraceRequest(NamedTuple):
    """Trace allocations, or stop.

    Attributes:
        on: which of both.
        frames: how many frames of each stack; 0 leaves that to the worker's settings.
        seconds: stop again after so long; None is never.
    """

    on: bool
    frames: int = 0
    seconds: float | None = None


class StatusRequest(NamedTuple):
    """Tell how it is going."""


Request = Union[SnapshotRequest, TraceRequest, StatusRequest]
_WORDS: dict[str, type[Request]] = {
    "snapshot": SnapshotRequest,
    "trace": TraceRequest,
    "status": StatusRequest,
}


class Asked(NamedTuple):
    """A request as the agent found it.

    Attributes:
        nonce: which answer belongs to it.
        request: what is asked for; None where it was refused.
        why: why it was refused.
    """

    nonce: str
    request: Request | None
    why: str = ""


def parse_request(data: bytes) -> Request:
    """Read a request.

    Raises:
        LeakhuntError: it is none.
    """
    found = parse_object(data)
    word = (found or {}).pop("do", None)
    kind = _WORDS.get(word) if isinstance(word, str) else None
    if found is None or kind is None:
        raise LeakhuntError("the request is not understood", "use the same version of leakhunt at both ends")
    known: dict[str, Any] = {name: value for name, value in found.items() if name in kind._fields}
    for name, value in known.items():
        if not _fits(name, value):
            raise LeakhuntError(f"the request's {name!r} is not understood")
    if kind is TraceRequest and "on" not in known:
        raise LeakhuntError("the request's 'on' is missing")
    return kind(**known)


def _fits(name: str, value: object) -> bool:
    if name == "frames":
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_FRAMES
    if name in {"seconds", "timeout"}:
        nothing = value is None and name == "seconds"
        return nothing or (
            isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 1e7
        )
    return isinstance(value, bool)


def parse_registration(data: bytes) -> Registration | None:
    """Read a registration; None where it is none."""
    found = parse_object(data)
    if found is None or found.pop("schema", None) != SCHEMA:
        return None
    values: dict[str, object] = {}
    for name, value in found.items():
        if name in Registration._fields:
            default = Registration._field_defaults.get(name, 0)
            if type(value) not in ({str, type(None)} if default is None else {type(default)}):
                return None
            values[name] = value
    return Registration(**values) if {"pid", "start"} <= set(values) else None  # type: ignore[arg-type]


def parse_object(data: bytes) -> dict[str, object] | None:
    """Read an object of JSON; None where it is none."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def written(letter: Registration | Request) -> dict[str, object]:
    """Return what is written of a registration or a request."""
    if isinstance(letter, Registration):
        return {"schema": SCHEMA, **letter._asdict()}
    (word,) = (word for word, kind in _WORDS.items() if isinstance(letter, kind))
    return {"do": word, **letter._asdict()}
