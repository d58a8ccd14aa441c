from __future__ import annotations

import tracemalloc
from collections import Counter

import pytest
from conftest import Blocks, line, snapshot_of
from hypothesis import given, settings
from hypothesis import strategies as st

from leakhunt.analysis.filters import DEFAULT_EXCLUDES, Filters, kept, matching_frames, unmatched
from leakhunt.model.snapshot import Snapshot

FILES = (
    "/srv/app/shop/tasks.py",
    "/srv/app/shop/cache.py",
    "/srv/app/shop/sub/tasks.py",
    "/srv/venv/lib/python3.11/site-packages/celery/app/trace.py",
    "/srv/venv/lib/python3.11/site-packages/old.pyc",
    "/usr/local/lib/python3.11/json/decoder.py",
    "<frozen importlib._bootstrap>",
    "<unknown>",
    "relative/name with blanks.py",
    "/srv/[odd]/a*b.py",
    "/srv/line\nbreak.py",
)
GLOBS = (
    "*",
    "*.py",
    "*/shop/*",
    "*/shop/*.py",
    "*/tasks.py",
    "*/t?sks.py",
    "*/[ct]a*.py",
    "*/[!ct]*.py",
    "/srv/app/shop/cache.py",
    "/srv/app",
    "<frozen *>",
    "<unknown>",
    "*/old.pyc",
    "*/old.py",
    "*/[[]odd]/*",
    "*/TASKS.PY",
    "*break.py",
)

frames = st.tuples(st.sampled_from(FILES), st.integers(0, 3))
rows = st.lists(
    st.builds(
        Blocks,
        stack=st.lists(frames, min_size=1, max_size=4).map(tuple),
        size=st.integers(0, 1000),
        domain=st.integers(0, 2),
    ),
    max_size=12,
)
patterns = st.lists(st.tuples(st.sampled_from(GLOBS), st.none() | st.integers(1, 3)), max_size=3)


def stdlib(snapshot: Snapshot) -> tracemalloc.Snapshot:
    """Return the standard library's snapshot of the same blocks."""
    columns = snapshot.rows
    traces = [
        (domain, size, tuple(reversed(snapshot.traceback(stack))), len(stack))
        for domain, size, stack in zip(columns.domains, columns.sizes, columns.stacks)
    ]
    return tracemalloc.Snapshot(traces, 10)


def kept_stacks(snapshot: Snapshot, filters: Filters) -> Counter[object]:
    """Return the blocks that our filters keep."""
    columns = snapshot.rows
    return Counter(
        (size, snapshot.traceback(stack))
        for size, stack, wanted in zip(columns.sizes, columns.stacks, kept(snapshot, filters))
        if wanted
    )


def stdlib_stacks(snapshot: tracemalloc.Snapshot) -> Counter[object]:
    """Return the blocks of a snapshot of the standard library."""
    return Counter(
        (trace.size, tuple((frame.filename, frame.lineno) for frame in trace.traceback))
        for trace in snapshot.traces
    )


def written(pattern: tuple[str, int | None]) -> str:
    """Write a glob and a line as our options take them."""
    glob, lineno = pattern
    return glob if lineno is None else f"{glob}:{lineno}"


@given(rows, patterns, patterns, st.booleans())
@settings(deadline=None, max_examples=80)
def test_globs_are_those_of_tracemalloc(
    blocks: list[Blocks],
    include: list[tuple[str, int | None]],
    exclude: list[tuple[str, int | None]],
    all_frames: bool,
) -> None:
    """Path globs, lines and all_frames keep exactly the blocks that ``Snapshot.filter_traces`` keeps."""
    snapshot = snapshot_of(*blocks)
    filters = Filters(tuple(map(written, include)), tuple(map(written, exclude)), (), all_frames)
    oracle = [
        tracemalloc.Filter(inclusive, glob, lineno, all_frames)
        for inclusive, chosen in ((True, include), (False, exclude))
        for glob, lineno in chosen
    ]
    assert kept_stacks(snapshot, filters) == stdlib_stacks(stdlib(snapshot).filter_traces(oracle))


@given(rows, st.integers(0, 3))
@settings(deadline=None, max_examples=30)
def test_a_domain_is_that_of_tracemalloc(blocks: list[Blocks], domain: int) -> None:
    """A domain keeps exactly the blocks that ``DomainFilter`` keeps."""
    snapshot = snapshot_of(*blocks)
    oracle = stdlib(snapshot).filter_traces([tracemalloc.DomainFilter(inclusive=True, domain=domain)])
    found = kept_stacks(snapshot, Filters(default_excludes=(), domain=domain))
    assert found == stdlib_stacks(oracle)


APP = "/srv/app/shop/tasks/reports.py"
ORDERS = "/srv/app/shop/tasks/__init__.py"
CACHE = "/srv/app/shop/cache.py"
MAIN = "/srv/app/yourapp.py"
WORKER = "/srv/venv/lib/python3.11/site-packages/celery/app/trace.py"
RESULTS = "/srv/venv/lib/python3.11/site-packages/django_celery_results/tasks.py"
VENDORED = "/srv/app/vendor/celery/app/trace.py"
JSON = "/usr/local/lib/python3.11/json/decoder.py"
OWN_JSON = "/srv/app/shop/json/decoder.py"
ABC = "<frozen abc>"
IMPORTLIB = "<frozen importlib._bootstrap>"
SPEEDUPS = "/srv/venv/lib/python3.11/site-packages/lxml/etree.cpython-311-x86_64-linux-gnu.so"
STRING = "<string>"

