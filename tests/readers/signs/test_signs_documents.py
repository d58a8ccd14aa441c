from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from signs_tools import ID, found_in

from leakhunt.errors import LeakhuntError
from leakhunt.model.evidence import Place
from leakhunt.model.oom import OomKill
from leakhunt.readers.signs.documents import DOCUMENT_KINDS, kind_of, read_document

UTC = timezone.utc
UID = "11111111-2222-3333-4444-555555555555"
OTHER = "cd" * 32


def ended(reason: str, code: int, hour: int = 1) -> dict[str, Any]:
    """Return a terminated state."""
    return {
        "terminated": {
            "containerID": f"containerd://{OTHER}",
            "exitCode": code,
            "finishedAt": f"2026-11-21T0{hour}:00:00Z",
            "reason": reason,
            "startedAt": "2026-11-21T00:00:00Z",
        }
    }


def pod(
    last: dict[str, Any], state: dict[str, Any] | None = None, restarts: int = 1, **status: str
) -> dict[str, Any]:
    """Return a pod with one container."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "w-1", "namespace": "shop", "uid": UID},
        "spec": {
            "containers": [{"name": "worker", "resources": {"limits": {"memory": "512Mi"}}}],
            "nodeName": "n1",
        },
        "status": {
            "containerStatuses": [
                {
                    "containerID": f"containerd://{ID}",
                    "lastState": last,
                    "name": "worker",
                    "restartCount": restarts,
                    "state": state or {"running": {"startedAt": "2026-11-21T01:00:01Z"}},
                }
            ],
            **status,
        },
    }


def listed(*items: dict[str, Any]) -> dict[str, Any]:
    """Return a list as ``kubectl get -o json`` prints it."""
    return {"apiVersion": "v1", "items": list(items), "kind": "List", "metadata": {"resourceVersion": ""}}


def event(reason: str, message: str, about: str = "Node", **more: object) -> dict[str, Any]:
    """Return an event."""
    return {
        "apiVersion": "v1",
        "involvedObject": {
            "kind": about,
            "name": "n1" if about == "Node" else "w-1",
            "namespace": "shop",
            "uid": UID,
        },
        "kind": "Event",
        "lastTimestamp": "2026-11-21T03:10:42Z",
        "message": message,
        "reason": reason,
        "source": {"component": "kubelet", "host": "n1"},
        **more,
    }


def as_yaml(value: object) -> str:
    """Return a value as YAML, where PyYAML is at hand."""
    yaml = pytest.importorskip("yaml")
    return str(yaml.safe_dump(value))


FORMS: dict[str, Callable[[dict[str, Any]], str]] = {
    "json": lambda value: json.dumps(value, indent=4),
    "json on one line": json.dumps,
    "yaml": as_yaml,
    "yaml of several documents": lambda value: (
        "---\n" + "---\n".join(map(as_yaml, value.get("items", [value])))
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_pods_containers_tell_how_they_ended(form: str) -> None:
    """A container killed for its memory tells when, where, with what limit, and that there were others before."""
    (sign,) = found_in(FORMS[form](listed(pod(ended("OOMKilled", 137), restarts=3))))
    assert (sign.kind, sign.program, sign.killer) == ("oom", "kubernetes", "kernel")
    assert sign.place == Place(host="n1", container_id=OTHER, container="worker", pod="shop/w-1", pod_uid=UID)
    assert (sign.when, sign.uncertainty_s) == (datetime(2026, 11, 21, 1, tzinfo=UTC), 1.0)
    assert sign.started == datetime(2026, 11, 21, tzinfo=UTC)
    assert (sign.limit, sign.exit_code, sign.count, sign.at_least) == (512 << 20, 137, 1, True)
    assert '"OOMKilled"' in sign.evidence.text


@pytest.mark.parametrize("form", FORMS)
def test_one_object_needs_no_list(form: str) -> None:
    """``kubectl get pod NAME`` prints the pod itself."""
    (sign,) = found_in(FORMS[form](pod(ended("OOMKilled", 137))))
    assert not sign.at_least


def test_the_reason_and_not_the_code_decides() -> None:
    """``OOMKilled`` counts with any exit code; 137 without it proves nothing; other ends are no sign."""
    ends = [
        ended("OOMKilled", 0),
        ended("Error", 137),
        ended("Error", 1),
        ended("Completed", 0),
        ended("ContainerStatusUnknown", 137),
    ]
    signs = found_in(json.dumps(listed(*map(pod, ends))))
    assert [(sign.kind, sign.exit_code) for sign in signs] == [("oom", 0), ("sigkill", 137)]


def test_this_end_and_the_last_are_two() -> None:
    """A container that is down tells of two ends, its last and the one before; only the older has silent ones in front."""
    signs = found_in(json.dumps(pod(ended("OOMKilled", 137, 1), ended("OOMKilled", 137, 2), restarts=5)))
    assert [(sign.when.hour, sign.at_least) for sign in signs if sign.when] == [(1, True), (2, False)]


def test_init_and_ephemeral_containers_are_read() -> None:
    """All three kinds of containers tell how they ended."""
    value = pod({})
    status = value["status"]["containerStatuses"][0]
    value["status"]["initContainerStatuses"] = [{**status, "lastState": ended("OOMKilled", 137)}]
    value["status"]["ephemeralContainerStatuses"] = [{**status, "state": ended("OOMKilled", 137)}]
    assert len(found_in(json.dumps(value))) == 2


def test_an_evicted_pod_is_no_kill() -> None:
    """An eviction for memory is told as such; one for the disk is not told."""
    memory = pod({}, reason="Evicted", message="The node was low on resource: memory. ", phase="Failed")
    disk = pod({}, reason="Evicted", message="The node was low on resource: ephemeral-storage. ")
    (sign,) = found_in(json.dumps(listed(memory, disk)))
    assert (sign.kind, sign.killer, sign.place.pod) == ("eviction", "kubelet", "shop/w-1")


def test_events_tell_of_nodes_and_pods() -> None:
    """The kubelet's and the node problem detector's events give the node, the pid and the name of the victim."""
    kill = "Memory cgroup out of memory: Killed process 7 (a b) total-vm:4kB, anon-rss:2kB, file-rss:1kB, shmem-rss:0kB"
    signs = found_in(
        json.dumps(
            listed(
                event("SystemOOM", "System OOM encountered, victim process: nginx, pid: 9295", count=4),
                event("OOMKilling", kill, source={"component": "kernel-monitor", "host": "n1"}),
                event("OOMKilling", f"(combined from similar events): {kill}", count=12),
                event("Evicted", "The node was low on resource: memory.", "Pod"),
                event("BackOff", "Back-off restarting failed container", "Pod"),
            )
        )
    )
    assert [(sign.kind, sign.pid, sign.comm, sign.count, sign.at_least) for sign in signs] == [
        ("oom", 9295, "nginx", 1, True),
        ("oom", 7, "a b", 1, False),
        ("oom", 7, "a b", 12, True),
        ("eviction", None, None, 1, False),
    ]
    assert [sign.place.host for sign in signs] == ["n1"] * 4
    assert (signs[3].place.pod, signs[1].rss) == ("shop/w-1", 3072)
    assert {sign.when for sign in signs} == {datetime(2026, 11, 21, 3, 10, 42, tzinfo=UTC)}


def test_a_watched_pod_is_read() -> None:
    """``kubectl get -w --output-watch-events`` puts each object into another."""
    value = {"type": "MODIFIED", "object": pod(ended("OOMKilled", 137))}
    assert len(found_in(json.dumps(value) + "\n" + json.dumps(value))) == 2


DESCRIBED = f"""\
Name:             w-1
Namespace:        shop
Priority:         0
Node:             n1/10.0.0.1
Start Time:       Thu, 19 Aug 2021 12:00:00 +0300
Status:           Running
Init Containers:
  prepare:
    State:          Terminated
      Reason:       Completed
      Exit Code:    0
