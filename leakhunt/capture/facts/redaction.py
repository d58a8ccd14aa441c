"""Secrets taken out of a command line and other texts; rather a word too many than a password in a file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

HIDDEN = "***"
_MOST_WORDS = 200
_LONGEST = 1000

_PARTS = frozenset(
    {
        "pass",
        "passwd",
        "password",
        "passphrase",
        "passcode",
        "pwd",
        "pw",
        "secret",
        "secrets",
        "token",
        "tokens",
    }
    | {
        "key",
        "keys",
        "credential",
        "credentials",
        "creds",
        "auth",
        "authorization",
        "dsn",
        "cookie",
        "cookies",
    }
    | {"signature", "sig", "bearer", "pat", "jwt", "otp", "pin", "private", "salt", "netrc", "userpass"}
)
_ENDINGS = (
    *("password", "passwd", "passphrase", "pwd", "secret", "secrets", "token", "tokens", "apikey", "authkey"),
    *("accesskey", "secretkey", "privatekey", "signingkey", "encryptionkey", "credentials", "credential"),
    *("auth", "dsn", "authorization", "cookie"),
)
_NAME = r"[A-Za-z_][\w.\-\[\]]{0,99}"
# A name, what binds a value to it, and all that follows; quotes may stand about the name, as in JSON.
_BOUND = re.compile(rf"""(?P<name>{_NAME})["']?\s{{0,4}}(?:=|:(?!//))""")
_PLAIN_NAME = re.compile(r"[^A-Za-z0-9]{1,100}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]{0,30}://")
_TOKEN = re.compile(
    r"\b(?:gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_\w{20,255}|glpat-[\w\-]{16,255}|A[KS]IA[A-Z0-9]{16}"
    r"|xox[a-z]-[A-Za-z0-9\-]{10,255}|[sprk]k[_\-][\w\-]{16,255}|eyJ[\w\-]{8,2000}(?:\.[\w\-]{0,2000}){0,2}"
    r"|AIza[\w\-]{30,40}|pypi-[\w\-]{20,255}|hvs\.[\w\-]{20,255})"
)
_MAIL = re.compile(r"(?<![\w.+%\-])[\w.+%\-]{1,64}@[A-Za-z0-9\-]{1,63}(?:\.[A-Za-z0-9\-]{1,63}){1,8}")
_MIXED = re.compile(r"[A-Za-z0-9+_=\-]{32,}")
_HEX = re.compile(r"[0-9a-fA-F]{32,}")


def redact(command: Sequence[str]) -> list[str]:
    """Return a command line without its secrets.

    Hidden are values of options and variables whose names speak of secrets, what stands before the ``@`` of an
    address (but for the user's name where a password follows it, not in ``https://``), fields of JSON, and words that look like keys.

    Args:
        command: the program and its arguments.

    Returns:
        The arguments, at most 200 of at most 1,000 characters.
    """
    words = [_one(word) for word in _separate(command[:_MOST_WORDS])]
    if len(command) > _MOST_WORDS:
        words.append("...")
    return words


def redact_text(text: str) -> str:
    """Return a text, such as a path, without what looks like a key, a password in an address or somebody's e-mail address.

    Args:
        text: at most 1,000 characters of it are returned.
    """
    return _MAIL.sub(HIDDEN, _one(text))


def is_secret(name: str) -> bool:
    """Tell whether an option's or variable's name speaks of a secret."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name[:200])
    parts = _PLAIN_NAME.sub(" ", spaced).lower().split()
    return not _PARTS.isdisjoint(parts) or "".join(parts).endswith(_ENDINGS)


def _separate(words: Iterable[str]) -> Iterable[str]:
    """Hide the values that follow their option as a word of their own."""
    hide = ""
    for word in words:
        if hide == "secret" and not _is_option(word):
            yield HIDDEN
            hide = ""
            continue
        if hide == "user" and ":" in word:  # as curl takes a user's name and password
            yield word.partition(":")[0] + ":" + HIDDEN
            hide = ""
            continue
        yield word
        hide = ""
        if _is_option(word) and "=" not in word:
            if is_secret(word):
                hide = "secret"
            elif word in {"-u", "--user", "--proxy-user"}:
                hide = "user"


def _is_option(word: str) -> bool:
    return word.startswith("-") and len(word) > 1 and not any(letter.isspace() for letter in word)


def _one(word: str) -> str:
    """Hide what one word tells."""
    word = word[: 2 * _LONGEST]
    if any(letter.isspace() for letter in word):
        word = _script(word)
    bound = _first_bound(word)
    if bound is not None:
        word = word[:bound] + HIDDEN
    word = _addresses(word)
    word = _TOKEN.sub(HIDDEN, word)
    word = _MIXED.sub(_hide_mixed, word)
    return word if len(word) <= _LONGEST else word[:_LONGEST] + "..."


def _first_bound(word: str) -> int | None:
    """Return where the value of the first secret name begins; all behind it may belong to it."""
    for match in _BOUND.finditer(word):
        if is_secret(match["name"]):
            return match.end()
    return None


def _script(text: str) -> str:
    """Cut a word that is itself a command line, or code, where an option with a secret has its value."""
    for match in re.finditer(rf"(?<!\S)-{{1,2}}(?P<name>{_NAME})\s{{1,4}}", text):
        if is_secret(match["name"]):
            return text[: match.end()] + HIDDEN
    return text


def _addresses(text: str) -> str:
    """Hide who logs in, in every address of a text."""
    parts: list[str] = []
    begin = 0
    for match in _SCHEME.finditer(text):
        if match.start() < begin:
            continue
        stop = next((at for at in range(match.end(), len(text)) if text[at].isspace()), len(text))
        # The next address begins at its scheme; a password may hold any other sign, an @ too.
        following = _SCHEME.search(text, match.end(), stop)
        stop = following.start() if following else stop
        at = text.rfind("@", match.end(), stop)
        if at < 0:
            continue
        user, colon, _ = text[match.end() : at].partition(":")
        named = colon and not match[0].lower().startswith("http")  # there a key may stand in the user's place
        parts += [text[begin : match.end()], f"{user}:{HIDDEN}" if named else HIDDEN]
        begin = at
    parts.append(text[begin:])
    return "".join(parts)


def _hide_mixed(match: re.Match[str]) -> str:
    """Hide a long word of letters of both cases and digits, or of hexadecimal digits; keep names in words."""
    word = match[0]
    kinds = (str.isdigit, str.islower, str.isupper)
    mixed = all(any(map(kind, word)) for kind in kinds) and sum(map(str.isdigit, word)) > 3
    return HIDDEN if mixed or _HEX.fullmatch(word) else word
