"""The lines of Kubernetes: the kubelet's, the node problem detector's, and the rows of ``kubectl get``.

Wordings as in kubernetes/kubernetes ``pkg/kubelet/oom/oom_watcher_linux.go`` and ``pkg/kubelet/eviction`` of several
releases, cAdvisor's ``manager.go``, node-problem-detector's ``log_monitor.go``, and tables that users quote.
"""

from __future__ import annotations

import re

from leakhunt.model.evidence import Place
from leakhunt.readers.kernel_log.grammar import parse
from leakhunt.readers.kernel_log.lines import Kill
from leakhunt.readers.signs.told import Told, Wording, number, place_of_cgroup

_MOST_PID = 1 << 22
_COMBINED = "(combined from similar events): "
_KUBELET = frozenset(
    {"kubelet", "k3s", "rke2", "k0s", "hyperkube", "kubelet-wrapper", "origin-node", "microk8s"}
)
_DETECTOR = frozenset({"node-problem-detector", "node-problem-detector-startup.sh"})

_VICTIM = re.compile(
    r"System OOM encountered(?:, victim process: (.{1,255}), pid: (\d{1,10})|"
    r": {1,2}process pid (\d{1,10}), process name: (.{1,255}))?"
)
_ROW = re.compile(
    r"(?:(?P<namespace>[a-z0-9-]{1,63}) +)?(?P<age>\d\w{0,12}(?: \(x\d{1,9} over \w{1,13}\))?|<unknown>) +(?:Warning|Normal) +"
    r"(?P<reason>SystemOOM|OOMKilling|Evicted) +(?P<kind>[a-z]{1,40})/(?P<name>[\w.-]{1,253}) +(?P<message>\S.{0,4000})"
)
_DESCRIBED = re.compile(
    r"(?:Warning|Normal) +(?P<reason>SystemOOM|OOMKilling|Evicted) +(?P<age>\d\w{0,12}(?: \(x\d{1,9} over \w{1,13}\))?|<unknown>) +"
    r"(?P<from>[\w.-]{1,100}(?:, [\w.-]{1,253})?) +(?P<message>\S.{0,4000})"
)
_TIMES = re.compile(r"\(x(\d{1,9}) over ")
_PODS = re.compile(
    r"(?:(?P<namespace>[a-z0-9-]{1,63}) +)?(?P<name>[a-z0-9][a-z0-9.-]{0,252}) +\d{1,3}/\d{1,3} +(?:Init:)?OOMKilled +"
    r"(?P<restarts>\d{1,6})(?: \([\w ]{1,30}\))? +(?P<age>\d\w{1,12}).{0,400}"
)
_EVICTED = re.compile(r"[Pp]od is evicted successfully\" pod=\"([\w.-]{1,63}/[\w.-]{1,253})\"")
_CONTAINER = re.compile(r"Created an OOM event in container \"([^\"]{1,4000})\"")
_SYSTEM = re.compile(r"Got sys oom event\b(?:.{0,4000}\bPid:(\d{1,10}).{0,80}\bProcessName:([^ }]{1,255}))?")
_STATUS = re.compile(
    r"New status generated: &\{Source:kernel-monitor Events:\[\{Severity:warn Timestamp:.{1,80} Reason:"
)


def event_told(reason: str, message: str, count: int = 1, program: str = "") -> Told | None:
    """Say what an event tells.

    Args:
        reason: ``SystemOOM``, ``OOMKilling``, ``Evicted`` or another, which tells nothing.
        message: its text.
        count: how often it was reported; the same process is reported again when its reporter starts anew.
        program: who reported it, where that is known.
    """
    combined = message.startswith(_COMBINED)
    message = message[len(_COMBINED) :] if combined else message
    if reason == "Evicted":
        if "memory" not in message.lower():
            return None
        text = "the kubelet evicted the pod, as the node was low on memory"
        return Told("eviction", "kubelet", text, "kubelet", deaths=count, shaped=True)
    pid: int | None = None
    comm = rss = None
    if reason == "SystemOOM" and (match := _VICTIM.match(message)):
        pid, comm = number(match[2] or match[3], _MOST_PID), match[1] or match[4]
        text = "the kubelet saw the kernel's OOM killer at work"
    elif reason == "OOMKilling":
        kill = parse(message)
        if isinstance(kill, Kill):
            pid, comm = kill.pid, kill.comm
            sizes = [size for size in (kill.anon_rss, kill.file_rss, kill.shmem_rss) if size is not None]
            rss = sum(sizes) if sizes else None
        text = "the node problem detector saw the kernel's OOM killer at work"
    else:
        return None
    return Told(
        "oom",
        program or ("kubelet" if reason == "SystemOOM" else "node-problem-detector"),
        text,
        "kernel",
        pid=pid,
        host_pid=True if pid is not None else None,
        comm=comm,
        rss=rss,
        deaths=count if combined or pid is None else 1,
        at_least=combined or count > 1,
        shaped=True,
    )


