"""What kind of growth it was, in words: the parts of RSS, the sentence that they come to, and what helps."""

from __future__ import annotations

from collections.abc import Iterator

from leakhunt.model import ledger as kinds
from leakhunt.model.capture import Garbage
from leakhunt.model.ledger import Ledger, Part
from leakhunt.present.snapshots_places import Places
from leakhunt.units import count_of, format_share, format_size, format_size_diff

_NAMES = {
    kinds.PYTHON: "Python (traced)",
    kinds.TRACER: "the tracer itself",
    kinds.NATIVE: "native (untraced)",
    kinds.ARENAS: "Python's arenas (free or untraced)",
    kinds.FREE: "kept free by the allocator",
    kinds.FILE: "files and shared memory",
    kinds.REST: "rest",
}
_WORDS = {
    kinds.PYTHON: "{} of it is Python memory: the rows say where",
    kinds.GARBAGE: "{} of it is deferred garbage, which nothing holds and no collection has freed yet",
    kinds.TRACER: "{} of it is the tracer's own cost, gone when tracing stops",
    kinds.NATIVE: "{} of it is native memory, which no traceback shows",
    kinds.RETAINED: "{} of it is free memory that the allocator keeps: fragmentation, not a leak",
    kinds.COPIED: "{} of it was shared with the parent and has been copied by writing: copy-on-write, not a leak",
    kinds.FILE: "{} of it is mapped files or shared memory, which no traceback shows",
    kinds.UNKNOWN: "no part that is known makes up most of it",
}
_BESIDE_THE_ROWS = frozenset(
    {kinds.GARBAGE, kinds.TRACER, kinds.NATIVE, kinds.RETAINED, kinds.COPIED, kinds.FILE}
)
_SMALL = 100  # parts below a hundredth of the largest are not told
_TRIM_TELLS = frozenset({kinds.RETAINED, kinds.NATIVE, kinds.UNKNOWN})
_NOTICED = 1 << 20
_FREEABLE = 1 << 16  # bytes of garbage that are told; some there always is


def facts(ledger: Ledger, places: Places) -> Iterator[str]:
    """Yield what memory is made of or grew by, what that means unless the headline says it, and what a collection frees."""
    whole = _growth(ledger) if ledger.kind else _composition(ledger)
    if ledger.kind == kinds.UNKNOWN:
        whole = f"{whole.rstrip('.')}; {_WORDS[kinds.UNKNOWN]}."
    yield whole
    if ledger.kind == kinds.PYTHON:
        live = "live " if ledger.garbage is not None and not _is_some(ledger.garbage) else ""
        yield f"{_meaning(ledger, ledger.rss.growth or 0).replace('Python memory', f'{live}Python memory')}."
    yield from _sharing(ledger)
    returned = ledger.trim.returned if ledger.trim else None
    if returned is not None and (ledger.kind in _TRIM_TELLS or returned >= _NOTICED):
        yield f"A trial malloc_trim gave {format_size(returned)} back."
    if ledger.garbage is not None and _is_some(ledger.garbage):
        yield _freeable(ledger.garbage, places)
    if ledger.limit and ledger.usage is not None:
        share = format_share(ledger.usage / ledger.limit)
        yield f"Its control group used {format_size(ledger.usage)} of {format_size(ledger.limit)} ({share})."


def _is_some(garbage: Garbage | None) -> bool:
    return garbage is not None and (garbage.size or 0) >= _FREEABLE


def headline(ledger: Ledger | None, size_diff: int, between: str) -> tuple[str, str]:
    """Say what a headline says where growth is not in the rows.

    Args:
        ledger: the growth, if known.
        size_diff: growth of the rows in bytes.
        between: from where to where, in words.

    Returns:
        The whole headline where the rows are nothing to it, else nothing; and the end of a headline of the rows.
    """
    if ledger is None or ledger.kind not in _BESIDE_THE_ROWS or ledger.rss.growth is None:
        return "", ""
    if abs(size_diff) * _SMALL >= (ledger.most or 0):
        return "", f" {_sentence(ledger, '')}."
    rows = f"traced blocks {'grew' if size_diff >= 0 else 'shrank'} {format_size(abs(size_diff))}"
    return f"{_sentence(ledger, f' {between}')}; {rows}.", ""


def _sentence(ledger: Ledger, between: str) -> str:
    """Say how much the whole grew and what most of that is: what was copied was in RSS before, and is new in USS."""
    name, whole = ("RSS", ledger.rss) if ledger.kind != kinds.COPIED else ("Its own memory (USS)", ledger.uss)
    grown = whole.growth or 0
    return f"{name} {'grew' if grown >= 0 else 'fell'} {format_size(abs(grown))}{between}: {_meaning(ledger, grown)}"


