"""Stories that are easily told wrong: what must not be joined, lost, told twice, or claimed without evidence."""

from __future__ import annotations

import json
import re
import shlex
from datetime import datetime, timezone
from pathlib import Path

import jsonschema
import pytest
from test_incident import ID, OTHER_ID, POD_UID, at, death, in_docker, kill, sign, task, told

from leakhunt.analysis.incident import pairs, places, signs
from leakhunt.analysis.incident.groups import bursts_of, group
from leakhunt.analysis.incident.loops import loops_of
from leakhunt.analysis.incident.story import Story, join
from leakhunt.api import following
from leakhunt.api.oom import Collected, Settings, oom_scan, result_of
from leakhunt.model.evidence import Evidence, Place
from leakhunt.model.incident import InFlight, Sign, WorkerDeath
from leakhunt.model.oom import OomKill, Owner
from leakhunt.model.report import Report
from leakhunt.model.verdict import OomResult
from leakhunt.moments import parse_zone
from leakhunt.present.oom import oom_report
from leakhunt.present.oom_document import document
from leakhunt.present.oom_next import next_step
from leakhunt.present.oom_tables import rows_report
from leakhunt.readers import follow
from leakhunt.readers.kernel_log.scan import scan
from leakhunt.render import csv, markdown, terminal
from leakhunt.render.json import render

SCHEMA = Path(__file__).parents[2] / "leakhunt/schemas/oom-1.json"
NAMESPACE_PID = 27
IN_DOCKER = Place(container_id=ID)
KILLED = (
    "Memory cgroup out of memory: Killed process {pid} (celery) total-vm:1000000kB, anon-rss:204800kB, "
    "file-rss:10240kB, shmem-rss:0kB, UID:1000 pgtables:1640kB oom_score_adj:0"
)
REPORTED = (
    f"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset={ID},mems_allowed=0,oom_memcg=/docker/{ID},"
    f"task_memcg=/docker/{ID},task=celery,pid={{pid}},uid=1000"
)
STAMP = "2026-11-21T03:10:42.000000+00:00 node-7 kernel: [ 1000.000000] "


def in_unit(unit: str) -> Owner:
    """Return the owner of a process in a systemd service."""
    path = f"/system.slice/{unit}"
    return Owner(limited=path, victim=path, runtime="systemd", unit=unit)


def in_pod(container_id: str, pod_uid: str = POD_UID) -> Owner:
    """Return the owner of a process in a container of a pod."""
    path = f"/kubepods/burstable/pod{pod_uid}/{container_id}"
    return Owner(path, path, "kubernetes", container_id=container_id, pod_uid=pod_uid, qos="burstable")


def vanished(seconds: float, until: float | None, **more: object) -> WorkerDeath:
    """Return a worker whose log stops, and begins again at ``until``, or ends so."""
    values: dict[str, object] = {"cause": "vanished", "name": None, "pid": None, "signal": None}
    again = None if until is None else at(until)
    return death(seconds, **{**values, "until": again, **more})  # type: ignore[arg-type]


def result(*kills: OomKill) -> OomResult:
    """Return what a scan would come to that found these."""
    return OomResult((), kills, groups=group(kills))


def write(folder: Path, name: str, *lines: str) -> Path:
    """Write a log and return its path."""
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def kernel_log(folder: Path, name: str = "kern.log", stamp: str = STAMP) -> Path:
    """Write one kill in a container, as a kernel log tells of it."""
    return write(folder, name, *(f"{stamp}{line}".format(pid=4242) for line in (REPORTED, KILLED)))


