from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import ROOT, subprocess_environment

from leakhunt.capture.facts import collecting as facts
from leakhunt.capture.facts import handles, memory
from leakhunt.capture.facts.identity import Identity

SCHEMA = json.loads((ROOT / "leakhunt/schemas/capture-1.json").read_text(encoding="utf-8"))
TASKS = {"shop.pay": {"file": "/srv/shop/tasks.py", "first": 3, "last": 9}}


def collect(*, deep: bool, seconds: float = 60.0, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - passed on
    """Collect what is known of this process."""
    return facts.collect(
        Identity.here(),
        {"since": None, "frames": 0, "inherited": "none"},
        {"shop.pay": 3},
        TASKS,
        deep=deep,
        retainers=True,
        trim=False,
        deadline=time.monotonic() + seconds,
        **more,
    )


def valid(found: object) -> None:
    """Hold a dict to the schema."""
    jsonschema.validate(found, SCHEMA)


def test_the_schema_is_one() -> None:
    """The schema is itself valid."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("deep", [False, True])
def test_the_dict_is_as_the_schema_has_it(*, deep: bool) -> None:
    """What is collected, deep or not, is plain data of the schema's shape, and JSON gives it back the same."""
    found = collect(deep=deep, number=4, reason="every")
    valid(found)
    assert json.loads(json.dumps(found)) == found
    assert (found["number"], found["reason"], found["how"]) == (4, "every", "in process")
    assert found["tasks"] == TASKS
    assert found["executions"] == {"shop.pay": 3}
    assert bool(found["types"]) == deep
    assert gc.isenabled()


def test_in_process_it_is_quick() -> None:
    """Without looking at objects it takes a few milliseconds, of the processor's time."""
    Identity.here()
    begun = time.process_time()
    for _ in range(10):
        collect(deep=False)
    assert (time.process_time() - begun) / 10 < 0.1


def test_without_time_the_rest_is_there() -> None:
    """Where the time is over before it begins, what costs nothing is told, and what is missing is said."""
    found = collect(deep=True, seconds=-1)
    valid(found)
    assert found["memory"]["blocks"]
    assert found["gc"]["garbage"] is None
    assert any(why.startswith("garbage: ") for why in found["left_out"])
    assert any(why.startswith("types") for why in found["left_out"])


def test_a_failure_leaves_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails is left out with its reason, and nothing is raised."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(memory, "ledger", fail)
    monkeypatch.setattr(handles, "handles", fail)
    found = collect(deep=False)
    valid(found)
    assert found["left_out"] == ["memory: ZeroDivisionError", "open files: ZeroDivisionError"]


def test_the_collectors_state_may_be_given() -> None:
    """In a forked child the collector is off; what it was in the worker is passed on."""
    assert collect(deep=False, gc_enabled=False)["gc"]["enabled"] is False


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_connections_files_and_threads(tmp_path: Path) -> None:
    """Connections are counted by peer, files on a disk and threads are named, without what looks like a secret."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="consumer-7 ghp_0123456789abcdef0123456789")
    thread.start()
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            (tmp_path / "work.log").open("w"),
            (tmp_path / "alice@example.com").open("w"),
        ):
            port = server.getsockname()[1]
            clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
            one, other = socket.socketpair()
            found = collect(deep=False)
            for each in (*clients, one, other):
                each.close()
    finally:
        stop.set()
        thread.join()
    assert found["connections"][f"127.0.0.1:{port}"] == 3
    assert found["connections"]["unix"] >= 2
    assert str(tmp_path / "work.log") in found["open_files"]
    assert {"MainThread", "consumer-7 ***"} <= set(found["threads"])
    assert str(tmp_path / "***") in found["open_files"]
    assert found["files"] >= 8


FORKED = """
import json, os, sys, threading, time
from leakhunt.capture.facts import collecting as facts
from leakhunt.capture.facts.identity import Identity
stop = threading.Event()
thread = threading.Thread(target=stop.wait, name="heartbeat")
thread.start()
here = Identity.here()
child = os.fork()
if child == 0:
    found = facts.collect(here, {}, {}, {}, deep=True, retainers=True, trim=True, deadline=time.monotonic() + 60)
    print(json.dumps(found), flush=True)
    os._exit(0)
os.waitpid(child, 0)
stop.set()
thread.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_a_forked_child_tells_of_its_parent() -> None:
    """In a forked child all is of the worker: its pid, its memory, its threads that the child has not got."""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", FORKED],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=subprocess_environment(),
    ) as process:
        out, _ = process.communicate()
    found = json.loads(out)
    valid(found)
    assert found["pid"] == process.pid
    assert found["ppid"] == os.getpid()
    assert found["how"] == "fork"
    assert {"MainThread", "heartbeat"} <= set(found["threads"])
    assert found["memory"]["arenas"]
    assert found["gc"]["garbage"]["objects"] >= 0


def test_nothing_is_imported_at_capture() -> None:
    """All modules that a deep capture needs are loaded before it."""
    code = """
import os, sys, time, tracemalloc
from leakhunt.capture.facts import collecting as facts, tasks
from leakhunt.capture.facts.identity import Identity
tracemalloc.start(5)
here = Identity.here()
child = os.fork()
if child == 0:
    before = set(sys.modules)
    facts.collect(here, {}, {}, {}, deep=True, retainers=True, trim=True, deadline=time.monotonic() + 60)
    print(sorted(set(sys.modules) - before), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        text=True,
        cwd=ROOT,
        env=subprocess_environment(),
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "peer"),
    [
        ("0703000A:18EB", "10.0.3.7:6379"),
        ("B80D0120000000000000000001000000:1F90", "[2001:db8::1]:8080"),
        ("0000000000000000FFFF00000703000A:18EB", "10.0.3.7:6379"),
        ("junk", "?"),
        (":", "?"),
    ],
)
@pytest.mark.skipif(sys.byteorder != "little", reason="the kernel writes in the machine's order")
def test_addresses_are_read_as_the_kernel_writes_them(words: str, peer: str) -> None:
    """Peers are addresses and ports of either family; what is none is a question mark."""
    assert handles.peer_of(words) == peer
