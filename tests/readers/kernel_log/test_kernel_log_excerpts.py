"""What is left of logs when people cut, search, quote and paste them; and the forms that other programs print."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from incident import events_of, kills_of

from leakhunt.model.oom import IncompleteReport, Loss, NotAKill, OomKill
from leakhunt.readers.kernel_log.cgroup import owner_of
from leakhunt.readers.kernel_log.kill_lines import kill_line
from leakhunt.readers.kernel_log.prefix import strip

MIB = 1 << 20
KILL = (
    "Out of memory: Killed process 515 (worker) total-vm:90112kB, anon-rss:40960kB, file-rss:8kB, shmem-rss:0kB, "
    "UID:33 pgtables:120kB oom_score_adj:0"
)
SUMMARY = (
    "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/a.slice,"
    "task=worker,pid=515,uid=33"
)
AT = datetime(2026, 11, 21, 3, 10, 42, tzinfo=timezone.utc)


def log(*lines: str) -> bytes:
    """Return lines as a log."""
    return "".join(f"{line}\n" for line in lines).encode()


@pytest.mark.parametrize(
    ("rest", "comm", "anon", "cut"),
    [
        (
            "(worker), UID 33, total-vm:90112kB, anon-rss:40960kB, file-rss:8kB, shmem-rss:0kB",
            "worker",
            40 * MIB,
            False,
        ),
        (
            "(a), UID 7, b), UID 33, total-vm:90112kB, anon-rss:40960kB, file-rss:8kB",
            "a), UID 7, b",
            40 * MIB,
            False,
        ),
        ("(worker), UID 33, total-vm:90112kB, anon-rs", "worker", None, True),
        ("(worker), UID 3", "worker", None, True),
    ],
)
def test_late_el7_names_the_uid_behind_the_comm(rest: str, comm: str, anon: int | None, cut: bool) -> None:
    """Red Hat's later 3.10 kernels write the uid between the name and the sizes."""
    kill = kill_line(f"Killed process 515 {rest}")
    assert kill is not None
    assert (kill.comm, kill.anon_rss, kill.cut) == (comm, anon, cut)
    assert kill.uid == (33 if "total-vm" in rest else None)


@pytest.mark.parametrize(
    ("prefix", "host"),
    [
        ("kern.log.1:Nov 21 03:10:42 node-1 kernel: ", "node-1"),
        ("/var/log/messages-20261122:4711:Nov 21 03:10:42 node-1 kernel: ", "node-1"),
        ("12:2026-11-21T03:10:42+00:00 node-1 kernel: ", "node-1"),
        ("> Nov 21 03:10:42 node-1 kernel: ", "node-1"),
        ("\u2502 Nov 21 03:10:42 node-1 kernel: ", "node-1"),
        ("Sat Nov 21 03:10:42 2026 kern.err kernel: [  518.050606] ", None),
        ("Nov 21 03:10:42 node-1 kern.err kernel: [  518.050606] ", "node-1"),
    ],
)
def test_what_tools_put_in_front(prefix: str, host: str | None) -> None:
    """The names of grep's files, signs of quotation and OpenWrt's priorities hide neither the time nor the host."""
    (kill,) = kills_of(log(f"{prefix}{KILL}"))
    assert (kill.pid, kill.when, kill.host, kill.confidence) == (515, AT, host, "confirmed")


@pytest.mark.parametrize(
    "line",
    [
        "[2026-11-21, 03:10:42 UTC] {local_task_job.py:159} INFO - Task exited",
        "Sat Nov 21 03:10:42 2026 - DAMN ! worker 2",
        "\u2502 [2026-11-21 03:10:42 +0000] [7] [WARNING] Worker",
    ],
)
def test_stamps_of_other_programs(line: str) -> None:
    """Airflow writes a comma behind the date, uWSGI the weekday in front and the year behind."""
    wall = strip(line)[0].wall
    assert wall is not None
    assert (wall.year, wall.month, wall.day, wall.hour, wall.second) == (2026, 11, 21, 3, 42)


@pytest.mark.parametrize(
    "message", ["Preventing OOM: trying", "oomd kill: 1.0", "kill failed: Timer expired"]
)
def test_two_words_and_a_colon_are_no_host(message: str) -> None:
    """Behind a bare time a message that opens like a host and its program stays whole."""
    stamp, text = strip(f"2026-11-21T03:10:42Z {message}")
    assert (stamp.host, stamp.tag, text) == (None, "", message)