class TestEqualPids:
    """The same number on two machines, or in two namespaces, is two processes."""

    def test_two_hosts(self) -> None:
        """Children of the same pid that died in the same second on two hosts belong each to its host's kill."""
        kills = [kill(0.0, 27, host="a", episode=1), kill(0.0, 27, host="b", episode=1)]
        deaths = (
            death(0.4, 27, "ForkPoolWorker-9", place=Place(node="celery@b")),
            death(0.4, 27, "ForkPoolWorker-1", place=Place(node="celery@a")),
        )
        found = told(*kills, deaths=deaths).kills
        assert {(one.host, one.worker and one.worker.name) for one in found} == {
            ("a", "ForkPoolWorker-1"),
            ("b", "ForkPoolWorker-9"),
        }

    def test_two_containers_in_the_same_second(self) -> None:
        """Two workers that tell of the same child, pid and second in two containers tell of two deaths."""
        deaths = tuple(death(place=Place(container_id=cid)) for cid in (ID, OTHER_ID))
        kills = (kill(0, 1, cgroup=in_docker()), kill(0, 2, cgroup=in_docker(OTHER_ID)))
        assert all(one.worker is not None for one in told(*kills, deaths=deaths).kills)
        assert len(told(deaths=deaths).kills) == 2

    def test_a_node_s_name_is_what_somebody_called_it(self) -> None:
        """``celery -n w1@orders`` names no host: with the same pid half a second later it is no contradiction."""
        found = told(kill(pid=27, host="web-1"), deaths=(death(pid=27, place=Place(node="w1@orders")),)).kills
        assert len(found) == 1

    def test_a_service_s_process_has_the_host_s_pid(self) -> None:
        """A killed cron job is not the worker's child of another pid, which died a second later on the same host."""
        found = told(
            kill(pid=900, comm="python3", host="web-1", cgroup=in_unit("cron.service")),
            deaths=(death(1.0, 27, place=Place(node="celery@web-1")),),
        ).kills
        assert found[0].worker is None


class TestClocks:
    """What has no clock, another one, or an absurd one."""

    def test_a_kernel_line_without_a_clock_meets_the_runtime_s_word(self) -> None:
        """The container's id ties ``dmesg -t`` to ``docker inspect``; the kill is told once."""
        found = told(kill(None, cgroup=in_docker()), signs=(sign("oom", "docker", 0, place=IN_DOCKER),)).kills
        assert [one.copies for one in found] == [2]

    def test_the_same_out_of_files(self, tmp_path: Path) -> None:
        """A kernel log without stamps and an inspected container are one story of one kill."""
        kernel_log(tmp_path, "dmesg.txt", "")
        state = {"OOMKilled": True, "ExitCode": 137, "FinishedAt": "2026-11-21T03:10:42.5Z"}
        container = {"Id": ID, "Name": "/worker", "State": state}
        write(tmp_path, "inspect.json", json.dumps([container]))
        assert len(oom_scan([tmp_path]).kills) == 1

    def test_a_worker_s_line_without_a_clock_meets_the_kill_of_its_pid(self) -> None:
        """UWSGI prints no time by default: its line finds the kill by the pid, outside of containers."""
        found = told(kill(pid=27), deaths=(death(pid=27, when=None),)).kills
        assert len(found) == 1

    def test_a_worker_s_line_without_a_clock_meets_the_kill_in_its_container(self) -> None:
        """One kill and one death in one container are one, even if only the kernel says when."""
        found = told(kill(cgroup=in_docker()), deaths=(death(when=None, place=IN_DOCKER),)).kills
        assert len(found) == 1

    @pytest.mark.parametrize(
        "moment",
        [
            datetime.max.replace(tzinfo=timezone.utc, microsecond=0),
            datetime.min.replace(tzinfo=timezone.utc),
        ],
    )
    def test_the_first_and_the_last_moment_are_moments(self, moment: datetime) -> None:
        """A clock at either end of the calendar (Docker's zero time, a hostile log) ends no scan."""
        a_kill = kill(None, 27, uncertainty_s=None)
        one = OomKill(**{**vars(a_kill), "when": moment, "uncertainty_s": 60.0})
        deaths = (
            death(pid=28, when=moment, uncertainty_s=60.0),
            vanished(0, None, when=moment),
            death(pid=27, when=moment, place=IN_DOCKER),
        )
        told_by = Sign("oom", "docker", Evidence("d", 1, ""), when=moment, started=moment, place=IN_DOCKER)
        assert join([one, kill()], [told_by], deaths, ()).kills

    def test_a_hostile_stamp_is_no_traceback(self, tmp_path: Path) -> None:
        """The last second of the year 9999 in a worker's log is read like any other."""
        line = "[9999-12-31 23:59:59,000: ERROR/MainProcess] Process 'ForkPoolWorker-3' pid:27 exited with 'signal 9 (SIGKILL)'"
        assert len(oom_scan([write(tmp_path, "worker.log", line)]).kills) == 1

    def test_chance_is_no_hint_at_a_zone(self) -> None:
        """One death and kills all day long say nothing of the clock: some zone always makes them meet."""
        kills = [kill(731.0 * n, n + 1) for n in range(-60, 60) if n]
        assert told(*kills, deaths=(death(pid=9999),)).warnings == ()

    def test_a_zone_is_still_noticed_with_doubtful_clocks(self) -> None:
        """Whole-second stamps and half an hour's offset are a hint as well."""
        kills = [kill(1000.0 * n, n + 1, uncertainty_s=1.0) for n in range(4)]
        deaths = tuple(death(1000.0 * n - 12600 + 0.5, 50 + n, uncertainty_s=0.5) for n in range(4))
        (warning,) = told(*kills, deaths=deaths).warnings
        assert "4 of 4" in warning
        assert "--tz" in warning


