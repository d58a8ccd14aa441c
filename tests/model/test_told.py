from __future__ import annotations

import json
from dataclasses import fields
from datetime import datetime, timezone
from typing import Any

import pytest
from captured_tools import CACHE, HELD, TASK, TASKS, WHEN, capture
from hypothesis import given
from hypothesis import strategies as st

from leakhunt.model.capture import (
    Capture,
    Garbage,
    GarbageSite,
    Holder,
    Memory,
    Retained,
    Trim,
    TypeCount,
)
from leakhunt.model.capture_reading import parse_capture, parse_tasks
from leakhunt.model.snapshot import Frame
from leakhunt.model.task import TaskRef

MOST = (1 << 63) - 1


def test_what_a_worker_tells_is_read() -> None:
    """Times are moments in UTC, sizes are bytes, and the registry, holders, garbage and types are typed."""
    garbage = {"objects": 3, "bytes": 900, "types": [["frame", 2, 800]], "sites": [["/a.py", 5, 2, 800]]}
    told = parse_capture(
        capture(
            1,
            1300,
            memory={"rss": 7, "trim": {"rss_after": 5, "returned": 2}},
            gc={"enabled": True, "uncollectable": 0, "garbage": garbage},
            retainers=[HELD],
            types=[["dict", 5, None]],
            connections={"redis:6379": 2},
            left_out=["what the parent had"],
        )
    )
    assert told.when == datetime.fromtimestamp(WHEN + 300, timezone.utc)
    assert (told.pid, told.node, told.name, told.how) == (4242, "shop@worker-1", "ForkPoolWorker-1", "fork")
    assert told.executions == {TASK: 1300}
    assert told.tasks == (TaskRef(TASK, TASKS[TASK]["file"], 10, 20),)  # type: ignore[arg-type]
    assert told.memory == Memory(rss=7, trim=Trim(5, 2))
    assert told.garbage == Garbage(
        3, 900, (TypeCount("frame", 2, 800),), (GarbageSite(Frame("/a.py", 5), 2, 800),)
    )
    chain = ("list (3812 items)", "module global shop.cache._seen")
    holder = Holder("shop.cache._seen", "list", 3812, 1.0, chain)
    assert told.retained == (Retained(Frame(*CACHE), 50, (holder,)),)
    assert told.types == (TypeCount("dict", 5, None),)
    assert told.connections == {"redis:6379": 2}
    assert told.left_out == ("what the parent had",)
    assert told.gc_enabled is True


def test_nothing_told_is_nothing_known() -> None:
    """An empty dict, or none of the registry, gives the values of nobody having told."""
    assert parse_capture({}) == Capture()
    assert parse_tasks(None) == ()


@pytest.mark.parametrize(
    "value",
    [True, False, -1, MOST + 1, 10**400, 1.5, "7", None, [], {}],
    ids=lambda value: f"{type(value).__name__}-{str(value)[:12]}",
)
def test_what_is_no_count_is_unknown(value: object) -> None:
    """A bool, a negative, a huge or a broken number, or another type, is as if it were not there."""
    raw = {"pid": value, "memory": {"rss": value}, "executions": {"a": value, "b": 2}, "number": value}
    told = parse_capture(raw)
    assert (told.pid, told.memory.rss, told.number) == (None, None, None)
    assert told.executions == {"b": 2}


@pytest.mark.parametrize("value", [True, 0, -5.0, 1e300, 10**400, "2026", float("nan"), float("inf"), None])
def test_what_is_no_moment_is_unknown(value: object) -> None:
    """A time that is no number, before the epoch or behind the year 9999 is unknown."""
    assert parse_capture({"when": value}).when is None


@pytest.mark.parametrize("value", ["", "a\x1b[2J", "a\nb", "\u202eb", "\ud800", "x" * 1001, 5, b"a", None])
def test_what_is_no_name_is_unknown(value: object) -> None:
    """A text that is empty, too long or has control characters names no process and no holder."""
    told = parse_capture(
        {"node": value, "retainers": [{"file": "/a.py", "line": 1, "held_by": [{"name": value}]}]}
    )
    assert told.node is None
    assert told.retained == (Retained(Frame("/a.py", 1), None, ()),)


