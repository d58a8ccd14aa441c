from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from incident import (
    BOOT,
    CONTAINER,
    GENERATIONS,
    POD,
    PREFIXES,
    WRAPPINGS,
    Generation,
    Incident,
    check,
    events_of,
    kills_of,
    stamped,
    text_log,
    told,
)

from leakhunt.model.oom import IncompleteReport, Loss, NotAKill, OomKill, SourceSummary
from leakhunt.readers.kernel_log.cgroup import owner_of
from leakhunt.readers.kernel_log.merge import merge
from leakhunt.readers.kernel_log.scan import Options, scan

MODERN = next(generation for generation in GENERATIONS if generation.name == "5.15")
OLD = next(generation for generation in GENERATIONS if generation.name == "EL7")
DMESG = PREFIXES["dmesg"]
NOISE = (
    "eth0: link becomes ready",
    'audit: type=1400 audit(1700000000.123:456): apparmor="STATUS"',
    "IPv4: martian source 10.0.0.1 from 10.0.0.2, on dev eth0",
    "room: no memory for a joke about a process in the task",
    "CPU: 7 PID: 99 Comm: other Not tainted 5.15.0 #1",
)
COMMS = st.sampled_from(
    [
        "[celeryd: celer", "gunicorn: worke", "python batch/ke", "/nail/live/yelp", "in:imjournal", "tmux: server",
        "runc:[2:INIT]", "(sd-pam)", "puma srv tp 003", "kworker/u17:0", "Thread-1 (work", "[", "()", '"with quotes"',
        "a,task=b,pid=1", ") total-vm:1kB", "x=y,z:w", "naïve", "a) b (c", "kernel: foo",
    ]
)  # fmt: skip


def noisy(lines: list[str], chance: random.Random) -> list[str]:
    """Mix other lines of the kernel between the lines of a report."""
    mixed: list[str] = []
    for line in lines:
        mixed += [chance.choice(NOISE) for _ in range(chance.randrange(3))]
        mixed.append(line)
    return mixed


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    generation=st.sampled_from(GENERATIONS),
    prefix=st.sampled_from(sorted(PREFIXES)),
    comm=COMMS,
    invoker=st.sampled_from(["celery", "python batch/ke", "tmux: server", "(sd-pam)", "puma srv tp 003"]),
    memcg=st.booleans(),
    pid=st.integers(2, 4_194_304),
    anon=st.integers(0, 1 << 34),
    page_kb=st.sampled_from([4, 16, 64]),
    seed=st.integers(0, 1 << 16),
    step=st.integers(1, 5_000),
)
def test_any_incident_comes_back(  # noqa: PLR0917 - drawn by name
    generation: Generation,
    prefix: str,
    comm: str,
    invoker: str,
    memcg: bool,
    pid: int,
    anon: int,
    page_kb: int,
    seed: int,
    step: int,
) -> None:
    """Whatever the name of the victim, the sizes and the lines between, the report gives the incident."""
    incident = Incident(
        pid=pid, parent=pid - 1, comm=comm, invoker=invoker, memcg=memcg, anon_kb=anon, page_kb=page_kb
    )
    lines = noisy(told(incident, generation), random.Random(seed))  # noqa: S311 - chance, not secrets
    (kill,) = kills_of(text_log(stamped(lines, PREFIXES[prefix], incident.monotonic)), step)
    check(kill, incident, generation)


@settings(deadline=None, max_examples=60)
@given(
    data=st.binary(max_size=3000),
    step=st.integers(1, 4000),
    kind=st.sampled_from(["", "text", "kmsg", "json"]),
)
def test_any_bytes_are_read(data: bytes, step: int, kind: str) -> None:
    """No bytes break the reader; the last event is the summary and counts them all."""
    summary = events_of(data, step, Options(kind=kind))[-1]
    assert isinstance(summary, SourceSummary)
    assert kind in {"json", summary.kind} or not kind
    assert summary.bytes == len(data)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    generation=st.sampled_from(GENERATIONS),
    wrapping=st.sampled_from([*WRAPPINGS, "text"]),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.binary(max_size=12)), max_size=6),
    cut=st.floats(0, 1),
)
def test_a_damaged_report_is_read_as_far_as_it_goes(
    generation: Generation, wrapping: str, changes: list[tuple[float, bytes]], cut: float
) -> None:
    """A report with bytes replaced, or cut at any place, raises nothing and gives no two kills."""
    lines = told(Incident(), generation)
    data = text_log(lines) if wrapping == "text" else WRAPPINGS[wrapping](lines, 5.0)
    for place, new in changes:
        at = int(place * len(data))
        data = data[:at] + new + data[at + len(new) :]
    assert len(kills_of(data[: int(cut * len(data))])) <= 1