DOTTED = [
    ("shop", {APP, ORDERS, CACHE, OWN_JSON}),
    ("shop.", {APP, ORDERS, CACHE, OWN_JSON}),
    ("shop.*", {APP, ORDERS, CACHE, OWN_JSON}),
    ("shop.*.*", {APP, ORDERS, CACHE, OWN_JSON}),
    ("shop.tasks", {APP, ORDERS}),
    ("shop.tasks.reports", {APP}),
    ("shop.task", set()),
    ("sho", set()),
    ("shop.t*", {APP, ORDERS}),
    ("shop.cach?", {CACHE}),
    ("yourapp", {MAIN}),
    ("yourapp.", {MAIN}),
    ("yourapp.*", {MAIN}),
    ("tasks.reports", {APP}),
    ("*.reports", {APP}),
    ("celery", {WORKER}),
    ("celery.app", {WORKER}),
    ("celery.app.trace", {WORKER}),
    ("celery.*", {WORKER}),
    ("vendor.celery", {VENDORED}),
    ("django_celery_results", {RESULTS}),
    ("*.tasks", {RESULTS}),
    ("json", {JSON}),
    ("shop.json", {OWN_JSON}),
    ("lxml.etree", {SPEEDUPS}),
    ("abc", {ABC}),
    ("importlib", {IMPORTLIB}),
    ("importlib._bootstrap", {IMPORTLIB}),
    ("string", set()),
    ("Shop", set()),
]


@pytest.mark.parametrize(("pattern", "expected"), DOTTED, ids=[pattern for pattern, _ in DOTTED])
def test_a_dotted_name_is_a_module_wherever_it_is(pattern: str, expected: set[str]) -> None:
    """A dotted name matches the installed module or package of that name, or else the application's own."""
    files = (
        APP, ORDERS, CACHE, MAIN, WORKER, RESULTS, VENDORED, JSON, OWN_JSON, ABC, IMPORTLIB, SPEEDUPS, STRING,
    )  # fmt: skip
    snapshot = snapshot_of(*(line(name, 1, 1) for name in files))
    found = matching_frames(snapshot, [pattern])
    assert {snapshot.frames[index].filename for index in found} == expected


@pytest.mark.parametrize("pattern", ["shop.tasks", "*.tasks", "*.tasks:1"])
def test_an_own_module_is_found_where_none_is_installed(pattern: str) -> None:
    """A pattern that begins with any package matches the application's modules when nothing installed has the name."""
    snapshot = snapshot_of(line(APP, 1, 1), line(ORDERS, 1, 1), line(WORKER, 1, 1))
    found = {snapshot.frames[index].filename for index in matching_frames(snapshot, [pattern])}
    assert found == {APP, ORDERS}


@pytest.mark.parametrize(
    ("pattern", "linenos"),
    [
        ("shop.cache", {3, 14, 141}),
        ("shop.cache:14", {14}),
        (f"{CACHE}:141", {141}),
        ("*:3", {3}),
        ("*:0", set()),
    ],
)
def test_a_line_may_follow(pattern: str, linenos: set[int]) -> None:
    """``:LINE`` keeps that line alone, after a dotted name and a glob alike."""
    snapshot = snapshot_of(*(line(CACHE, lineno, 1) for lineno in (3, 14, 141)))
    assert {snapshot.frames[index].lineno for index in matching_frames(snapshot, [pattern])} == linenos


@pytest.mark.parametrize(
    ("filename", "hidden"),
    [
        ("<frozen importlib._bootstrap>", True),
        ("<frozen importlib._bootstrap_external>", True),
        ("<frozen abc>", False),
        ("<unknown>", True),
        ("/usr/lib/python3.11/tracemalloc.py", True),
        ("/usr/lib/python3.11/linecache.py", True),
        ("/srv/venv/lib/python3.11/site-packages/leakhunt/capture/agent.py", True),
        ("/srv/app/shop/tracemalloc_view.py", False),
        ("/srv/app/leakhunt.py", False),
    ],
)
def test_default_excludes_hide_the_tracer_alone(filename: str, hidden: bool) -> None:
    """By default only blocks of the tracer and the import system are hidden."""
    assert kept(snapshot_of(line(filename, 5, 1)), Filters()) == [not hidden]


def test_default_excludes_look_at_the_newest_frame() -> None:
    """A module's own blocks stay, though the import system is on the stack, also with all_frames."""
    stack = (("<frozen importlib._bootstrap>", 1), (CACHE, 14))
    snapshot = snapshot_of(Blocks(stack, 1))
    assert kept(snapshot, Filters(all_frames=True)) == [True]
    assert kept(snapshot, Filters((), DEFAULT_EXCLUDES, (), all_frames=True)) == [False]


def test_patterns_without_a_match_are_named() -> None:
    """A pattern is told as unmatched only if no snapshot has a frame for it."""
    old, new = snapshot_of(line(CACHE, 1, 1)), snapshot_of(line(APP, 1, 1))
    found = unmatched([old, new], ["shop.cache", "shop.tasks", "yourapp.", "*/nowhere.py"])
    assert found == ("yourapp.", "*/nowhere.py")
