"""A stream cut into buffers of whole lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

LONGEST_LINE = 1 << 20
_ENOUGH = 1 << 16  # small chunks are put together up to this; larger ones leave the processor's cache


class Buffer(NamedTuple):
    """Whole lines.

    Attributes:
        data: each line ends with a newline, the last one of the source too; nothing for a pause.
        cut: whether the newline at the end is ours, as the line was too long; the next buffer goes on with it.
    """

    data: bytes
    cut: bool = False


def buffers(chunks: Iterable[bytes]) -> Iterator[Buffer]:
    """Cut a stream at the ends of lines.

    Args:
        chunks: the bytes in order; an empty one says that there is no more for now.

    Yields:
        Buffers of a bounded size, as the chunks have; an empty one where the stream pauses.
    """
    rest: list[bytes] = []  # what came and is not given out yet
    size, enough = 0, _ENOUGH
    for chunk in chunks:
        rest.append(chunk)
        size += len(chunk)
        if chunk and size < enough:
            continue
        end = chunk.rfind(b"\n") + 1
        if end:
            yield Buffer(b"".join((*rest[:-1], memoryview(chunk)[:end])))  # one copy, not two
            rest = [chunk[end:]]
        else:
            data = b"".join(rest)
            end = data.rfind(b"\n") + 1
            if end:
                yield Buffer(data[:end])
            elif len(data) >= LONGEST_LINE:
                yield Buffer(data + b"\n", cut=True)
                end = len(data)
            rest = [data[end:]]
        size = len(rest[0])
        enough = max(_ENOUGH, 2 * size)  # a long line is looked at again only when it has grown
        if not chunk:
            yield Buffer(b"")
    data = b"".join(rest)
    if data:
        yield Buffer(data if data.endswith(b"\n") else data + b"\n")