@pytest.mark.parametrize(
    "line",
    [
        "a" * 200_000,
        "[" * 50_000,
        "Killed process 1 (" * 10_000,
        "Killed process 1 " + "(" * 60_000,
        "oom-kill:constraint=" + ",task=" * 20_000,
        "x invoked oom-killer: gfp_mask=" + "0x(" * 20_000,
        "Task in " * 10_000 + "Killed process 7 (",
        "[ pid ] uid tgid " + "rss " * 20_000 + "name Killed process 7 (",
        "Not tainted " * 10_000 + "PID: 1 Comm: x Killed process 7 (",
        "Jan 1 " * 20_000 + "Killed process 7 (",
        "** 1 printk messages dropped ** " * 10_000,
        '{"a":' * 20_000 + "Killed process 7 (",
        "{" * 50_000,
        "[pod/" + "a/" * 40_000 + " Killed process 7 (",
        "a" * 60_000 + " | Killed process 7 (",
        "x invoked oom-killer: gfp_mask=0x0\n[ pid ] uid tgid total_vm rss name\n" + "[1] 1 1 1 " * 20_000,
        "x invoked oom-killer: gfp_mask=0x0\n[ pid ] uid tgid total_vm rss name\n" + "[ " * 90_000,
        "x invoked oom-killer: gfp_mask=0x0\n[ pid ] uid tgid total_vm rss name\n[" + " " * 150_000,
    ],
    ids=lambda line: line[:24],
)
def test_no_line_takes_long(line: str) -> None:
    """Lines made to be slow are read at once, alone and many of them."""
    begun = time.process_time()
    events_of((line + "\n").encode() * 20)
    assert time.process_time() - begun < 5


DECOYS = (
    "python[12]: raise MemoryError('Out of memory')",
    'pr_err("%s: Killed process %d (%s) total-vm:%lukB, anon-rss:%lukB, file-rss:%lukB\\n", message,',
    "Kernel panic - not syncing: Out of memory: compulsory panic_on_oom is enabled",
    "Out of memory and no killable processes...",
    "Huh VM_FAULT_OOM leaked out to the #PF handler. Retrying PF",
    "kworker/u8:4: page allocation failure: order:0, mode:0x404000(GFP_NOWAIT), nodemask=(null)",
    "insmod: vmalloc: allocation failure: 1048576 bytes, mode:0xcc0",
    "oom_reaper: unable to reap pid:4242 (celery)",
    "Memory cgroup out of memory: OOM victim 4242 (celery) is already exiting. Skip killing the task",
    "OOM killer enabled.",
    "oom_kill_process: 12 callbacks suppressed",
    "systemd[1]: Killing process 4242 (celery) with signal SIGKILL.",
    "celery@w1.service: A process of this unit has been killed by the OOM killer.",
    "celery@w1.service: Failed with result 'oom-kill'.",
    "[2026-11-21 03:10:42,678: ERROR/MainProcess] Process 'ForkPoolWorker-3' pid:27 exited with 'signal 9 (SIGKILL)'",
    "[CRITICAL] WORKER TIMEOUT (pid:27)",
    "Worker (pid:27) was sent SIGKILL! Perhaps out of memory?",
    "Killed process 1234 (java)",
    "The kernel logs lines such as `Out of memory: Killed process 1234 (java)` when this happens.",
    "supervisor: Killed process 77 (stale worker)",
    "Kill process 4242 (celery) sharing same memory",
    'sending SIGKILL to process 4242 uid 1000 "celery": badness 900, VmRSS 812 MiB',
)


@pytest.mark.parametrize("line", DECOYS)
def test_what_is_no_kill_is_none(line: str) -> None:
    """Lines about memory, of the kernel or of programs, source code and documentation give no confirmed kill."""
    kills = kills_of(text_log(["first", line, "last"]))
    assert [kill for kill in kills if kill.confidence == "confirmed"] == []


