"""Bytes, percentages and durations: parsed from what people type, printed without pretending."""

from __future__ import annotations

import re

from leakhunt.errors import LeakhuntError

_STEPS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_UNITS = {
    "": 1,
    "B": 1,
    **{unit: 1024**power for power, unit in enumerate("KMGTPE", 1)},
    **{f"{unit}IB": 1024**power for power, unit in enumerate("KMGTPE", 1)},
    **{f"{unit}B": 1000**power for power, unit in enumerate("KMGTPE", 1)},
}
_SECONDS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([a-z]*)\s*", re.ASCII)
_SIZE = re.compile(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*([A-Za-z]*)\s*", re.ASCII)


def format_size(size: int) -> str:
    """Print a size in bytes with three significant digits or so: ``812 B``, ``1.4 KiB``, ``12.0 MiB``."""
    magnitude = abs(size)
    step = 0
    while step < len(_STEPS) - 1 and magnitude >= 1024 ** (step + 1):
        step += 1
    if step == 0:
        return f"{size} B"
    value = size / 1024**step
    text = f"{value:.1f}" if abs(value) < 99.95 else f"{value:.0f}"
    if text.lstrip("-") == "1024" and step < len(_STEPS) - 1:
        return f"{'-' if size < 0 else ''}1.0 {_STEPS[step + 1]}"
    return f"{text} {_STEPS[step]}"


def format_size_diff(size_diff: int) -> str:
    """Print a difference in bytes with its sign: ``+1.4 KiB``, ``-812 B``, ``0 B``."""
    return f"+{format_size(size_diff)}" if size_diff > 0 else format_size(size_diff)


def format_count(count: int) -> str:
    """Print a count with thousands separated: ``24,012``."""
    return f"{count:,}"


def count_of(number: int, noun: str) -> str:
    """Print a count with what it counts: ``1 kill``, ``24,012 kills``, ``2 processes``."""
    plural = noun if number == 1 else f"{noun}{'es' if noun.endswith('s') else 's'}"
    return f"{format_count(number)} {plural}"


def format_count_diff(count_diff: int) -> str:
    """Print a difference of counts with its sign: ``+24,012``, ``-3``, ``0``."""
    return f"{count_diff:+,}" if count_diff else "0"


def format_rate(rate: float) -> str:
    """Print how many there are of something for one of another: ``2.00``, ``12.5``, ``412``."""
    magnitude = abs(rate)
    digits = 2 if magnitude < 9.995 else 1 if magnitude < 99.95 else 0
    return f"{rate:,.{digits}f}"


def format_share(share: float) -> str:
    """Print a fraction from 0 to 1 as a percentage that says 0 % or 100 % only when that is true."""
    if share <= 0:
        return "0 %"
    if share >= 1:
        return "100 %"
    percent = round(share * 100)
    if percent < 1:
        return "<1 %"
    return ">99 %" if percent > 99 else f"{percent} %"


def parse_size(text: str) -> int:
    """Read a size in bytes as people write it: ``4096``, ``64k``, ``10MiB``, ``1.5 GB``.

    One letter and ``KiB`` are powers of 1024, ``kB`` is a power of 1000.

    Raises:
        LeakhuntError: the text is no size.
    """
    match = _SIZE.fullmatch(text)
    unit = match[2].upper() if match else ""
    if match is None or unit not in _UNITS:
        raise LeakhuntError(
            f"{text!r} is not a size", "write a number of bytes, or for example 10MiB or 500KiB"
        )
    number = float(match[1]) if "." in match[1] else int(match[1])
    return int(number * _UNITS[unit])


def format_duration(seconds: float) -> str:
    """Print a span of time in its two largest units at most: ``0.4 s``, ``42 s``, ``14 min``, ``6 h 5 min``, ``3 d 4 h``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s" if seconds % 1 else f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    days, rest = divmod(round(seconds / 3600), 24)
    return f"{days} d {rest} h" if rest else f"{days} d"


def parse_duration(text: str) -> float:
    """Read a span of time in seconds as people write it: ``15``, ``15s``, ``500ms``, ``30m``, ``2h``, ``7d``.

    Raises:
        LeakhuntError: the text is no duration.
    """
    match = _DURATION.fullmatch(text.lower())
    if match is None or match[2] not in _SECONDS:
        raise LeakhuntError(f"{text!r} is not a duration", "write for example 15s, 30m, 2h or 7d")
    return float(match[1]) * _SECONDS[match[2]]
