from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from signs_tools import AT, ID, WRAPPINGS, signs_in

from leakhunt.model.evidence import Place
from leakhunt.model.incident import Sign
from leakhunt.readers.signs import search

MIB = 1 << 20
SCOPE = "/user.slice/user-1000.slice/user@1000.service/app.slice/app-code-8920.scope"
KERNEL_KILL = (
    "Memory cgroup out of memory: Killed process 68061 (stress) total-vm:4195088kB, anon-rss:2884696kB, "
    "file-rss:288kB, shmem-rss:0kB, UID:0 pgtables:5696kB oom_score_adj:872"
)


class Case(NamedTuple):
    """A wording, who writes it, and what it says; lines further on are parted by newlines."""

    tag: str
    text: str
    kind: str
    killer: str
    place: Place
    more: dict[str, Any]


def case(tag: str, text: str, kind: str, killer: str = "", place: Place | None = None, **more: Any) -> Case:  # noqa: ANN401 - fields
    """Return a case."""
    return Case(tag, text, kind, killer, place or Place(), more)


UNIT = Place(unit="moq-relay.service")
CASES = {
    "systemd-old": case(
        "systemd",
        "moq-relay.service: A process of this unit has been killed by the OOM killer.",
        "oom",
        "kernel",
        UNIT,
    ),
    "systemd-new": case(
        "systemd",
        "moq-relay.service: The kernel OOM killer killed some processes in this unit.",
        "oom",
        "kernel",
        UNIT,
        at_least=True,
    ),
    "systemd-exited": case(
        "systemd",
        "moq-relay.service: Main process exited, code=killed, status=9/KILL",
        "sigkill",
        "",
        UNIT,
        exit_code=137,
    ),
    "systemd-exited-219": case(
        "systemd",
        "moq-relay.service: main process exited, code=killed, status=9/KILL",
        "sigkill",
        "",
        UNIT,
    ),
    "systemd-failed": case("systemd", "moq-relay.service: Failed with result 'oom-kill'.", "oom", "", UNIT),
    "systemd-container": case(
        "systemd",
        f"cri-containerd-{ID}.scope: A process of this unit has been killed by the OOM killer.",
        "oom",
        "kernel",
        Place(unit=f"cri-containerd-{ID}.scope", container_id=ID),
    ),
    "oomd-some": case(
        "systemd",
        "vte-spawn-1.scope: systemd-oomd killed some process(es) in this unit.",
        "oom",
        "systemd-oomd",
        Place(unit="vte-spawn-1.scope"),
        count=1,
        at_least=True,
    ),
    "oomd-counted": case(
        "systemd",
        "vte-spawn-1.scope: systemd-oomd killed 29 process(es) in this unit.",
        "oom",
        "systemd-oomd",
        Place(unit="vte-spawn-1.scope"),
        count=29,
        at_least=False,
    ),
    "oomd-pressure": case(
        "systemd-oomd",
        f"Killed {SCOPE} due to memory pressure for /user.slice being 59.83% > 50.00% for > 20s with reclaim activity",
        "killed",
        "systemd-oomd",
        Place(unit="app-code-8920.scope", cgroup=SCOPE),
    ),
    "oomd-swap": case(
        "systemd-oomd",
        f"Killed {SCOPE} due to memory used (8221081600) / total (8334061568) and swap used (7) / total (8) being more"
        " than 90.00%",
        "killed",
        "systemd-oomd",
        Place(unit="app-code-8920.scope", cgroup=SCOPE),
    ),
    "oomd-marked": case(
        "systemd-oomd",
        f"Marked {SCOPE} for killing due to memory pressure for /user.slice being 59.83% > 50.00% for > 20s with reclaim"
        " activity",
        "killed",
        "systemd-oomd",
        Place(unit="app-code-8920.scope", cgroup=SCOPE),
    ),
    "earlyoom-1.2": case(
        "earlyoom",
        'killing process 27541 "ba sh" with signal 15: badness 550, VmRSS 7609 MiB\nprocess 27541 exited after 1.9 seconds',
        "killed",
        "earlyoom",
        pid=27541,
        comm="ba sh",
        rss=7609 * MIB,
        host_pid=True,
    ),
    "earlyoom-name-first": case(
        "earlyoom",
        "Killing process 'bash' with signal 9, pid: 27541, badness: 550, VmRSS: 7609 MiB",
        "killed",
        "earlyoom",
        pid=27541,
        comm="bash",
    ),
    "earlyoom-1.3": case(
        "earlyoom",
        'sending SIGTERM to process 12006 "python3": badness 209, VmRSS 2891 MiB\nescalating to SIGKILL after 2.4 seconds\n'
        "process exited after 2.8 seconds",
        "killed",
        "earlyoom",
        pid=12006,
    ),
    "earlyoom-1.7": case(
        "earlyoom",
        'sending SIGTERM to process 29410 uid 1000 "a"b": badness 1264, VmRSS 23964 MiB\nprocess exited after 0.1 seconds',
        "killed",
        "earlyoom",
        pid=29410,
        comm='a"b',
    ),
    "earlyoom-1.9": case(
        "earlyoom",
        'sending SIGKILL to process 997 uid 1000 "x": oom_score 1146, oom_score_adj 0, VmRSS 23007 MiB, cmdline "x -y"',
        "killed",
        "earlyoom",
        pid=997,
        rss=23007 * MIB,
    ),
    "earlyoom-failed": case(
        "earlyoom",
        'sending SIGTERM to process 997 uid 1 "x": badness 1, VmRSS 2 MiB\nkill failed: Timer expired',
        "attempt",
        "earlyoom",
    ),
    "earlyoom-asked": case(
        "earlyoom", 'sending SIGTERM to process 997 uid 1 "x": badness 1, VmRSS 2 MiB', "attempt", "earlyoom"
    ),
    "nohang-0.1": case(
        "nohang",
        "Preventing OOM: trying to send the SIGKILL signal to stress,\n"
        "  Pid: 9841, Badness: 87, VmRSS: 513 MiB, VmSwap: 0 MiB",
        "killed",
        "nohang",
        pid=9841,
        comm="stress",
        rss=513 * MIB,
    ),
    "nohang-0.2": case(
        "nohang",
        "PID: 903309, name: mysqld, badness: 849\nVmRSS:       7000 MiB\nImplementing a corrective action:\n"
        "Sending SIGTERM to the victim\nOK; total response time: 5ms\nThe victim died in 0.02s",
        "killed",
        "nohang",
        pid=903309,
        comm="mysqld",
        rss=7000 * MIB,
    ),
    "oomd": case(
        "kernel",
        "oomd kill: 52.12 12.30 3.00 workload.slice/w.service 34359738368 ruleset:[r 1] detectorgroup:[d] "
        "killer:kill_by_memory_size_or_growth v2",
        "killed",
        "oomd",
        Place(unit="w.service", cgroup="/workload.slice/w.service"),
        rss=32 << 30,
    ),
    "oomd-log": case(
        "oomd",
        "[../src/oomd/plugins/BaseKillPlugin.cpp:551] Killed 3: 123(celery worker) 124(b) 125(c)",
        "killed",
        "oomd",
        count=3,
    ),
    "ray": case(
        "raylet",
        "(raylet) node_manager.cc:3049: 10 Workers (tasks / actors) killed due to memory pressure (OOM), 0 Workers crashed"
        " due to other reasons at node (ID: e5d953, IP: 10.0.62.231) over the last time period.",
        "killed",
        "ray",
        count=10,
    ),
    "ray-worker": case(
        "python",
        "Memory on the node (IP: 10.0.62.231, ID: e5d9) where the task (task ID: 4353, name=allocate_memory, pid=11362, "
        "memory used=1.25GB) was running was 27.71GB / 28.80GB (0.962273), which exceeds the memory usage threshold of "
        "0.95. Ray killed this worker (ID: 6f2e) because it was the most recently scheduled task",
        "killed",
        "ray",
        pid=11362,
        rss=1342177280,
    ),
    "lowmemorykiller": case(
        "kernel",
        "lowmemorykiller: Killing 'd.play.games.ui' (2613), adj 1000,",
        "killed",
        "lowmemorykiller",
        pid=2613,
        comm="d.play.games.ui",
    ),
    "lmkd": case(
        "lowmemorykiller",
        "Kill 'com.x' (123), uid 10045, oom_score_adj 905 to free 1024kB rss, 0kB swap; reason: low watermark",
        "killed",
        "lmkd",
        pid=123,
        rss=MIB,
    ),
    "oomkill": case(
        "oomkill",
        'Triggered by PID 3297 ("ntpd"), OOM kill of PID 22516 ("perl"), 3850642 pages, loadavg: 0.99 0.39 0.30 3/282 2',
        "oom",
        "kernel",
        pid=22516,
        comm="perl",
    ),
    "containerd": case(
        "containerd",
        f'time="2026-11-21T03:10:42.000000000Z" level=info msg="TaskOOM event container_id:\\"{ID}\\""',
        "oom",
        "kernel",
        Place(container_id=ID),
    ),
    "containerd-1.4": case(
        "containerd",
        f'time="2026-11-21T04:10:42.0+01:00" level=info msg="TaskOOM event &TaskOOM{{ContainerID:{ID},XXX_unrecognized:[],}}"',
        "oom",
        "kernel",
        Place(container_id=ID),
    ),
    "dockerd": case(
        "dockerd",
        'time="2026-11-21T03:10:42Z" level=debug msg=event module=libcontainerd namespace=moby topic=/tasks/oom type=x',
        "oom",
        "kernel",
    ),
    "nomad": case(
        "nomad",
        '2026/11/21 03:10:42.947950 [INFO] client: task "hello" for alloc "1b0ba82f-6bc3-f056-043a-93c37b4432f5" failed: '
        "Wait returned exit code 137, signal 0, and error OOM Killed",
        "oom",
        "kernel",
        Place(container="hello", cgroup="/nomad/1b0ba82f-6bc3-f056-043a-93c37b4432f5"),
        exit_code=137,
    ),
    "kubelet": case(
        "kubelet",
        "I1121 03:10:42.000000    2480 event.go:291] Event: System OOM encountered, victim process: runc:[2:INIT], pid: 98",
        "oom",
        "kernel",
        pid=98,
        comm="runc:[2:INIT]",
    ),
    "kubelet-evicts": case(
        "kubelet",
        'I1121 03:10:42.000000    2480 eviction_manager.go:595] "Eviction manager: pod is evicted successfully" '
        'pod="default/nginx"\nThe node was low on resource: memory.',
        "eviction",
        "kubelet",
        Place(pod="default/nginx"),
    ),
    "node-problem-detector": case(
        "node-problem-detector",
        "I1121 03:10:42.000000    6018 log_monitor.go:159] New status generated: &{Source:kernel-monitor Events:[{"
        "Severity:warn Timestamp:2026-11-21 03:10:42.0 +0000 UTC m=+3230.99 Reason:OOMKilling Message:" + KERNEL_KILL
        + "}] Conditions:[{Type:KernelDeadlock Status:False",
        "oom",
        "kernel",
        pid=68061,
        comm="stress",
        rss=(2884696 + 288) * 1024,
    ),
}  # fmt: skip