def test_lines_that_are_no_kill_are_named() -> None:
    """Each kind of line that is no kill comes out as what it is."""
    lines = stamped(DECOYS, DMESG, 10.0)
    found = {event.kind for event in events_of(text_log(lines * 3)) if isinstance(event, NotAKill)}
    assert {"panic", "no-killable-process", "allocation-failure", "already-exiting"} <= found


def test_a_quoted_kill_counts_once() -> None:
    """An application log that quotes one kill line over and over gives one kill, with its copies counted."""
    line = told(Incident(), MODERN)[-2]
    quotes = [f"2026-11-{day:02d} 10:00:00,123 ERROR shop.ops: seen in dmesg: {line}" for day in range(1, 29)]
    (kill,) = merge(kills_of(text_log(quotes)))
    assert (kill.quoted, kill.copies) == (True, 28)


def test_two_sources_tell_of_one_kill() -> None:
    """The same kill in dmesg, in syslog and in a program's event is one, and keeps all three references."""
    incident = Incident()
    lines = told(incident, MODERN)
    logs = [
        text_log(stamped(lines, PREFIXES[prefix], incident.monotonic))
        for prefix in ("dmesg", "rsyslog", "rsyslog iso")
    ]
    event = f"Nov 21 02:25:46 {'web-1.example'} node-problem-detector[77]: I1121 02:25:46.000000 77 log_monitor.go:159] Message:{lines[-2]}"
    (kill,) = merge([kill for log in (*logs, text_log([event])) for kill in kills_of(log)])
    check(kill, incident, MODERN)
    assert kill.copies == 4
    assert kill.when is not None


def test_kills_of_the_same_pid_in_two_boots_are_two() -> None:
    """A monotonic clock that falls back is another boot, and its kills are others."""
    first, second = Incident(monotonic=5000.0), Incident(monotonic=90.0)
    lines = [
        line
        for incident in (first, second)
        for line in stamped(told(incident, MODERN), DMESG, incident.monotonic)
    ]
    kills = merge(kills_of(text_log(lines)))
    assert [kill.boot_number for kill in kills] == [0, 1]


@pytest.mark.parametrize("generation", [MODERN, OLD], ids=["5.15", "EL7"])
def test_a_storm_is_one_episode(generation: Generation) -> None:
    """Kill lines that the rate limit left without reports are kills of their own in the episode of the last report."""
    incident = Incident()
    lines = stamped(told(incident, generation), DMESG, incident.monotonic)
    for number in range(1, 50):
        victim = replace(incident, pid=5000 + number)
        bare = told(victim, generation)
        selection_and_kill = [line for line in bare if "ill process" in line or "Killed" in line]
        lines += stamped(selection_and_kill, DMESG, incident.monotonic + number / 10)
    kills = kills_of(text_log(lines))
    assert [kill.pid for kill in kills] == [4242, *range(5001, 5050)]
    assert {kill.episode for kill in kills[1:2]} == {kills[0].episode} or generation is OLD
    assert not kills[1].complete
    assert "header" in kills[1].missing
    assert kills[1].cgroup is None


def test_a_group_dies_together() -> None:
    """With memory.oom.group every member is a kill, the first one's second line a copy, and all share the report."""
    incident = Incident()
    lines = told(incident, MODERN)
    again = lines[-2]
    lines.append(f"Tasks in {incident.victim} are going to be killed due to memory.oom.group set")
    lines.append(again)
    lines += [told(replace(incident, pid=pid), MODERN)[-2] for pid in (4240, 4244)]
    kills = kills_of(text_log(stamped(lines, DMESG, incident.monotonic)))
    assert [(kill.pid, kill.copies) for kill in kills] == [(4242, 2), (4240, 1), (4244, 1)]
    assert {kill.group for kill in kills} == {incident.victim}
    assert {kill.cgroup.container_id for kill in kills if kill.cgroup} == {CONTAINER}
    assert len({kill.episode for kill in kills}) == 1


def test_a_child_may_die_for_its_parent() -> None:
    """Where the kernel chose a process and killed its child, both are told, and the child is the victim."""
    lines = told(Incident(), OLD)
    lines[-1] = lines[-1].replace("Killed process 4242", "Killed process 4254")
    (kill,) = kills_of(text_log(lines))
    assert kill.pid == 4254
    assert kill.selected is not None
    assert (kill.selected.pid, kill.selected.score, kill.score) == (4242, 1046, None)


