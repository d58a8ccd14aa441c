from __future__ import annotations

import pytest
from captured_tools import capture
from conftest import line, snapshot_of
from hypothesis import given
from hypothesis import strategies as st

from leakhunt.analysis.executions import by_process, comparable_parts, one_series
from leakhunt.analysis.findings import joined
from leakhunt.analysis.freeable import freeable_growth, garbage_of_sites
from leakhunt.analysis.grouping import Sites
from leakhunt.analysis.ordering import Site, order
from leakhunt.model.capture import Capture, Holder
from leakhunt.model.capture_reading import parse_capture
from leakhunt.model.snapshot import Frame
from leakhunt.model.statistics import Amount
from leakhunt.present.snapshots_places import narrowed

MIB = 1 << 20


def site(name: str, size: int, freeable: int | None = None, trend: str | None = None) -> Site:
    """Return a site that grew from nothing."""
    return Site(0, (name, ()), (Amount(0, 0), Amount(size, 1)), trend, freeable)


def names(*sites: Site) -> list[str]:
    """Return the names in the order of growth."""
    whole = sum(max(one.size_diff, 0) for one in sites)
    return [one.key[0] or "" for one in order(sites, "growth", whole, single=False)]


def test_garbage_stands_behind_what_is_alive() -> None:
    """A site is placed by what a collection would leave of its growth."""
    assert names(site("garbage", 9 * MIB, 8 * MIB), site("leak", 2 * MIB, 0)) == ["leak", "garbage"]
    assert names(site("some", 9 * MIB, 3 * MIB), site("leak", 2 * MIB, 0)) == ["some", "leak"]


def test_steady_garbage_is_not_promoted() -> None:
    """Garbage that grows in every interval stands behind live growth that does not."""
    steady = "grows in every interval"
    assert names(site("garbage", 9 * MIB, 9 * MIB, steady), site("leak", MIB, 0)) == ["leak", "garbage"]


def test_garbage_leads_where_hardly_anything_is_alive() -> None:
    """Live growth below a hundredth of all is noise beside garbage."""
    assert names(site("noise", 1000, 0), site("garbage", 9 * MIB, 9 * MIB)) == ["garbage", "noise"]


@given(st.lists(st.integers(-(10**9), 10**9), max_size=20))
def test_unknown_garbage_changes_no_order(sizes: list[int]) -> None:
    """Where nobody looked for garbage, the order is that of the sizes, as where there is none."""
    unknown = [site(f"{number:02}", size) for number, size in enumerate(sizes)]
    none = [site(f"{number:02}", size, 0) for number, size in enumerate(sizes)]
    assert names(*unknown) == names(*none)


@given(st.integers(-(10**12), 10**12), st.integers(0, 10**12), st.integers(0, 10**12))
def test_garbage_is_never_more_than_the_growth(size_diff: int, before: int, after: int) -> None:
    """What a collection would free of a growth is part of it, and nothing where it shrank."""
    assert 0 <= freeable_growth(size_diff, before, after) <= max(size_diff, 0)


def test_garbage_of_a_line_that_sites_share_is_nobody_s() -> None:
    """Only a site that has nine tenths of a line's bytes has the line's garbage."""
    snapshot = snapshot_of(line("/a.py", 1, 100), line("/a.py", 2, 100), line("/b.py", 3, 50))
    sites = Sites("filename", cumulative=False, name_of=str, task_of=lambda *_: None)
    rows = sites.of_rows(snapshot)
    told = {Frame("/a.py", 1): 70, Frame("/a.py", 2): 500, Frame("/c.py", 9): 5}
    found = garbage_of_sites(told, snapshot, rows, [True] * 3, len(sites))
    assert sorted(found.values()) == [170]
    assert garbage_of_sites(told, snapshot, rows, [False] * 3, len(sites)) == {}


def test_holders_of_one_name_are_one() -> None:
    """Shares of holders of one name add up; what they disagree on is left out; the one that holds most is first."""
    found = joined(
        [
            Holder("a.x", "dict", 3, 0.4),
            Holder("local R of f (t.py:1)", "list", 1, 0.3),
            Holder("local R of f (t.py:1)", "list", 2, 0.2),
        ]
    )
    assert found == (Holder("local R of f (t.py:1)", "list", None, 0.5), Holder("a.x", "dict", 3, 0.4))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("local R of f.<locals>.g (t.py:4).tb.tb_frame.f_code", "local R of f.<locals>.g (t.py:4)"),
        ("local e of f (t.py:4).__traceback__.tb_frame", "local e of f (t.py:4)"),
        ("local self of main (t.py:4).cache.items", "local self of main (t.py:4).cache.items"),
        ("shop.cache.tb._seen", "shop.cache.tb._seen"),
        ("local", "local"),
        ("local without a place", "local without a place"),
    ],
)
def test_the_way_through_frames_is_cut(name: str, expected: str) -> None:
    """What lies behind a local in the interpreter's own objects is no holder's name; what the program made is."""
    assert joined([Holder(name)])[0].name == expected


@given(st.lists(st.tuples(st.text(max_size=8), st.floats(0, 1) | st.none()), max_size=8))
def test_joined_holders_hold_no_more_than_all(pairs: list[tuple[str, float | None]]) -> None:
    """Whatever the shares are, no holder has more than the whole, and no name is there twice."""
    found = joined([Holder(f"local {name}", share=share) for name, share in pairs])
    assert len({one.name for one in found}) == len(found)
    assert all(one.share is None or one.share <= 1 for one in found)


def told(number: int, **more: object) -> Capture:
    """Return what a process told at its snapshot of a number."""
    return parse_capture(capture(number, number, **more))


def test_snapshots_are_gathered_by_process_and_tracing() -> None:
    """Positions of one process are together, oldest first; another tracing is another part; plain dumps are in none."""
    anew = told(3, tracing={"since": 1_795_230_700.0})
    captures = [told(1), told(1, pid=9), None, told(0), anew]
    assert by_process(captures) == ((3, 0, 4), (1,))
    assert comparable_parts(captures) == ((3, 0), (1,), (4,))
    assert not one_series(captures)
    assert one_series([told(0), None, told(1)])


@pytest.mark.parametrize(
    ("root", "filenames", "expected"),
    [
        ("/home", ["/home/u/app/a.py", "/home/u/app/b.py"], "/home/u/app"),
        ("/home", ["/home/u/many.py", "/usr/lib/python3.12/json/decoder.py"], "/home/u"),
        ("/home", ["/home/a.py", "/home/u/b.py"], "/home"),
        ("/home", ["/usr/lib/python3.12/json/decoder.py"], "/home"),
        ("/srv/app", ["/srv/app/shop/a.py"], "/srv/app"),
        ("", ["/x/a.py"], ""),
    ],
)
def test_a_folder_of_many_programs_is_narrowed(root: str, filenames: list[str], expected: str) -> None:
    """Below a folder such as /home names are shortened by what the named files share; a project's folder stays."""
    assert narrowed(root, filenames) == expected