def wrapped(name: str, which: Case) -> bytes:
    """Return a case as a log of that form, between lines that say nothing."""
    wrap = WRAPPINGS[name]
    lines = ["nothing of note"] * 50 + which.text.split("\n") + ["nothing either"] * 50
    return "".join(wrap(which.tag, line) + "\n" for line in lines).encode()


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("name", CASES)
def test_a_wording_is_understood_in_every_wrapping(name: str, wrapping: str) -> None:
    """Each wording gives one sign in each form of log, with its kind, killer, place, time and line."""
    which = CASES[name]
    (sign,) = signs_in(wrapped(wrapping, which))
    assert (sign.kind, sign.killer) == (which.kind, which.killer)
    place = sign.place
    if "ray" not in name:  # Ray names its node, and lives where its workers do
        assert replace(place, host=None) == which.place
        named = wrapping not in {"docker-json", "cri", "kubectl"}
        assert place.host == ("node-1" if named else None)
    assert sign.when == AT
    assert 50 < sign.evidence.line <= 50 + len(which.text.split("\n"))
    for field, value in which.more.items():
        assert getattr(sign, field) == value, field


@pytest.mark.parametrize(
    "line",
    [
        "<6>lowmemorykiller: Killing 'com.example.feed' (4711), adj 900,",
        "lowmemorykiller: Killing 'com.example.feed' (4711), adj 900,",
        "lmkd: Kill 'com.example.feed' (4711), uid 10099, oom_score_adj 900 to free 2048kB rss, 0kB swap; reason: thrashing",
        "2026-11-21T03:10:42Z lowmemorykiller: Kill 'com.example.feed' (4711), uid 10099, oom_score_adj 900 to free 2048kB",
        "2026-11-21T03:10:42Z Kill 'com.example.feed' (4711), uid 10099, oom_score_adj 900 to free 2048kB rss, 0kB swap",
    ],
)
def test_android_speaks_with_and_without_a_name(line: str) -> None:
    """The killers of Android are known by their words, behind a level, a bare time, their own name or nothing."""
    (sign,) = signs_in(f"{line}\n".encode())
    assert (sign.pid, sign.comm) == (4711, "com.example.feed")
    assert sign.kind in {"killed", "oom"}


