from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakhunt.render.json import line, pieces, render

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(st.text(), VALUES, max_size=5)


@given(DOCUMENTS)
def test_a_document_is_what_the_standard_library_writes(document: dict[str, Any]) -> None:
    """On many lines and on one, a document is byte for byte what ``json.dumps`` makes of it."""
    assert render(document) == json.dumps(document, indent=2) + "\n"
    assert line(document) == json.dumps(document) + "\n"


@given(DOCUMENTS)
def test_an_iterator_is_a_list(document: dict[str, Any]) -> None:
    """A list that is made item by item is written as one that is there as a whole."""
    lazy = {name: iter(value) if isinstance(value, list) else value for name, value in document.items()}
    assert render(lazy) == render(document)


def test_no_item_waits_for_the_next() -> None:
    """What was made of an item is given out before the next is asked for."""
    asked = []

    def items() -> Iterator[int]:
        for number in range(3):
            asked.append(number)
            yield number

    written = []
    for piece in pieces({"items": items()}):
        written.append(piece)
        assert len(written) >= len(asked)
    assert "".join(written) == '{\n  "items": [\n    0,\n    1,\n    2\n  ]\n}\n'


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_has_no_word_for_is_refused(value: float) -> None:
    """No number is written that JSON does not know."""
    with pytest.raises(ValueError, match="JSON"):
        render({"items": iter([value])})
