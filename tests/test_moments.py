from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakhunt.errors import LeakhuntError
from leakhunt.moments import format_moment, iso, parse_moment, parse_zone
from leakhunt.units import format_duration, parse_duration

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)
TWO_EAST = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21", datetime(2026, 11, 20, 22, 0, tzinfo=timezone.utc)),
        ("2026-11-21 03:10", datetime(2026, 11, 21, 1, 10, tzinfo=timezone.utc)),
        ("2026-11-21T03:10:42.5Z", datetime(2026, 11, 21, 3, 10, 42, 500_000, timezone.utc)),
        ("2026-11-21 03:10:42 -05:00", datetime(2026, 11, 21, 8, 10, 42, tzinfo=timezone.utc)),
        ("2h", NOW - timedelta(hours=2)),
        ("90m ago", NOW - timedelta(minutes=90)),
        ("now", NOW),
        ("today", datetime(2026, 11, 20, 22, 0, tzinfo=timezone.utc)),
        ("yesterday", datetime(2026, 11, 19, 22, 0, tzinfo=timezone.utc)),
        (
            "@1795230642",
            datetime(2026, 11, 21, 3, 10, 42, tzinfo=timezone.utc),
        ),
    ],
)
def test_a_moment_is_read_as_people_write_it(text: str, expected: datetime) -> None:
    """Dates, times with and without a zone, spans ago, words and Unix seconds."""
    assert parse_moment(text, TWO_EAST, NOW) == expected


@pytest.mark.parametrize(
    "text", ["", "soon", "2026-13-01", "2026-11-21 25:00", "3 parsecs", "@", "9999999999d"]
)
def test_what_is_no_moment_is_refused_with_a_hint(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(LeakhuntError) as caught:
        parse_moment(text, timezone.utc, NOW)
    assert "yesterday" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "minutes"), [("UTC", 0), ("z", 0), ("+02:00", 120), ("-0530", -330), ("UTC+1", 60)]
)
def test_a_zone_is_an_offset(text: str, minutes: int) -> None:
    """Offsets are read with and without a colon, east positive."""
    assert parse_zone(text).utcoffset(NOW) == timedelta(minutes=minutes)


def test_local_is_this_machine_s_zone() -> None:
    """The word ``local`` gives a zone with an offset."""
    assert parse_zone("local").utcoffset(NOW) is not None


@pytest.mark.parametrize("text", ["Mars/Olympus", "../../etc/passwd", "", "+25:00"])
def test_an_unknown_zone_is_refused(text: str) -> None:
    """Nothing outside the time zone data is opened."""
    with pytest.raises(LeakhuntError):
        parse_zone(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"), (0.4, "0.4 s"), (9.97, "10 s"), (59.6, "1 min"), (61, "1 min 1 s"), (120, "2 min"),
        (2400, "40 min"), (3600, "1 h"), (21_900, "6 h 5 min"), (86_400, "1 d"), (273_600, "3 d 4 h"),
    ],
)  # fmt: skip
def test_a_duration_has_two_units_at_most(seconds: float, text: str) -> None:
    """The larger the span, the larger its units."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"), [("15", 15), ("500ms", 0.5), ("30m", 1800), ("2 h", 7200), ("7d", 604_800)]
)
def test_a_duration_is_read_as_people_write_it(text: str, seconds: float) -> None:
    """A bare number is seconds."""
    assert parse_duration(text) == seconds


@given(st.integers(0, 7_000_000_000_000_000))
def test_a_printed_moment_is_read_back(microseconds: int) -> None:
    """What is printed can be given to ``--since``, to the second; JSON keeps it whole."""
    aware = datetime(1971, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=microseconds)
    assert parse_moment(format_moment(aware), timezone.utc, NOW) == aware.replace(microsecond=0)
    text = iso(aware)
    assert text is not None
    assert parse_moment(text, TWO_EAST, NOW) == aware
