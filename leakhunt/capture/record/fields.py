"""Parts of a record's lines: plain values as JSON, cut where they are long; what is no plain value is null."""

from __future__ import annotations

import json
import re

_PLAIN = re.compile(r"[A-Za-z0-9_.:@-]{1,200}").fullmatch
_LONGEST = 200
_MOST_RETRIES = 1 << 31


def settings(key: tuple[object, ...]) -> str:
    """Return the part of a line that begins a task which is the same for most of its executions."""
    task, queue, acks_late, reject_lost, retries, redelivered = key
    return (
        f'"task":{text(task)},"queue":{text(queue)},"acks_late":{truth(acks_late)},'
        f'"reject_lost":{truth(reject_lost)},'
        f'"retries":{retries if type(retries) is int and 0 <= retries <= _MOST_RETRIES else 0},'
        f'"redelivered":{truth(redelivered)},'
    )


def truth(value: object) -> str:
    """Return whether a value is true, as JSON; anything but a truth value is false."""
    return "true" if value is True else "false"


def text(value: object) -> str:
    """Return a text as JSON, cut where it is very long; anything else is null."""
    if type(value) is not str:
        return "null"
    return f'"{value}"' if _PLAIN(value) else json.dumps(value[:_LONGEST])


def quoted(value: str | None) -> str:
    """Return a text that needs no escapes as JSON."""
    return "null" if value is None else f'"{value}"'


def number(value: int | None) -> str:
    """Return a number as JSON."""
    return "null" if value is None else str(value)


def nothing(_value: object) -> None:
    """Stand in for what is no plain data: asking it could run anything."""
