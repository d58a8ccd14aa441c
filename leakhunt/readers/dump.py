"""A tracemalloc dump as a Snapshot: any CPython from 3.4, any pickle protocol, whole or cut, without unpickling."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Mapping
from typing import Any

from leakhunt.errors import LeakhuntError
from leakhunt.model.snapshot import Skipped, Snapshot
from leakhunt.readers.identify import identify, looks_like_pickle
from leakhunt.readers.pickle_machine import SNAPSHOT, TRACES, Inert, Machine, MemoDropped, NotADump
from leakhunt.readers.streams import Evidence, Stream
from leakhunt.readers.traces import TraceSink, is_int
from leakhunt.readers.window import Cut, Window

_CAPTURE_VALUES = 500_000
_CAPTURE_DEPTH = 24
_HOSTILE_HINT = (
    "nothing in the file was run; a snapshot is what tracemalloc.take_snapshot().dump(FILE) writes"
)


def read_dump(
    path: str, *, allow_partial: bool = False, progress: Callable[[int], object] | None = None
) -> Snapshot:
    """Read a tracemalloc dump.

    Args:
        path: a file, plain or compressed by gzip, bzip2, xz or zstd; ``-`` for standard input.
        allow_partial: take the whole traces of a dump that was cut, instead of refusing it.
        progress: called now and then with the bytes of the file that were read since the last call.

    Raises:
        LeakhuntError: it cannot be read, is no dump, or is cut.
    """
    evidence = Evidence(path, progress)
    collecting = gc.isenabled()
    gc.disable()  # what is built here has no cycles; looking for them costs a fifth of the time
    try:
        return _read(evidence, allow_partial=allow_partial, bulk=True)
    except MemoDropped:
        return _read(evidence, allow_partial=allow_partial, bulk=False)
    finally:
        evidence.close()
        if collecting:
            gc.enable()


def _read(evidence: Evidence, *, allow_partial: bool, bulk: bool) -> Snapshot:
    stream = evidence.open()
    try:
        window = Window(stream.read)
        _refuse_strangers(evidence.name, stream, window)
        machine = Machine(window, lambda: TraceSink(bulk=bulk))
        try:
            top = machine.run()
            cut = None
        except Cut:
            top = None
            cut = _cut_sentence(stream, window, machine.traces)
            if not (allow_partial and isinstance(machine.traces, TraceSink) and machine.traces.blocks):
                raise LeakhuntError(f"{evidence.name}: {cut}", _cut_hint(machine.traces)) from None
        return _snapshot(evidence.name, top, machine.traces, cut)
    except NotADump as error:
        raise LeakhuntError(f"{evidence.name}: not a tracemalloc snapshot ({error})", _HOSTILE_HINT) from None
    finally:
        stream.close()


def _refuse_strangers(name: str, stream: Stream, window: Window) -> None:
    try:
        window.fill(512)
    except Cut:
        if stream.fault and not window.data:
            raise LeakhuntError(f"{name}: {stream.fault}", "copy it again from where it was made") from None
    if not looks_like_pickle(window.data[:512]):
        kind, hint = identify(window.data[:4096])
        raise LeakhuntError(f"{name}: not a tracemalloc snapshot but {kind}", hint)


def _cut_sentence(stream: Stream, window: Window, traces: object) -> str:
    blocks = traces.blocks if isinstance(traces, TraceSink) else 0
    why = f", as {stream.fault}" if stream.fault else ""
    return f"the snapshot is cut after {window.offset + len(window.data) - window.pos:,} bytes{why}; {blocks:,} traces are whole"


def _cut_hint(traces: object) -> str:
    if isinstance(traces, TraceSink) and traces.blocks:
        return "--allow-partial reads the traces up to the cut; sums and growth will be too small"
    return "nothing in it can be used; take the snapshot again"


def _snapshot(name: str, top: object, sink: object, cut: str | None) -> Snapshot:
    limit: int | None = None
    capture: Mapping[str, Any] | None = None
    skipped: tuple[Skipped, ...] = (Skipped(name, cut),) if cut else ()
    if not cut:
        sink, limit, capture, skipped = _parts(name, top)
    if not isinstance(sink, TraceSink):
        raise NotADump("it holds no traces")
    return Snapshot(
        path=name,
        rows=sink.columns(),
        frames=tuple(sink.frames()),
        traceback_limit=limit,
        trace_fields=sink.fields,
        capture=capture,
        partial=bool(cut),
        skipped=skipped,
    )


def _parts(
    name: str, top: object
) -> tuple[object, int | None, Mapping[str, Any] | None, tuple[Skipped, ...]]:
    """Take the finished pickle apart: traces, traceback limit, what leakhunt stored beside them."""
    if not isinstance(top, Inert):
        raise NotADump(f"it is a pickle of {_kind(top)}")
    traces = top.state.get("traces")
    limit = top.state.get("traceback_limit")
    if top.name != SNAPSHOT or not isinstance(traces, Inert) or traces.name != TRACES:
        raise NotADump("it describes another object")
    if limit is not None and not is_int(limit):
        raise NotADump("its traceback limit is no number")
    sink = traces.state.get("_traces")
    if type(sink) is tuple:  # python/cpython#143016: a filtered snapshot may hold a tuple
        items, sink = sink, TraceSink(bulk=False)
        for item in items:
            if type(item) is not tuple:
                raise NotADump("its list of traces holds something else")
            sink.add(item)
    stored = top.state.get("leakhunt")
    if stored is None:
        return sink, limit, None, ()
    try:
        plain = _plain(stored, _CAPTURE_DEPTH, [_CAPTURE_VALUES])
    except NotADump as error:
        return sink, limit, None, (Skipped(f"{name}: what leakhunt stored beside the traces", str(error)),)
    return sink, limit, plain if isinstance(plain, dict) else None, ()


def _plain(value: object, depth: int, budget: list[int]) -> Any:  # noqa: ANN401 - JSON has many types
    """Copy plain data; a value that is shared many times over would unfold without end, so copies are counted."""
    budget[0] -= 1
    if budget[0] < 0 or depth < 0:
        raise NotADump("it is too large or too deep")
    if type(value) is dict:
        return {key: _plain(item, depth - 1, budget) for key, item in value.items()}
    if type(value) in (list, tuple):
        return [_plain(item, depth - 1, budget) for item in value]  # type: ignore[attr-defined]
    if type(value) is float and not math.isfinite(value):
        return None
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise NotADump("it is no plain data")


def _kind(value: object) -> str:
    names = {
        dict: "a dict",
        list: "a list",
        tuple: "a tuple",
        str: "text",
        int: "a number",
        type(None): "None",
    }
    return names.get(type(value), "something else")
