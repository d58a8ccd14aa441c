"""How large a task's arguments are, and whether two are the same: cheap, bounded, and without running their code."""

from __future__ import annotations

from hashlib import blake2b
from itertools import islice

_SAMPLED = 8  # elements of a container that are looked at; the others are taken to be like them
_DEPTH = 3
_SLOT = 8
_OTHER = 16  # bytes that an object of another type counts for: asking it could run anything
_MOST_HASHED = 1 << 13


def size_of(args: object, kwargs: object) -> int:
    """Return about how many bytes the arguments of a task hold; no object's own method is called."""
    return _size(args, _DEPTH) + _size(kwargs, _DEPTH)


def hash_of(argsrepr: object, kwargsrepr: object, key: bytes) -> str | None:
    """Return a short hash of the arguments as the client printed them into the message; equal ones have equal hashes.

    A client cuts long ones, so that equal hashes are no proof of equal arguments. Without the key nobody can try out which
    arguments have a hash.

    Args:
        argsrepr: the message's header of this name.
        kwargsrepr: likewise; None where the message has neither.
        key: the salt of the records, at most 64 bytes.
    """
    if type(argsrepr) is not str or type(kwargsrepr) is not str:
        return None
    text = f"{argsrepr[:_MOST_HASHED]}\0{kwargsrepr[:_MOST_HASHED]}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=key).hexdigest()


def _size(value: object, depth: int) -> int:
    """Return about how many bytes a value of a built-in type holds; of subclasses nothing is asked."""
    kind = type(value)
    if kind is str or kind is bytes or kind is bytearray:
        return len(value)  # type: ignore[arg-type]
    if value is None or kind is bool:
        return 0
    if kind is int:
        return int(value.bit_length() + 7) // 8  # type: ignore[attr-defined]
    if kind is dict:
        return _like_the_first(len(value), islice(value.items(), _SAMPLED), depth)  # type: ignore[arg-type, attr-defined]
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        return _like_the_first(len(value), islice(value, _SAMPLED), depth)  # type: ignore[arg-type, call-overload]
    return _OTHER


def _like_the_first(count: int, first: islice[object], depth: int) -> int:
    """Return the size of a container, by its first elements."""
    if not count:
        return 0
    seen = [_size(value, depth - 1) for value in first] if depth else []
    return _SLOT * count + (sum(seen) * count // len(seen) if seen else 0)
