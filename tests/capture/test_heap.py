from __future__ import annotations

import gc
import sys
import time
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest

from leakhunt.capture.facts import garbage, heap

FOREVER = 1e18
KIB = 1024


@pytest.fixture(autouse=True)
def _undisturbed() -> Iterator[None]:
    """Leave no garbage from before, collect none meanwhile, and let no other thread of the tests make any."""
    for _ in range(3):
        gc.collect()
    gc.disable()
    usual = sys.getswitchinterval()
    sys.setswitchinterval(60)
    yield
    sys.setswitchinterval(usual)
    gc.enable()


class Node:
    """An object with attributes."""

    other: Any = None
    payload: Any = None


class Loud:
    """An object whose every code would be noticed."""

    def __getattribute__(self, name: str) -> NoReturn:
        raise AssertionError(name)

    def __len__(self) -> NoReturn:
        raise AssertionError

    def __repr__(self) -> NoReturn:
        raise AssertionError

    def __sizeof__(self) -> NoReturn:
        raise AssertionError

    def __hash__(self) -> NoReturn:
        raise AssertionError

    def __eq__(self, other: object) -> NoReturn:
        raise AssertionError

    def __bool__(self) -> NoReturn:
        raise AssertionError

    __class__ = property(lambda _self: 1 / 0)  # a lie


class LoudKind(type):
    """A metaclass whose every code would be noticed."""

    def __getattribute__(cls, name: str) -> NoReturn:
        raise AssertionError(name)

    def __hash__(cls) -> NoReturn:
        raise AssertionError

    def __eq__(cls, other: object) -> NoReturn:
        raise AssertionError

    def __instancecheck__(cls, instance: object) -> NoReturn:
        raise AssertionError


def cycle(payload: int = 10 * KIB) -> None:
    """Leave two objects that refer to each other, and what they hold."""
    one, other = Node(), Node()
    one.other, other.other = other, one
    one.payload = bytearray(payload)


def kept_exception() -> None:
    """Leave what celery/celery#6023 is about: exception, traceback, frame, and the frame's locals."""

    def fail() -> None:
        payload = bytearray(100 * KIB)
        raise ValueError(len(payload))

    try:
        fail()
    except ValueError as error:
        kept = error
        kept.__context__ = None
        holder = [kept]
        holder.append(holder)  # type: ignore[arg-type]


def finalized() -> None:
    """Leave a cycle with a finalizer, which is not run by counting."""

    class Final(Node):
        def __del__(self) -> None:
            ran.append(1)

    one = Final()
    one.other = one
    del one
    Final.payload = None


def generator() -> None:
    """Leave a generator that stands still and holds itself."""

    def steps() -> Iterator[int]:
        mine = bytearray(5 * KIB)
        yield len(mine)
        yield len(holder)

    holder: list[Any] = []
    holder.append(steps())
    next(holder[0])


def nested_texts() -> None:
    """Leave a cycle that holds containers of texts that the collector does not track."""
    one = Node()
    one.other = one
    one.payload = {"a": ("x" * 5000, "y" * 5000), "b": b"z" * 9000}


def untracked_tuples() -> None:
    """Leave a cycle that holds tuples, of which a collection has found that they need no tracking."""
    one = Node()
    one.other = one
    one.payload = [("w" * 3000, number) for number in range(5)]


ran: list[int] = []
SHAPES: list[Callable[[], None]] = [
    cycle,
    kept_exception,
    finalized,
    nested_texts,
    untracked_tuples,
]


@pytest.mark.parametrize("leave", SHAPES)
def test_what_is_counted_is_what_a_collection_frees(leave: Callable[[], None]) -> None:
    """The number of objects that are counted as garbage is the number that ``gc.collect`` then tells."""
    gc.collect()  # what other tests left
    leave()
    ran.clear()
    found = garbage.find(heap.walk(FOREVER), FOREVER)
    tracked = len(found.tracked)
    assert tracked
    del found
    assert not ran
    # Before Python 3.11 looking may leave a thing or two of its own.
    assert abs(gc.collect() - tracked) <= (2 if sys.version_info < (3, 11) else 0)


def test_a_generator_that_holds_itself_is_garbage() -> None:
    """A generator in a cycle is counted with its locals; a collection closes it, and leaves nothing of it."""
    generator()
    found = garbage.find(heap.walk(FOREVER), FOREVER)
    assert any(type(thing) is bytearray for thing in found.released)
    del found
    gc.collect()
    assert garbage.find(heap.walk(FOREVER), FOREVER).tracked == []