def event_row(line: str) -> Told | None:
    """Read a row of ``kubectl get events``, or of the events that ``kubectl describe`` shows."""
    if match := _ROW.fullmatch(line.strip()):
        name = match["name"]
        told = event_told(match["reason"], match["message"], _times(match["age"]))
        if told is None or match["kind"] not in {"pod", "node"}:
            return told
        namespace = match["namespace"]
        pod = f"{namespace}/{name}" if namespace else name
        return told._replace(place=Place(pod=pod) if match["kind"] == "pod" else Place(host=name))
    if match := _DESCRIBED.fullmatch(line.strip()):
        told = event_told(match["reason"], match["message"], _times(match["age"]))
        host = match["from"].partition(", ")[2] or None
        return told._replace(place=Place(host=host)) if told else None
    return None


def _times(age: str) -> int:
    match = _TIMES.search(age)
    return number(match[1]) or 1 if match else 1


def pod_row(line: str) -> Told | None:
    """Read a row of ``kubectl get pods``."""
    match = _PODS.fullmatch(line.strip())
    if match is None:
        return None
    namespace, name = match["namespace"], match["name"]
    place = Place(pod=f"{namespace}/{name}" if namespace else name)
    restarts = number(match["restarts"]) or 0
    text = "a container of the pod was killed for its memory"
    return Told("oom", "kubernetes", text, "kernel", place, at_least=restarts > 1, shaped=True)


def system_oom(line: str) -> Told | None:
    """Read the kubelet's lines about the kernel's kills."""
    if match := _SYSTEM.search(line):
        told = event_told("SystemOOM", "System OOM encountered")
        pid = number(match[1], _MOST_PID)
        known = True if pid is not None else None
        return told._replace(pid=pid, comm=match[2], host_pid=known, shaped=False) if told else None
    if match := _CONTAINER.search(line):
        text = "the kubelet saw the kernel's OOM killer at work"
        return Told("oom", "kubelet", text, "kernel", place_of_cgroup(match[1]))
    if match := _VICTIM.search(line):
        told = event_told("SystemOOM", line[match.start() :].rstrip('"'))
        return told._replace(shaped=False, at_least=_COMBINED in line) if told else None
    return None


def evicted(line: str) -> Told | None:
    """Read the kubelet's line about a pod it evicted."""
    match = _EVICTED.search(line)
    if match is None:
        return None
    text = "the kubelet evicted the pod"
    return Told("eviction", "kubelet", text, "kubelet", Place(pod=match[1]))


def detected(line: str) -> Told | None:
    """Read the node problem detector's log, which quotes the kernel's kill line."""
    match = _STATUS.search(line)
    if match is None or not line.startswith("OOMKilling Message:", match.end()):
        return None
    message = line[match.end() + len("OOMKilling Message:") :].partition("}]")[0]
    told = event_told("OOMKilling", message)
    return told._replace(shaped=False) if told else None


WORDINGS = (
    Wording("SystemOOM ", frozenset(), event_row),
    Wording("OOMKilling ", frozenset(), event_row),
    Wording("Evicted ", frozenset(), event_row),
    Wording(" OOMKilled ", frozenset(), pod_row),
    Wording(":OOMKilled ", frozenset(), pod_row),
    Wording("Got sys oom event", _KUBELET, system_oom),
    Wording("Created an OOM event in container", _KUBELET, system_oom),
    Wording("System OOM encountered", _KUBELET, system_oom),
    Wording("od is evicted successfully", _KUBELET, evicted),
    Wording("Reason:OOMKilling", _DETECTOR, detected),
)