Containers:
  worker:
    Container ID:   containerd://{ID}
    State:          Waiting
      Reason:       CrashLoopBackOff
    Last State:     Terminated
      Reason:       OOMKilled
      Exit Code:    137
      Started:      Thu, 19 Aug 2021 16:12:30 +0300
      Finished:     Thu, 19 Aug 2021 16:22:30 +0300
    Ready:          False
    Restart Count:  7
    Limits:
      cpu:     1
      memory:  512Mi
    Requests:
      memory:  256Mi
    Environment:    <none>
  sidecar:
    State:          Terminated
      Reason:       Error
      Exit Code:    137
      Finished:     Thu, 19 Aug 2021 16:22:31 +0300
    Restart Count:  0
Conditions:
  Type              Status
  Ready             False
Events:
  Type     Reason   Age                   From     Message
  ----     ------   ----                  ----     -------
  Warning  BackOff  2m13s (x16 over 3m50s)  kubelet  Back-off restarting failed container
"""


def test_a_described_pod_is_read() -> None:
    """``kubectl describe pod`` tells the same as the pod's JSON."""
    first, second = found_in(DESCRIBED)
    assert (first.kind, first.limit, first.at_least, first.exit_code) == ("oom", 512 << 20, True, 137)
    assert first.place == Place(host="n1", container_id=ID, container="worker", pod="shop/w-1")
    assert first.when == datetime(2021, 8, 19, 13, 22, 30, tzinfo=UTC)
    assert first.started == datetime(2021, 8, 19, 13, 12, 30, tzinfo=UTC)
    assert (second.kind, second.place.container, second.limit) == ("sigkill", "sidecar", None)
    assert first.evidence.line == 17


