"""The task registry of a Celery application: which lines of which file are each task's body."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from typing import TypedDict

_OWN = "celery."
_MOST_TASKS = 10_000
_MOST_LAYERS = 50
_MOST_CODE = 2_000


class TaskLines(TypedDict):
    """Where a task's body stands: the file as tracebacks name it, first line (decorators included) and last."""

    file: str
    first: int
    last: int


def registry(app: object) -> dict[str, TaskLines]:
    """Return the lines of each task of an application, Celery's own left out; never raises.

    Args:
        app: a Celery application that is set up; its tasks are not run.
    """
    found: dict[str, TaskLines] = {}
    try:
        tasks = getattr(app, "_tasks", None)
        if not isinstance(tasks, dict) or not tasks:
            tasks = getattr(app, "tasks", None)
        if not isinstance(tasks, dict):
            return found
        for name, task in list(dict.items(tasks))[:_MOST_TASKS]:
            if type(name) is not str or name.startswith(_OWN):
                continue
            lines = lines_of(task)
            if lines is not None:
                found[name] = lines
    except Exception:  # noqa: BLE001 - an application may define anything; a worker must start
        return found
    return found


def lines_of(task: object) -> TaskLines | None:
    """Return where a task's body stands; None where it is no function of Python."""
    try:
        # With autoretry_for, ``run`` is a wrapper, and what it wraps is here.
        run = getattr(task, "_orig_run", None) or getattr(task, "run", None) or task
        function = body(run)
        if function is None:
            return None
        code = function.__code__
        return {"file": code.co_filename, "first": code.co_firstlineno, "last": last_line(code)}
    except Exception:  # noqa: BLE001 - as above
        return None


def body(run: object) -> types.FunctionType | None:
    """Return the innermost function below decorators, partial objects and methods."""
    seen: set[int] = set()
    function: types.FunctionType | None = None
    layer: object = run
    while layer is not None and id(layer) not in seen and len(seen) < _MOST_LAYERS:
        seen.add(id(layer))
        if isinstance(layer, types.FunctionType):
            function = layer
        layer = _below(layer)
    return function


def _below(layer: object) -> object:
    """Return what a layer wraps; None where it wraps nothing that is known."""
    if isinstance(layer, (types.MethodType, staticmethod, classmethod)):
        return layer.__func__
    if isinstance(layer, (functools.partial, functools.partialmethod)):
        return layer.func
    wrapped: object = getattr(layer, "__wrapped__", None)
    if wrapped is not None:
        return wrapped
    if isinstance(layer, types.FunctionType):
        return _enclosed(layer)
    called = type(layer).__call__ if callable(layer) else None
    return called if isinstance(called, types.FunctionType) else None


def _enclosed(function: types.FunctionType) -> object:
    """Return what a decorator without ``functools.wraps`` wraps: the only function that its wrapper encloses."""
    if "<locals>" not in function.__qualname__ or not function.__closure__:
        return None
    held: list[object] = []
    for cell in function.__closure__:
        try:
            value = cell.cell_contents
        except ValueError:  # empty as yet
            continue
        if isinstance(value, (types.FunctionType, types.MethodType)) and value is not function:
            held.append(value)
    return held[0] if len(held) == 1 else None


def last_line(code: types.CodeType) -> int:
    """Return the last line of a function, those of functions inside it included."""
    last = code.co_firstlineno
    waiting = [code]
    for _ in range(_MOST_CODE):
        if not waiting:
            break
        part = waiting.pop()
        last = max(last, *_lines(part))
        waiting += [constant for constant in part.co_consts if isinstance(constant, types.CodeType)]
    return last


def _lines(code: types.CodeType) -> Iterator[int]:
    """Yield the lines that a function's own code has."""
    yield code.co_firstlineno
    if hasattr(code, "co_lines"):  # since Python 3.10
        yield from (line for _, _, line in code.co_lines() if line)
        return
    line = code.co_firstlineno
    for step in code.co_lnotab[1::2]:
        line += step - 256 if step > 127 else step
        yield line