def test_a_thread_stands_for_its_process() -> None:
    """Where the kill line names a thread, its number is the pid and the process is the tgid."""
    lines = told(Incident(), MODERN)
    lines[-2] = lines[-2].replace("Killed process 4242 ([celeryd: celer)", "Killed process 4250 (Thread-2)")
    (kill,) = kills_of(text_log(lines))
    assert (kill.pid, kill.tgid, kill.comm) == (4250, 4242, "Thread-2")


def test_two_reports_at_once_are_kept_apart() -> None:
    """Lines of two callers that alternate are told apart by the caller's id."""
    one = Incident()
    two = Incident(pid=777, parent=776, invoker="python", invoker_pid=778, comm="python")
    first, second = (told(incident, MODERN, table=False)[:-1] for incident in (one, two))
    lines = []
    for number, (left, right) in enumerate(zip(first, second)):
        stamp = f"[{100 + number / 1e6:12.6f}]"
        lines += [f"{stamp}[ T1] {left}", f"{stamp}[ T2] {right}"]
    kills = {kill.pid: kill for kill in kills_of(text_log(lines))}
    assert set(kills) == {4242, 777}
    assert [kills[pid].invoker.pid for pid in (4242, 777)] == [4243, 778]  # type: ignore[union-attr]


def test_a_second_header_closes_the_first() -> None:
    """A report without its kill line is told once the next begins: a probable kill of whom it had chosen."""
    lines = told(Incident(), MODERN)[:-2] + told(Incident(pid=9, parent=8), MODERN)
    first, second = kills_of(text_log(stamped(lines, DMESG, 5.0)))
    assert (first.pid, first.confidence, first.missing) == (4242, "probable", ("page size", "kill line"))
    assert (second.pid, second.confidence) == (9, "confirmed")


def test_a_second_header_closes_a_report_that_names_nobody() -> None:
    """A report that ends before it names whom the kernel chose is told as incomplete."""
    lines = told(Incident(), OLD)[:-2] + told(Incident(pid=9, parent=8), OLD)
    events = events_of(text_log(stamped(lines, DMESG, 5.0)))
    (incomplete,) = [event for event in events if isinstance(event, IncompleteReport)]
    assert incomplete.missing == ("selection", "kill line")
    assert [kill.pid for kill in kills_of(text_log(lines))] == [9]


def test_a_kill_without_its_report_is_a_kill() -> None:
    """A log that begins with the kill line gives the kill and says what is missing."""
    (kill,) = kills_of(text_log(told(Incident(), MODERN)[-2:]))
    assert (kill.confidence, kill.scope, kill.complete) == ("confirmed", "memcg", False)
    assert {"header", "task table"} <= set(kill.missing)


@pytest.mark.parametrize("end", [20, 30, 60, 75, 110])
def test_a_cut_kill_line_is_read_as_far_as_it_goes(end: int) -> None:
    """A kill line that ends early behind its report is the kill, marked as cut."""
    lines = told(Incident(comm="celery"), MODERN)[:-1]
    at = lines[-1].index("Killed process 4242 (")
    lines[-1] = lines[-1][: at + len("Killed process 4242 (") + 2 + max(0, end - 20)]
    (kill,) = kills_of("\n".join(lines).encode())
    assert kill.pid == 4242
    assert "end of the kill line" in kill.missing or end >= 110


@pytest.mark.parametrize("first", ["sysrq: Manual OOM execution", "SysRq : Manual OOM execution"])
def test_a_kill_that_somebody_asked_for(first: str) -> None:
    """SysRq's kills are manual, by its line or by the order of -1."""
    lines = told(Incident(memcg=False), MODERN)
    assert kills_of(text_log([first, *lines]))[0].scope == "manual"
    lines[0] = lines[0].replace("order=0", "order=-1")
    assert kills_of(text_log(lines))[0].scope == "manual"


@pytest.mark.parametrize(
    ("constraint", "scope"),
    [("CPUSET", "cpuset"), ("MEMORY_POLICY", "mempolicy"), ("BPF_PSI_MEM", "bpf"), ("NONE", "global")],
)
def test_the_constraint_names_the_scope(constraint: str, scope: str) -> None:
    """Without a limited control group the constraint says whose limit it was."""
    lines = [
        line.replace("CONSTRAINT_NONE", f"CONSTRAINT_{constraint}")
        for line in told(Incident(memcg=False), MODERN)
    ]
    assert kills_of(text_log(lines))[0].scope == scope