def _meaning(ledger: Ledger, grown: int) -> str:
    """Say what most of the growth is; a part that is larger than the whole is told with what fell meanwhile."""
    words, most = _WORDS.get(ledger.kind or "", ""), ledger.most or 0
    if most > grown and format_size(most) != format_size(grown):
        what = words.removeprefix("{} of it is ")
        return f"{format_size_diff(most)} is {what}; all else {format_size_diff(grown - most)}"
    of_it = "all" if format_size(most) == format_size(grown) else format_size(most)
    return words.format(of_it)


def advice(ledger: Ledger) -> Iterator[str]:
    """Yield what helps against this kind of growth."""
    if ledger.kind == kinds.RETAINED:
        tried = "" if ledger.trim is None else " (tried here)"
        yield (
            f"What gives free memory back: malloc_trim(0) between tasks{tried}, MALLOC_ARENA_MAX=2, jemalloc, or "
            "large work in processes of its own."
        )
    elif ledger.kind == kinds.NATIVE:
        yield (
            "Native memory is an extension module's, or of objects older than the tracing: memray run --native and "
            "heaptrack show its stacks; a worker that is replaced now and then bounds it meanwhile."
        )
    elif ledger.kind == kinds.COPIED:
        yield (
            "Against copying: import less before the fork, gc.freeze() before it; and add up PSS or USS, as RSS "
            "counts shared pages for each process."
        )
    elif ledger.kind == kinds.TRACER:
        size = next(part.after for part in ledger.parts if part.name == kinds.TRACER)
        yield f"The tracer itself takes {format_size(size or 0)}: trace with fewer frames, or only for a while."
    elif ledger.kind == kinds.GARBAGE:
        failed = (
            {one.name for one in ledger.garbage.types} & {"frame", "traceback"} if ledger.garbage else set()
        )
        known = (
            ", as those of failed tasks do in some versions of Celery (celery/celery#6023)," if failed else ""
        )
        frames = (
            f"Exceptions and their frames keep each other{known}" if failed else "Objects keep each other"
        )
        yield f"{frames} until the collector runs, which counts objects, not bytes: gc.collect() between tasks frees them."


def _sharing(ledger: Ledger) -> Iterator[str]:
    """Say how much is shared with the parent, or how that and the process's own memory changed."""
    if ledger.kind is None:
        if (ledger.shared.after or 0) >= _NOTICED:
            yield f"{format_size(ledger.shared.after or 0)} of it is shared with the parent or its other children."
    elif ledger.kind == kinds.COPIED:
        own, shared = ledger.uss.growth or 0, ledger.shared.growth or 0
        yield f"Its own (USS) {format_size_diff(own)}, shared with the parent {format_size_diff(shared)}."


def _growth(ledger: Ledger) -> str:
    grown = ledger.rss.growth or 0
    least = max((abs(part.growth or 0) for part in ledger.parts), default=0) / _SMALL
    told = [
        f"{_NAMES[part.name]} {format_size_diff(part.growth)}"
        for part in ledger.parts
        if part.growth and abs(part.growth) >= least
    ]
    parts = f": {', '.join(told)}" if told else ""
    whole = f"RSS {format_size_diff(grown)} to {format_size(ledger.rss.after or 0)}"
    if ledger.kind == kinds.FLAT:
        verb = "grew little" if grown > 0 else "did not grow"
        whole = f"RSS {verb} ({format_size_diff(grown)} to {format_size(ledger.rss.after or 0)})"
    swap = f" Swap {format_size_diff(ledger.swap.growth)}." if ledger.swap.growth else ""
    return f"{whole}{parts}{_unknown(ledger.parts)}.{swap}"


def _composition(ledger: Ledger) -> str:
    least = (ledger.rss.after or 0) / _SMALL
    told = [
        f"{_NAMES[part.name]} {format_size(part.after)}"
        for part in ledger.parts
        if part.after and part.after >= least
    ]
    swap = f" Swap {format_size(ledger.swap.after)}." if ledger.swap.after else ""
    return f"RSS {format_size(ledger.rss.after or 0)}: {', '.join(told)}{_unknown(ledger.parts)}.{swap}"


def _unknown(parts: tuple[Part, ...]) -> str:
    names = [_NAMES[part.name] for part in parts if part.after is None]
    return f"; not known: {', '.join(names)}" if names else ""


def _freeable(garbage: Garbage, places: Places) -> str:
    objects = "" if garbage.objects is None else f" in {count_of(garbage.objects, 'object')}"
    kinds_of = ", ".join(one.name for one in garbage.types[:3])
    sites = ", ".join(places.frame(site.frame) for site in garbage.sites[:2])
    named = f" ({kinds_of})" if kinds_of else ""
    at = f", allocated at {sites}" if sites else ""
    return f"A gc.collect() would free {format_size(garbage.size or 0)}{objects}{named}{at}."
