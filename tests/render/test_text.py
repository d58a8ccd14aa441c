from __future__ import annotations

import csv
import io
import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leakhunt.model.report import Column, Kind, Line, Report, Table
from leakhunt.render import csv as csv_format
from leakhunt.render import json as json_format
from leakhunt.render.text import cell, plain

any_text = st.text(st.characters(), max_size=30)  # lone surrogates too


def harmless(text: str) -> bool:
    """Tell whether nothing in a text is obeyed by a terminal or a page, by Unicode's own categories."""
    return all(unicodedata.category(character)[0] != "C" for character in text) and not set(text) & {
        "\u2028",
        "\u2029",
    }


@given(any_text)
@settings(deadline=None, max_examples=300)
def test_plain_text_is_harmless(text: str) -> None:
    """Whatever goes in, no control, format, surrogate, private or unassigned character and no line break comes out."""
    assert harmless(plain(text))


@given(any_text)
@settings(deadline=None, max_examples=200)
def test_harmless_text_is_unchanged(text: str) -> None:
    """Text without such characters passes as it is, and escaping twice is escaping once."""
    assert plain(plain(text)) == plain(text)
    if harmless(text):
        assert plain(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shop/tasks.py", "shop/tasks.py"),
        ("Größe 漢字 🐍", "Größe 漢字 🐍"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("a\x00b\x7f\x9b", "a\\x00b\\x7f\\x9b"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u2066b\u200bc\ufeff", "a\\u2066b\\u200bc\\ufeff"),
        ("a\u2028b", "a\\u2028b"),
        ("a\ud800b", "a\\ud800b"),
        ("a\udcffb", "a\\udcffb"),
        ("a\ue000b\U000f0000", "a\\ue000b\\U000f0000"),
        ("a\U000e0041", "a\\U000e0041"),
    ],
)
def test_what_would_be_obeyed_shows_as_an_escape(text: str, expected: str) -> None:
    """Escape sequences, line breaks, bidirectional overrides and the like show as their numbers."""
    assert plain(text) == expected


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Kind.TEXT, "a\x1b", "a\\x1b"),
        (Kind.COUNT, 24012, "24,012"),
        (Kind.COUNT_DIFF, 24012, "+24,012"),
        (Kind.COUNT_DIFF, -3, "-3"),
        (Kind.COUNT_DIFF, 0, "0"),
        (Kind.SIZE, 1434, "1.4 KiB"),
        (Kind.SIZE_DIFF, 12 << 20, "+12.0 MiB"),
        (Kind.SIZE_DIFF, -812, "-812 B"),
        (Kind.SHARE, 0.999, ">99 %"),
        (Kind.SHARE, 0.0001, "<1 %"),
        (Kind.SHARE, 1.0, "100 %"),
        *((kind, None, "") for kind in Kind),
    ],
)
def test_a_cell_is_printed_by_its_kind(kind: Kind, value: object, expected: str) -> None:
    """Raw values become text by the kind of their column; an unknown one is empty."""
    assert cell(kind, value) == expected


cells = st.one_of(st.none(), st.integers(-(1 << 62), 1 << 62), st.floats(0, 1), any_text)


@given(st.lists(st.tuples(cells, cells, cells), max_size=6))
@settings(deadline=None, max_examples=150)
def test_csv_parses_back(rows: list[tuple[object, ...]]) -> None:
    """Every row has its fields again when parsed, text in its harmless form, and no field starts a formula."""
    columns = tuple(Column(key, key, Kind.TEXT) for key in ("size", "share", "place"))
    report = Report("", (), (Table(columns, tuple(map(Line, rows))),))
    header, *parsed = csv.reader(io.StringIO(csv_format.render(report), newline=""))
    assert header == ["size", "share", "place"]
    assert len(parsed) == len(rows)
    for row, fields in zip(rows, parsed):
        for value, field in zip(row, fields):
            if isinstance(value, str):
                assert field.startswith("'") is (plain(value)[:1] in set("=+-@'"))
                assert field[field.startswith("'") and plain(value)[:1] != "'" :] == plain(value)
            else:
                assert field == ("" if value is None else str(value))


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(any_text, documents, max_size=4))
@settings(deadline=None, max_examples=150)
def test_json_parses_back_to_the_same_values(document: dict[str, object]) -> None:
    """JSON holds every value exactly, lone surrogates included, in ASCII without any control character."""
    text = json_format.render(document)
    assert json.loads(text) == document
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