class TestPlaces:
    """What is near in time and elsewhere in space."""

    def test_three_containers_in_one_second(self) -> None:
        """Each child goes to the kill of its own container, whatever the order and the pids."""
        ids = [f"{n}" * 64 for n in (1, 2, 3)]
        kills = [kill(0.1 * n, 100 + n, cgroup=in_docker(cid), host="h") for n, cid in enumerate(ids)]
        deaths = tuple(
            death(0.5, 27, f"ForkPoolWorker-{n}", place=Place(node=f"celery@{cid[:12]}"))
            for n, cid in reversed(list(enumerate(ids)))
        )
        oom = tuple(sign("oom", "docker", 0.3, place=Place(container_id=cid)) for cid in ids)
        found = told(*kills, deaths=deaths, signs=oom).kills
        assert [one.worker and one.worker.name for one in found] == [f"ForkPoolWorker-{n}" for n in range(3)]
        assert {one.worker.confidence for one in found if one.worker} == {"certain"}

    def test_a_node_that_is_called_like_another_container(self) -> None:
        """A container's own name is the beginning of its id: a node of such a name is not in any other container."""
        found = told(
            kill(cgroup=in_docker(), host="node-7"),
            deaths=(death(place=Place(node=f"celery@{OTHER_ID[:12]}")),),
        ).kills
        assert found[0].worker is None

    def test_a_sidecar_s_kill_is_not_the_worker_s(self) -> None:
        """Another container of the pod was killed: that is not certainly the child that died in the worker's."""
        envoy = kill(comm="envoy", cgroup=in_pod(OTHER_ID), place=Place(container="istio-proxy"))
        (first, *_) = told(
            envoy, deaths=(death(place=Place(pod="shop/w-1", pod_uid=POD_UID, container="worker")),)
        ).kills
        assert first.worker is None

    def test_a_sidecar_without_a_name_is_not_certainly_the_worker(self) -> None:
        """A pod's uid says which pod, not which of its containers: that alone makes no certainty."""
        envoy = kill(comm="envoy", cgroup=in_pod(OTHER_ID))
        place = Place(pod="shop/w-1", pod_uid=POD_UID, container="worker")
        (first, *_) = told(envoy, deaths=(death(place=place),)).kills
        assert first.worker is None or first.worker.confidence != "certain"

    def test_a_pod_restarted_under_its_uid(self) -> None:
        """Two containers of one pod, one after the other: each status and each death goes to its own kill."""
        kills = [kill(0, 1, cgroup=in_pod(ID)), kill(40, 2, cgroup=in_pod(OTHER_ID))]
        status = tuple(
            sign("oom", "kubernetes", when, place=Place(pod="shop/w", pod_uid=POD_UID, container_id=cid), started=at(begun))
            for when, cid, begun in ((41, OTHER_ID, 5), (1, ID, -900))
        )  # fmt: skip
        pod = Place(pod="shop/w", pod_uid=POD_UID)
        deaths = (
            death(40.5, 27, "ForkPoolWorker-1", place=pod),
            death(0.5, 27, "ForkPoolWorker-3", place=pod),
        )
        found = told(*kills, signs=status, deaths=deaths).kills
        assert [(one.worker and one.worker.name, one.copies) for one in found] == [
            ("ForkPoolWorker-3", 2),
            ("ForkPoolWorker-1", 2),
        ]

    def test_a_kill_without_a_place_gets_none_by_the_time_alone(self) -> None:
        """Docker's word of some container three seconds later does not make the machine's java one of its processes."""
        java = kill(comm="java", scope="global", host="node-7")
        where = Place(container_id=ID, container="worker")
        found = told(java, signs=(sign("oom", "docker", 3.0, place=where, started=at(-60)),)).kills
        assert found[0].place.container is None

    def test_a_storm_over_several_units(self) -> None:
        """In a machine-wide storm the children of two units keep to their units, and the database stays alone."""
        units = {"celery-a.service": 27, "celery-b.service": 28, "mysql.service": 29}
        kills = [
            kill(0.2 * n, pid, "mysqld" if "mysql" in unit else "celery", cgroup=in_unit(unit), episode=1, scope="global")
            for n, (unit, pid) in enumerate(units.items())
        ]  # fmt: skip
        deaths = tuple(
            death(1.5, pid, unit, place=Place(unit=unit, host="h"))
            for unit, pid in units.items()
            if "celery" in unit
        )
        found = told(*kills, deaths=deaths).kills
        assert [one.worker and one.worker.name for one in found] == [
            "celery-a.service",
            "celery-b.service",
            None,
        ]


