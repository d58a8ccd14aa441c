"""Objects out of YAML documents, one at a time, without ever following an alias.

The parser's events are read rather than its objects: an alias is a name and nothing more, so that a file of a few lines
cannot unfold without end.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from leakhunt.errors import LeakhuntError

_DEEPEST = 60
_MOST_NODES = 400_000  # of one object
_NOTHING = frozenset({"", "~", "null", "Null", "NULL"})
_HINT = "pip install 'leakhunt[yaml]', or export JSON instead: kubectl get pods -o json"


class Item(NamedTuple):
    """An object and the number of the line it begins on."""

    value: Any
    line: int


class _Bytes:
    """A file to read from, over chunks."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """Return some bytes; none at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = chunk
        taken = self._rest if size < 0 else self._rest[:size]
        self._rest = self._rest[len(taken) :]
        return taken


def yaml_items(chunks: Iterable[bytes], source: str) -> Iterator[Item]:
    """Yield the objects of all documents; those of a list one by one.

    Args:
        chunks: the bytes, in order.
        source: the file's name, for errors.

    Yields:
        Objects of mappings, lists, texts and None; numbers are left as texts.

    Raises:
        LeakhuntError: PyYAML is not installed, or this is no YAML that Kubernetes could have written.
    """
    try:
        yaml = importlib.import_module("yaml")
    except ImportError as error:
        raise LeakhuntError(f"{source}: reading YAML needs PyYAML", _HINT) from error
    loader = getattr(yaml, "CSafeLoader", None) or yaml.SafeLoader
    builder = _Builder(source)
    try:
        for event in yaml.parse(_Bytes(chunks), Loader=loader):
            item = builder.take(type(event).__name__, event)
            if item is not None:
                yield item
    except LeakhuntError:
        raise
    except Exception as error:  # the parser has many, and its C half raises those of the codecs too
        raise LeakhuntError(
            f"{source}: is no YAML that can be read", "export it again as JSON: -o json"
        ) from error


class _Builder:
    """Puts objects together from the parser's events."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._open: list[Any] = []  # mappings and lists that are not closed
        self._keys: list[str | None] = []  # the key that waits for its value, one for each of those
        self._list = -1  # how deep the list of items stands
        self._nodes = 0
        self._line = 0

    def take(self, name: str, event: Any) -> Item | None:  # noqa: ANN401 - the parser's
        """Take an event; returns an object where it completes one."""
        if name == "MappingStartEvent":
            self._start({}, event)
        elif name == "SequenceStartEvent":
            self._start([], event)
        elif name == "ScalarEvent":
            plain = event.style is None or event.style == ""
            self._put(None if plain and event.value in _NOTHING else event.value)
        elif name == "AliasEvent":
            self._put(None)
        elif name in {"MappingEndEvent", "SequenceEndEvent"}:
            return self._end()
        elif name in {"DocumentStartEvent", "DocumentEndEvent"}:
            self._open, self._keys, self._list = [], [], -1
        return None

    def _start(self, value: Any, event: Any) -> None:  # noqa: ANN401 - a mapping or a list
        if len(self._open) >= _DEEPEST:
            raise LeakhuntError(f"{self._source}: is nested deeper than anything Kubernetes writes")
        if isinstance(value, list) and (
            not self._open or (len(self._open) == 1 and self._keys[0] == "items")
        ):
            self._list = len(self._open)
        elif len(self._open) <= self._list + 1:
            self._line, self._nodes = event.start_mark.line + 1, 0
        self._open.append(value)
        self._keys.append(None)

    def _put(self, value: Any) -> None:  # noqa: ANN401 - whatever stands there
        """Put a value into what is open."""
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise LeakhuntError(f"{self._source}: holds one object of more than {_MOST_NODES} values")
        if not self._open:
            return
        top = self._open[-1]
        if isinstance(top, list):
            if len(self._open) - 1 != self._list:
                top.append(value)
        elif self._keys[-1] is None:
            self._keys[-1] = value if isinstance(value, str) else ""
        else:
            top[self._keys[-1]] = value
            self._keys[-1] = None

    def _end(self) -> Item | None:
        """Close what was opened last."""
        value = self._open.pop()
        self._keys.pop()
        depth = len(self._open)
        if depth == self._list:
            self._list = -1
            value = None
        if depth and depth - 1 == self._list:
            return Item(value, self._line) if isinstance(value, dict) else None
        if not depth:
            return Item(value, self._line) if isinstance(value, dict) else None
        self._put(value)
        return None
