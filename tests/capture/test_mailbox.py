from __future__ import annotations

import errno
import json
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakhunt.capture.enrol import clear
from leakhunt.capture.letters import (
    Registration,
    Request,
    SnapshotRequest,
    StatusRequest,
    TraceRequest,
    parse_object,
    parse_registration,
    parse_request,
    written,
)
from leakhunt.capture.mailbox import REQUEST_LIMIT, Box, boxes
from leakhunt.capture.procfs import start_ticks
from leakhunt.errors import LeakhuntError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
FIELDS = sorted({*Registration._fields, *SnapshotRequest._fields, *TraceRequest._fields, "do", "schema"})
REQUESTS = (
    st.builds(
        SnapshotRequest, st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.floats(0.1, 1e6)
    )
    | st.builds(TraceRequest, st.booleans(), st.integers(0, 65_535), st.none() | st.floats(0.1, 1e6))
    | st.just(StatusRequest())
)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """Return the box of an agent that has registered."""
    who = Registration(os.getpid(), start_ticks(os.getpid()), signal=23)
    (tmp_path / "agents" / who.folder).mkdir(parents=True)
    made = Box(str(tmp_path), who.folder)
    made.register(who)
    return made


def files(box: Box) -> list[str]:
    """Return what is in a box beside the registration."""
    return sorted(name for name in os.listdir(box.path) if name != "agent.json")


def test_a_registration_is_found_as_it_was_written(box: Box) -> None:
    """What an agent writes of itself is what the command reads."""
    (found,) = boxes(box.folder)
    assert found.registration() == Registration(os.getpid(), start_ticks(os.getpid()), signal=23)


@given(REQUESTS)
def test_a_request_arrives_as_it_was_sent(request_: Request) -> None:
    """Every request is read as it was written."""
    assert parse_request(json.dumps(written(request_)).encode()) == request_


@given(st.binary(max_size=200) | st.builds(lambda value: json.dumps(value).encode(), JSON))
def test_any_bytes_are_a_request_or_an_error(data: bytes) -> None:
    """Whatever lies in a box is understood, or refused in words."""
    with suppress(LeakhuntError):
        parse_request(data)
    parse_registration(data)


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_odd_values_are_refused(values: dict[str, object]) -> None:
    """A request with values of other kinds is refused, never half understood."""
    data = json.dumps({"do": "trace", **values}).encode()
    try:
        request = parse_request(data)
    except LeakhuntError:
        return
    for value in request:
        assert value is None or isinstance(value, (bool, int, float))
    found = parse_registration(json.dumps({"schema": 1, **values}).encode())
    assert found is None or isinstance(found.pid, int)


def test_question_and_answer(box: Box) -> None:
    """A request is taken once and leaves no file behind; its answer is known by the request's number."""
    nonce = box.ask(TraceRequest(on=True, frames=25, seconds=60.0))
    (asked,) = box.asked()
    assert (asked.nonce, asked.request) == (nonce, TraceRequest(on=True, frames=25, seconds=60.0))
    assert box.asked() == []
    box.reply(nonce, {"ok": True, "tracing": True})
    assert files(box) == [f"answer-{nonce}.json"]
    answer = Path(box.path, f"answer-{nonce}.json").read_bytes()
    assert parse_object(answer) == {"ok": True, "tracing": True}


def test_a_request_can_be_withdrawn_until_it_is_taken(box: Box) -> None:
    """Who gives up knows whether the agent has seen the request."""
    first, second = box.ask(StatusRequest()), box.ask(StatusRequest())
    assert box.withdraw(first)
    assert [asked.nonce for asked in box.asked()] == [second]
    assert not box.withdraw(second)


def test_files_are_the_owners_alone(box: Box) -> None:
    """Everything in a box has mode 0600."""
    box.ask(StatusRequest())
    box.reply("0" * 16, {"ok": True})
    modes = {os.stat(os.path.join(box.path, name)).st_mode & 0o777 for name in os.listdir(box.path)}
    assert modes == {0o600}


