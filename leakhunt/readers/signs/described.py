"""``kubectl describe pod`` and ``describe node``: blocks of names and values, read line by line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import tzinfo

from leakhunt.model.evidence import Evidence, Place
from leakhunt.model.incident import Sign
from leakhunt.readers.signs.pods import Ended, ended_sign
from leakhunt.readers.signs.values import bytes_of, container_id_of, time_of

_FIELD = re.compile(r"( {0,12})([A-Z][\w /-]{1,40}):(?:\s{1,40}(\S.{0,2000}))?\s{0,80}")
_CONTAINER = re.compile(r"  ([a-z0-9][a-z0-9-]{0,62}):\s{0,80}")
_MEMORY = re.compile(r"\s{1,12}memory:\s{1,40}(\S{1,30})\s{0,80}")
_OVER = frozenset({"Conditions", "Volumes", "Events", "QoS Class", "Node-Selectors", "Tolerations"})
_PATIENCE = 200  # lines of a block that tell nothing


@dataclass
class _Container:
    """One container of a pod, as far as it was read."""

    name: str | None = None
    id: str | None = None
    state: str = ""
    limit: int | None = None
    restarts: int = 0
    ends: list[dict[str, str]] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)


class Described:
    """Reads the lines of what ``kubectl describe`` prints.

    Args:
        source: the name that evidence gets.
        tz: the zone of times without one.

    Attributes:
        place: the pod or node whose block this is.
        open: whether more of the block is expected.
    """

    def __init__(self, source: str, tz: tzinfo) -> None:
        self.place = Place()
        self.open = False
        self._source = source
        self._tz = tz
        self._names: dict[str, str] = {}
        self._section = ""
        self._container = _Container()
        self._end: dict[str, str] | None = None
        self._patience = 0

    def read(self, text: str, line: int) -> Iterator[Sign]:
        """Take a line, with the blanks it began with.

        Args:
            text: the line.
            line: its number.

        Yields:
            What is known once a container's part is over.
        """
        field_ = _FIELD.fullmatch(text)
        if field_ is None and not self.open:
            return
        if field_ is not None:
            yield from self._field(len(field_[1]), field_[2], (field_[3] or "").strip(), text, line)
        elif self._section == "containers" and (match := _CONTAINER.fullmatch(text)):
            yield from self._close()
            self._container = _Container(match[1])
            self._patience = _PATIENCE
        elif (
            self._section == "containers"
            and self._names.get("part") == "Limits"
            and (match := _MEMORY.fullmatch(text))
        ):
            self._container.limit = bytes_of(match[1])
        self._patience -= 1
        if self._patience < 0:
            yield from self.finish()

    def finish(self) -> Iterator[Sign]:
        """Yield what is left to say, and begin anew."""
        yield from self._close()
        self.place, self.open, self._section = Place(), False, ""
        self._names = {}

    def _field(self, depth: int, name: str, value: str, text: str, line: int) -> Iterator[Sign]:
        """Take a name and its value."""
        if name == "Name" and depth == 0:
            yield from self.finish()
            self._names = {"Name": value}
            self.open, self._patience = True, _PATIENCE
            return
        if name in {"State", "Last State"}:
            self.open, self._patience = True, _PATIENCE
            self._end = {"part": name, "state": value}
            if name == "State":
                self._container.state = value
            if value == "Terminated":
                self._container.ends.append(self._end)
                self._container.evidence.append(Evidence(self._source, line, text.strip()))
            return
        if not self.open:
            return
        if depth == 0 or name in _OVER:
            yield from self._top(name, value, text, line)
        elif self._end is not None and name in {"Reason", "Exit Code", "Started", "Finished", "Message"}:
            self._end[name] = value
        else:
            self._end = None
            self._names["part"] = name
            if name == "Container ID":
                self._container.id = container_id_of(value)
            elif name == "Restart Count" and value.isascii() and value.isdigit():
                self._container.restarts = int(value[:9])

    def _top(self, name: str, value: str, text: str, line: int) -> Iterator[Sign]:
        """Take what stands at the edge: what the object is, and where a part begins."""
        yield from self._close()
        self._end = None
        if name in {"Containers", "Init Containers", "Ephemeral Containers"}:
            self._section = "containers"
        elif name in _OVER:
            self._section = name
        self._names[name] = value
        self._patience = _PATIENCE
        self.place = self._whose()
        if name == "Message" and self._names.get("Reason") == "Evicted" and "memory" in value:
            evidence = Evidence(self._source, line, text.strip())
            words = "the kubelet evicted the pod, as the node was low on memory"
            yield Sign("eviction", "kubelet", evidence, "kubelet", self.place, text=words)

    def _whose(self) -> Place:
        name = self._names.get("Name") or None
        if "Namespace" not in self._names:
            return Place(host=name) if "Roles" in self._names else Place()
        host = self._names.get("Node", "").partition("/")[0]
        return Place(host=host or None, pod=f"{self._names['Namespace']}/{name}")

    def _close(self) -> Iterator[Sign]:
        """Yield how the container that was read has ended."""
        container, self._container = self._container, _Container()
        self._end = None
        # The id is the newest container's: one that runs, or has ended again, is not the one that ended before it.
        newest = "Last State" if container.state == "Waiting" else "State"
        for end, evidence in zip(container.ends, container.evidence):
            place = Place(
                host=self.place.host,
                container_id=container.id if end["part"] == newest else None,
                container=container.name,
                pod=self.place.pod,
            )
            when, doubt = time_of(end.get("Finished"), self._tz)
            code = end.get("Exit Code", "")
            ended = Ended(
                reason=end.get("Reason", ""),
                exit_code=int(code) if code.isascii() and code.isdigit() and len(code) < 6 else None,
                when=when,
                uncertainty_s=doubt,
                started=time_of(end.get("Started"), self._tz)[0],
                limit=container.limit,
                restarts=container.restarts,
                last=end["part"] == "Last State",
            )
            told = ", ".join(end[key] for key in ("Reason", "Exit Code", "Finished") if key in end)
            sign = ended_sign(ended, place, evidence._replace(text=f"{evidence.text}: {told}"))
            if sign is not None:
                yield sign
