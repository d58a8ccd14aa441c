"""Objects out of long JSON documents, one at a time: the items of a list, of an array, or objects in a row."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from leakhunt.errors import LeakhuntError

_BLOCK = 1 << 18
_LONGEST_OBJECT = 64 << 20
# The head of a list as Kubernetes writes it; what stands in front of its items is short and flat.
_LIST = re.compile(
    r'\s{0,100}\{(?:\s{0,100}"\w{1,40}"\s{0,10}:\s{0,10}(?:"[^"\\]{0,200}"|\{[^{}]{0,4000}\})\s{0,100},){0,6}'
    r'\s{0,100}"items"\s{0,10}:\s{0,10}\['
)
_BETWEEN = re.compile(r"[\s,\x1e\[]*")
_BEHIND = re.compile(
    r"[\s,\]}]*(?:\"\w{1,40}\"\s{0,10}:\s{0,10}(?:\"[^\"\\]{0,400}\"|\{[^{}]{0,4000}\})[\s,\]}]*)*"
)


def json_items(chunks: Iterable[bytes], source: str) -> Iterator[Any]:
    """Yield the objects of a document.

    Args:
        chunks: its bytes, in order.
        source: its name, for errors.

    Yields:
        Items, each as ``json`` reads it.

    Raises:
        LeakhuntError: the document is damaged or cut, or one of its objects is beyond all measure.
    """
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    decoder = json.JSONDecoder()
    text, enough, found, listed = "", _BLOCK, 0, None
    for chunk in _ended(chunks):
        text += decode(chunk or b"", final=chunk is None)
        if len(text) < enough and chunk is not None:
            continue
        if listed is None:
            head = _LIST.match(text.lstrip("\ufeff"))
            listed = head is not None
            text = text.lstrip("\ufeff")[head.end() if head else 0 :]
        at = 0
        while True:
            between = _BETWEEN.match(text, at)
            at = between.end() if between else at
            if at >= len(text) or text[at] != "{":
                break
            try:
                value, end = decoder.raw_decode(text, at)
            except (ValueError, RecursionError):
                break
            found += 1
            yield value
            at = end
        text = text[at:]
        enough = max(_BLOCK, 2 * len(text))
        if len(text) > _LONGEST_OBJECT:
            raise LeakhuntError(
                f"{source}: holds one object of more than {_LONGEST_OBJECT >> 20} MiB",
                "export fewer objects: kubectl get pods -n NAMESPACE -o json",
            )
    rest = _BEHIND.match(text) if listed or found else None
    if rest is None or rest.end() < len(text):
        what = f"is damaged or cut after {found} objects" if found else "is no JSON"
        raise LeakhuntError(f"{source}: {what}", "export it again, and give the whole file")


def _ended(chunks: Iterable[bytes]) -> Iterator[bytes | None]:
    """Yield the chunks, and None behind the last."""
    yield from chunks
    yield None