def test_a_file_s_name_is_as_the_traces_have_it() -> None:
    """Files and tasks keep odd characters, or they would not be found in the traces."""
    odd = "/srv/a\nb.py"
    raw = {"tasks": {"a\nb": {"file": odd, "first": 1, "last": 2}}, "retainers": [{"file": odd, "line": 3}]}
    told = parse_capture(raw)
    assert told.tasks == (TaskRef("a\nb", odd, 1, 2),)
    assert told.retained[0].frame == Frame(odd, 3)


def test_the_holder_that_holds_most_is_first() -> None:
    """Holders are ordered by their share; one of unknown share comes last."""
    held = [
        {"name": "a"},
        {"name": "b", "share": 0.2},
        {"name": "c", "share": 0.8},
        {"name": "d", "share": 2},
    ]
    told = parse_capture({"retainers": [{"file": "/a.py", "line": 1, "held_by": held}]})
    assert [holder.name for holder in told.retained[0].holders] == ["c", "b", "a", "d"]


def test_long_lists_are_cut() -> None:
    """A list of a million types costs no more than one of a hundred."""
    told = parse_capture({"types": [["a", 1, 1]] * 1_000_000, "left_out": ["a"] * 1_000_000})
    assert (len(told.types), len(told.left_out)) == (100, 100)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["/srv/app/shop/cache.py", 10**500, -(10**500), 1 << 63]),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.text(max_size=3) | st.sampled_from(["file", "line", "held_by", "name", "sites"]), inner
        )
    ),
    max_leaves=12,
)
KEYS = ("schema", "tracing", "gc", "memory", "types", "retainers", "connections", "threads", "open_files", *(
    field.name for field in fields(Capture)
))  # fmt: skip


@given(st.dictionaries(st.sampled_from(KEYS), PLAIN))
def test_any_plain_data_is_read(raw: dict[str, Any]) -> None:
    """Whatever stands beside the traces gives a value: no exception, and no number or text out of its bounds."""
    told = parse_capture(raw)
    for field in fields(Memory):
        size = getattr(told.memory, field.name)
        assert size is None or field.name == "trim" or (type(size) is int and 0 <= size <= MOST)
    for count in (told.executions or {}).values():
        assert type(count) is int
        assert 0 <= count <= MOST
    assert told.when is None or told.when.tzinfo is timezone.utc
    assert all(name.isprintable() for name in (told.node, told.name, told.host) if name is not None)
    hash(told.retained)


@given(
    st.sampled_from(["retainers", "types", "tasks", "gc", "memory", "executions"]),
    st.lists(PLAIN, max_size=4),
    st.dictionaries(st.text(max_size=3), PLAIN, max_size=4),
)
def test_broken_entries_leave_the_whole_ones(key: str, rows: list[Any], entries: dict[str, Any]) -> None:
    """What is whole beside what is broken is read all the same."""
    whole: dict[str, Any] = {
        "retainers": [*rows, HELD],
        "types": [*rows, ["dict", 1, 2]],
        "tasks": {**entries, **TASKS},
        "gc": {**entries, "garbage": {"objects": 1, "bytes": 2, "sites": rows}},
        "memory": {**entries, "rss": 5},
        "executions": {**entries, TASK: 7},
    }
    told = parse_capture({key: whole[key]})
    assert {
        "retainers": Frame(*CACHE) in {one.frame for one in told.retained},
        "types": TypeCount("dict", 1, 2) in told.types,
        "tasks": TASK in {task.name for task in told.tasks},
        "gc": told.garbage is not None and told.garbage.size == 2,
        "memory": told.memory.rss == 5,
        "executions": (told.executions or {}).get(TASK) == 7,
    }[key]


def test_the_example_is_plain_data() -> None:
    """What these tests take for a worker's words can be written as JSON, as the real ones can."""
    assert json.loads(json.dumps(capture(1, 5)))["pid"] == 4242
