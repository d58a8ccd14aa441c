"""A pickle reader that can build nothing but text, numbers, tuples, lists and dicts.

A tracemalloc dump is a pickle, and a pickle is a program. This machine knows the opcodes that dumps use and no
others; the classes a dump names are answered by inert stand-ins; nothing is imported, called or hashed that the
file chose. The list of traces goes to a :class:`TraceSink` as it is read and never becomes a list.
Source of the opcodes: CPython's ``Lib/pickletools.py``; of the shape of a dump: ``Lib/tracemalloc.py``.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any, Protocol

from leakhunt.readers.window import Window

SNAPSHOT = "tracemalloc.Snapshot"
TRACES = "tracemalloc._Traces"
_RECONSTRUCTORS = frozenset({"copy_reg._reconstructor", "copyreg._reconstructor"})
_OBJECTS = frozenset({"__builtin__.object", "builtins.object"})
_KNOWN_GLOBALS = frozenset({SNAPSHOT, TRACES}) | _RECONSTRUCTORS | _OBJECTS

_MAX_STEPS = (
    600_000  # opcodes outside the traces, or in one trace: a traceback of 100,000 frames needs 400,000
)
_MAX_TEXT = 1 << 20
_MAX_MARKS = 64
_MAX_DIGITS = 40

_STOP, _APPENDS = ord("."), ord("e")
_MEMO_OPCODES = frozenset(b"\x94qrp")
_DUPS = re.compile(b"2*")


class NotADump(Exception):  # noqa: N818 - a finding about the input, worded for the user
    """The bytes are no tracemalloc dump; the text says why."""


class MemoDropped(Exception):  # noqa: N818 - asks for a second reading
    """The file refers to a value that bulk reading did not keep; read it again without."""


class Inert:
    """Stands in for an object that a dump describes: the name of its class, and its state as plain data."""

    __slots__ = ("name", "state")

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: dict[str, Any] = {}


class Sink(Protocol):
    """Takes the traces of a dump one by one, or many at once straight from the bytes."""

    def add(self, trace: tuple[Any, ...], count: int = 1) -> None:
        """Take one trace, or several that are equal; raises NotADump when it is none."""

    def recall(self, index: int) -> object | None:
        """Return what bulk reading memoized at an index, or None where it did not keep it."""

    def add_bulk(self, machine: Machine) -> None:
        """Take as many whole traces as stand in the window in their usual form, none if there are none."""


class Machine:
    """Runs one pickle.

    Attributes:
        window: the bytes.
        memo: the values the pickle may refer to again.
        memo_size: how many values it has memoized, those dropped by bulk reading included.
        dropped: whether bulk reading dropped any.
        new_tuples: memo indexes of the tuples memoized since bulk reading looked last.
        traces: the sink, once the list of traces has begun.
    """

    def __init__(self, window: Window, new_sink: Callable[[], Sink]) -> None:
        self.window = window
        self.memo: dict[int, Any] = {}
        self.memo_size = 0
        self.dropped = False
        self.new_tuples: list[int] = []
        self.traces: Sink | None = None
        self._new_sink = new_sink
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._steps = 0
        self._reading_traces = False

    def run(self) -> object:
        """Run to the end and return the one value the pickle describes.

        Raises:
            NotADump: the pickle holds anything a dump does not.
            MemoDropped: bulk reading dropped a value that is needed.
            Cut: the input ended.
        """
        try:
            while (opcode := self.window.take(1)[0]) != _STOP:
                self._step(opcode)
            return self._stack[-1]
        except (IndexError, ValueError, OverflowError, struct.error) as error:
            raise NotADump("its pickle is malformed") from error

    def recall(self, index: int) -> object:
        """Return a memoized value.

        Raises:
            MemoDropped: bulk reading passed over it.
            NotADump: there is none.
        """
        try:
            return self.memo[index]
        except KeyError:
            if self.dropped and self.traces and index < self.memo_size:
                value = self.traces.recall(index)
                if value is None:
                    raise MemoDropped from None
                return value
            raise NotADump("its pickle refers to a value it does not hold") from None

    def _step(self, opcode: int) -> None:
        self._steps += 1
        if self._steps > _MAX_STEPS:
            raise NotADump("it holds more than a snapshot does")
        handler = _HANDLERS.get(opcode)
        if handler is None:
            raise NotADump(f"its pickle uses opcode 0x{opcode:02x} at byte {self.window.offset - 1}")
        handler(self)

    def _read_traces(self, sink: Sink) -> None:
        """Feed the sink up to the end of this batch; a lone tuple that is not being memoized is a whole trace.

        A DUP behind it, which only leakhunt writes, is that trace once more; everywhere else a DUP is refused.
        A lone trace is appended without a batch: then the mark was its own, and is gone when it is whole.
        """
        base = self._stack
        depth = len(self._marks)
        window = self.window
        while len(self._marks) >= depth:
            if self._stack is base:
                if not base:
                    sink.add_bulk(self)
                opcode = window.take(1)[0]
                if len(base) == 1 and type(base[0]) is tuple and opcode not in _MEMO_OPCODES:
                    trace = base.pop()
                    sink.add(trace)
                    self._steps = 0
                    window.pos -= 1
                    while more := window.take_run(_DUPS):
                        sink.add(trace, more)
                    continue
                if opcode == _APPENDS:
                    if base:
                        raise NotADump("its list of traces holds something else")
                    self._stack = self._marks.pop()
                    return
            else:
                opcode = window.take(1)[0]
            self._step(opcode)

    # The opcodes. Each takes what it needs from the window and the stack.

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _mark(self) -> None:
        if len(self._marks) >= _MAX_MARKS:
            raise NotADump("it is nested deeper than a snapshot is")
        below = self._stack[-1] if self._stack else None
        self._marks.append(self._stack)
        self._stack = []
        if below is not None and below is self.traces:
            if self._reading_traces:
                raise NotADump("its list of traces holds something else")
            self._reading_traces = True
            self._read_traces(self.traces)
            self._reading_traces = False

    def _pop_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._marks.pop()
        return items

    def _memoize(self, index: int) -> None:
        value = self._stack[-1]
        dropped = self.dropped and index < self.memo_size
        if dropped or self.memo.setdefault(index, value) is not value:
            raise NotADump("its pickle defines one value twice")
        self.memo_size += 1
        if type(value) is tuple:
            self.new_tuples.append(index)

    def _text(self, size: int) -> None:
        if size > _MAX_TEXT:
            raise NotADump(f"it holds a text of {size} bytes")
        self._push(self.window.take(size).decode("utf-8", "surrogatepass"))

    def _line(self) -> bytes:
        return self.window.take_line(_MAX_TEXT)

    def _digits(self) -> int:
        line = self._line()
        if len(line) > _MAX_DIGITS:
            raise NotADump("it holds a number of absurd length")
        return int(line)

    def _int_line(self) -> None:
        line = self._line()
        if line in (b"00", b"01"):
            self._push(line == b"01")
        elif len(line) > _MAX_DIGITS:
            raise NotADump("it holds a number of absurd length")
        else:
            self._push(int(line.rstrip(b"L")))

    def _global(self, module: object, name: object) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise NotADump("its pickle is malformed")
        path = f"{module}.{name}"
        if path not in _KNOWN_GLOBALS:
            raise NotADump(f"its pickle names {ascii(path[:200])[1:-1]}")
        self._push(Inert(path))

    def _new(self, cls: object, args: object) -> None:
        if not (isinstance(cls, Inert) and cls.name in (SNAPSHOT, TRACES) and args == ()):
            raise NotADump("its pickle builds something else")
        self._push(Inert(cls.name))

    def _newobj(self) -> None:
        args = self._stack.pop()
        self._new(self._stack.pop(), args if type(args) is tuple and not args else None)

    def _reduce(self) -> None:
        args = self._stack.pop()
        function = self._stack.pop()
        if not (isinstance(function, Inert) and function.name in _RECONSTRUCTORS):
            raise NotADump("its pickle calls something")
        if not (
            type(args) is tuple and len(args) == 3 and isinstance(args[1], Inert) and args[1].name in _OBJECTS
        ):
            raise NotADump("its pickle builds something else")
        self._new(args[0], ())

    def _build(self) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if not (isinstance(target, Inert) and type(state) is dict):
            raise NotADump("its pickle is malformed")
        target.state = state

    def _list(self, items: list[Any]) -> None:
        if not (self._stack and type(self._stack[-1]) is str and self._stack[-1] == "_traces"):
            self._push(items)
            return
        if self.traces is not None:
            raise NotADump("it holds two lists of traces")
        self.traces = self._new_sink()
        self._push(self.traces)
        self._extend(items)

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if target is self.traces and self.traces is not None:
            for item in items:
                if type(item) is not tuple:
                    raise NotADump("its list of traces holds something else")
                self.traces.add(item)
                self._steps = 0
        elif type(target) is list:
            target.extend(items)
        else:
            raise NotADump("its pickle is malformed")

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        keys = items[::2]
        if type(target) is not dict or len(items) % 2 or any(type(key) is not str for key in keys):
            raise NotADump("its pickle is malformed")
        target.update(zip(keys, items[1::2]))

    def _tuple(self, size: int) -> None:
        items = tuple(self._stack[-size:])
        if len(items) < size:
            raise IndexError
        self._stack[-size:] = [items]

    def _int(self, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.window.take(size), "little", signed=signed)

    def _protocol(self) -> None:
        protocol = self.window.take(1)[0]
        if protocol > 5:
            raise NotADump(f"its pickle protocol is {protocol}")

    def _frame(self) -> None:
        self.window.take(8)  # frames only help the reader to buffer

    def _dict(self, items: list[Any]) -> None:
        self._push({})
        self._set_items(items)

    def _stack_global(self) -> None:
        name = self._stack.pop()
        self._global(self._stack.pop(), name)

    def _set_item(self) -> None:
        items = self._stack[-2:]
        del self._stack[-2:]
        self._set_items(items)


_HANDLERS: dict[int, Callable[[Machine], None]] = {
    0x80: Machine._protocol,
    0x95: Machine._frame,
    ord("("): Machine._mark,
    ord("N"): lambda m: m._push(None),
    0x88: lambda m: m._push(value=True),
    0x89: lambda m: m._push(value=False),
    ord("I"): Machine._int_line,
    ord("L"): Machine._int_line,
    ord("K"): lambda m: m._push(m.window.take(1)[0]),
    ord("M"): lambda m: m._push(m._int(2)),
    ord("J"): lambda m: m._push(m._int(4, signed=True)),
    0x8A: lambda m: m._push(m._int(m.window.take(1)[0], signed=True)),
    ord("F"): lambda m: m._push(float(m._line())),
    ord("G"): lambda m: m._push(struct.unpack(">d", m.window.take(8))[0]),
    ord("V"): lambda m: m._push(m._line().decode("raw-unicode-escape")),
    0x8C: lambda m: m._text(m.window.take(1)[0]),
    ord("X"): lambda m: m._text(m._int(4)),
    0x8D: lambda m: m._text(m._int(8)),
    ord(")"): lambda m: m._push(()),
    ord("t"): lambda m: m._push(tuple(m._pop_mark())),
    0x85: lambda m: m._tuple(1),
    0x86: lambda m: m._tuple(2),
    0x87: lambda m: m._tuple(3),
    ord("]"): lambda m: m._list([]),
    ord("l"): lambda m: m._list(m._pop_mark()),
    ord("a"): lambda m: m._extend([m._stack.pop()]),
    ord("e"): lambda m: m._extend(m._pop_mark()),
    ord("}"): lambda m: m._push({}),
    ord("d"): lambda m: m._dict(m._pop_mark()),
    ord("s"): Machine._set_item,
    ord("u"): lambda m: m._set_items(m._pop_mark()),
    ord("c"): lambda m: m._global(m._line().decode(), m._line().decode()),
    0x93: Machine._stack_global,
    0x81: Machine._newobj,
    ord("R"): Machine._reduce,
    ord("b"): Machine._build,
    0x94: lambda m: m._memoize(m.memo_size),
    ord("p"): lambda m: m._memoize(m._digits()),
    ord("q"): lambda m: m._memoize(m.window.take(1)[0]),
    ord("r"): lambda m: m._memoize(m._int(4)),
    ord("g"): lambda m: m._push(m.recall(m._digits())),
    ord("h"): lambda m: m._push(m.recall(m.window.take(1)[0])),
    ord("j"): lambda m: m._push(m.recall(m._int(4))),
}
