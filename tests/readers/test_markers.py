from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from leakhunt.readers import markers
from leakhunt.readers.compiled import fast
from leakhunt.readers.markers import Groups, Markers, count_lines

TEXT = st.lists(
    st.sampled_from([b"a", b"b", b"ab", b"Killed ", b"process ", b"\0", b"\xff"]), max_size=60
).map(b"".join)
SOUGHT = st.lists(TEXT.filter(bool).map(lambda text: text[:20]), min_size=1, max_size=6)
PLACES = st.integers(-3, 200)


@pytest.fixture(scope="module", params=["compiled", "pure"], autouse=True)
def _one_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Look for markers both ways."""
    if request.param == "compiled" and fast is None:
        pytest.skip("the compiled part is not built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(markers, "fast", fast if request.param == "compiled" else None)
        yield


def plainly(sought: Sequence[bytes], data: bytes, start: int, end: int) -> int:
    """Look at every place."""
    places = range(max(start, 0), min(end, len(data)))
    return next((at for at in places if data.startswith(tuple(sought), at)), -1)


@given(sought=SOUGHT, data=TEXT, start=PLACES, end=PLACES)
@example(sought=[b"ab"], data=b"ab", start=0, end=1)
@example(sought=[b"Killed process ", b"a"], data=b"Killed process ", start=0, end=15)
def test_the_first_marker_is_found(sought: list[bytes], data: bytes, start: int, end: int) -> None:
    """What is found is the first place at which a look at every place finds a marker."""
    assert Markers(sought).first(data, start, end) == plainly(sought, data, start, end)


@pytest.mark.parametrize("length", range(1, 12))
@pytest.mark.parametrize("others", [(), (b"Killed process ",)])
def test_a_marker_is_found_wherever_it_stands(length: int, others: tuple[bytes, ...]) -> None:
    """No place in a text hides a marker, however short it is, and none is found where it is cut."""
    marker = b"#" + bytes(range(1, length))
    finder = Markers((marker, *others))
    for before in range(40):
        for behind in range(5):
            data = b"." * before + marker + b"." * behind
            assert finder.first(data, 0, len(data)) == before
            assert finder.first(data, before, before + 1) == before
            assert finder.first(data, 0, before) == -1
            assert finder.first(data, before + 1, len(data)) == -1
            assert finder.first(data[: before + length - 1], 0, len(data)) == -1


def test_a_marker_across_stretches_is_found() -> None:
    """A marker that begins in one stretch and ends in the next is one."""
    for at in ((1 << 18) - 1, 1 << 18, (1 << 18) - 5):
        data = b"." * at + b"Killed process 1" + b"." * (1 << 18)
        assert Markers((b"Killed process ", b"oom")).first(data, 0, len(data)) == at


@given(st.lists(SOUGHT, max_size=5), TEXT)
@example(groups=[[b"Killed process "], [b"Killed  "], [b"ab", b"b"]], data=b"Killed process ab")
def test_groups_are_those_of_which_a_marker_occurs(groups: list[list[bytes]], data: bytes) -> None:
    """A bit is set for each group of which a marker stands anywhere, and for no other."""
    expected = sum(1 << number for number, group in enumerate(groups) if any(word in data for word in group))
    assert Groups(groups).of(data) == expected


def test_a_word_may_be_of_several_groups() -> None:
    """Where groups share a marker, it stands for all of them."""
    assert Groups([(b"a",), (b"b", b"a"), (), (b"c",)]).of(b"-a-") == 0b11


def test_an_empty_marker_is_in_no_group() -> None:
    """An empty marker is refused in a group as well."""
    with pytest.raises(ValueError, match="empty"):
        Groups([(b"a",), (b"",)])


def test_no_markers_stand_nowhere() -> None:
    """Without markers nothing is found."""
    assert Markers(()).first(b"anything", 0, 8) == -1
    assert Groups(()).of(b"anything") == 0


def test_an_empty_marker_is_refused() -> None:
    """An empty marker would stand everywhere."""
    with pytest.raises(ValueError, match="empty"):
        Markers((b"a", b""))


def test_many_near_misses_cost_no_more_than_their_bytes() -> None:
    """Text that is full of almost all of a marker is searched in a time like any other's."""
    data = b"Killed process" * 200_000
    assert Markers((b"Killed process ", b"Killed processed")).first(data, 0, len(data)) == -1


@given(st.binary(max_size=80), st.integers(0, 3000), st.integers(-5, 4000), st.integers(-5, 4000))
def test_lines_are_counted_as_bytes_are(piece: bytes, times: int, start: int, end: int) -> None:
    """Between any two places there are as many newlines as ``bytes.count`` finds."""
    data = piece * (times // (len(piece) + 1)) + b"\n" * (times % 300) + piece
    expected = data[max(start, 0) : max(end, 0)].count(b"\n") if start < end else 0
    assert count_lines(data, start, end) == expected
