"""What a file that is no tracemalloc dump seems to be, from its first bytes."""

from __future__ import annotations

import codecs
import re

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"memray", "a memray capture"),
    (b"JAVA PROFILE", "a Java heap dump"),
    (b"\x7fELF", "an ELF program, library or core dump"),
    (b"PK\x03\x04", "a zip archive"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x89PNG", "a PNG image"),
    (b"\x93NUMPY", "a NumPy array"),
    (b'{"snapshot":', "a V8 heap snapshot"),
    (b"heapy", "a heapy file"),
    (b"CMDLINE ", "an mprof recording"),
    (b"<!DOCTYPE", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"%PDF", "a PDF document"),
)
_JSON = re.compile(r"\s*(?:\{\s*[\"}]|\[\s*[\[{\"\]\d])")
_OLD_PICKLE = re.compile(rb"c[A-Za-z_][\w.]*\n[A-Za-z_][\w.]*\n|\((?:[ld]p\d+\n|c[\w.]+\n[\w.]+\n)")
_TAR_MAGIC = slice(257, 262)
_HINTS = {
    "a memray capture": "read it with memray itself: memray stats FILE",
    "a zip archive": "unpack it and name the .bin files inside",
    "a tar archive": "unpack it and name the .bin files inside",
    "an mprof recording": "read it with memory_profiler: mprof plot FILE",
}
_DUMP_HINT = "a snapshot is what tracemalloc.take_snapshot().dump(FILE) writes"


def looks_like_pickle(head: bytes) -> bool:
    """Tell whether the first bytes of a file can start a pickle: a protocol mark, or a global or list of protocol 0."""
    return (head[:1] == b"\x80" and head[1:2] <= b"\x08") or _OLD_PICKLE.match(head) is not None


def identify(head: bytes) -> tuple[str, str]:
    """Say what the first bytes of a file look like, and what to do with it.

    Args:
        head: up to the first few kilobytes.

    Returns:
        A phrase such as ``a memray capture``, and a hint.
    """
    if not head:
        return "an empty file", "the worker may have died before it wrote, or the disk was full"
    kind = next((kind for magic, kind in _MAGIC if head.startswith(magic)), "")
    if not kind and head[_TAR_MAGIC] == b"ustar":
        kind = "a tar archive"
    if not kind:
        kind = _text_or_binary(head)
    return kind, _HINTS.get(kind, _DUMP_HINT)


def _text_or_binary(head: bytes) -> str:
    if b"\0" in head:
        return "binary data of an unknown kind"
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # a last letter may be cut
    except UnicodeDecodeError:
        return "binary data of an unknown kind"
    return "JSON" if _JSON.match(text) else "text"
