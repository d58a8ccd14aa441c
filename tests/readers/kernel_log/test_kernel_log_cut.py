from __future__ import annotations

import pytest
from incident import Incident, events_of, kills_of, stamped, text_log, told
from test_kernel_log_cases import DMESG, MODERN, OLD

from leakhunt.model.oom import IncompleteReport, NotAKill, OomKill
from leakhunt.readers.kernel_log.merge import merge

SYSLOG = "Nov 21 03:10:42 node-7 kernel: "
CHOSEN = (
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0,oom_memcg=/a.slice/w.service,"
    "task_memcg=/a.slice/w.service,task=celery,pid=61544,uid=1000"
)
REAPED = "oom_reaper: reaped process 61544 (celery), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB"
KILLED = (
    "Memory cgroup out of memory: Killed process 61544 (celery) total-vm:709384kB, anon-rss:509384kB, file-rss:12000kB, "
    "shmem-rss:0kB, UID:1000 pgtables:1308kB oom_score_adj:979"
)


def of_kernel(*lines: str) -> bytes:
    """Return lines as a syslog has them."""
    return text_log([SYSLOG + line for line in lines])


def incomplete_of(data: bytes) -> list[IncompleteReport]:
    """Return the reports without a kill."""
    return [event for event in events_of(data) if isinstance(event, IncompleteReport)]


@pytest.mark.parametrize("lines", [(CHOSEN,), (CHOSEN, REAPED)], ids=["chosen", "reaped"])
def test_whom_the_kernel_chose_was_probably_killed(lines: tuple[str, ...]) -> None:
    """A report that names whom the kernel chose, without the kill line, is a probable kill in its control group."""
    (kill,) = kills_of(of_kernel(*lines))
    assert (kill.pid, kill.comm, kill.uid, kill.confidence, kill.scope) == (
        61544,
        "celery",
        1000,
        "probable",
        "memcg",
    )
    assert "kill line" in kill.missing
    assert not kill.complete
    assert kill.cgroup is not None
    assert kill.cgroup.unit == "w.service"
    assert any("missing" in note for note in kill.notes)
    assert [line.line for line in kill.evidence] == list(range(1, len(lines) + 1))
    assert incomplete_of(of_kernel(*lines)) == []


def test_a_whole_report_but_for_its_kill_line() -> None:
    """What else a report says of a kill is kept where only the kill line is cut off."""
    incident = Incident()
    lines = told(incident, MODERN)[:-2]
    (kill,) = kills_of(text_log(stamped(lines, DMESG, 5.0)))
    (whole,) = kills_of(text_log(stamped(told(incident, MODERN), DMESG, 5.0)))
    for name in ("pid", "comm", "tgid", "uid", "scope", "cgroup", "memory", "invoker", "selected", "kernel"):
        assert getattr(kill, name) == getattr(whole, name), name
    assert len(kill.tasks) == len(whole.tasks)


def test_who_is_leaving_already_is_not_killed() -> None:
    """A chosen process that the kernel finds exiting is no kill."""
    exiting = (
        "Memory cgroup out of memory: OOM victim 61544 (celery) is already exiting. Skip killing the task"
    )
    events = events_of(of_kernel(CHOSEN, exiting))
    assert [event for event in events if isinstance(event, (OomKill, IncompleteReport))] == []
    assert [event.kind for event in events if isinstance(event, NotAKill)] == ["already-exiting"]


@pytest.mark.parametrize(
    "line",
    [
        REAPED,  # it may have been leaving by itself
        CHOSEN.partition(",uid=")[0],  # the number may be cut
        "Out of memory: Kill process 61544 (celery) score 900 or sacrifice child",
    ],
)
def test_less_than_a_choice_is_a_report_that_names_whom(line: str) -> None:
    """A reaped process alone, a cut number and a choice for which a child may die are no kills, but are named."""
    assert kills_of(of_kernel(line)) == []
    (report,) = incomplete_of(of_kernel(line))
    assert report.victim is not None
    assert (report.victim.pid, report.victim.comm) == (61544, "celery")


@pytest.mark.parametrize(
    "prefix", ["2026-11-21 03:10:42,100 INFO bot: user said: '", "Nov 21 03:10:42 node-7 bot[7]: "]
)
def test_a_quoted_choice_is_no_kill(prefix: str) -> None:
    """What another program quotes of a report, without a kill line, is told as a report."""
    data = text_log([prefix + CHOSEN])
    assert kills_of(data) == []
    assert len(incomplete_of(data)) == 1


