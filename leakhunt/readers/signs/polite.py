"""earlyoom and nohang: killers that ask first, and tell in several lines what came of it.

Wordings as in rfjakob/earlyoom ``kill.c`` and ``main.c`` and hakavlad/nohang ``nohang``, of several releases each.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from leakhunt.readers.signs.told import MIB, Told, number

EARLYOOM = frozenset({"earlyoom"})
NOHANG = frozenset({"nohang", "nohang-desktop"})
NEEDLES = (
    "VmRSS",
    "Out of memory! avail: ",
    "Killing process ",
    "exited after ",
    "escalating to SIGKILL",
    "kill failed: ",
    "did not exit",
    " signal to ",
    "to the victim",
    "The victim ",
    ", badness: ",
)
_MOST_PID = 1 << 22
_MOST_MIB = 1 << 40
_PATIENCE = 40  # lines; nohang prints a page about its victim first

_SENDING = re.compile(
    r'sending (SIGTERM|SIGKILL) to process (\d{1,10}) (?:uid \d{1,10} )?"(.{0,255}?)": '
    r"(?:badness|oom_score) -?\d{1,10},(?: oom_score_adj -?\d{1,6},)? VmRSS (\d{1,15}) MiB(?:,.*)?"
)
_WITH_SIGNAL = re.compile(
    r'killing process (\d{1,10}) "(.{0,255}?)" with signal (15|9): badness -?\d{1,10}, VmRSS (\d{1,15}) MiB'
)
_NAME_FIRST = re.compile(
    r"Killing process '(.{0,255}?)' with signal (15|9), pid: (\d{1,10}), badness: -?\d{1,10}, VmRSS: (\d{1,15}) MiB"
)
_OLDEST = re.compile(r"Killing process (\d{1,10}) ([^'\s].{0,255})")
_LOW = re.compile(r"Out of memory! avail: \d{1,12}\b")
_EXITED = re.compile(r"process (?:(\d{1,10}) )?exited after \d{1,9}\.\d seconds.{0,80}")
_FAILED = re.compile(r"kill failed: .{1,80}|process \d{1,10} did not exit")

_TRYING = re.compile(r"Preventing OOM: trying to send the (SIGTERM|SIGKILL) signal to (.{1,255}),")
_TRIED = re.compile(
    r"P[Ii][Dd]: (\d{1,10}), Badness: -?\d{1,10}, VmRSS: (\d{1,15}) MiB, VmSwap: \d{1,15} MiB"
)
_VICTIM = re.compile(r"PID: (\d{1,10}), [Nn]ame: (.{1,255}), badness: -?\d{1,10}")
_VICTIM_RSS = re.compile(r"VmRSS: {1,12}(\d{1,15}) MiB.{0,200}")
_SENT = re.compile(r"Send(?:ing)? (SIGTERM|SIGKILL) to the victim(?:; total response time: .{1,40})?")


class _Victim(NamedTuple):
    """Whom nohang has chosen."""

    pid: int | None
    comm: str
    rss: int | None = None


class Polite:
    """Reads the lines of both, in order, and holds a statement until it is known what came of it.

    Attributes:
        held: what was said last, as far as is known by now.
        done: whether nothing further is expected of it.
    """

    def __init__(self) -> None:
        self.held: Told | None = None
        self.done = False
        self._patience = 0
        self._low = False
        self._victim: _Victim | None = None

    @property
    def tags(self) -> frozenset[str]:
        """Who may write what is held."""
        return NOHANG if self.held is not None and self.held.program == "nohang" else EARLYOOM

    def begins(self, line: str) -> bool:
        """Take a line; tells whether it makes a new statement, which is then held."""
        line = line.strip()
        told = self._earlyoom(line) or self._nohang(line)
        if told is None:
            return False
        self.held, self.done, self._patience = told, False, _PATIENCE
        return True

    def goes_on(self, line: str) -> None:
        """Learn from a line that makes no new statement what came of the one that is held."""
        held, line = self.held, line.strip()
        if held is None:
            return
        self._patience -= 1
        self.done = self._patience < 0
        if exited := _EXITED.fullmatch(line):
            pid = number(exited[1], _MOST_PID)
            if held.program == "earlyoom" and (pid is None or pid == held.pid):
                text = held.text if held.kind == "killed" else "earlyoom ended the process"
                self.held, self.done = held._replace(kind="killed", text=text), True
        elif line.startswith(("The victim died in", "The victim became a zombie")):
            if held.program == "nohang":
                text = held.text if held.kind == "killed" else "nohang ended the process"
                self.held, self.done = held._replace(kind="killed", text=text), True
        elif held.program == "earlyoom" and _FAILED.fullmatch(line):
            self.held, self.done = (
                held._replace(kind="attempt", text="earlyoom failed to kill the process"),
                True,
            )
        elif held.program == "earlyoom" and line.startswith("escalating to SIGKILL after"):
            self.held = held._replace(kind="killed", text="earlyoom killed the process")

    def forget(self) -> None:
        """Let go of what is held."""
        self.held, self.done = None, False

    def _earlyoom(self, line: str) -> Told | None:
        if match := _SENDING.fullmatch(line):
            return _asked("earlyoom", match[1], match[2], match[3], match[4])
        if match := _WITH_SIGNAL.fullmatch(line):
            return _asked("earlyoom", match[3], match[1], match[2], match[4])
        if match := _NAME_FIRST.fullmatch(line):
            return _asked("earlyoom", match[2], match[3], match[1], match[4])
        low, self._low = self._low, _LOW.match(line) is not None
        if low and (match := _OLDEST.fullmatch(line)):
            return _asked("earlyoom", "9", match[1], match[2], None)
        return None

    def _nohang(self, line: str) -> Told | None:
        if match := _VICTIM.fullmatch(line):
            self._victim = _Victim(number(match[1], _MOST_PID), match[2])
        elif match := _TRYING.fullmatch(line):
            self._victim = _Victim(None, match[2])
            return _asked("nohang", match[1], None, match[2], None)
        elif (match := _TRIED.fullmatch(line)) and self._victim is not None:
            pid, rss = number(match[1], _MOST_PID), _mib(match[2])
            if self.held is not None:
                self.held = self.held._replace(pid=pid, rss=rss)
        elif (match := _VICTIM_RSS.fullmatch(line)) and self._victim is not None:
            self._victim = self._victim._replace(rss=_mib(match[1]))
        elif (match := _SENT.fullmatch(line)) and self._victim is not None:
            victim, self._victim = self._victim, None
            told = _asked("nohang", match[1], None, victim.comm, None)
            return told._replace(pid=victim.pid, rss=victim.rss)
        return None


def _mib(text: str | None) -> int | None:
    value = number(text, _MOST_MIB)
    return None if value is None else value * MIB


def _asked(program: str, signal: str, pid: str | None, comm: str, mib: str | None) -> Told:
    """Say that a killer sent a signal; SIGTERM is a request until more is known."""
    final = signal in {"SIGKILL", "9"}
    return Told(
        "killed" if final else "attempt",
        program,
        f"{program} killed the process" if final else f"{program} asked the process to end",
        program,
        pid=number(pid, _MOST_PID),
        host_pid=True,
        comm=comm,
        rss=_mib(mib),
    )
