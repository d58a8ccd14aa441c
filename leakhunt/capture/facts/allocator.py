"""What the C library's and Python's allocators hold, use, and would give back."""

from __future__ import annotations

import ctypes
import os
import re
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from leakhunt.capture import procfs

_DOMAINS = (0, 1, 2)  # raw, mem, obj
_ARENAS = re.compile(
    r"(?m)^\s{0,80}\d{1,12} arenas \* \d{1,12} bytes/arena\s{1,80}=\s{1,80}([\d,]{1,30})\s{0,9}$"
)
_STDERR = 2
# Of CPython 3.12, where tracemalloc's configuration lies in the runtime's state: how far into that is looked, which is
# several times as long, and the configuration's bytes.
_IN_RUNTIME = sys.version_info[:2] == (3, 12)
_RUNTIME = 1 << 14
_CONFIG = 16


class _Mallinfo2(ctypes.Structure):
    """``struct mallinfo2`` of glibc 2.33."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


class _Allocator(ctypes.Structure):
    """``PyMemAllocatorEx``."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("ctx", "malloc", "calloc", "realloc", "free"))


class _Config(ctypes.Array[ctypes.c_int]):
    """The opening of CPython's ``_PyTraceMalloc_Config``: initialized, tracing, frames."""

    _type_ = ctypes.c_int
    _length_ = 3


class Malloc(NamedTuple):
    """Bytes of the C library's heaps; None where it does not tell (before glibc 2.33, musl, macOS).

    Attributes:
        used: in blocks that are in use, but for those mapped on their own.
        free: kept for blocks to come.
        mmapped: in blocks that are mapped on their own.
    """

    used: int | None = None
    free: int | None = None
    mmapped: int | None = None


class Trim(NamedTuple):
    """What ``malloc_trim`` did: bytes of RSS before and after."""

    before: int
    after: int


def _library(name: str, restype: type | None, *argtypes: type) -> ctypes._NamedFuncPointer | None:
    """Return a function of the C library; None where there is none of that name."""
    try:
        function: ctypes._NamedFuncPointer = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):
        return None
    function.restype = restype
    function.argtypes = list(argtypes)
    return function


def _below_tracing() -> tuple[_Allocator, ...]:
    """Return Python's allocators of all domains as they are below tracemalloc; none where it traces already."""
    if tracemalloc.is_tracing() or not hasattr(ctypes, "pythonapi"):
        return ()
    return _current()


def _current() -> tuple[_Allocator, ...]:
    """Return Python's allocators as they are now."""
    found = tuple(_Allocator() for _ in _DOMAINS)
    for domain, allocator in zip(_DOMAINS, found):
        ctypes.pythonapi.PyMem_GetAllocator(domain, ctypes.byref(allocator))
    return found


def _set(allocators: tuple[_Allocator, ...]) -> None:
    for domain, allocator in zip(_DOMAINS, allocators):
        ctypes.pythonapi.PyMem_SetAllocator(domain, ctypes.byref(allocator))


# Looked up now, for a forked child must not load anything.
_mallinfo2 = _library("mallinfo2", _Mallinfo2)
_malloc_trim = _library("malloc_trim", ctypes.c_int, ctypes.c_size_t)
_untraced = _below_tracing()


def malloc() -> Malloc:
    """Return what the C library's heaps hold."""
    if _mallinfo2 is None:
        return Malloc()
    info = _mallinfo2()
    return Malloc(info.uordblks, info.fordblks, info.hblkhd)


def trim() -> Trim | None:
    """Give free memory back to the system; to be called in a forked child, whose pages tell what the worker's would."""
    before = resident()
    if _malloc_trim is None or before is None:
        return None
    _malloc_trim(0)
    after = resident()
    return None if after is None else Trim(before, after)


def resident() -> int | None:
    """Return this process's RSS in bytes; None where unknown."""
    words = procfs.read("/proc/self/statm", 200).split()
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE") if len(words) > 1 and words[1].isdecimal() else None


