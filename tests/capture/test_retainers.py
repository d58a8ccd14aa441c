from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, subprocess_environment

LEAKS = """
import collections, contextvars, functools, threading, weakref

pages = []
def module_list(n):
    pages.append(bytearray(4000))  # module_list

entries = {}
def dict_cache(n):
    entries[n] = b"x" * 3000 + str(n).encode()  # dict_cache

class Invoice:
    instances = []
    def __init__(self, n):
        self.document = bytearray(3500)  # class_registry
        Invoice.instances.append(self)

callbacks = []
def ship(n):
    label = bytearray(4500)  # callbacks
    def reprint():
        return label
    callbacks.append(reprint)

@functools.lru_cache(maxsize=None)
def table(n):
    return {q: "v%d" % (q * n) * 20 for q in range(20)}  # lru_cache

@functools.lru_cache(maxsize=10000)
def bounded(n):
    return ["b%d" % n * 400]  # lru_bounded

local = threading.local()
local.rows = []
def keep(n):
    local.rows.append("row %d" % n * 300)  # thread_local

refused = []
class GatewayError(Exception):
    pass
def charge(n):
    request = bytearray(24000)  # kept_exceptions
    raise GatewayError("no")
def pay(n):
    try:
        charge(n)
    except GatewayError as error:
        refused.append(error)

class Registry:
    def __init__(self):
        self._seen = []
registry = Registry()
def note(n):
    registry._seen.append("seen %d" % n * 200)  # attribute

class Slotted:
    __slots__ = ("log",)
slotted = Slotted()
slotted.log = collections.deque()
def slot(n):
    slotted.log.append("slot %d" % n * 200)  # slot

var = contextvars.ContextVar("request_log")
var.set([])
def log(n):
    var.get().append("log %d" % n * 200)  # context

def memo(f):
    cache = {}
    @functools.wraps(f)
    def inner(n):
        if n not in cache:
            cache[n] = f(n)
        return cache[n]
    return inner
@memo
def square(n):
    return "sq %d" % n * 400  # closure

def collecting(n, seen=[]):
    seen.append("d %d" % n * 400)  # default

generators = []
def steps(n):
    big = bytearray(2500)  # generator
    yield big
def generate(n):
    generators.append(steps(n))
    next(generators[-1])

numbers = []
def feed(n):
    for _ in range(300):
        numbers.append(None)  # feeder

CONFIG = {i: i for i in range(40)}
CONFIG["deep"] = {"cache": []}
def nested(n):
    CONFIG["deep"]["cache"].append("conf %d" % n * 250)  # nested

class Key:
    pass
keys = []
meta = weakref.WeakKeyDictionary()
def weak(n):
    keys.append(Key())
    meta[keys[-1]] = "meta %d" % n * 300  # weak

class Node:
    pass
def cycle(n):
    node = Node()
    node.me = node
    node.blob = bytearray(1900)  # garbage

by_customer = {n: [] for n in range(7)}
def per_customer(n):
    by_customer[n % 7].append("order %d" % n * 350)  # groups

sessions = {"sk_live_hunter2": {"hist": []}}
def log_in(n):
    sessions["sk_live_hunter2"]["hist"].append("visit %d" % n * 260)  # session
mails = {"alice": {"letters": []}, "bob@example.com": {}}
def mail(n):
    mails["alice"]["letters"].append("mail %d" % n * 280)  # mail
key = 10 ** 6000
vault = {key: []}
def store(n):
    vault[key].append("coin %d" % n * 290)  # vault
class Bag:
    pass
bag = Bag()
bag.__dict__["alice@example.com"] = []
def pack(n):
    bag.__dict__["alice@example.com"].append("thing %d" % n * 240)  # attribute_data

class Loud:
    def __getattribute__(self, name): raise SystemExit(3)
    def __len__(self): raise SystemExit(3)
    def __repr__(self): raise SystemExit(3)
    def __hash__(self): raise SystemExit(3)
    def __eq__(self, other): raise SystemExit(3)
    def __iter__(self): raise SystemExit(3)
    def __getitem__(self, key): raise SystemExit(3)
    __class__ = property(lambda self: 1 / 0)
    __dict__ = property(lambda self: 1 / 0)
class LoudList(list, Loud):
    __class__ = property(lambda self: 1 / 0)
    __len__ = __iter__ = __getitem__ = lambda *_: 1 / 0
louds = LoudList()
def loud(n):
    made = object.__new__(Loud)
    list.append(louds, [made, "loud %d" % n * 300])  # loud

every = [module_list, dict_cache, Invoice, ship, table, bounded, keep, pay, note, slot, log, square, collecting,
         generate, feed, nested, weak, cycle, per_customer,
         log_in, mail, store, pack, loud]
"""

PROGRAM = """
import gc, json, os, sys, time, tracemalloc
from leakhunt.capture.facts import collecting as facts
from leakhunt.capture.facts.identity import Identity
sys.path.insert(0, sys.argv[1])
import leaks
gc.disable()
tracemalloc.start(8)
for n in range(300):
    for leak in leaks.every:
        leak(n)
here = Identity.here()
def handler():
    bag = [bytearray(50_000) for _ in range(40)]  # local
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            deadline = time.monotonic() + 60
            found = facts.collect(here, {}, {}, {}, deep=True, retainers=True, trim=True, deadline=deadline)
            print(json.dumps(found), flush=True)
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
handler()
"""

