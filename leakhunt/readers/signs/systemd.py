"""The lines of systemd and of systemd-oomd.

Wordings as in systemd's ``src/core/cgroup.c`` and ``src/core/service.c`` (read in the logs of many releases) and
``src/oom/oomd-manager.c``: older releases write ``Killed ...``, newer ones ``Marked ... for killing``.
"""

from __future__ import annotations

import re

from leakhunt.readers.signs.told import Told, Wording, number, place_of_cgroup, place_of_unit

SYSTEMD = frozenset({"systemd"})
OOMD = frozenset({"systemd-oomd"})

KILLED_BY_KERNEL = "the kernel's OOM killer killed a process of the unit"
KILLED_SOME = "the kernel's OOM killer killed processes of the unit"
KILLED_BY_OOMD = "systemd-oomd killed processes of the unit"
MAIN_KILLED = "the unit's main process was killed by SIGKILL"
CONTROL_KILLED = "the unit's control process was killed by SIGKILL"
FAILED = "the unit failed: out of memory"
OOMD_KILLED = "systemd-oomd killed the control group"
OOMD_MARKED = "systemd-oomd marked the control group for killing"

_UNIT = re.compile(
    r"(\S{1,255}?\.(?:service|scope|slice|socket|mount|swap|automount|timer|path|target)): (\S.{0,200})"
)
_OOMD_UNIT = re.compile(r"systemd-oomd killed (some|\d{1,10}) process(?:\(es\)|es)? in this unit\.?")
_EXITED = re.compile(r"([Mm]ain|[Cc]ontrol) process exited, code=killed, status=9(?:/KILL)?")
_KILLED = re.compile(
    r"(Killed|Marked) (/[^\s]{0,4000}) (?:for killing )?due to (memory pressure for |memory used \().{1,4200}"
)


def unit_line(line: str) -> Told | None:  # noqa: PLR0911 - a return a wording
    """Read what PID 1, or a user's manager, says of a unit."""
    match = _UNIT.fullmatch(line.rstrip())
    if match is None:
        return None
    place, said = place_of_unit(match[1]), match[2]
    if said.startswith("A process of this unit has been killed by the OOM killer"):
        return Told("oom", "systemd", KILLED_BY_KERNEL, "kernel", place)
    if said.startswith("The kernel OOM killer killed some processes in this unit"):
        return Told("oom", "systemd", KILLED_SOME, "kernel", place, at_least=True)
    if killed := _OOMD_UNIT.fullmatch(said):
        count = number(killed[1])
        return Told(
            "oom",
            "systemd",
            KILLED_BY_OOMD,
            "systemd-oomd",
            place,
            deaths=count or 1,
            at_least=count is None,
        )
    if exited := _EXITED.fullmatch(said):
        text = MAIN_KILLED if exited[1].lower() == "main" else CONTROL_KILLED
        return Told("sigkill", "systemd", text, place=place, exit_code=137)
    if said.startswith("State 'stop-") and said.endswith(("timed out. Killing.", "timed out. Terminating.")):
        return Told(
            "terminated", "systemd", "the unit did not stop in time, so systemd killed it", place=place
        )
    if said.startswith("Failed with result 'oom-kill'"):
        return Told("oom", "systemd", FAILED, place=place)
    return None


def oomd_line(line: str) -> Told | None:
    """Read whom systemd-oomd killed."""
    match = _KILLED.fullmatch(line)
    if match is None:
        return None
    text = OOMD_KILLED if match[1] == "Killed" else OOMD_MARKED
    return Told("killed", "systemd-oomd", text, "systemd-oomd", place_of_cgroup(match[2]), at_least=True)


WORDINGS = (
    Wording("of this unit has been killed by the OOM", SYSTEMD, unit_line),
    Wording("OOM killer killed some processes in this unit", SYSTEMD, unit_line),
    Wording("systemd-oomd killed ", SYSTEMD, unit_line),
    Wording("code=killed, status=9", SYSTEMD, unit_line),
    Wording("timed out. Killing.", SYSTEMD, unit_line),
    Wording("Failed with result 'oom-kill'", SYSTEMD, unit_line),
    Wording(" due to memory ", OOMD, oomd_line),
)
