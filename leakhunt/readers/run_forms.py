"""The forms of whole traces in a pickle, as regular expressions.

None can match more than one way: what follows a value always tells what it is, so that a mismatch costs no more than
the bytes looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SIZE = rb"(?:M..|K.|J...[\0-\x7f])"
_REF = rb"(?:j....|h.)"
_LINE = rb"(?:M..|K.|J....)"
_FRAME = _REF + _LINE + rb"\x86\x94"
_NEXT = rb"(?=[^\x94qrp2\x95])"  # a trace that is memoized again, maybe behind a FRAME, may be needed; a DUP counts

SHORT = re.compile(
    rb"(%b(?=\x85\x94)|(?:%b){2}(?=\x86\x94)|(?:%b){3}(?=\x87\x94))(..)" % ((_FRAME,) * 3), re.DOTALL
)
"""One to three frames, which need no mark, and what closes them."""

COMPACT = re.compile(
    rb"(?:e\()?\(K\0(%b)(?:(%b)|(\(?)((?:%b(?:%b\x86\x94)?){1,65535})([t\x85-\x87])\x94)(K.|M..)t(2*)%b"
    % (_SIZE, _REF, _REF, _LINE, _NEXT),
    re.DOTALL,
)
"""A trace as leakhunt writes it: size, known traceback or mark, frames and what closes them; total_nframe, DUPs."""

COMPACT_FRAME = re.compile(rb"%b(?:%b\x86\x94)?" % (_REF, _LINE), re.DOTALL)
"""A frame in it: a known one, or file name and line."""

COMPACT_CLOSINGS = {(1, b"\x85"), (2, b"\x86"), (3, b"\x87")}
"""Numbers of frames without a mark, and what closes them."""


@dataclass(frozen=True)
class Layout:
    """The form of a trace with so many fields, in domain 0.

    Attributes:
        opening: the bytes up to the size.
        closing: the bytes behind the last field.
        known: matches a run of traces whose tracebacks are known.
        head: matches what stands before the frames of a trace with a traceback of its own: size, mark.
        tail: matches what stands behind them: total_nframe.
        width: how many values a trace has without its domain.
    """

    opening: bytes
    closing: bytes
    known: re.Pattern[bytes]
    head: re.Pattern[bytes]
    tail: re.Pattern[bytes]
    width: int


def _layout(opening: bytes, closing: bytes, nframe: bytes, width: int) -> Layout:
    """Make a layout; no number that passes can hold the bytes that close one trace and open the next."""
    border = re.escape(closing + opening)
    size, ref = rb"(?!.%b)%b" % (border, _SIZE), rb"(?!.%b)%b" % (border, _REF)
    begin, end = re.escape(opening), re.escape(closing)
    return Layout(
        opening,
        closing,
        re.compile(rb"(?:%b%b%b%b%b)+%b" % (begin, size, ref, nframe, end, _NEXT), re.DOTALL),
        re.compile(rb"%b(%b)(\(?)" % (begin, _SIZE), re.DOTALL),
        re.compile(rb"(%b)%b%b" % (nframe, end, _NEXT), re.DOTALL),
        width,
    )


LAYOUTS = {
    3: _layout(b"K\0", b"\x87\x94", b"", 2),
    4: _layout(b"(K\0", b"t\x94", rb"(?:K[^\0]|M..)", 3),
}
