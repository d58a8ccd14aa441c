"""Whether a file can hold a log, from its first bytes."""

from __future__ import annotations

from leakhunt.readers.identify import identify, looks_like_pickle

EMPTY = "it is empty"
_OTHERS: tuple[tuple[tuple[bytes, ...], str], ...] = (
    ((b"LPKSHHRH",), "it is a binary journal; print it as text: journalctl --file FILE -o json"),
    ((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"II*\0", b"MM\0*"), "it is a picture"),
    ((b"MZ\x90", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe", b"\0asm"), "it is a program"),
    ((b"\x7fELF", b"SQLite format 3", b"%PDF"), ""),
)
# What text is made of; a machine that lost power leaves NULs in its logs.
_TEXT = bytes([0, 7, 8, 9, 10, 12, 13, 27, 30, *range(32, 127), *range(128, 256)])
_WIDE = (b"\xff\xfe", b"\xfe\xff")
_MOST_CONTROLS = 0.03


def why_not_text(head: bytes, *, named: bool) -> str:
    """Say why a file is no log, or return an empty string.

    Args:
        head: its first bytes, decompressed.
        named: whether the user named it; then only what is certainly something else is refused.
    """
    if not head:
        return EMPTY
    if looks_like_pickle(head):
        return "it is a pickle, perhaps a tracemalloc snapshot: leakhunt top FILE"
    for magics, what in _OTHERS:
        if head.startswith(magics):
            return what or f"it is {identify(head)[0]}"
    if head.startswith(_WIDE):
        return ""
    controls = len(head.translate(None, _TEXT))
    letters = len(head) - head.count(0)
    if not letters:
        return "it holds nothing but NULs"
    binary = controls > _MOST_CONTROLS * letters and not (named and _is_utf8(head))
    return "it is binary" if binary else ""


def _is_utf8(head: bytes) -> bool:
    """Tell whether most of the bytes are text in UTF-8, whatever controls stand between."""
    return head.decode("utf-8", "replace").count("\ufffd") <= _MOST_CONTROLS * len(head)