def test_the_payload_of_garbage_counts() -> None:
    """What only garbage refers to is counted with it: bytes, texts, and containers of them."""
    cycle(123 * KIB)
    kept_exception()
    nested_texts()
    told: dict[str, Any] = garbage.summary(garbage.find(heap.walk(FOREVER), FOREVER), FOREVER)
    sizes = {name: size for name, _, size in told["types"]}
    assert sizes["bytearray"] >= 223 * KIB
    assert 10_000 < sizes["str"] < 12_000
    assert sizes["bytes"] == sys.getsizeof(b"z" * 9000)
    assert told["bytes"] >= sum(sizes.values())


def test_the_lines_of_much_garbage_are_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more garbage than is looked up, some is, from all over it, and stands for the rest."""
    monkeypatch.setattr(garbage, "_MOST_LOOKUPS", 500)
    gc.collect()
    tracemalloc.start()
    for _ in range(2_000):
        one: list[Any] = []
        one.append(one)
    del one
    try:
        told: dict[str, Any] = garbage.summary(garbage.find(heap.walk(FOREVER), FOREVER), FOREVER)
    finally:
        tracemalloc.stop()
        gc.collect()
    lists = sum(count for file, _, count, _ in told["sites"] if file == __file__)
    assert lists == pytest.approx(2_000, rel=0.2)


def test_what_is_held_is_no_garbage() -> None:
    """Cycles that a local variable, a running generator, a weak callback's owner or C holds are no garbage."""
    one = Node()
    one.other = one

    def steps() -> Iterator[Node]:
        mine = Node()
        mine.other = mine
        yield mine

    running = steps()
    next(running)
    in_c = iter([one, (lambda: one)])
    mapped = map(lambda node: node.other, [one])  # noqa: C417 - held by an object of C
    watch = weakref.finalize(one, ran.clear)
    held: list[Any] = [one, running, in_c, mapped]
    for _ in range(3):
        held += gc.get_referents(*held)
    ours = set(map(id, held))
    del held
    # What another thread makes at this moment, as the test runner's may, nothing seems to hold.
    assert ours.isdisjoint(map(id, garbage.find(heap.walk(FOREVER), FOREVER).tracked))
    assert next(in_c) is one
    assert next(mapped) is one
    watch.detach()


def test_a_held_payload_is_no_garbage() -> None:
    """What garbage refers to and somebody else too is not counted."""
    text = "q" * 50_000 + str(time.time())
    one = Node()
    one.other, one.payload = one, [text]
    del one
    found = garbage.find(heap.walk(FOREVER), FOREVER)
    assert len(found.tracked) in {2, 3}  # the object, its dict where it has one, the list
    assert not any(thing is text for thing in found.released)


def test_no_code_of_the_program_runs() -> None:
    """Objects and classes that fail at any touch are counted with all others."""
    kept = [object.__new__(Loud) for _ in range(1000)]
    made: Any = LoudKind("Made", (), {"__sizeof__": lambda _: 1 / 0})
    kept += [object.__new__(made) for _ in range(1000)]
    everything = heap.walk(FOREVER)
    counts = {kind.name: kind.objects for kind in heap.kinds((everything.objects, everything.atoms), FOREVER)}
    garbage.find(everything, FOREVER)
    assert counts[f"{__name__}.Loud"] == 1000
    assert counts[f"{__name__}.Made"] == 1000


def test_types_are_counted() -> None:
    """Objects are counted with their own bytes, those that the collector does not track too."""
    kept = [Node() for _ in range(5000)]
    texts = [f"text number {number}" for number in range(7000)]
    everything = heap.walk(FOREVER)
    found = {kind.name: kind for kind in heap.kinds((everything.objects, everything.atoms), FOREVER)}
    assert found[f"{__name__}.Node"].objects == len(kept)
    assert found[f"{__name__}.Node"].size == 5000 * sys.getsizeof(kept[0])
    assert found["str"].objects > len(texts)
    assert len(heap.largest(list(found.values()))) == min(50, len(found))
    assert f"{__name__}.Node" in {row[0] for row in heap.largest(list(found.values()))}


def test_a_deadline_is_kept() -> None:
    """Where the time is over a walk is cut and says so, and the counts are refused."""
    everything = heap.walk(0)
    assert not everything.complete
    with pytest.raises(heap.OutOfTimeError):
        garbage.find(everything, 0)
    with pytest.raises(heap.OutOfTimeError):
        heap.kinds((everything.objects,), 0)
    assert not heap.walk(FOREVER, most=10).complete
