"""Keys of a program's containers: what is shown of them, and what never is."""

from __future__ import annotations

import random
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakhunt.capture.facts.keys import UNTOLD, shown_key, shown_name
from leakhunt.capture.facts.redaction import HIDDEN, redact_text

WORDS = [
    "orders",
    "by_customer",
    "userCache",
    "hist",
    "HTTPServer",
    "v2",
    "_seen",
    "render_total",
    "cache_12",
]
DATA = [
    "sk_live_hunter2",
    "alice@example.com",
    "user:1234",
    "Alice Cooper",
    "api_key",
    "token_alice",
    "deadbeef42",
    "4111111111111111",
    "b9f1c2d7e8",
    "dGhpcyBpcw",
    "kqzjvbxw",
    "A1B2C3D4",
    "x" * 40,
    "naïve",
    "",
]


@pytest.mark.parametrize("word", WORDS)
def test_words_of_programs_are_shown(word: str) -> None:
    """A short name as programs have them is shown."""
    assert shown_key(word, WORDS) == f"['{word}']"


@pytest.mark.parametrize("data", DATA)
def test_data_is_not_shown(data: str) -> None:
    """Tokens, addresses, numbers in texts, sentences and names that speak of secrets are not shown."""
    assert shown_key(data) == UNTOLD


def test_a_word_among_data_is_data() -> None:
    """In a dict that has keys which are data, a plain word is one of them: a user's name among addresses."""
    assert shown_key("alice", ["alice", "bob"]) == "['alice']"
    assert shown_key("alice", ["alice", "bob@example.com"]) == UNTOLD


def test_small_numbers_are_shown() -> None:
    """Numbers are shown but for those long enough to be a card's or a telephone's; none is too large to be looked at."""
    assert (shown_key(7), shown_key(-3), shown_key(999_999)) == ("[7]", "[-3]", "[999999]")
    assert {shown_key(number) for number in (4111111111111111, 10**6000, -(10**6000))} == {UNTOLD}


@pytest.mark.parametrize("key", [None, True, 1.5, b"secret", ("a", 1), object()])
def test_other_keys_are_not_shown(key: Any) -> None:  # noqa: ANN401 - anything may be a key
    """A key of any other type is not shown, and not asked."""
    assert shown_key(key) == UNTOLD


@pytest.mark.parametrize(
    ("letters", "length", "share"),
    [
        ("0123456789abcdef", 8, 0.002),
        (string.ascii_letters + string.digits, 8, 0.01),
        (string.ascii_letters + string.digits + "-_", 16, 0.001),
        (string.ascii_lowercase + string.digits, 12, 0.005),
        (string.ascii_lowercase, 10, 0.03),
        (string.ascii_uppercase, 16, 0.0),
    ],
    ids=["hex", "mixed", "base64", "small", "letters", "capitals"],
)
def test_drawn_by_lot_is_hardly_ever_a_word(letters: str, length: int, share: float) -> None:
    """Of keys that are drawn by lot hardly any passes for a word."""
    chance = random.Random(3)  # noqa: S311 - chance, not secrets
    drawn = ["".join(chance.choices(letters, k=length)) for _ in range(4_000)]
    assert sum(shown_key(key) != UNTOLD for key in drawn) <= share * len(drawn)


@given(st.text())
def test_any_key_is_shown_whole_or_not_at_all(key: str) -> None:
    """Whatever a key is, it is shown as it is or not at all."""
    assert shown_key(key) in (UNTOLD, f"['{key}']")


def test_names_stay_but_for_tokens() -> None:
    """Names in a program stay as they are, those that speak of secrets too; what no program's text has is not shown."""
    assert [shown_name(name) for name in ("_tokens", "shop.cache", "api_key")] == [
        "_tokens",
        "shop.cache",
        "api_key",
    ]
    assert {shown_name(name) for name in ("a b", "alice@x.org", "ghp_" + "a1B2" * 9, "", None, 7)} == {"?"}
    assert len(shown_name("x" * 300)) <= 64


def test_paths_lose_their_secrets() -> None:
    """A path keeps its folders, and loses tokens, e-mail addresses and what follows the name of a secret."""
    assert redact_text("/srv/mail/alice.b@mail.example.com/box") == f"/srv/mail/{HIDDEN}/box"
    assert redact_text("/srv/ghp_0123456789abcdef0123456789/x.db") == f"/srv/{HIDDEN}/x.db"
    assert redact_text("/srv/token=abc") == f"/srv/token={HIDDEN}"
    assert (
        redact_text("/usr/lib/python3.11/site-packages/@types/x.py")
        == "/usr/lib/python3.11/site-packages/@types/x.py"
    )


@given(st.text(max_size=3_000))
def test_any_text_is_redacted(text: str) -> None:
    """Any text gives a bounded one."""
    assert len(redact_text(text)) <= 3_010
