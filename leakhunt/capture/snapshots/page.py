"""A page of memory that a process shares with its forked children: word from one to the other without a descriptor."""

from __future__ import annotations

import mmap
import struct

_PID = struct.Struct("q")
_PAUSE = struct.Struct("d")
_DONE = 16


class Page:
    """What parent and child tell each other.

    It costs the program no descriptor that another thread's child could inherit and hold open.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)

    @property
    def pid(self) -> int:
        """The child's pid; 0 before it is known, or a negative error number where there is none."""
        pid: int = _PID.unpack_from(self._memory, 0)[0]
        return pid

    @pid.setter
    def pid(self, pid: int) -> None:
        _PID.pack_into(self._memory, 0, pid)

    @property
    def pause(self) -> float | None:
        """For how many seconds the parent stood still; None before it went on."""
        pause: float = _PAUSE.unpack_from(self._memory, _PID.size)[0]
        return pause or None

    @pause.setter
    def pause(self, seconds: float) -> None:
        _PAUSE.pack_into(self._memory, _PID.size, seconds)

    @property
    def done(self) -> bool:
        """Whether the child has done all it had to do."""
        return self._memory[_DONE] == 1

    def finish(self) -> None:
        """Say so; the child is about to leave."""
        self._memory[_DONE] = 1
