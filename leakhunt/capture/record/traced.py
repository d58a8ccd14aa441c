"""How many bytes Python's tracer knows of, while it traces: exact where RSS is coarse, and it tells tasks apart."""

from __future__ import annotations

import tracemalloc


class Traced:
    """Reads what is traced now, and notices where tracing began anew in between, so that two figures do not compare."""

    def __init__(self) -> None:
        self._witness: object = None  # it is traced for as long as the traces of its time are kept
        self._last = 0

    def begin(self) -> str:
        """Return what the line of a task that begins says of it: nothing while nothing is traced."""
        if not tracemalloc.is_tracing():
            return ""
        size = tracemalloc.get_traced_memory()[0]
        known = self._goes_on(size)
        if not known:
            self._witness = object()
        self._last = size
        return f',"traced":{size}' if known else f',"traced":{size},"anew":true'

    def end(self) -> str:
        """Return what the line of its end says; nothing where that does not compare with its beginning."""
        if not tracemalloc.is_tracing():
            return ""
        size = tracemalloc.get_traced_memory()[0]
        if not self._goes_on(size):
            self._witness = None
            return ""
        self._last = size
        return f',"traced":{size}'

    def _goes_on(self, size: int) -> bool:
        """Tell whether it is the tracing of before; only where much is gone is the witness asked, which takes time."""
        if self._witness is None:
            return False
        return 2 * size > self._last or tracemalloc.get_object_traceback(self._witness) is not None
