"""The lines of container runtimes and of what starts containers: Docker, containerd, Nomad, ECS, Lambda.

Wordings as in logs quoted by docker/for-linux#670, moby/moby#18470, containerd/containerd#4547 and #8893 (dockerd,
containerd), Nomad's ``client/driver/structs``, hashicorp/nomad#12735, and the texts of ECS and Lambda as users quote them.
"""

from __future__ import annotations

import re

from leakhunt.model.evidence import Place
from leakhunt.readers.signs.told import MIB, Told, Wording, number

_DAEMONS = frozenset(
    {"containerd", "dockerd", "docker", "docker-containerd", "k3s", "rke2", "k0s", "microk8s"}
)
_ID = r"[0-9a-f]{12,64}"
_TASK_OOM = re.compile(r'msg="TaskOOM event (?:container_id:\\?"?|&TaskOOM\{ContainerID:)(' + _ID + r")\b")
_TOPIC = re.compile(r"\btopic=\"?/tasks/oom\b")
_NAMED = re.compile(r"(?:container|ContainerID|container_id|containerID)[:=]\\?\"?(" + _ID + r")\b")
_EXIT = re.compile(
    r"received exit event.{0,40} container_id:\\?\"(" + _ID + r")\\?\" {1,3}id:\\?\"(" + _ID + r")\\?\" {1,3}"
    r"pid:(\d{1,10}) {1,3}exit_status:137\b"
)
_EVENT = re.compile(r"container (oom|die|kill) (" + _ID + r")(?: \((.{0,16000})\))?")
_ATTRIBUTE = re.compile(
    r"(?:^|, )(name|exitCode|signal|io\.kubernetes\.pod\.name|io\.kubernetes\.pod\.namespace|io\.kubernetes\.pod\.uid|"
    r"io\.kubernetes\.container\.name)=([^,()]{1,300})"
)
_COMPOSE = re.compile(
    r"(?:\x1b\[\d{0,3}m|container )?([\w.-]{1,120}[_-]\d{1,4}) exited with code 137(?:\x1b\[\d{0,3}m)?\.?"
)
_WAITED = re.compile(
    r"(?:.{0,400}\btask \"([^\"]{1,120})\" for alloc \"([0-9a-f-]{36})\" failed: )?"
    r".{0,200}?Wait returned exit code (\d{1,4}), signal (\d{1,3}), and error (OOM Killed)?"
)
_TERMINATED = re.compile(
    r'Exit Code: (\d{1,4})(?:, Signal: \d{1,3})?, Exit Message: "(OOM Killed[^"]{0,40})"'
)
_ECS = re.compile(r"OutOfMemoryError: [Cc]ontainer killed due to memory usage", re.ASCII)
_LAMBDA = re.compile(r"Runtime exited with error: signal: killed")
_REPORT = re.compile(
    r"REPORT RequestId: ([0-9a-f-]{36}).{0,200}Memory Size: (\d{1,7}) MB\s{1,4}Max Memory Used: (\d{1,7}) MB"
)
_REQUEST = re.compile(r"RequestId: ([0-9a-f-]{36})")


def task_oom(line: str) -> Told | None:
    """Read containerd's news of a kill in a container."""
    match = _TASK_OOM.search(line)
    if match is None:
        return None
    place = Place(container_id=match[1])
    return Told("oom", "containerd", "a process of the container was killed", "kernel", place)


def task_topic(line: str) -> Told | None:
    """Read the same news as Docker passes it on; the container is often left out."""
    if not _TOPIC.search(line):
        return None
    named = _NAMED.search(line)
    place = Place(container_id=named[1] if named else None)
    return Told("oom", "docker", "a process of a container was killed", "kernel", place)


def task_exit(line: str) -> Told | None:
    """Read containerd's news of a process that ended by SIGKILL; those started by ``exec`` have ids of their own."""
    match = _EXIT.search(line)
    if match is None:
        return None
    return Told(
        "sigkill",
        "containerd",
        "the container's main process was killed by SIGKILL"
        if match[1] == match[2]
        else "an exec was killed",
        place=Place(container_id=match[1]),
        pid=number(match[3], 1 << 22),
        host_pid=True,
        exit_code=137,
    )


def docker_event(line: str) -> Told | None:
    """Read a line of ``docker events``."""
    match = _EVENT.fullmatch(line)
    if match is None:
        return None
    said: dict[str, str] = {found[1]: found[2] for found in _ATTRIBUTE.finditer(match[3] or "")}
    return docker_told(match[1], match[2], said)


