from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signs_tools import ID, signs_in
from test_signs_documents import DESCRIBED, SHOW, STATUS, ended, event, listed, pod
from test_signs_lines import CASES, TABLES, wrapped

from leakhunt.errors import LeakhuntError
from leakhunt.model.evidence import Place
from leakhunt.model.incident import Counter, Sign
from leakhunt.model.oom import OomKill
from leakhunt.readers.kernel_log import structured
from leakhunt.readers.signs.documents import DOCUMENT_KINDS, kind_of, read_document

SEEDS = [wrapped("syslog", which).strip(b"\n") for which in CASES.values()]
WORDS = [text.encode() for which in CASES.values() for text in which.text.split("\n")]
WORDS += [line.encode() for line, _ in TABLES.values()]
DOCUMENTS = [
    json.dumps(listed(pod(ended("OOMKilled", 137)), event("SystemOOM", "System OOM encountered"))).encode(),
    json.dumps([{"Id": ID, "State": {"OOMKilled": True}}]).encode(),
    DESCRIBED.encode(),
    STATUS.encode(),
    SHOW.encode(),
]
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.just("137")
    | st.just(137),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def checked(found: object) -> None:
    """Hold a sign to what every sign is."""
    if isinstance(found, OomKill):
        assert (found.quoted, found.confidence) in {(True, "probable"), (True, "possible")}
        return
    if isinstance(found, Counter):
        assert found.value >= 0
        return
    assert isinstance(found, Sign)
    assert found.kind in {"killed", "oom", "sigkill", "attempt", "eviction"}
    assert found.program
    assert found.text
    assert found.count >= 1
    assert found.rss is None or found.rss >= 0
    assert found.when is None or found.when.utcoffset() is not None
    assert len(found.evidence.text) <= 1 << 12
    assert isinstance(found.place, Place)
    assert all(value is None or isinstance(value, str) for value in vars(found.place).values())


def read_all(data: bytes, kind: str) -> None:
    """Read a document to its end, or to its error."""
    try:
        for found in read_document([data], "x", kind):
            checked(found)
    except LeakhuntError as error:
        said = error.message
    else:
        said = "nothing"
    assert said


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(WORDS) | st.binary(max_size=60), max_size=12),
    st.sampled_from((b"\n", b" ", b"")),
)
def test_any_bytes_are_read_as_a_log(parts: list[bytes], between: bytes) -> None:
    """Any bytes, with our words among them, give signs or nothing."""
    for sign in signs_in(between.join(parts)):
        checked(sign)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(WORDS), st.integers(0, 400), st.integers(0, 400), st.binary(max_size=8))
def test_damaged_words_are_read(word: bytes, start: int, end: int, filler: bytes) -> None:
    """A line with a piece torn out gives a sign or nothing."""
    for prefix in (
        b"",
        b"Nov 21 03:10:42 h systemd[1]: ",
        b'{"MESSAGE":"x","SYSLOG_IDENTIFIER":"earlyoom"}\n',
    ):
        for sign in signs_in(prefix + word[:start] + filler + word[min(start, end) :] + b"\n"):
            checked(sign)


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(DOCUMENTS), st.integers(0, 3000), st.binary(max_size=12), st.sampled_from(DOCUMENT_KINDS)
)
def test_damaged_documents_are_read(document: bytes, at: int, filler: bytes, kind: str) -> None:
    """A document with a piece replaced, read as any kind, gives signs or a clear error."""
    data = document[:at] + filler + document[at + len(filler) :]
    assert kind_of(data) in {"", *DOCUMENT_KINDS}
    read_all(data, kind)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(DOCUMENT_KINDS))
def test_any_bytes_are_read_as_any_document(data: bytes, kind: str) -> None:
    """Any bytes give signs, nothing or a clear error."""
    read_all(data, kind)


def _replaced(value: object, count: list[int], filler: object) -> object:
    """Return a copy of a value with the so manieth of its parts replaced."""
    count[0] -= 1
    if count[0] == 0:
        return filler
    if isinstance(value, dict):
        return {key: _replaced(inner, count, filler) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, count, filler) for inner in value]
    return value