class TestVanished:
    """A worker that falls silent."""

    def test_an_unrelated_kill_is_not_its_end(self) -> None:
        """A database killed in its own unit, on the same host and in the same second, is not the worker."""
        found = told(
            kill(comm="mysqld", host="web-1", cgroup=in_unit("mysql.service")),
            deaths=(vanished(-0.5, 20, place=Place(node="celery@web-1")),),
        ).kills
        assert found[0].worker is None

    def test_a_log_that_ends_says_nothing_of_the_main_process(self) -> None:
        """A log copied minutes before one child was killed proves neither that the whole worker died nor which task did."""
        (found,) = told(
            kill(332, cgroup=in_docker()), deaths=(vanished(0, None, place=IN_DOCKER, tasks=(task(),)),)
        ).kills
        assert not any("died too" in note for note in found.notes)
        assert found.worker is None or found.worker.confidence == "possible"

    def test_doubt_does_not_depend_on_strangers(self) -> None:
        """Two silent workers may be the killed one; that somebody else's child died at noon makes neither certain."""
        rivals = (vanished(-1, 5, place=IN_DOCKER), vanished(-2, 6, place=IN_DOCKER))
        alone = told(kill(cgroup=in_docker()), deaths=rivals).kills[0].worker
        stranger = kill(7200, 9, cgroup=in_docker(OTHER_ID))
        theirs = death(7200.4, place=Place(container_id=OTHER_ID))
        crowd = told(kill(cgroup=in_docker()), stranger, deaths=(*rivals, theirs)).kills[0].worker
        assert alone is not None
        assert crowd is not None
        assert alone.confidence == crowd.confidence != "certain"