@contextmanager
def untraced() -> Iterator[bool]:
    """Let nothing be traced meanwhile, and tell whether that is so; to be used in a forked child alone.

    The allocators below tracemalloc's are put in its place: both know the same blocks. Traces are kept, but for a block
    that is freed meanwhile its trace stays. In a process that has other threads this would be no good.
    """
    tracing = _current() if tracemalloc.is_tracing() and _untraced else ()
    if not tracing:
        yield not tracemalloc.is_tracing()
        return
    tracer = _tracer()
    flag = _flag()
    _set(_untraced)
    if tracer is not None:
        ctypes.pythonapi.PyRefTracer_SetTracer(None, None)
    if flag is not None:
        flag.value = 0
    _paused.append(flag)
    try:
        yield True
    finally:
        _paused.pop()
        if flag is not None:
            flag.value = 1
        if tracer is not None:
            ctypes.pythonapi.PyRefTracer_SetTracer(*tracer)
        _set(tracing)


@contextmanager
def answering() -> Iterator[None]:
    """Let tracemalloc answer questions inside of ``untraced``, where it may think that it does not trace."""
    flag = _paused[-1] if _paused else None
    if flag is None:
        yield
        return
    flag.value = 1
    try:
        yield
    finally:
        flag.value = 0


_paused: list[ctypes.c_int | None] = []


def _tracer() -> tuple[ctypes.c_void_p, ctypes.c_void_p] | None:
    """Return who is told of each new object, and his data (since Python 3.13): that costs more than the object."""
    get = getattr(ctypes.pythonapi, "PyRefTracer_GetTracer", None)
    if get is None:
        return None
    data = ctypes.c_void_p()
    get.restype = ctypes.c_void_p
    function = get(ctypes.byref(data))
    return (ctypes.c_void_p(function), data) if function else None


def _flag() -> ctypes.c_int | None:
    """Return where CPython 3.9-3.12 looks whether it is to trace each new object; None where that is not sure."""
    fields = _config()
    if fields is None or fields[1] != 1 or fields[2] != tracemalloc.get_traceback_limit():
        return None
    return ctypes.c_int.from_buffer(fields, ctypes.sizeof(ctypes.c_int))


def _config() -> _Config | None:
    """Return tracemalloc's configuration; in CPython 3.12 it lies before a copy of the allocators that were replaced."""
    try:
        if not _IN_RUNTIME:
            return _Config.in_dll(ctypes.pythonapi, "_Py_tracemalloc_config")
        runtime = (ctypes.c_char * _RUNTIME).in_dll(ctypes.pythonapi, "_PyRuntime")
    except (ValueError, AttributeError):
        return None
    replaced = b"".join(bytes(_untraced[domain]) for domain in (1, 0, 2))
    at = runtime.raw.find(replaced) - _CONFIG
    return _Config.from_buffer(runtime, at) if at >= 0 else None


def arenas() -> int | None:
    """Return the bytes of pymalloc's arenas; to be called in a forked child alone.

    They are only printed, on the standard error of C, which is a pipe meanwhile; and not even that in tracing.
    """
    show = getattr(sys, "_debugmallocstats", None)
    if show is None:
        return None
    with untraced() as free:
        text = _printed(show) if free else ""
    found = _ARENAS.search(text)
    return int(found[1].replace(",", "")) if found else None


def _printed(show: object) -> str:
    """Return what a function prints to file 2, at most what a pipe takes at once."""
    if not callable(show):
        return ""
    try:
        readable, writable = os.pipe()
    except OSError:
        return ""
    kept = -1
    try:
        os.set_blocking(writable, False)  # a pipe that is full loses the rest
        os.set_blocking(readable, False)
        try:
            kept = os.dup(_STDERR)
        except OSError:  # closed by the program
            kept = -1
        os.dup2(writable, _STDERR, inheritable=False)
        show()
        return os.read(readable, 1 << 14).decode("ascii", "replace")
    except OSError:
        return ""
    finally:
        if kept >= 0:
            os.dup2(kept, _STDERR)
            os.close(kept)
        else:
            os.close(_STDERR)
        os.close(readable)
        os.close(writable)