def test_the_reaper_says_whom_an_old_kernel_killed() -> None:
    """Where the report names nobody, or one for whom a child dies, the reaped process is the one that was killed."""
    lines = [*told(Incident(), OLD)[:-1], "oom_reaper: reaped process 4254 (celery), now anon-rss:0kB"]
    (kill,) = kills_of(text_log(stamped(lines, DMESG, 5.0)))
    assert (kill.pid, kill.comm, kill.confidence) == (4254, "celery", "probable")
    assert kill.selected is not None
    assert kill.selected.pid == 4242


def test_the_reaper_speaks_of_its_own_report() -> None:
    """Of two open reports, the reaper's line belongs to the one that chose the process."""
    other = CHOSEN.replace("61544", "777")
    lines = [f"[  100.000001][ T1] {other}", f"[  100.000002][ T2] {CHOSEN}", f"[  102.000000][ T9] {REAPED}"]
    kills = {kill.pid: kill for kill in kills_of(text_log(lines))}
    assert set(kills) == {777, 61544}
    assert [len(kills[pid].evidence) for pid in (777, 61544)] == [1, 2]


@pytest.mark.parametrize("end", range(1, 7))
def test_a_name_that_is_cut_is_whole_in_the_report(end: int) -> None:
    """A kill line that is cut inside the name takes the name from the line above it."""
    cut = KILLED[: KILLED.index("celery") + end]
    (kill,) = kills_of(of_kernel(CHOSEN, cut))
    assert (kill.pid, kill.comm, kill.confidence) == (61544, "celery", "confirmed")
    assert "end of the kill line" in kill.missing
    assert any("cut" in note for note in kill.notes)


def test_a_cut_name_of_another_process_stays() -> None:
    """A name that is cut is completed for that very process only."""
    cut = KILLED[: KILLED.index("celery") + 1].replace("61544", "99")
    names = {kill.pid: kill.comm for kill in kills_of(of_kernel(CHOSEN, cut))}
    assert names[99] == "c"


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    "cut", [(CHOSEN,), (CHOSEN, REAPED), (CHOSEN, KILLED[:60])], ids=["chosen", "reaped", "cut in the line"]
)
@pytest.mark.parametrize("prefix", [SYSLOG, ""], ids=["dated", "undated"])
def test_a_cut_copy_is_no_second_kill(cut: tuple[str, ...], prefix: str, *, first: bool) -> None:
    """A kill of which one copy of the log lacks the kill line, or its end, is one, with what the better copy says."""
    logs = [text_log([prefix + line for line in lines]) for lines in (cut, (CHOSEN, KILLED))]
    found = [kill for log in (logs if first else reversed(logs)) for kill in kills_of(log)]
    (kill,) = merge(found)
    assert (kill.pid, kill.comm, kill.confidence, kill.copies) == (61544, "celery", "confirmed", 2)
    assert kill.anon_rss == 509384 * 1024
    assert "kill line" not in kill.missing
    assert kill.notes == ()


def test_a_cut_copy_gives_its_report() -> None:
    """Where the copy with the kill line has no report, that of the cut copy counts."""
    incident = Incident()
    lines = told(incident, MODERN)
    cut = kills_of(text_log(stamped(lines[:-2], DMESG, incident.monotonic)))
    bare = kills_of(text_log(stamped(lines[-2:-1], DMESG, incident.monotonic)))
    (kill,) = merge([*bare, *cut])
    assert kill.invoker is not None
    assert kill.cgroup is not None
    assert kill.tasks
    assert "header" not in kill.missing


def test_cut_copies_are_one_probable_kill() -> None:
    """Two copies that both lack the kill line are one kill, still probable."""
    (kill,) = merge([kill for _ in range(2) for kill in kills_of(of_kernel(CHOSEN))])
    assert (kill.confidence, kill.copies) == ("probable", 2)


def test_a_thread_s_kill_line_is_that_of_the_chosen_process() -> None:
    """Where the kill line names a thread, a cut copy that names its process is the same kill."""
    thread = KILLED.replace("61544 (celery)", "61550 (Thread-2)")
    (kill,) = merge([*kills_of(of_kernel(CHOSEN)), *kills_of(of_kernel(CHOSEN, thread))])
    assert (kill.pid, kill.tgid, kill.confidence) == (61550, 61544, "confirmed")


def test_the_same_number_an_hour_later_is_another_process() -> None:
    """A cut report is not taken for a kill of the same number at another time."""
    later = of_kernel(KILLED).replace(b"03:10:42", b"04:10:42")
    assert len(merge([*kills_of(of_kernel(CHOSEN)), *kills_of(later)])) == 2
