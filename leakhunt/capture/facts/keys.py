"""Which keys of a program's containers may be told: those that look like words of a program, and not like data.

Sessions, addresses and keys of interfaces are what caches are filed under. A snapshot is passed on, so a key is shown only
where it is short, made of plain words, and all of its neighbours are too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from leakhunt.capture.facts.redaction import is_secret, redact_text

UNTOLD = "[...]"
_LONGEST_KEY, _LONGEST_NAME = 32, 64
_MOST_WORDS, _LONGEST_WORD, _SHORT_WORD, _MOST_DIGITS = 4, 14, 3, 4
_MOST_NUMBER = 10**6  # beyond, it may be a telephone's, an account's or a card's
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")  # of one case, or with a capital
_NUMBERS = re.compile(r"\d{3}|\d[a-z]")  # a word's number is short, and behind it
_HEX = re.compile(r"[0-9a-fA-F]{6,}")
# What follows which letter, mostly, in the names of programs: the 200 most frequent pairs of the standard library's.
_AFTER = {
    "a": "bcdgiklmnprstu", "b": "aeilou", "c": "aehiklortu", "d": "adeilorsu", "e": "acdefglmnprstvx",
    "f": "aeiloru", "g": "eirs", "h": "aeio", "i": "abcdefglmnoprstvz", "k": "e", "l": "adeilostuy",
    "m": "aeiopu", "n": "acdefgiostuv", "o": "bcdklmnoprstuvw", "p": "aeiloprsty", "q": "u", "r":
    "acdegilmnorstuy", "s": "acehilopstuy", "t": "acehiloprstuy", "u": "beilmnprst", "v": "aei", "w":
    "ai", "x": "pt", "y": "p", "z": "e",
}  # fmt: skip
_JUDGED, _USUAL = 4, 0.7  # pairs that tell something, and the share of them that must be usual ones
_PREFIXES = (
    "sk_",
    "pk_",
    "rk_",
    "ak_",
    "sid_",
    "sess_",
    "gho_",
    "ghp_",
    "ghs_",
    "ghu_",
    "ghr_",
    "hvs_",
    "xox",
)


def shown_key(key: object, neighbours: Iterable[object] = ()) -> str:
    """Return a key in brackets, ``['orders']`` or ``[7]``; ``[...]`` for one that may be data.

    Args:
        key: of a dict.
        neighbours: the other keys of that dict: where one of them is data, all are.
    """
    if type(key) is int:
        return f"[{key}]" if abs(key) < _MOST_NUMBER else UNTOLD
    if not _is_word(key) or not all(_is_word(other) for other in neighbours if type(other) is str):
        return UNTOLD
    return f"['{key}']"


def shown_name(name: object) -> str:
    """Return the name of an attribute, variable or module; ``?`` for one that no program's text would have."""
    if type(name) is not str or not all(part.isidentifier() for part in name[: 2 * _LONGEST_NAME].split(".")):
        return "?"
    return name[:_LONGEST_NAME] if redact_text(name) == name else "?"


def _is_word(key: object) -> bool:
    """Tell whether a key is made of a few plain words."""
    if type(key) is not str or len(key) > _LONGEST_KEY or not (key.isascii() and key.isidentifier()):
        return False
    words = _WORD.findall(key)
    digits = sum(map(str.isdigit, key))
    if not 0 < len(words) <= _MOST_WORDS or max(map(len, words)) > _LONGEST_WORD or digits > _MOST_DIGITS:
        return False
    # As it is where letters are drawn by lot.
    if sum(len(word) < _SHORT_WORD for word in words) > 1 or _NUMBERS.search(key):
        return False
    if digits and (_HEX.fullmatch(key) or not (key.islower() or key.isupper())):
        return False
    pairs = [pair for word in words for pair in zip(word.lower(), word[1:].lower())]
    if len(pairs) >= _JUDGED and sum(two in _AFTER.get(one, "") for one, two in pairs) < _USUAL * len(pairs):
        return False
    return not (key.lower().startswith(_PREFIXES) or is_secret(key))