def docker_told(action: str, container_id: str | None, said: dict[str, str]) -> Told | None:
    """Say what an event of Docker's tells.

    Args:
        action: ``oom``, ``die``, ``kill`` or another, which tells nothing.
        container_id: whose.
        said: the event's attributes.
    """
    pod, namespace = said.get("io.kubernetes.pod.name"), said.get("io.kubernetes.pod.namespace")
    place = Place(
        container_id=container_id,
        container=said.get("io.kubernetes.container.name") or said.get("name"),
        pod=f"{namespace}/{pod}" if pod and namespace else pod,
        pod_uid=said.get("io.kubernetes.pod.uid"),
    )
    if action == "oom":
        return Told("oom", "docker", "a process of the container was killed", "kernel", place, shaped=True)
    if action in {"die", "died"} and said.get("exitCode") == "137":
        text = "the container ended by SIGKILL"
        return Told("sigkill", "docker", text, place=place, exit_code=137, shaped=True)
    if action == "kill" and said.get("signal") in {"9", "KILL", "SIGKILL"}:
        return Told(
            "terminated",
            "docker",
            "somebody had the container killed: docker stop or kill",
            place=place,
            shaped=True,
        )
    return None


def compose_exit(line: str) -> Told | None:
    """Read how ``docker compose up`` reports a container's end."""
    match = _COMPOSE.fullmatch(line)
    if match is None:
        return None
    place = Place(container=match[1])
    return Told("sigkill", "docker", "the container ended by SIGKILL", place=place, exit_code=137)


def nomad(line: str) -> Told | None:
    """Read Nomad's client: an OOM kill as its driver sees it, or a SIGKILL."""
    if match := _WAITED.search(line):
        place = Place(container=match[1], cgroup=f"/nomad/{match[2]}" if match[2] else None)
        code = number(match[3])
        if match[5]:
            text = "Nomad's driver says that the task was killed for its memory"
            return Told("oom", "nomad", text, "kernel", place, exit_code=code)
        if code == 137 or match[4] == "9":
            return Told("sigkill", "nomad", "the task ended by SIGKILL", place=place, exit_code=code)
    if match := _TERMINATED.search(line):
        # Some releases wrote this for every SIGKILL (hashicorp/nomad#12735); they wrote the code in parentheses.
        kind = "sigkill" if "(137)" in match[2] else "oom"
        text = "Nomad says that the task was killed for its memory"
        return Told(kind, "nomad", text, "kernel" if kind == "oom" else "", exit_code=number(match[1]))
    return None


def ecs(line: str) -> Told | None:
    """Read the reason for which ECS says that a container was stopped."""
    if not _ECS.search(line):
        return None
    return Told("oom", "ecs", "ECS says that the container was killed for its memory", "kernel", here=True)


class Lambda:
    """Reads Lambda's lines; only with a report of full memory is a killed runtime an OOM kill."""

    def __init__(self) -> None:
        self._full: dict[str, int] = {}

    def report(self, line: str) -> None:
        """Take a ``REPORT`` line."""
        if match := _REPORT.search(line):
            size, used = number(match[2]), number(match[3])
            self._full.clear()
            if size and used and used >= size:
                self._full[match[1]] = size * MIB

    def read(self, line: str) -> Told | None:
        """Read how a runtime ended."""
        if not _LAMBDA.search(line):
            return None
        request = _REQUEST.search(line)
        limit = self._full.get(request[1]) if request else None
        if limit is None:
            return Told("sigkill", "lambda", "the function's runtime was killed by SIGKILL", shaped=True)
        text = "the function's runtime was killed with its memory used up"
        return Told("oom", "lambda", text, "kernel", limit=limit, shaped=True)


WORDINGS = (
    Wording("TaskOOM event", _DAEMONS, task_oom),
    Wording("/tasks/oom", _DAEMONS, task_topic),
    Wording("exit_status:137", _DAEMONS, task_exit),
    Wording("container oom ", frozenset(), docker_event),
    Wording("container die ", frozenset(), docker_event),
    Wording("container kill ", frozenset(), docker_event),
    Wording(" exited with code 137", frozenset(), compose_exit),
    Wording("Wait returned exit code", frozenset({"nomad"}), nomad),
    Wording('Exit Message: "OOM Killed', frozenset({"nomad"}), nomad),
    Wording("ontainer killed due to memory usage", frozenset(), ecs),
)