class TestLostAndDoubled:
    """Each process dies once, and each death is told."""

    def test_a_container_that_is_killed_every_minute(self) -> None:
        """Five news of Docker's, a minute apart, are five kills though no kernel log is at hand."""
        news = tuple(sign("oom", "docker", 60.0 * n, place=IN_DOCKER) for n in range(5))
        assert len(told(signs=news).kills) == 5

    def test_a_second_kill_whose_kernel_line_is_lost(self) -> None:
        """The runtime tells of two kills a minute apart, the kernel's log of the first: two kills."""
        news = (sign("oom", "docker", 0.5, place=IN_DOCKER), sign("oom", "docker", 61, place=IN_DOCKER))
        found = told(kill(cgroup=in_docker()), signs=news).kills
        assert [one.confidence for one in found] == ["confirmed", "probable"]

    def test_two_killers_of_one_process(self) -> None:
        """Earlyoom asked a process to go and the kernel killed it a second later: one process, one kill."""
        asked = sign(
            "killed", "earlyoom", -1, killer="earlyoom", pid=900, host_pid=True, comm="python3",
            place=Place(host="web-1"),
        )  # fmt: skip
        found = told(kill(0, 900, "python3", host="web-1", scope="global"), signs=(asked,)).kills
        assert [one.pid for one in found] == [900]

    def test_a_user_space_killer_and_then_the_kernel(self) -> None:
        """Two killers of two processes within two seconds are two kills, each with its killer."""
        asked = sign(
            "killed", "earlyoom", -2, killer="earlyoom", pid=900, host_pid=True, comm="java", place=Place(host="web-1")
        )  # fmt: skip
        found = told(kill(0, 27, host="web-1", scope="global"), signs=(asked,)).kills
        assert [(one.killer, one.pid) for one in found] == [("earlyoom", 900), ("kernel", 27)]

    def test_an_event_hours_later_is_a_copy(self, tmp_path: Path) -> None:
        """The node problem detector tells of a kill again when it starts anew: host, pid, name and sizes are the kill's."""
        event = {
            "kind": "Event",
            "involvedObject": {"kind": "Node", "name": "node-7"},
            "reason": "OOMKilling",
            "message": KILLED.format(pid=4242),
            "firstTimestamp": "2026-11-21T07:10:42Z",
            "lastTimestamp": "2026-11-21T07:10:42Z",
            "count": 1,
        }
        kernel_log(tmp_path)
        write(tmp_path, "events.json", json.dumps({"kind": "List", "items": [event]}))
        (found,) = oom_scan([tmp_path]).kills
        assert found.confidence == "confirmed"

    def test_the_nearer_death_is_not_taken_from_the_later_kill(self) -> None:
        """Two deaths within the window of two kills make two pairs, not one and a kill of nobody's."""
        kills = [kill(n, int(n) + 1, cgroup=in_docker()) for n in (0.0, 10.0)]
        deaths = tuple(death(s, int(s), f"W-{s}", place=IN_DOCKER) for s in (10.2, 24.0))
        assert len(told(*kills, deaths=deaths).kills) == 2

    def test_what_is_left_out_makes_no_kill_of_nobody_s(self) -> None:
        """When the oldest kills are dropped for their number, their workers' deaths do not become new kills."""
        collected = Collected(most=2)
        for n in range(4):
            collected.take([kill(100.0 * n, 10 + n, cgroup=in_docker())])
        collected.take([death(100.0 * n + 0.4, 50 + n, place=IN_DOCKER) for n in range(3)])
        kills = result_of(collected, Settings()).kills
        assert [one.confidence for one in kills] == ["confirmed", "confirmed"]

    def test_a_burst_while_following(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each kill of a log that is followed is told, however many come between two looks."""
        lines = [f"{STAMP}{KILLED}".format(pid=pid) for pid in range(1, 1502)]
        source = write(tmp_path, "kern.log", *lines)
        events = [*scan(iter([source.read_bytes()]), "kern.log")]
        monkeypatch.setattr(following, "follow", lambda *_args: iter(events))
        told_of = {one.kill.pid for one in following.follow_kills((), Settings())}
        assert told_of == set(range(1, 1502))

    def test_a_kill_is_told_again_once_its_worker_is_known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The second time says so, so that nobody is called twice for one kill."""
        events = [kill(100.0, 10, cgroup=in_docker()), follow.Pause(), death(100.4, 50, place=IN_DOCKER)]
        monkeypatch.setattr(following, "follow", lambda *_args: iter(events))
        found = list(following.follow_kills((), Settings()))
        assert [(told.kill.pid, told.kill.worker is not None, told.again) for told in found] == [
            (10, False, False),
            (10, True, True),
        ]

    def test_every_sign_s_evidence_is_kept(self) -> None:
        """A report of eighty lines leaves room for the lines that name the worker and the task."""
        lines = tuple(Evidence("kern.log", n, f"[{n}] celery") for n in range(80))
        one = death(tasks=(task(),), place=IN_DOCKER)
        (found,) = told(
            kill(cgroup=in_docker(), evidence=lines),
            deaths=(one,),
            signs=(sign("oom", "docker", 1, place=IN_DOCKER),),
        ).kills
        assert {"celery.log", "other.log", "kern.log"} == {line.source for line in found.evidence}

    def test_of_very_many_kills_each_keeps_its_kill_line(self) -> None:
        """Reports are cut short where there are thousands: the line that makes it a kill is the last to go."""
        collected = Collected()
        for pid in range(1, 502):
            report = tuple(Evidence("kern.log", 100 * pid + n, f"line {n} of a report") for n in range(60))
            kill_line = Evidence("kern.log", 100 * pid + 60, f"Killed process {pid} (celery)")
            collected.take([kill(60.0 * pid, pid, evidence=(*report, kill_line))])
        last = collected.of(OomKill)[-1]
        assert any("Killed process" in line.text for line in last.evidence)

    def test_a_killer_s_size_is_not_called_anonymous(self) -> None:
        """VmRSS is resident memory of all kinds: it is not the part that is anonymous."""
        said = sign("killed", "earlyoom", 0, killer="earlyoom", pid=900, comm="java", rss=2 << 30)
        (found,) = told(signs=(said,)).kills
        assert found.anon_rss is None


class TestReports:
    """Kernel reports that follow each other closely, and how sure their clock is."""

    def test_a_log_that_grep_made_short(self, tmp_path: Path) -> None:
        """Three lines of each of three reports are left, one report behind the other: each has its header and limit."""
        header = "celery invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"
        lines = [
            f"[ {100 + 60 * n}.000000] {line}".replace("{pid}", f"{4242 + n}")
            for n in range(3)
            for line in (header, REPORTED.replace(f"docker/{ID}", "shop").replace(ID, "/"), KILLED)
        ]
        found = oom_scan([write(tmp_path, "dmesg.txt", *lines)]).kills
        assert [one.invoker is not None and one.cgroup is not None for one in found] == [True] * 3

    def test_an_hour_that_comes_twice(self, tmp_path: Path) -> None:
        """A local stamp of that hour is an hour in doubt, whether or not the kernel's own stamp stands beside it."""
        line = "2026-10-25 02:30:00 n kernel: [ 1000.000000] Out of memory: Killed process 9 (x) total-vm:1kB, anon-rss:1kB, file-rss:0kB"
        (found,) = oom_scan([write(tmp_path, "kern.log", line)], tz=parse_zone("Europe/Berlin")).kills
        assert (found.uncertainty_s or 0) >= 3600

    def test_a_thread_is_named_with_its_process(self) -> None:
        """Where the kill line names a thread, the sentence names the process, too: pid 4242 is what others know."""
        one = kill(pid=4250, comm="Thread-1 (work", tgid=4242)
        lines = oom_report(result(one)).tables[1].lines
        assert "4242" in " ".join([str(lines[0].cells), *(detail.text for detail in lines[0].details)])

    def test_a_lower_bound_is_told_as_one(self) -> None:
        """An event that stands for several says so in words, not only in JSON."""
        said = sign("oom", "kubelet", 0, killer="kernel", pid=99, comm="celery", count=7, at_least=True)
        report = oom_report(result(*told(signs=(said,)).kills))
        assert "at least" in " ".join(
            [report.headline, *(detail.text for detail in report.tables[1].lines[0].details)]
        )


class TestNotForMemory:
    """A SIGKILL that somebody explains."""

    def test_docker_stop(self, tmp_path: Path) -> None:
        """Exit code 137 after ``docker stop`` sent signal 9 is a stop, not a SIGKILL that nothing explains."""
        lines = [
            f"2026-11-21T03:10:{stamp}Z container {what} {ID} ({'exitCode=137, ' if what == 'die' else ''}image=x, name=w{extra})"
            for stamp, what, extra in (
                ("30.011072877", "kill", ", signal=15"), ("40.011072877", "kill", ", signal=9"),
                ("40.211072877", "die", ""), ("40.311072877", "stop", ""),
            )
        ]  # fmt: skip
        assert oom_scan([write(tmp_path, "events.txt", *lines)]).kills == ()

    def test_a_stop_that_took_too_long(self, tmp_path: Path) -> None:
        """Systemd kills what does not stop within its time, and says so."""
        lines = (
            "Stopping celery.service...",
            "celery.service: State 'stop-sigterm' timed out. Killing.",
            "celery.service: Killing process 900 (celery) with signal SIGKILL.",
            "celery.service: Main process exited, code=killed, status=9/KILL",
            "celery.service: Failed with result 'timeout'.",
        )
        stamped = [f"2026-11-21T03:11:30.000000+00:00 web-1 systemd[1]: {line}" for line in lines]
        assert oom_scan([write(tmp_path, "journal.log", *stamped)]).kills == ()

    def test_a_time_limit_near_a_kill(self) -> None:
        """A child that its time limit ended beside an OOM kill stays what it is, and the kill stays alone."""
        story = told(kill(cgroup=in_docker()), deaths=(death(cause="time-limit", place=IN_DOCKER),))
        assert [one.worker for one in story.kills] == [None]
        assert [one.kind for one in story.not_kills] == ["time-limit"]


class TestPatterns:
    """What repeats, and what only seems to."""

    def test_two_storms_at_the_same_time(self) -> None:
        """Storms of two machines in the same seconds are two, not one of each kill."""
        kills = [
            kill(0.25 * n, 100 + n, host="ab"[n % 2], episode=1, evidence=(Evidence("ab"[n % 2], n, ""),))
            for n in range(10)
        ]
        assert sorted(len(burst) for burst in bursts_of(kills)) == [5, 5]

    def test_a_task_redelivered_to_another_worker(self, tmp_path: Path) -> None:
        """The log of the worker that ran it again is another file: it probably ran twice all the same."""
        task_id = "11111111-1111-1111-1111-111111111111"
        write(
            tmp_path,
            "w1.log",
            "[2026-11-21 03:10:00,000: INFO/MainProcess] celery@w1 ready.",
            f"[2026-11-21 03:10:10,000: INFO/MainProcess] Task shop.tasks.a[{task_id}] received",
            "[2026-11-21 03:10:42,000: ERROR/MainProcess] Process 'ForkPoolWorker-3' pid:27 exited with 'signal 9 (SIGKILL)'",
            "[2026-11-21 03:12:00,000: INFO/MainProcess] Task shop.tasks.b[22222222-1111-1111-1111-111111111111] received",
        )
        write(
            tmp_path,
            "w2.log",
            "[2026-11-21 03:10:00,000: INFO/MainProcess] celery@w2 ready.",
            f"[2026-11-21 03:10:50,000: INFO/MainProcess] Task shop.tasks.a[{task_id}] received",
            f"[2026-11-21 03:11:50,000: INFO/ForkPoolWorker-1] Task shop.tasks.a[{task_id}] succeeded in 60.0s: None",
        )
        assert [one.id for one in oom_scan([tmp_path]).twice] == [task_id]

    def test_a_task_killed_in_two_workers_is_a_loop(self) -> None:
        """The same message in two workers' logs, each with one kill, is a loop of two."""
        deaths = tuple(
            death(60.0 * n + 0.3, 30 + n, f"W-{n}", tasks=(task(),), place=Place(node=f"celery@w{n}"))
            for n in range(2)
        )
        (loop,) = loops_of(told(kill(0, 10), kill(60, 11), deaths=deaths).kills, deaths)
        assert (loop.kills, loop.how) == (2, "same id")

    def test_a_periodic_task_is_not_redelivered(self) -> None:
        """Two messages with equal arguments, days apart, are no message that a delivery limit would stop."""
        days = (0.0, 86400.0)
        kills = [kill(day, 10 + n) for n, day in enumerate(days)]
        deaths = tuple(
            death(
                day + 0.3, 30 + n, f"W-{n}", tasks=(task("shop.nightly", f"{n}", arguments="e3b0", deliveries=1),)
            )
            for n, day in enumerate(days)
        )  # fmt: skip
        found = told(*kills, deaths=deaths).kills
        report = oom_report(OomResult((), found, groups=group(found), loops=loops_of(found, deaths)))
        words = " ".join(detail.text for line in report.tables[0].lines for detail in line.details)
        assert "delivery limit" not in words


class TestWords:
    """What the output says is what the evidence says."""

    def test_the_headline_names_every_owner(self) -> None:
        """An owner whose first death is only possible still owns the confirmed one after it."""
        unsure = kill(0, 1, cgroup=in_unit("a.service"), confidence="possible", killer="unknown")
        sure = kill(600, 2, cgroup=in_unit("a.service"))
        other = kill(900, 3, cgroup=in_unit("b.service"))
        assert "2 OOM kills of unit b.service" not in oom_report(result(unsure, sure, other)).headline

    def test_the_headline_counts_what_it_counts(self) -> None:
        """Of two kills no owner has five: SIGKILLs that nothing explains are counted apart."""
        unsure = [
            kill(60.0 * n, n, cgroup=in_unit("a.service"), confidence="possible", killer="unknown")
            for n in range(1, 5)
        ]
        sure = [kill(0, 1, cgroup=in_unit("a.service")), kill(900, 3, cgroup=in_unit("b.service"))]
        headline = oom_report(result(sure[0], *unsure, sure[1])).headline
        assert headline.startswith("2 OOM kills")
        assert "5 of unit a.service" not in headline

    @pytest.mark.parametrize("place", [Place(pod="shop/--kubeconfig=x"), Place(container="--kubeconfig=x")])
    def test_a_command_gives_no_options_that_a_log_chose(self, place: Place) -> None:
        """A pod that calls itself ``--kubeconfig=x`` is no option of the command that is to be pasted."""
        step = next_step(kill(place=place), ("kern.log",))
        words = shlex.split(step.command) if step is not None else []
        assert "--kubeconfig=x" not in words or "--" in words[: words.index("--kubeconfig=x")]

    def test_a_command_names_files_as_files(self) -> None:
        """A log called ``-n`` is a file of the command, not an option."""
        step = next_step(kill(cgroup=in_docker()), ("-n",))
        assert step is not None
        words = shlex.split(step.command)
        assert "-n" not in words or "--" in words[: words.index("-n")]

    def test_a_command_can_be_copied_from_a_page(self) -> None:
        """Markdown shows a command without characters that are not its own."""
        page = markdown.render(oom_report(result(kill(cgroup=in_unit("celery@1.service")))))
        (command,) = re.findall(r"journalctl -o.{0,60}?\.service", page)
        assert "&#8203;" not in command

    def test_a_command_is_not_broken_into_lines(self) -> None:
        """A command to copy stays on a line of its own, however narrow the terminal."""
        one = kill(cgroup=in_unit("celery-worker-for-exports-of-the-shop.service"))
        lines = terminal.render(oom_report(result(one)), width=60, color=False).splitlines()
        assert any("journalctl -o" in line and "shop.service" in line for line in lines)


HOSTILE = "\x1b[2J=cmd|'/C x'!A0 <img src=x> @team\n| [red]\u202e`rm`"


def hostile() -> OomResult:
    """Return a result all of whose words come from a log that means harm."""
    place = Place(HOSTILE, f"{HOSTILE}.service", None, HOSTILE, f"{HOSTILE}/{HOSTILE}", HOSTILE, HOSTILE)
    line = Evidence(HOSTILE, 1, HOSTILE)
    one = kill(comm=HOSTILE, host=HOSTILE, place=place, notes=(HOSTILE,), evidence=(line,))
    lost = InFlight(HOSTILE, HOSTILE, "named", line)
    child = WorkerDeath(
        HOSTILE, "sigkill", (line,), place, HOSTILE, 27, at(0.4), 0.0, signal=9, tasks=(lost, lost)
    )
    story: Story = join([one, kill(60, comm=HOSTILE)], [], [child], ())
    return OomResult((), story.kills, groups=group(story.kills), warnings=(HOSTILE,))


@pytest.mark.parametrize("skin", ["terminal", "markdown", "csv"])
def test_hostile_words_reach_no_skin(skin: str) -> None:
    """No escape, no line break of a log's, no override of the direction, no markup, no formula."""
    found = hostile()
    report: Report = (
        rows_report(found)
        if skin == "csv"
        else oom_report(found, details=True, evidence=True, everything=True)
    )
    text = {
        "terminal": lambda: terminal.render(report, width=100, color=False),
        "markdown": lambda: markdown.render(report),
        "csv": lambda: csv.render(report),
    }[skin]()
    assert not any(character in text for character in "\x1b\u202e\r")
    if skin == "markdown":
        assert "<img" not in text
        assert "`" not in text
        assert "@team" not in text
    if skin == "csv":
        assert len(text.splitlines()) == 1 + len(found.kills)
        assert not any(field.startswith("=") for line in text.splitlines() for field in line.split(","))


def test_every_story_keeps_the_contract() -> None:
    """Whatever was joined, the schema describes it."""
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    no_clock = told(signs=(sign("oom", "docker", None, place=IN_DOCKER, limit=1 << 28, at_least=True),)).kills
    silent = told(kill(), deaths=(vanished(-1, None, tasks=(task(), task(id_="2"))),)).kills
    for found in (
        hostile(),
        result(*no_clock),
        result(*silent),
        result(*told(deaths=(death(pid=None),)).kills),
    ):
        validator.validate(json.loads(render(document(found))))


N = 400


@pytest.fixture
def comparisons(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count how often two places are compared."""
    counted = [0]

    def counting(one: Place, other: Place) -> places.Kinship | None:
        counted[0] += 1
        return places.kinship(one, other)

    monkeypatch.setattr(pairs, "kinship", counting)
    monkeypatch.setattr(signs, "kinship", counting)
    return counted


class TestTime:
    """The work grows with what there is, not with its square."""

    def test_a_storm(self, comparisons: list[int]) -> None:
        """Hundreds of kills and deaths within the same seconds are not each compared with each."""
        kills = [kill(0.01 * n, 1000 + n) for n in range(N)]
        told(*kills, deaths=tuple(death(0.01 * n + 0.3, 5000 + n) for n in range(N)))
        assert comparisons[0] < 60 * N

    def test_kills_without_a_clock(self, comparisons: list[int]) -> None:
        """Deaths look for kills without a clock by their place or pid, not one by one."""
        kills = [kill(None, 1000 + n) for n in range(N)]
        told(*kills, deaths=tuple(death(60.0 * n, 5000 + n) for n in range(N)))
        assert comparisons[0] < 60 * N

    def test_signs_without_a_clock(self, comparisons: list[int]) -> None:
        """So do signs."""
        kills = [kill(60.0 * n, 1000 + n, cgroup=in_docker(f"{n:064x}")) for n in range(N)]
        told(
            *kills,
            signs=tuple(sign("oom", "docker", None, place=Place(container_id=f"{n:064x}")) for n in range(N)),
        )
        assert comparisons[0] < 60 * N

    def test_one_doubtful_clock(self, comparisons: list[int]) -> None:
        """One kill that may have been any time that day does not make all others so."""
        kills = [kill(60.0 * n, 1000 + n, uncertainty_s=86400.0 if n == 7 else 0.0) for n in range(N)]
        told(*kills, deaths=tuple(death(60.0 * n + 0.3, 5000 + n) for n in range(N)))
        assert comparisons[0] < 60 * N
