"""``systemctl status`` and ``systemctl show``: how a unit ended the last time.

The logs that ``status`` shows below are lines like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import tzinfo

from leakhunt.model.evidence import Evidence
from leakhunt.model.incident import Sign
from leakhunt.readers.signs.told import number, place_of_unit
from leakhunt.readers.signs.values import time_of

_HEAD = re.compile(
    r"(?:[●○\u00d7*↻x] )?(\S{1,255}\.(?:service|scope|slice|socket|mount|swap))(?: - .{0,400})?"
)
_ACTIVE = re.compile(
    r"\s{1,12}Active: (?:failed|inactive|activating|deactivating).{0,40}\(Result: ([a-z-]{1,40})\)(?: since ([^;]{1,60}))?.*"
)
_MAIN = re.compile(r"\s{1,12}(?:Main PID|Process): (\d{1,10}) .{0,2000}\(code=killed, signal=KILL\)")
_PROPERTY = re.compile(r"([A-Z][A-Za-z]{1,60})=(.{0,4000})")
_KNOWN = frozenset(
    {"Id", "Result", "ExecMainPID", "ExecMainCode", "ExecMainStatus", "ExecMainExitTimestamp"}
    | {"ExecMainStartTimestamp", "MemoryMax", "ControlGroup", "InactiveEnterTimestamp", "NRestarts"}
)


class Systemctl:
    """Reads the lines of both.

    Args:
        source: the name that evidence gets.
        tz: the zone of times without one.
    """

    def __init__(self, source: str, tz: tzinfo) -> None:
        self._source = source
        self._tz = tz
        self._status: Sign | None = None
        self._unit: str | None = None
        self._properties: dict[str, str] = {}
        self._line = 0

    def read(self, text: str, line: int) -> Iterator[Sign]:
        """Take a line.

        Args:
            text: the line.
            line: its number.

        Yields:
            What is known of a unit once the next begins.
        """
        if "=" not in text and (match := _HEAD.fullmatch(text)):
            yield from self.finish()
            self._unit = match[1]
        elif self._unit is not None and (match := _ACTIVE.fullmatch(text)):
            if match[1] == "oom-kill":
                when, doubt = time_of(match[2], self._tz)
                self._status = Sign(
                    "oom",
                    "systemd",
                    Evidence(self._source, line, text.strip()),
                    place=place_of_unit(self._unit),
                    when=when,
                    uncertainty_s=doubt,
                    text="the unit failed: out of memory",
                )
        elif self._unit is not None and (match := _MAIN.fullmatch(text)):
            pid = number(match[1], 1 << 22)
            if self._status is not None:
                self._status = replace(self._status, pid=pid, host_pid=True, exit_code=137)
        elif match := _PROPERTY.fullmatch(text):
            if match[1] in self._properties and match[1] in {"Id", "Type"}:
                yield from self.finish()
            if match[1] in _KNOWN:
                self._properties[match[1]] = match[2]
                self._line = line if match[1] == "Result" else self._line
        elif not text.strip() and "Result" in self._properties:
            yield from self.finish()

    def finish(self) -> Iterator[Sign]:
        """Yield what is left to say, and begin anew."""
        status, self._status, self._unit = self._status, None, None
        properties, self._properties = self._properties, {}
        if status is not None:
            yield status
        if properties:
            yield from self._shown(properties)

    def _shown(self, properties: dict[str, str]) -> Iterator[Sign]:
        """Yield what the properties of a unit tell."""
        result, path = properties.get("Result", ""), properties.get("ControlGroup", "")
        killed = properties.get("ExecMainCode") == "2" and properties.get("ExecMainStatus") == "9"
        if result != "oom-kill" and not killed:
            return
        exited = properties.get("ExecMainExitTimestamp") or properties.get("InactiveEnterTimestamp")
        when, doubt = time_of(exited, self._tz)
        unit = properties.get("Id") or path.rpartition("/")[2] or None
        place = place_of_unit(unit) if unit else None
        sign = Sign(
            "oom" if result == "oom-kill" else "sigkill",
            "systemd",
            Evidence(self._source, self._line, f"Result={result}"),
            when=when,
            uncertainty_s=doubt,
            pid=number(properties.get("ExecMainPID"), 1 << 22) or None if killed else None,
            host_pid=True if killed else None,
            limit=number(properties.get("MemoryMax"), (1 << 63) - 1),
            exit_code=137 if killed else None,
            at_least=(number(properties.get("NRestarts")) or 0) > 1,
            started=time_of(properties.get("ExecMainStartTimestamp"), self._tz)[0],
            text="the unit failed: out of memory"
            if result == "oom-kill"
            else "the unit's main process was killed by SIGKILL",
        )
        yield replace(sign, place=replace(place, cgroup=path or None)) if place else sign