@pytest.mark.parametrize("name", CASES)
def test_the_long_words_wake_for_every_wording(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled search looks for longer words; one of them is in whatever a wording knows, with its program's name."""
    monkeypatch.setattr(search, "fast", object())
    data = wrapped("syslog", CASES[name])
    assert any(word in data for word in search.Search("text").wakes)


def test_talos_kills_a_control_group() -> None:
    """Talos tells in its kernel log, with a time of its own, which pod it killed."""
    uid = "77f06c5c-4593-43e9-b970-987f6ecb825b"
    path = f"/kubepods/burstable/pod{uid}"
    (sign,) = signs_in(
        b"user: warning: [2026-11-21T03:10:42.000000000Z]: [talos] Sending SIGKILL to cgroup "
        b'{"component": "controller-runtime", "controller": "runtime.OOMController", "cgroup": "/sys/fs/cgroup'
        + path.encode()
        + b'"}\n'
    )
    assert (sign.kind, sign.killer, sign.when, sign.at_least) == ("killed", "talos", AT, True)
    assert (sign.place.pod_uid, sign.place.cgroup) == (uid, path)


def test_systemd_in_the_kernels_ring() -> None:
    """What systemd writes to the ring, or a journal shown with the kernel's stamps, names the unit that died."""
    line = "systemd[1]: ingest.service: systemd-oomd killed 3 process(es) in this unit."
    for prefix, host in (("[   77.752252] ", None), ("[   77.752252] node-1 ", "node-1")):
        (sign,) = signs_in(f"{prefix}{line}\n".encode())
        assert (sign.kind, sign.count, sign.place) == ("oom", 3, Place(host=host, unit="ingest.service"))


@pytest.mark.parametrize("name", CASES)
def test_blocks_change_nothing(name: str) -> None:
    """The signs are the same however the log is cut into blocks of whole lines."""
    data = wrapped("syslog", CASES[name]) * 3
    whole = signs_in(data)
    assert len(whole) == 3
    assert signs_in(data, block=1) == signs_in(data, block=700) == whole


DECOYS = {
    "source code": b'    log_unit_message(u, "A process of this unit has been killed by the OOM killer.");\n',
    "a comment": b"# mysql.service: A process of this unit has been killed by the OOM killer.\n",
    "a list": b"- `mysql.service: A process of this unit has been killed by the OOM killer.`\n",
    "prose": b"If you see Failed with result 'oom-kill' or status=9/KILL, add memory. OOMKilled means exit code 137.\n",
    "an application that quotes systemd": b"Nov 21 03:10:42 h myapp[1]: x.service: Failed with result 'oom-kill'.\n",
    "an application that quotes earlyoom": b'Nov 21 03:10:42 h myapp[1]: sending SIGKILL to process 1 uid 1 "a": badness 1, '
    b"VmRSS 1 MiB\n",
    "an application that quotes containerd": b'Nov 21 03:10:42 h myapp[1]: msg="TaskOOM event container_id:'
    + ID.encode()
    + b'"\n',
    "a dry run": b"Nov 21 03:10:42 h kernel: oomd kill: 1.00 1.00 1.00 a 1 ruleset:[r] detectorgroup:[d] killer:(dry)k v2\n",
    "a stop": b"Nov 21 03:10:42 h systemd[1]: a.service: Killing process 31995 (hermes) with signal SIGKILL.\n",
    "another result": b"Nov 21 03:10:42 h systemd[1]: a.service: Failed with result 'exit-code'.\n",
    "what is no kill": b"Nov 21 03:10:42 h systemd-oomd[9]: Considered 62 cgroups for killing, top candidates were:\n",
    "a self-test": b'Nov 21 03:10:42 h earlyoom[9]: sending 0 (no-op signal) to process 1 uid 1 "a": badness 1, VmRSS 1 MiB\n',
    "rooms": b"GET /room/1 zoom bloom OOM oom_score_adj=0\n" * 100,
    "an eviction for the disk": b"5m  Warning  Evicted  pod/a  The node was low on resource: ephemeral-storage.\n",
}


@pytest.mark.parametrize("name", DECOYS)
def test_talk_of_deaths_is_no_sign(name: str) -> None:
    """Source code, prose and other programs that quote these lines give no sign."""
    assert signs_in(DECOYS[name]) == []


def test_a_bare_wording_is_believed_less() -> None:
    """A line that no log stamped may stand in a document: it proves nothing, or less than its words."""
    (unit,) = signs_in(b"mysql.service: A process of this unit has been killed by the OOM killer.\n")
    (early,) = signs_in(b'sending SIGKILL to process 7 uid 1 "a": badness 1, VmRSS 1 MiB\n')
    assert (unit.kind, early.kind) == ("sigkill", "oom")


def test_the_oldest_earlyoom_is_told_by_the_line_before() -> None:
    """``Killing process N C`` is earlyoom's only behind its ``Out of memory!``; other programs say the same words."""
    (sign,) = signs_in(
        b"Jul  4 10:00:00 h earlyoom[1]: Out of memory! avail: 0 MiB < min: 587 MiB\n"
        b"Jul  4 10:00:00 h earlyoom[1]: Killing process 8240 mate-notificati\n"
    )
    assert (sign.kind, sign.pid, sign.comm) == ("killed", 8240, "mate-notificati")
    assert signs_in(b"Jul  4 10:00:00 h earlyoom[1]: Killing process 8240 mate-notificati\n") == []


TABLES = {
    "events": (
        "53m         Warning   SystemOOM      node/hans-laptop       System OOM encountered, victim process: nginx, pid: 9295",
        Sign("oom", "kubelet", (), "kernel", Place(host="hans-laptop"), pid=9295, comm="nginx"),  # type: ignore[arg-type]
    ),
    "events of all namespaces": (
        "default   22m (x5 over 3h)  Warning  OOMKilling  node/n1  " + KERNEL_KILL,
        Sign("oom", "node-problem-detector", (), "kernel", Place(host="n1"), pid=68061, comm="stress", at_least=True),  # type: ignore[arg-type]
    ),
    "combined": (
        "22m (x5 over 3h)  Warning  OOMKilling  node/n1  (combined from similar events): " + KERNEL_KILL,
        Sign("oom", "node-problem-detector", (), "kernel", Place(host="n1"), pid=68061, comm="stress", count=5, at_least=True),  # type: ignore[arg-type]
    ),
    "described events": (
        "  Warning  SystemOOM   2m13s (x16 over 3m50s)  kubelet, n1  System OOM encountered, victim process: stress, pid: 31",
        Sign("oom", "kubelet", (), "kernel", Place(host="n1"), pid=31, comm="stress", at_least=True),  # type: ignore[arg-type]
    ),
    "pods": (
        "shop   worker-7d9f-abc    0/1     OOMKilled   3 (2m5s ago)   10m",
        Sign("oom", "kubernetes", (), "kernel", Place(pod="shop/worker-7d9f-abc"), at_least=True),  # type: ignore[arg-type]
    ),
    "evicted": (
        "5m  Warning  Evicted  pod/a  The node was low on resource: memory. Container a was using 2391212Ki",
        Sign("eviction", "kubelet", (), "kubelet", Place(pod="a")),  # type: ignore[arg-type]
    ),
    "docker events": (
        f"2026-11-20T22:10:42.011072877-05:00 container oom {ID} (image=x, io.kubernetes.pod.name=j, name=k8s_a)",
        Sign("oom", "docker", (), "kernel", Place(container_id=ID, container="k8s_a", pod="j")),  # type: ignore[arg-type]
    ),
    "a docker death": (
        f"2026-11-21T03:10:42.132532080Z container die {ID} (execDuration=2, exitCode=137, image=mysql:5.6, name=my)",
        Sign("sigkill", "docker", (), "", Place(container_id=ID, container="my"), exit_code=137),  # type: ignore[arg-type]
    ),
    "compose": (
        "2026-11-21T03:10:42Z celery-worker-1 exited with code 137",
        Sign("sigkill", "docker", (), "", Place(container="celery-worker-1"), exit_code=137),  # type: ignore[arg-type]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_rows_of_tables_are_understood(name: str) -> None:
    """What kubectl and docker print row by row is read where it stands in a log, with no time where it has none."""
    line, expected = TABLES[name]
    (sign,) = signs_in(f"{line}\n".encode())
    assert (
        replace(
            sign, evidence=expected.evidence, when=None, uncertainty_s=None, text="", rss=None, host_pid=None
        )
        == expected
    )
    assert (sign.when is None) == ("20" not in line[:4])


def test_lambda_needs_a_report_of_full_memory() -> None:
    """A killed Lambda runtime is an OOM kill only where the report of the same request shows its memory used up."""
    request = "0a1b2c3d-1111-2222-3333-444455556666"
    error = f"RequestId: {request} Error: Runtime exited with error: signal: killed\n"
    report = f"REPORT RequestId: {request}\tDuration: 1.0 ms\tBilled Duration: 2 ms\tMemory Size: 512 MB\tMax Memory Used: "
    (full,) = signs_in(f"{report}512 MB\n{error}".encode())
    (free,) = signs_in(f"{report}100 MB\n{error}".encode())
    assert (full.kind, full.limit, free.kind) == ("oom", 512 * MIB, "sigkill")


def test_a_reporters_container_is_not_the_victims() -> None:
    """The unit or the pod of the program that speaks is not the place of the death; its host is."""
    line = WRAPPINGS["journal-json"](
        "earlyoom", 'sending SIGKILL to process 7 uid 1 "a": badness 1, VmRSS 1 MiB'
    )
    (sign,) = signs_in(f"{line}\n".encode(), place=Place(unit="earlyoom.service"))
    assert sign.place == Place(host="node-1")


def test_two_killings_are_two_signs() -> None:
    """A killer that strikes again before it tells what came of the first gives two signs."""
    text = "".join(
        f'Nov 21 03:10:4{n} h earlyoom[1]: sending SIGTERM to process {n} uid 1 "a": badness 1, VmRSS 1 MiB\n'
        for n in (1, 2)
    )
    text += "Nov 21 03:10:45 h earlyoom[1]: process exited after 0.1 seconds\n"
    assert [(sign.pid, sign.kind) for sign in signs_in(text.encode())] == [(1, "attempt"), (2, "killed")]


def test_a_log_about_rooms_hides_nothing() -> None:
    """Words that hold ours by the thousand, in front of and behind a line of ours, do not hide it."""
    rooms = b"Nov 21 03:10:41 h web[1]: GET /room/zoom bloom LOOM OOM\n" * 3000
    ours = b"Nov 21 03:10:42 h systemd[1]: a.service: Failed with result 'oom-kill'.\n"
    data = rooms + ours + rooms + ours
    assert [sign.evidence.line for sign in signs_in(data)] == [3001, 6002]
    assert signs_in(data, block=5000) == signs_in(data)
