"""Whole documents: what ``kubectl``, ``docker`` and ``systemctl`` print, and files of counters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import timezone, tzinfo
from typing import Union

from leakhunt.errors import LeakhuntError
from leakhunt.model.evidence import Evidence, Place
from leakhunt.model.incident import Counter, Sign
from leakhunt.model.oom import OomKill
from leakhunt.readers.kernel_log.prefix import strip
from leakhunt.readers.kernel_log.stamps import Stamp
from leakhunt.readers.kernel_log.times import Clock, Moment
from leakhunt.readers.signs.counters import counters, is_counters
from leakhunt.readers.signs.docker import event_signs, inspect_signs
from leakhunt.readers.signs.hearing import Ear
from leakhunt.readers.signs.items import json_items
from leakhunt.readers.signs.pods import object_signs
from leakhunt.readers.signs.quoted import quoted_kill
from leakhunt.readers.signs.systemctl import Systemctl
from leakhunt.readers.signs.yaml_items import yaml_items

KUBERNETES, KUBERNETES_YAML, DESCRIBE = "kubernetes", "kubernetes-yaml", "describe"
DOCKER_INSPECT, DOCKER_EVENTS = "docker-inspect", "docker-events"
SYSTEMCTL, COUNTERS = "systemctl", "counters"
DOCUMENT_KINDS = (
    KUBERNETES,
    KUBERNETES_YAML,
    DESCRIBE,
    DOCKER_INSPECT,
    DOCKER_EVENTS,
    SYSTEMCTL,
    COUNTERS,
)

_HEAD = 1 << 16
_LONGEST_LINE = 1 << 14
_MOST_COUNTER_BYTES = 1 << 20
_KINDS = rb'"kind"\s{0,10}:\s{0,10}"(?:List|Pod|PodList|Event|EventList|Node|NodeList)"'
_OBJECT = re.compile(rb'\{\s{0,100}"(?:apiVersion|kind|items|metadata)"\s{0,10}:')
_WATCH = re.compile(
    rb'\{\s{0,100}"type"\s{0,10}:\s{0,10}"(?:ADDED|MODIFIED|DELETED|BOOKMARK)"\s{0,10},\s{0,100}"object"'
)
_KIND = re.compile(_KINDS)
_INSPECT = re.compile(rb'(?:\[\s{0,100})?\{\s{0,100}"Id"\s{0,10}:\s{0,10}"[0-9a-f]{64}"')
_EVENTS = re.compile(
    rb'\{"status":"[^"]{1,80}","id":"[0-9a-f]{12,64}"|\{"Type":"[a-z]{1,40}","Action":"'
    rb'|\{"Action":"[^"]{1,200}","Actor":\{|\{"(?:ContainerExitCode|ID)":.{1,400}"Status":"\w{1,40}".{0,200}"Type":"'
)
_YAML = re.compile(
    rb"(?:---[^\n]{0,80}\n|#[^\n]{0,400}\n){0,20}(?:apiVersion|items|kind|metadata):", re.ASCII
)
_YAML_KIND = re.compile(
    rb"(?:^|\n)[- ]{0,8}kind: {1,4}[\"']?(?:List|Pod|PodList|Event|EventList|Node|NodeList)\b"
)
_DESCRIBE = re.compile(rb"Name: {2,40}\S")
_DESCRIBE_NEXT = re.compile(rb"\n(?:Namespace|Roles|Labels): {2,40}")
_STATUS = re.compile(
    rb"(?:\xe2\x97\x8f|\xe2\x97\x8b|\xc3\x97|\*|\xe2\x86\xbb|x) \S{1,255}\.\w{3,9}(?: - [^\n]{0,400})?\n\s{1,12}Loaded: "
)
_SHOW = re.compile(rb"[A-Z][A-Za-z]{1,60}=[^\n]{0,4000}\n")
_SHOW_KNOWN = re.compile(rb"(?:^|\n)(?:Result|ExecMainStatus|OOMPolicy)=")

_OBJECTS = {KUBERNETES: object_signs, DOCKER_INSPECT: inspect_signs, DOCKER_EVENTS: event_signs}

Found = Union[Sign, OomKill, Counter]


def kind_of(head: bytes) -> str:  # noqa: PLR0911 - one line a kind
    """Return the kind of a document that begins so, or an empty string where it is none of these.

    Args:
        head: its first bytes, the more the better to some 64 KiB.
    """
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:_HEAD]
    if is_counters(head):
        return COUNTERS
    if head.startswith((b"{", b"[")):
        if _INSPECT.match(head) and b'"State"' in head:
            return DOCKER_INSPECT
        if _EVENTS.match(head):
            return DOCKER_EVENTS
        if _WATCH.match(head) or (
            _OBJECT.match(head) and _KIND.search(head) and b"audit.k8s.io/" not in head[:400]
        ):
            return KUBERNETES
        return ""
    if _YAML.match(head) and _YAML_KIND.search(head):
        return KUBERNETES_YAML
    if _DESCRIBE.match(head) and _DESCRIBE_NEXT.search(head):
        return DESCRIBE
    if _STATUS.match(head) or (_SHOW.match(head) and _SHOW_KNOWN.search(head)):
        return SYSTEMCTL
    return ""


def read_document(
    chunks: Iterable[bytes], source: str, kind: str, tz: tzinfo = timezone.utc
) -> Iterator[Found]:
    """Read a document to its end.

    Args:
        chunks: its bytes, in order.
        source: its name, for evidence and errors; counters take their scope from it.
        kind: one of ``DOCUMENT_KINDS``.
        tz: the zone of times without one.

    Yields:
        What it says of deaths, or its counts, in its order.

    Raises:
        LeakhuntError: it is damaged or too large, or PyYAML is missing; what was yielded before holds.
    """
    if kind in _OBJECTS:
        for number, value in enumerate(json_items(chunks, source), 1):
            line = number if kind == DOCKER_EVENTS else 0  # one a line; the others have no lines to speak of
            yield from _OBJECTS[kind](value, source, line, tz)
    elif kind == KUBERNETES_YAML:
        for item in yaml_items(chunks, source):
            yield from object_signs(item.value, source, item.line, tz)
    elif kind == COUNTERS:
        yield from counters(_all(chunks, source).decode("utf-8", "replace"), source)
    elif kind in {DESCRIBE, SYSTEMCTL}:
        yield from _read_text(chunks, source, tz)
    else:
        raise LeakhuntError(f"{kind}: is no kind of document", f"one of {', '.join(DOCUMENT_KINDS)}")


def _read_text(chunks: Iterable[bytes], source: str, tz: tzinfo) -> Iterator[Sign | OomKill]:
    """Read what was printed for people, line by line; the logs it shows are read too."""
    ear, systemctl = Ear(source, Clock(tz), Place()), Systemctl(source, tz)
    for line, raw in enumerate(_lines(chunks), 1):
        text = raw[:_LONGEST_LINE].decode("utf-8", "backslashreplace").rstrip("\r")
        stamp, said = strip(text)
        stamped = stamp != Stamp()
        evidence = Evidence(source, line, text[:2048])
        ear.hear(stamp, said if stamped else text, evidence, stamped=stamped)
        if "Killed process " in text and (
            kill := quoted_kill(text, Place(), Moment(None, None, 0), evidence)
        ):
            yield kill
        yield from ear.signs
        ear.signs.clear()
        yield from systemctl.read(text, line)
    ear.rest()
    yield from ear.signs
    yield from systemctl.finish()


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a stream; one without end is cut into pieces."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        if len(rest) > _MOST_COUNTER_BYTES:
            yield rest
            rest = b""
    if rest:
        yield rest


def _all(chunks: Iterable[bytes], source: str) -> bytes:
    """Return all bytes of a file that is small by nature."""
    data = b""
    for chunk in chunks:
        data += chunk
        if len(data) > _MOST_COUNTER_BYTES:
            raise LeakhuntError(f"{source}: is too large for a file of counters")
    return data