OBJECTS = [
    pod(ended("OOMKilled", 137), ended("Error", 137), reason="Evicted", message="memory"),
    event("OOMKilling", "Memory cgroup out of memory: Killed process 7 (a)", series={"count": 4}),
    {"Id": ID, "Name": "/a", "Config": {"Labels": {"io.kubernetes.pod.name": "p"}}, "HostConfig": {"Memory": 5},
     "State": {"OOMKilled": True, "ExitCode": 137, "FinishedAt": "2026-11-21T03:10:42Z", "StartedAt": "x"}},
    {"Type": "container", "Action": "die", "Actor": {"ID": ID, "Attributes": {"exitCode": "137"}}, "timeNano": 5, "time": 1},
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(OBJECTS), st.integers(1, 45), ANYTHING)
def test_every_field_may_be_of_any_type(value: dict[str, Any], which: int, filler: object) -> None:
    """A field of another type than it should be is no crash, in JSON or in YAML."""
    text = json.dumps(_replaced(value, [which], filler)).encode()
    for kind in ("kubernetes", "kubernetes-yaml", "docker-inspect", "docker-events"):
        read_all(text, kind)


HUGE = {
    "a number beyond all numbers": b'{"kind":"Pod","status":{"reason":' + b"9" * 100_000 + b"}}",
    "a deep array": b'{"kind":"Pod","x":' + b"[" * 200_000,
    "deep objects": b'{"a":' * 100_000,
    "a deep list in YAML": b"kind: Pod\nx: " + b"[" * 100_000,
    "deep lists in YAML": b"kind: Pod\nx:\n" + b"- " * 100_000,
    "a long key": b"kind: " + b"x" * 3_000_000,
    "half an escape": b'{"kind":"\\u12',
    "not UTF-8": b'{"kind":"\xff\xfe"}',
    "surrogates": b'{"kind":"Pod","metadata":{"name":"\\ud800"}}',
    "NUL": b"kind: \x00Pod\n",
    "many braces": b"{}" * 100_000,
}


@pytest.mark.parametrize("kind", DOCUMENT_KINDS)
@pytest.mark.parametrize("name", HUGE)
def test_monsters_are_refused_or_passed_over(name: str, kind: str) -> None:
    """Values beyond all measure end in a clear error or in nothing, and soon."""
    begun = time.perf_counter()
    read_all(HUGE[name], kind)
    assert time.perf_counter() - begun < 20


def test_an_alias_bomb_does_not_unfold() -> None:
    """Aliases are never followed, so that a few lines of YAML stay a few lines."""
    pytest.importorskip("yaml")
    lines = ["apiVersion: v1", "kind: Pod", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 40)]
    read_all("\n".join(lines).encode(), "kubernetes-yaml")


def test_one_object_without_end_is_refused() -> None:
    """A single object beyond all measure is refused before it fills the memory."""
    chunks = iter([b'{"kind":"Pod","x":"'] + [b"x" * (1 << 20)] * 80)
    with pytest.raises(LeakhuntError, match="more than 64 MiB"):
        list(read_document(chunks, "x", "kubernetes"))


@pytest.mark.parametrize(
    "line",
    [
        b"oomd " * 20_000,
        b"OOM killer " * 20_000,
        b'sending SIGKILL to process 1 uid 1 "' + b'": badness 1' * 20_000,
        b"container oom " + ID.encode() + b" (" + b"name=x, " * 20_000 + b")",
        b'time="' * 30_000 + b"TaskOOM",
        b"Warning  OOMKilling  " + b"1m (" * 30_000,
        b"node_manager.cc:1: " * 10_000 + b"(OOM)",
        b"a.service: " * 20_000 + b"'oom-kill'",
        b"VmRSS " + b" " * 200_000,
        b"\n" * 200_000 + b"oomd",
        (b"Last State:     Terminated\n" + b"Reason: OOMKilled\n") * 10_000,
        (b"GET /room/OOM oom_score_adj\n") * 20_000,
    ],
)
def test_hostile_lines_take_linear_time(line: bytes) -> None:
    """Twice the bytes take about twice the time, and never long."""
    begun = time.perf_counter()
    signs_in(line + b"\n")
    single = time.perf_counter() - begun
    begun = time.perf_counter()
    signs_in((line + b"\n") * 4)
    assert time.perf_counter() - begun < 20 * max(single, 0.05)
    assert single < 5


def test_every_log_form_is_known() -> None:
    """The wrappings of these tests reach the forms of logs that the reader knows."""
    forms = {structured.kind_of(seed.split(b"\n")[0]) for seed in SEEDS}
    assert forms == {structured.TEXT}