@pytest.mark.parametrize("at", [",task_memcg=", ",task="])
def test_a_split_summary_is_put_together(at: str) -> None:
    """An ``oom-kill:`` line whose tail came as a record of its own is read like a whole one."""
    lines = told(Incident(), MODERN)
    place = next(number for number, line in enumerate(lines) if line.startswith("oom-kill:"))
    cut = lines[place].index(at)
    lines[place : place + 1] = [lines[place][:cut], lines[place][cut:]]
    (kill,) = kills_of(text_log(stamped(lines, DMESG, 5.0)))
    check(kill, Incident(), MODERN)


def test_losses_are_told() -> None:
    """Suppressed and dropped lines, and gaps in the numbers of records, come out with their counts."""
    lines = stamped(["oom_kill_process: 132 callbacks suppressed", *told(Incident(), MODERN)], DMESG, 5.0)
    lines.insert(4, "** 17 printk messages dropped **")
    losses = [event for event in events_of(text_log(lines)) if isinstance(event, Loss)]
    assert [(loss.kind, loss.count) for loss in losses] == [("suppressed", 132), ("dropped", 17)]
    assert "dropped lines" not in kills_of(text_log(stamped(told(Incident(), MODERN), DMESG, 5.0)))[0].missing
    records = [
        f"4,{number + 50 * (number > 6)},{number},-;{line}"
        for number, line in enumerate(told(Incident(), MODERN))
    ]
    gaps = [event for event in events_of(text_log(records)) if isinstance(event, Loss)]
    assert [(loss.kind, loss.count) for loss in gaps] == [("gap", 50)]


def test_folded_records_are_unfolded() -> None:
    """A report that a log daemon wrote as one line, with escapes for its newlines, is read like any other."""
    incident = Incident(comm="celery")
    for fold in ("#012", "\\x0a"):
        (kill,) = kills_of(text_log([PREFIXES["rsyslog"](5.0) + fold.join(told(incident, MODERN))]))
        check(kill, incident, MODERN)


def test_late_stamps_give_way_to_the_kernels() -> None:
    """The kernel's stamp and the boot time, found from punctual lines, tell the time better than a late daemon."""
    incident = Incident()
    quiet = [PREFIXES["rsyslog"](float(number)) + "eth0: up" for number in range(1, 3000)]
    late = (BOOT + timedelta(seconds=incident.monotonic + 30)).strftime(
        "%b %e %H:%M:%S web-1.example kernel: "
    )
    report = [late + DMESG(incident.monotonic) + line for line in told(incident, MODERN)]
    (kill,) = kills_of(text_log(quiet + report), options=Options(reference=BOOT + timedelta(days=3)))
    assert kill.when is not None
    assert abs((kill.when - BOOT).total_seconds() - incident.monotonic) <= 1.0
    assert kill.uncertainty_s is not None
    assert kill.uncertainty_s >= 29


def test_the_year_is_found() -> None:
    """A stamp without a year lies in the latest one that the file's last change allows."""
    new_year = Options(reference=datetime(2027, 1, 3, tzinfo=timezone.utc))
    for stamp, year in (("Dec 31 23:59:59", 2026), ("Jan  2 00:00:01", 2027)):
        lines = [f"{stamp} web-1 kernel: {line}" for line in told(Incident(), MODERN)]
        (kill,) = kills_of(text_log(lines), options=new_year)
        assert kill.when is not None
        assert kill.when.year == year
    (kill,) = kills_of(text_log(lines), options=Options())
    assert kill.when is None


def test_a_zone_and_a_boot_time_are_taken() -> None:
    """Local stamps are read in the zone given, monotonic ones from the boot time given."""
    two_hours = timezone(timedelta(hours=2))
    lines = [PREFIXES["dmesg -T"](0.0) + line for line in told(Incident(), MODERN)]
    (kill,) = kills_of(text_log(lines), options=Options(tz=two_hours))
    assert kill.when == BOOT - timedelta(hours=2)
    (kill,) = kills_of(
        text_log(stamped(told(Incident(), MODERN)[-2:], DMESG, 60.0)), options=Options(boot_time=BOOT)
    )
    assert kill.when == BOOT + timedelta(seconds=60)


def test_a_live_source_tells_at_once() -> None:
    """An empty chunk, the sign of a pause, releases the kill that was read."""
    lines = text_log(stamped(told(Incident(), MODERN), DMESG, 5.0))
    read = 0

    def feed() -> Iterator[bytes]:
        nonlocal read
        for chunk in (lines, b"", b""):
            read += 1
            yield chunk

    kill = next(scan(feed(), "live"))
    assert isinstance(kill, OomKill)
    assert read == 2