def test_a_large_request_is_refused(box: Box) -> None:
    """A request of some kilobytes is not read."""
    name = os.path.join(box.path, f"ask-{'a' * 16}.json")
    with open(name, "w", encoding="ascii", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write('{"do": "status", "x": "%s"}' % ("y" * REQUEST_LIMIT))
    (asked,) = box.asked()
    assert asked.request is None
    assert "larger" in asked.why
    assert files(box) == []


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_request_that_others_could_change_is_refused(box: Box, mode: int) -> None:
    """A file that somebody else may write to is nobody's request."""
    nonce = box.ask(StatusRequest())
    os.chmod(os.path.join(box.path, f"ask-{nonce}.json"), mode)
    assert [asked.request for asked in box.asked()] == [None]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_request_of_another_user_is_refused(box: Box) -> None:
    """Only the process's own user and root may ask."""
    nonce = box.ask(StatusRequest())
    os.chown(os.path.join(box.path, f"ask-{nonce}.json"), 12345, 12345)
    (asked,) = box.asked()
    assert (asked.request, asked.why) == (None, f"ask-{nonce}.json: written by somebody else")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask for another user")
def test_what_root_asks_can_be_read_by_the_worker(box: Box) -> None:
    """Root's request belongs to the owner of the box."""
    os.chown(box.path, 12345, 12345)
    nonce = box.ask(StatusRequest())
    assert os.stat(os.path.join(box.path, f"ask-{nonce}.json")).st_uid == 12345


@pytest.mark.parametrize("planted", ["symlink", "fifo", "folder"])
def test_a_planted_file_is_neither_followed_nor_waited_for(box: Box, tmp_path: Path, planted: str) -> None:
    """A symlink, a pipe or a folder in place of a request is refused at once."""
    name = os.path.join(box.path, f"ask-{'b' * 16}.json")
    if planted == "symlink":
        (tmp_path / "target").write_text('{"do": "status"}', encoding="ascii")
        os.symlink(tmp_path / "target", name)
    elif planted == "fifo":
        os.mkfifo(name)
    else:
        os.mkdir(name)
    try:
        asked = box.asked()
    except LeakhuntError:
        return
    assert all(one.request is None for one in asked)


def test_no_symlink_leads_out_of_a_strangers_root(tmp_path: Path) -> None:
    """Below another root, a folder that is a symlink is refused, wherever it points."""
    outside = tmp_path / "outside" / "agents" / "1-2"
    outside.mkdir(parents=True)
    (tmp_path / "root" / "var").mkdir(parents=True)
    (tmp_path / "root" / "var" / "leakhunt").symlink_to(tmp_path / "outside")
    with pytest.raises(LeakhuntError):
        Box("/var/leakhunt", "1-2", root=str(tmp_path / "root")).ask(StatusRequest())
    assert list(outside.iterdir()) == []
    with pytest.raises(LeakhuntError):
        Box("/var/../../outside", "1-2", root=str(tmp_path / "root")).ask(StatusRequest())


def test_a_box_that_is_not_there_is_an_error_with_its_path(tmp_path: Path) -> None:
    """What cannot be opened is told in words."""
    with pytest.raises(LeakhuntError, match="1-2: no such file or directory"):
        Box(str(tmp_path), "1-2").registration()


def test_a_registration_of_another_process_is_none(box: Box, tmp_path: Path) -> None:
    """A file copied into another box is refused."""
    other = tmp_path / "agents" / "1-2"
    other.mkdir()
    (other / "agent.json").write_bytes(Path(box.path, "agent.json").read_bytes())
    with pytest.raises(LeakhuntError, match="not the registration"):
        Box(str(tmp_path), "1-2").registration()


def test_few_answers_and_no_old_ones_are_kept(box: Box) -> None:
    """An answer that nobody took within an hour is gone when the agent looks again."""
    box.reply("0" * 16, {"ok": True})
    box.reply("1" * 16, {"ok": True})
    os.utime(os.path.join(box.path, f"answer-{'0' * 16}.json"), (0, 0))
    box.asked()
    assert files(box) == [f"answer-{'1' * 16}.json"]


def test_thousands_of_requests_are_served_in_portions(box: Box) -> None:
    """A flood of requests is worked off a few dozen at a time."""
    for _ in range(100):
        box.ask(StatusRequest())
    portions: list[int] = []
    while portions[-1:] != [0]:
        portions.append(len(box.asked()))
    assert sum(portions) == 100
    assert max(portions) <= 32


def test_boxes_of_the_dead_are_removed_when_there_are_many(tmp_path: Path) -> None:
    """From some dozens on, those whose process is gone are cleared; the living and the foreign stay."""
    alive = Registration(
        os.getpid(),
        start_ticks(os.getpid()),
        namespace=os.stat("/proc/self/ns/pid").st_ino,
        host=os.uname().nodename,
    )
    others = [alive._replace(pid=os.getpid(), start=start) for start in range(1, 100)]
    foreign = [alive._replace(start=1000, host="elsewhere"), alive._replace(start=1001, namespace=1)]
    for who in (alive, *others, *foreign):
        (tmp_path / "agents" / who.folder).mkdir(parents=True)
        Box(str(tmp_path), who.folder).register(who)
    clear(str(tmp_path))
    left = {found.name for found in boxes(str(tmp_path))}
    assert left == {who.folder for who in (alive, *foreign)}


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "make room there"), (errno.EROFS, "a folder that can be written to"), (errno.EIO, "")],
)
def test_what_cannot_be_written_has_a_remedy(
    box: Box, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    """A full disk and a read-only file system are told with what to do."""

    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(LeakhuntError, match=os.strerror(code).lower()) as caught:
        box.ask(StatusRequest())
    assert words in caught.value.hint
    assert bool(words) is bool(caught.value.hint)
    assert files(box) == []
