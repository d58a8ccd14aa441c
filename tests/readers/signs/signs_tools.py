"""What the tests of signs share: logs in every wrapping, and the signs that they give."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timezone

from leakhunt.model.evidence import Place
from leakhunt.model.incident import Sign
from leakhunt.readers.kernel_log import structured
from leakhunt.readers.kernel_log.listener import Reading
from leakhunt.readers.kernel_log.times import Clock
from leakhunt.readers.signs.documents import kind_of, read_document
from leakhunt.readers.signs.lines import Signs

UTC = timezone.utc
AT = datetime(2026, 11, 21, 3, 10, 42, tzinfo=UTC)
REFERENCE = datetime(2026, 12, 1, tzinfo=UTC)
ID = "25a38b5b8d556d7983d975577f5ac75ebbcfb4b269e6deaa0a0440c1ffc969ca"


def signs_in(data: bytes, *, block: int = 1 << 18, place: Place | None = None) -> list[Sign]:
    """Return the signs of a log that comes in blocks of whole lines."""
    kind = structured.kind_of(data)
    clock = Clock(UTC, REFERENCE)
    listener = Signs(Reading("log", kind, structured.unwrapper(kind), clock), place or Place())
    line = 1
    for chunk in structured.as_lines(kind, [data]):
        for part in blocks(chunk, block):
            listener.read(part, line)
            line += part.count(b"\n")
    listener.finish()
    return [event for event in listener.events if isinstance(event, Sign)]


def blocks(data: bytes, size: int) -> Iterator[bytes]:
    """Cut bytes behind newlines, into pieces of about a size."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", min(start + size, len(data)) - 1) + 1 or len(data)
        yield data[start:end]
        start = end


def found_in(text: str, source: str = "document") -> list[Sign]:
    """Return the signs of a document, whose kind is found out."""
    data = text.encode()
    kind = kind_of(data)
    assert kind
    chunks = [data[at : at + 997] for at in range(0, len(data), 997)]
    return [found for found in read_document(chunks, source, kind, UTC) if isinstance(found, Sign)]


Wrap = Callable[[str, str], str]


def _syslog(tag: str, text: str) -> str:
    return f"Nov 21 03:10:42 node-1 {tag}[77]: {text}"


def _iso(tag: str, text: str) -> str:
    return f"2026-11-21T03:10:42+00:00 node-1 {tag}[77]: {text}"


def _rfc5424(tag: str, text: str) -> str:
    return f"<28>1 2026-11-21T03:10:42Z node-1 {tag} 77 - - {text}"


def _journal(tag: str, text: str) -> str:
    return json.dumps(
        {
            "__REALTIME_TIMESTAMP": "1795230642000000",
            "_HOSTNAME": "node-1",
            "SYSLOG_IDENTIFIER": tag,
            "_SYSTEMD_UNIT": f"{tag}.service",
            "_PID": "77",
            "MESSAGE": text,
        }
    )


def _journal_bytes(tag: str, text: str) -> str:
    return json.dumps(
        {
            "__REALTIME_TIMESTAMP": "1795230642000000",
            "_HOSTNAME": "node-1",
            "SYSLOG_IDENTIFIER": tag,
            "MESSAGE": list(text.encode()),
        },
        separators=(",", ":"),
    )


def _docker(tag: str, text: str) -> str:
    del tag
    return json.dumps({"log": f"{text}\n", "stream": "stderr", "time": "2026-11-21T03:10:42.0Z"})


def _cri(tag: str, text: str) -> str:
    del tag
    return f"2026-11-21T03:10:42.000000000Z stderr F {text}"


def _kubectl(tag: str, text: str) -> str:
    del tag
    return f"[pod/agent-7d9/main] 2026-11-21T03:10:42.000000000Z {text}"


WRAPPINGS: dict[str, Wrap] = {
    "syslog": _syslog,
    "iso": _iso,
    "rfc5424": _rfc5424,
    "journal-json": _journal,
    "journal-bytes": _journal_bytes,
    "docker-json": _docker,
    "cri": _cri,
    "kubectl": _kubectl,
}