def test_several_described_objects_stand_in_one_file() -> None:
    """The next ``Name:`` begins anew; a node's events are the node's."""
    node = (
        "\n\nName:               n7\nRoles:              worker\nEvents:\n"
        "  Warning  SystemOOM   2m13s  kubelet  System OOM encountered, victim process: stress, pid: 31\n"
    )
    signs = found_in(DESCRIBED + node)
    assert [sign.place.host for sign in signs] == ["n1", "n1", "n7"]


def test_docker_inspect_is_read() -> None:
    """A container that Docker says was killed is one; exit code 137 alone proves nothing; a running one has no end."""
    state = {
        "ExitCode": 137,
        "FinishedAt": "2026-11-21T03:10:42.123456789Z",
        "OOMKilled": True,
        "Pid": 0,
        "Running": False,
    }
    killed = {
        "Id": ID,
        "Created": "x",
        "State": state,
        "Name": "/celery",
        "RestartCount": 4,
        "HostConfig": {"Memory": 1 << 29},
    }
    plain = {"Id": OTHER, "State": {**state, "OOMKilled": False}}
    running = {"Id": OTHER, "State": {**state, "OOMKilled": False, "Running": True}}
    again = {"Id": OTHER, "State": {**state, "Running": True}}
    first, second, third = found_in(json.dumps([killed, plain, running, again], indent=4))
    assert (first.kind, first.limit, first.at_least, first.exit_code) == ("oom", 1 << 29, True, 137)
    assert first.place == Place(container_id=ID, container="celery")
    assert first.when == datetime(2026, 11, 21, 3, 10, 42, 123456, tzinfo=UTC)
    assert (second.kind, third.kind, third.when) == ("sigkill", "oom", None)


def test_docker_events_are_read() -> None:
    """``docker events`` as JSON, old and new, and Podman's; other events are no signs."""
    lines = [
        {"status": "oom", "id": ID, "from": "x", "time": 1449497871, "timeNano": 1449497871593721048},
        {
            "Type": "container",
            "Action": "die",
            "Actor": {"ID": ID, "Attributes": {"exitCode": "137", "name": "web"}},
            "time": 1,
        },
        {"Type": "container", "Action": "start", "Actor": {"ID": ID, "Attributes": {}}, "time": 1},
        {"Type": "network", "Action": "oom", "Actor": {"ID": ID}, "time": 1},
        {
            "ContainerExitCode": 137,
            "ID": ID,
            "Name": "p",
            "Status": "died",
            "Time": "2026-11-21T03:10:42Z",
            "Type": "container",
        },
    ]
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines[1:])
    signs = found_in(text) + found_in(json.dumps(lines[0], separators=(",", ":")))
    assert [(sign.kind, sign.place.container) for sign in signs] == [
        ("sigkill", "web"),
        ("sigkill", "p"),
        ("oom", None),
    ]
    assert signs[2].when == datetime(2015, 12, 7, 14, 17, 51, 593721, tzinfo=UTC)
    assert signs[1].evidence.line == 4


STATUS = """\
× worker.service - Celery
     Loaded: loaded (/etc/systemd/system/worker.service; enabled)
     Active: failed (Result: oom-kill) since Mon 2026-11-23 12:00:00 CET; 2h 3min ago
    Process: 12 ExecStart=/usr/bin/celery (code=killed, signal=KILL)
   Main PID: 12 (code=killed, signal=KILL)

Nov 23 11:00:00 h systemd[1]: worker.service: A process of this unit has been killed by the OOM killer.
"""  # noqa: RUF001 - systemctl's own sign
SHOW = """\
Type=simple
Restart=no
NRestarts=3
ExecMainStartTimestamp=Mon 2026-11-23 11:00:00 UTC
ExecMainExitTimestamp=Mon 2026-11-23 12:00:00 UTC
ExecMainPID=12
ExecMainCode=2
ExecMainStatus=9
MemoryMax=536870912
ControlGroup=/system.slice/worker.service
OOMPolicy=stop
Result=oom-kill
Id=worker.service

Type=simple
ExecMainCode=1
ExecMainStatus=1
MemoryMax=infinity
Result=exit-code
Id=other.service
"""


def test_systemctl_status_is_read_with_its_log() -> None:
    """The unit's last end is a sign, and so are the lines of the log below."""
    log, status = sorted(found_in(STATUS), key=lambda sign: sign.killer, reverse=True)
    assert (status.kind, status.pid, status.exit_code, status.place.unit) == (
        "oom",
        12,
        137,
        "worker.service",
    )
    assert status.when == datetime(2026, 11, 23, 11, tzinfo=UTC)
    assert (log.killer, log.evidence.line) == ("kernel", 7)