def test_a_report_that_has_lost_its_header() -> None:
    """The control group, the limit and the table in front of the first kill line are read, however far in front."""
    rows = [
        f"[    9.000{n:03}] [ {n:5}]     0 {n:5}     2000      100    65536        0             0 other"
        for n in range(300)
    ]
    (kill,) = kills_of(
        log(
            "[    8.999999] eth0: link becomes ready",
            "[    9.000000] Task in /docker/"
            + "ab" * 32
            + " killed as a result of limit of /docker/"
            + "ab" * 32,
            "[    9.000000] memory: usage 65536kB, limit 65536kB, failcnt 12",
            "[    9.000000] [  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
            *rows,
            "[    9.001000] Memory cgroup out of memory: Kill process 515 (worker) score 900 or sacrifice child",
            "[    9.001001] Killed process 515 (worker) total-vm:90112kB, anon-rss:40960kB, file-rss:8kB, shmem-rss:0kB",
        )
    )
    assert kill.cgroup is not None
    assert kill.cgroup.container_id == "ab" * 32
    assert kill.memory is not None
    assert (kill.memory.limit, len(kill.tasks)) == (64 * MIB, 300)
    assert "header" in kill.missing


def test_two_short_reports_in_a_row() -> None:
    """Where a log holds some lines of each report only, the second one is read like the first."""
    report = (
        "[    {s}.000001] celery invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
        "[    {s}.000002] " + SUMMARY.replace("a.slice", "system.slice/{s}.service").replace("515", "51{s}"),
        "[    {s}.000003] " + KILL.replace("515", "51{s}"),
    )
    kills = kills_of(log(*(line.format(s=second) for second in (4, 5, 6) for line in report)))
    assert [kill.cgroup.unit for kill in kills if kill.cgroup] == ["4.service", "5.service", "6.service"]
    assert [kill.invoker.comm for kill in kills if kill.invoker] == ["celery"] * 3


def test_dropped_lines_are_of_the_report_they_stand_in() -> None:
    """A report that has its kill line is complete; lines that are dropped behind it are of the next, and all are counted."""
    events = events_of(
        log(
            "[    4.000001] sshd invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
            "[    4.000003] " + KILL,
            "[    4.600001] celery invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
            "[    4.600002] ** 214 printk messages dropped ** [    4.600003] eth0: link becomes ready",
            "[    4.600004] " + KILL.replace("515", "516"),
            "[    4.700004] ** 377 printk messages dropped ** " + KILL.replace("515", "517"),
        )
    )
    kills = {event.pid: event for event in events if isinstance(event, OomKill)}
    assert [("dropped lines" in kills[pid].missing) for pid in (515, 516)] == [False, True]
    assert [("header" in kills[pid].missing) for pid in (515, 516, 517)] == [False, False, True]
    assert sum(event.count or 0 for event in events if isinstance(event, Loss)) == 591


@pytest.mark.parametrize(
    ("line", "victim"),
    [
        (
            "Nov 21 03:10:42 h kernel: Out of memory: Kill process 515 (worker) score 900 or sacrifice child",
            515,
        ),
        (f"[    9.100000] {SUMMARY.partition(',uid=')[0]}", 515),
        ("[    9.100000] oom_reaper: reaped process 515 (worker), now anon-rss:0kB", 515),
        ("[    9.100000] Task in /13 killed as a result of limit of /13", None),
    ],
)
def test_an_excerpt_without_kill_lines(line: str, victim: int | None) -> None:
    """A line that somebody searched for tells of a report whose kill line is missing."""
    (found,) = [event for event in events_of(log("quiet", line)) if isinstance(event, IncompleteReport)]
    assert (found.victim.pid if found.victim else None) == victim


def test_a_panic_alone() -> None:
    """A machine that panics for want of memory kills nobody, and says so without a report."""
    events = events_of(
        log("[    9.100000] Kernel panic - not syncing: Out of memory: compulsory panic_on_oom is enabled")
    )
    assert [event.kind for event in events if isinstance(event, NotAKill)] == ["panic"]


def test_names_in_a_table_end_where_the_terminal_began() -> None:
    """Blanks that a terminal left behind a row are not part of the name."""
    (kill,) = kills_of(
        log(
            "[    9.000000] [ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name"
            + " " * 40,
            "[    9.000001] [  515]    33   515    22528    10240      30        0             0 worker"
            + " " * 40,
            "[    9.000002] Out of memory: Kill process 515 (worker) score 900 or sacrifice child" + " " * 40,
            "[    9.000003] Killed process 515 (worker) total-vm:90112kB, anon-rss:40960kB, file-rss:8kB"
            + " " * 40,
        )
    )
    assert [row.comm for row in kill.tasks] == ["worker"]


def test_a_container_of_lxc_with_a_service_inside() -> None:
    """The container is named by the folder of its payload, and the unit is the one within."""
    owner = owner_of("/lxc.payload/build-3", "/lxc.payload/build-3/system.slice/ci.service")
    assert owner is not None
    assert (owner.runtime, owner.container_id, owner.unit) == ("lxc", "build-3", "ci.service")
