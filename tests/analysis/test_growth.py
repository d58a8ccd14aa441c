from __future__ import annotations

from dataclasses import replace

import pytest
from conftest import line, snapshot_of

from leakhunt.analysis.comparable import differences, python_of
from leakhunt.analysis.growth import EVERY_INTERVAL, ONCE, SHRINKS, UNSTEADY, trend

MIB = 1 << 20


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], None),
        ([5], None),
        ([0, 5 * MIB], None),
        ([0, MIB, 2 * MIB], EVERY_INTERVAL),
        ([0, MIB, 2 * MIB, 3 * MIB], EVERY_INTERVAL),
        ([0, 10 * MIB, 11 * MIB], EVERY_INTERVAL),
        ([0, 1, 2], EVERY_INTERVAL),
        ([0, 10 * MIB, 10 * MIB], ONCE),
        ([0, 10 * MIB, 10 * MIB + 1000], ONCE),
        ([0, 10 * MIB, 10 * MIB - 1000], ONCE),
        ([0, 0, 10 * MIB], ONCE),
        ([0, 0, 10 * MIB, 10 * MIB], ONCE),
        ([0, 10 * MIB, 10 * MIB, 20 * MIB], UNSTEADY),
        ([0, 10 * MIB, 5 * MIB], UNSTEADY),
        ([0, 10 * MIB, 0], UNSTEADY),
        ([10, 10, 10], UNSTEADY),
        ([10 * MIB, 5 * MIB, 1 * MIB], SHRINKS),
        ([10 * MIB, 20 * MIB, 9 * MIB], SHRINKS),
        ([10 * MIB, 0, 0], SHRINKS),
    ],
)
def test_a_series_has_a_word(sizes: list[int], expected: str | None) -> None:
    """From three snapshots on each series is steady growth, growth once, unsteady or shrinking."""
    assert trend(sizes) == expected


@pytest.mark.parametrize(
    ("filename", "fields", "capture", "expected"),
    [
        ("/usr/lib/python3.12/abc.py", 4, None, "3.12"),
        ("/usr/lib/python3.12/abc.py", 4, {"python": "3.12.4"}, "3.12.4"),
        ("/usr/lib/python3.12/abc.py", 4, {"python": 3}, "3.12"),
        ("/srv/venv/lib/python3.13t/site-packages/celery/local.py", 4, None, "3.13"),
        ("/srv/app/a.py", 4, None, "3.9+"),
        ("/srv/app/a.py", 3, None, "3.6-3.8"),
        ("/srv/app/a.py", 2, None, "3.4-3.5"),
        ("/srv/app/a.py", 0, None, None),
    ],
)
def test_the_python_is_told_as_far_as_it_is_seen(
    filename: str, fields: int, capture: dict[str, object] | None, expected: str | None
) -> None:
    """The Python that wrote a snapshot is what it says, what its library's paths say, or what its traces look like."""
    snapshot = replace(snapshot_of(line(filename, 1, 1), capture=capture), trace_fields=fields)
    assert python_of(snapshot) == expected


def test_like_snapshots_compare_without_a_warning() -> None:
    """Snapshots of one process, Python and limit, that grow, give no warning."""
    capture = {"pid": 7, "host": "worker-1", "python": "3.12.4"}
    snapshots = [snapshot_of(line("/a.py", 1, size), capture=capture) for size in (100, 95, 200)]
    assert differences(snapshots) == ()


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"limit": 1}, {"limit": 25}, "traceback limits differ (1 and 25 frames)"),
        (
            {"capture": {"python": "3.11"}},
            {"capture": {"python": "3.12"}},
            "written by different Pythons (3.11 and 3.12)",
        ),
        ({"capture": {"pid": 7}}, {"capture": {"pid": 8}}, "snapshots are of different processes"),
        (
            {"capture": {"pid": 7, "host": "a"}},
            {"capture": {"pid": 7, "host": "b"}},
            "snapshots are of different hosts",
        ),
    ],
)
def test_unlike_snapshots_are_compared_with_a_warning(
    first: dict[str, object], second: dict[str, object], words: str
) -> None:
    """Another limit, Python, process or host is told once, with what it does to the result."""
    snapshots = [snapshot_of(line("/a.py", 1, 1), **made) for made in (first, second)]  # type: ignore[arg-type]
    (warning,) = differences(snapshots)
    assert warning.startswith(words)
    assert ": " in warning


@pytest.mark.parametrize("sizes", [(300, 100), (100, 50, 300)])
def test_snapshots_out_of_order_are_suspected(sizes: tuple[int, ...]) -> None:
    """Sizes that fall sharply raise the question of the order."""
    (warning,) = differences([snapshot_of(line("/a.py", 1, size)) for size in sizes])
    assert "oldest first?" in warning


def test_a_cut_snapshot_is_a_warning() -> None:
    """A snapshot read up to its cut makes every sum too small, and that is told."""
    whole = snapshot_of(line("/a.py", 1, 1))
    (warning,) = differences([whole, replace(whole, partial=True)])
    assert "is cut" in warning