HELD = {
    "module_list": ("leaks.pages", "list", 300),
    "dict_cache": ("leaks.entries", "dict", 300),
    "class_registry": ("leaks.Invoice.instances", "list", 300),
    "callbacks": ("leaks.callbacks", "list", 300),
    "lru_cache": ("functools.lru_cache of leaks.table", "functools._lru_cache_wrapper", 300),
    "lru_bounded": ("functools.lru_cache of leaks.bounded", "functools._lru_cache_wrapper", 300),
    "thread_local": ("leaks.local.rows", "list", 300),
    "kept_exceptions": ("leaks.refused", "list", 300),
    "attribute": ("leaks.registry._seen", "list", 300),
    "slot": ("leaks.slotted.log", "collections.deque", 300),
    "context": ("context variable request_log", "list", 300),
    "closure": ("closure variable cache of leaks.square", "dict", 300),
    "default": ("default argument seen of leaks.collecting", "list", 300),
    "generator": ("leaks.generators", "list", 300),
    "feeder": ("leaks.numbers", "list", 90_000),
    "nested": ("leaks.CONFIG['deep']['cache']", "list", 300),
    "weak": ("leaks.meta.data", "dict", 300),
    "groups": ("leaks.by_customer", "dict", 7),
    "session": ("leaks.sessions[...]['hist']", "list", 300),
    "mail": ("leaks.mails[...]['letters']", "list", 300),
    "vault": ("leaks.vault[...]", "list", 300),
    "attribute_data": ("leaks.bag.?", "list", 300),
    "loud": ("leaks.louds", "leaks.LoudList", 300),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what is known of a worker that leaks in every way; its holders by the mark of the line."""
    folder = tmp_path_factory.mktemp("app")
    (folder / "leaks.py").write_text(LEAKS)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        capture_output=True,
        check=False,
        text=True,
        cwd=ROOT,
        env=subprocess_environment(),
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    lines = LEAKS.splitlines()
    told["by_mark"] = {
        lines[row["line"] - 1].partition("# ")[2]: row
        for row in told["retainers"]
        if Path(row["file"]).name == "leaks.py"
    }
    return told


@pytest.mark.parametrize("mark", [*HELD])
def test_the_holder_has_its_name(found: dict[str, Any], mark: str) -> None:
    """What a leak keeps is followed to the name of what keeps it."""
    row = found["by_mark"][mark]
    assert row["sampled"]
    first = row["held_by"][0]
    assert (first["name"], first["type"], first["len"]) == HELD[mark]
    assert first["share"] == 1.0
    assert first["chain"]


def test_no_key_that_may_be_data_is_told(found: dict[str, Any]) -> None:
    """Session tokens, e-mail addresses and large numbers under which a program keeps its objects are nowhere in the facts."""
    told = json.dumps({key: value for key, value in found.items() if key != "by_mark"})
    assert not any(data in told for data in ("hunter2", "alice", "bob@", "00000000000"))


def test_the_chain_tells_the_way(found: dict[str, Any]) -> None:
    """The chain names each holder from the object up to the place that has a name."""
    chain = found["by_mark"]["kept_exceptions"]["held_by"][0]["chain"]
    assert chain[0].startswith("local request of charge (leaks.py:")
    assert chain[-3:] == ["leaks.GatewayError", "list (300 items)", "module global leaks.refused"]
    chain = found["by_mark"]["callbacks"]["held_by"][0]["chain"]
    assert chain[0] == "function leaks.ship.<locals>.reprint"
    assert found["by_mark"]["module_list"]["held_by"][0]["chain"] == [
        "list (300 items)",
        "module global leaks.pages",
    ]


def test_garbage_has_no_holder(found: dict[str, Any]) -> None:
    """What only waits for a collection is said to be garbage."""
    row = found["by_mark"]["garbage"]
    assert row["held_by"][0]["name"] == "garbage: a cycle that the next collection frees"
    assert found["gc"]["garbage"]["types"][0][:2] == ["bytearray", 300]
    site = found["gc"]["garbage"]["sites"][0]
    assert LEAKS.splitlines()[site[1] - 1].endswith("# garbage")


def test_a_running_function_is_a_holder(found: dict[str, Any]) -> None:
    """What a function that runs has in a variable is held by that variable."""
    rows = [row for row in found["retainers"] if row["file"] == "<string>"]
    names = [held["name"] for row in rows for held in row["held_by"]]
    assert any(name.startswith("local bag of handler") for name in names)


def test_sizes_are_those_of_the_traces(found: dict[str, Any]) -> None:
    """A line's bytes and blocks are what tracemalloc has for it."""
    row = found["by_mark"]["module_list"]
    assert 300 * 4000 <= row["size"] <= 310 * 4100
    assert 600 <= row["count"] <= 602
    assert found["left_out"] == []