def test_systemctl_show_is_read() -> None:
    """The properties of several units give a sign for each that ran out of memory."""
    (sign,) = found_in(SHOW)
    assert (sign.kind, sign.pid, sign.limit, sign.at_least) == ("oom", 12, 1 << 29, True)
    assert sign.place == Place(unit="worker.service", cgroup="/system.slice/worker.service")
    assert sign.when == datetime(2026, 11, 23, 12, tzinfo=UTC)


LOGS = {
    "syslog": b"Nov 21 03:10:42 h systemd[1]: a.service: Failed with result 'oom-kill'.\n",
    "journal": b'{"MESSAGE":"x","__REALTIME_TIMESTAMP":"1"}\n',
    "a container's log": b'{"log":"Name: x\\n","stream":"stderr","time":"2026-11-21T03:10:42.0Z"}\n',
    "a cloud's log of events": b'{"insertId":"1","jsonPayload":{"kind":"Event","apiVersion":"v1"},"timestamp":"2026-11-21T03:10:42Z"}',
    "an audit log": b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata"}\n',
    "other YAML": b"services:\n  web:\n    image: x\n",
    "a letter": b"Name: Smith\nAddress: 1 Road\n",
    "settings": b"RESULT=1\nPath=/x\n",
    "nothing": b"",
}


@pytest.mark.parametrize("name", LOGS)
def test_a_log_is_no_document(name: str) -> None:
    """What is a log, or something else, is left to the readers of logs."""
    assert kind_of(LOGS[name]) == ""


def test_big_lists_are_read_in_steps() -> None:
    """A list of thousands of pods gives each sign once, whatever the steps it comes in."""
    items = [pod(ended("OOMKilled", 137)) for _ in range(3000)]
    data = json.dumps(listed(*items), indent=1).encode()
    for size in (1 << 12, 1 << 20):
        chunks = (data[at : at + size] for at in range(0, len(data), size))
        assert sum(1 for _ in read_document(chunks, "pods.json", "kubernetes")) == 3000


def test_a_cut_list_gives_what_it_holds_and_says_so() -> None:
    """What stands in front of the damage is yielded; then the damage is named."""
    data = json.dumps(listed(pod(ended("OOMKilled", 137)), pod(ended("OOMKilled", 137)))).encode()
    found = read_document([data[:-400]], "pods.json", "kubernetes")
    assert next(found)
    with pytest.raises(LeakhuntError, match=r"pods\.json: is damaged or cut after 1 objects"):
        next(found)


def test_an_unknown_kind_is_refused() -> None:
    """A kind that is none says which there are."""
    with pytest.raises(LeakhuntError) as caught:
        list(read_document([b""], "x", "pictures"))
    assert all(kind in caught.value.hint for kind in DOCUMENT_KINDS)


def test_yaml_without_its_library_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PyYAML the error names the extra, and the way around it."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(LeakhuntError, match="PyYAML") as caught:
        list(read_document([b"kind: Pod\n"], "pod.yaml", "kubernetes-yaml"))
    assert "leakhunt[yaml]" in caught.value.hint
    assert "-o json" in caught.value.hint


KILL_LINE = (
    "Memory cgroup out of memory: Killed process 61544 (celery) total-vm:709384kB, anon-rss:509384kB, file-rss:12000kB, "
    "shmem-rss:0kB, UID:1000 pgtables:1308kB oom_score_adj:979"
)


@pytest.mark.parametrize("form", ["json", "describe"])
def test_an_event_that_quotes_a_kill_line_gives_its_sizes(form: str) -> None:
    """The kernel's words in an event are read as in any log that quotes them: probable, with scope and sizes."""
    if form == "json":
        data = json.dumps(listed(event("OOMKilling", KILL_LINE))).encode()
    else:
        data = (
            "Name:               n1\nRoles:              <none>\nEvents:\n  Type     Reason      Age  From            Message\n"
            f"  Warning  OOMKilling  5m   kernel-monitor  {KILL_LINE}\n"
        ).encode()
    found = list(read_document([data], "x", kind_of(data)))
    (kill,) = [one for one in found if isinstance(one, OomKill)]
    assert (kill.pid, kill.comm, kill.scope, kill.confidence) == (61544, "celery", "memcg", "probable")
    assert (kill.anon_rss, kill.quoted) == (509384 * 1024, True)
    if form == "json":
        assert (kill.host, kill.when) == ("n1", datetime(2026, 11, 21, 3, 10, 42, tzinfo=UTC))


def test_an_event_without_a_kill_line_quotes_none() -> None:
    """Events that only tell of a kill make no kernel's line."""
    data = json.dumps(
        listed(event("OOMKilling", "a process was killed"), event("SystemOOM", KILL_LINE))
    ).encode()
    assert [one for one in read_document([data], "x", kind_of(data)) if isinstance(one, OomKill)] == []