ID = CONTAINER
PATHS = (
    (f"/docker/{ID}", {"runtime": "docker", "container_id": ID}),
    (f"/system.slice/docker-{ID}.scope", {"runtime": "docker", "container_id": ID, "unit": None}),
    (f"/system.slice/nerdctl-{ID}.scope", {"runtime": "containerd", "container_id": ID}),
    (f"/machine.slice/libpod-{ID}.scope/container", {"runtime": "podman", "container_id": ID}),
    (
        f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope",
        {"runtime": "podman", "container_id": ID, "user": 1000},
    ),
    (f"/kubepods/pod{POD}/{ID}", {"pod_uid": POD, "qos": "guaranteed", "container_id": ID}),
    (f"/kubepods/besteffort/pod{POD}/{ID}", {"pod_uid": POD, "qos": "besteffort", "container_id": ID}),
    (
        f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD.replace('-', '_')}.slice/cri-containerd-{ID}.scope",
        {"pod_uid": POD, "qos": "burstable", "runtime": "containerd", "container_id": ID},
    ),
    (
        f"/kubepods.slice/kubepods-pod{POD.replace('-', '_')}.slice/crio-{ID}.scope",
        {"pod_uid": POD, "qos": "guaranteed", "runtime": "crio", "container_id": ID},
    ),
    (
        f"/docker/{'0' * 64}/kubelet/kubepods/burstable/pod{POD}/{ID}",
        {"pod_uid": POD, "qos": "burstable", "container_id": ID, "runtime": "kubernetes"},
    ),
    (f"/lxc/39004/ns/system.slice/docker-{ID}.scope", {"runtime": "docker", "container_id": ID}),
    ("/lxc.payload.web/init.scope", {"runtime": "lxc", "container_id": "web"}),
    (f"/ecs/0123456789abcdef/{ID}", {"runtime": "ecs", "container_id": ID}),
    ("/nomad/0a1b", {"runtime": "nomad", "container_id": "0a1b"}),
    ("/slurm/uid_1001/job_77/step_0", {"runtime": "slurm", "container_id": "77", "user": 1001}),
    (
        "/system.slice/system-celery.slice/celery@w1.service",
        {"runtime": "systemd", "unit": "celery@w1.service", "instance": "w1"},
    ),
    (
        "/user.slice/user-1000.slice/user@1000.service/app.slice/app\\x2dcelery.service",
        {"runtime": "systemd", "unit": "app\\x2dcelery.service", "user": 1000},
    ),
    ("/user.slice/user-1000.slice/session-3.scope", {"unit": "session-3.scope", "user": 1000}),
)


@pytest.mark.parametrize(("path", "expected"), PATHS, ids=[path[:40] for path, _ in PATHS])
def test_a_path_names_its_owner(path: str, expected: dict[str, object]) -> None:
    """Each runtime's control group path gives container, pod, unit and user; the last component that matches wins."""
    owner = owner_of("/limited", path)
    assert owner is not None
    assert {name: getattr(owner, name) for name in expected} == expected
    assert (owner.limited, owner.victim) == ("/limited", path)


def test_a_clock_that_drifts_for_weeks_leads_nobody_astray() -> None:
    """The kernel's clock may fall behind by minutes in a month: the line's own stamp says when."""
    lines = []
    for hour in range(24 * 28):
        day, rest = divmod(hour, 24)
        lines.append(
            f"2026-11-{1 + day:02d}T{rest:02d}:00:00+00:00 h kernel: [{hour * 3599.6:.6f}] eth0: link up"
        )
    lines.append(
        f"2026-11-29T00:00:00+00:00 h kernel: [{24 * 28 * 3599.6:.6f}] Out of memory: Killed process 12 (celery) "
        "total-vm:9kB, anon-rss:9kB, file-rss:9kB, shmem-rss:0kB, UID:0 pgtables:5kB oom_score_adj:0"
    )
    (kill,) = [event for event in scan(["\n".join(lines).encode()], "log") if isinstance(event, OomKill)]
    assert kill.when is not None
    assert abs((kill.when - datetime(2026, 11, 29, tzinfo=timezone.utc)).total_seconds()) <= 1
