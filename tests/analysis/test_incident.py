from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakhunt.analysis.incident.choose import Choice
from leakhunt.analysis.incident.counted import shortfall
from leakhunt.analysis.incident.covered import undated, with_silence
from leakhunt.analysis.incident.groups import bursts_of, group
from leakhunt.analysis.incident.loops import loops_of, ran_twice
from leakhunt.analysis.incident.places import kinship
from leakhunt.analysis.incident.story import Story, join
from leakhunt.model.evidence import Evidence, Place
from leakhunt.model.incident import Counter, InFlight, Sign, TaskAgain, WorkerDeath
from leakhunt.model.oom import MemoryLimit, OomKill, Owner, SourceSummary
from leakhunt.model.verdict import OomResult
from leakhunt.present.oom import oom_report

START = datetime(2026, 11, 21, 3, 10, 42, tzinfo=timezone.utc)
ID = "3f2a" * 16
OTHER_ID = "77bc" * 16
POD_UID = "0d9c2a50-8b4e-4c6e-9f00-2f3b0b7a1c11"
MIB = 1 << 20


def at(seconds: float) -> datetime:
    """Return the moment so many seconds after the story's start."""
    return START + timedelta(seconds=seconds)


def kill(seconds: float | None = 0.0, pid: int = 4242, comm: str = "celery", **more: object) -> OomKill:
    """Return a kernel's kill."""
    when = None if seconds is None else at(seconds)
    line = Evidence("kern.log", pid, f"Killed process {pid} ({comm})")
    values: dict[str, object] = {
        "when": when,
        "uncertainty_s": 0.0,
        "evidence": (line,),
        "anon_rss": 200 * MIB,
    }
    return OomKill(pid, comm, **{**values, **more})  # type: ignore[arg-type]


def in_docker(container_id: str = ID) -> Owner:
    """Return the owner of a process in a container."""
    path = f"/docker/{container_id}"
    return Owner(limited=path, victim=path, runtime="docker", container_id=container_id)


def death(
    seconds: float = 0.4, pid: int | None = 27, name: str | None = "ForkPoolWorker-3", **more: object
) -> WorkerDeath:
    """Return a pool child's death by SIGKILL, as Celery's log tells of it."""
    line = Evidence(
        "celery.log", 10 + (pid or 0), f"Process '{name}' pid:{pid} exited with 'signal 9 (SIGKILL)'"
    )
    values: dict[str, object] = {
        "place": Place(node="celery@w1"), "name": name, "pid": pid, "when": at(seconds), "uncertainty_s": 0.0, "signal": 9,
    }  # fmt: skip
    return WorkerDeath("celery", **{"cause": "sigkill", "evidence": (line,), **values, **more})  # type: ignore[arg-type]


def task(
    name: str | None = "shop.tasks.report", id_: str = "7c1e", how: str = "accepted", **more: object
) -> InFlight:
    """Return a task that was not finished."""
    return InFlight(name, id_, how, Evidence("celery.log", 5, f"Task {name}[{id_}] received"), **more)  # type: ignore[arg-type]


def sign(kind: str, program: str, seconds: float | None, **more: object) -> Sign:
    """Return another program's word."""
    line = Evidence("other.log", 7, f"{program}: {kind}")
    return Sign(kind, program, line, when=None if seconds is None else at(seconds), uncertainty_s=0.0, **more)  # type: ignore[arg-type]


def told(*kills: OomKill, signs: tuple[Sign, ...] = (), deaths: tuple[WorkerDeath, ...] = ()) -> Story:
    """Join what sources tell."""
    return join(kills, signs, deaths, ())


class TestWorkers:
    """A kill and the worker child that died by it."""

    def test_a_child_that_died_moments_later_in_the_same_container_is_the_killed_one(self) -> None:
        """The container's id and the time tie them together for certain, whatever the pids."""
        found = told(
            kill(cgroup=in_docker()), deaths=(death(place=Place(node=f"celery@{ID[:12]}"), tasks=(task(),)),)
        ).kills
        assert len(found) == 1
        assert found[0].worker is not None
        assert found[0].worker.name == "ForkPoolWorker-3"
        assert found[0].worker.confidence == "certain"
        assert "container" in found[0].worker.matched
        assert found[0].task is not None
        assert (found[0].task.name, found[0].task.id, found[0].task.how) == (
            "shop.tasks.report",
            "7c1e",
            "accepted",
        )

    def test_another_container_s_child_is_not(self) -> None:
        """Equal times do not tie what two ids keep apart: both stay, each for itself."""
        found = told(kill(cgroup=in_docker()), deaths=(death(place=Place(container_id=OTHER_ID)),)).kills
        assert [one.confidence for one in found] == ["confirmed", "possible"]
        assert found[0].worker is None

    def test_the_same_pid_on_the_host_is_enough(self) -> None:
        """Outside containers the worker counts as the kernel does."""
        found = told(kill(pid=27), deaths=(death(pid=27),)).kills
        assert found[0].worker is not None
        assert found[0].worker.confidence == "certain"
        assert "pid" in found[0].worker.matched

    def test_a_host_s_pid_is_never_compared_with_a_container_s(self) -> None:
        """In a container equal numbers say nothing."""
        found = told(kill(pid=27, cgroup=in_docker()), deaths=(death(pid=27),)).kills
        assert found[0].worker is not None
        assert "pid" not in found[0].worker.matched

    def test_time_and_name_alone_are_likely_if_nothing_else_is_near(self) -> None:
        """One kill, one death, half a second, a Celery-like name: likely, not certain."""
        found = told(kill(), deaths=(death(),)).kills
        assert found[0].worker is not None
        assert found[0].worker.confidence == "likely"

    def test_two_deaths_near_one_kill_leave_doubt(self) -> None:
        """Of two children that died, only one was killed by the kernel, and which is only possible to say."""
        found = told(kill(), deaths=(death(0.4), death(0.9, 28, "ForkPoolWorker-4"))).kills
        assert [one.worker.confidence for one in found if one.worker and one.confidence == "confirmed"] == [
            "possible"
        ]
        assert [one.confidence for one in found] == ["confirmed", "possible"]

    def test_a_database_s_kill_is_not_the_worker_s(self) -> None:
        """A process of another name needs more than the time to be the worker's child."""
        found = told(kill(comm="mysqld"), deaths=(death(seconds=8),)).kills
        assert found[0].worker is None

    @pytest.mark.parametrize(("late", "joined"), [(11.0, True), (14.9, True), (16.0, False), (-3.0, False)])
    def test_a_worker_tells_of_a_death_within_the_window(self, late: float, joined: bool) -> None:
        """The line of the worker follows the kill by up to the window, and never comes before it."""
        found = told(kill(pid=27), deaths=(death(late, pid=27),)).kills
        assert (len(found) == 1) == joined

    def test_doubt_about_the_time_widens_the_window(self) -> None:
        """A syslog stamp that may be half a minute late still meets the worker's line."""
        found = told(kill(30, pid=27, uncertainty_s=35.0), deaths=(death(0.0, pid=27),)).kills
        assert len(found) == 1

    def test_each_death_belongs_to_one_kill(self) -> None:
        """Two kills and two deaths of the same worker are two pairs, the nearer ones together."""
        found = told(
            kill(0, 1), kill(60, 2), deaths=(death(0.5, 27), death(60.5, 28, "ForkPoolWorker-4"))
        ).kills
        assert [one.worker.name for one in found if one.worker] == ["ForkPoolWorker-3", "ForkPoolWorker-4"]

    def test_a_time_limit_is_no_oom_kill(self) -> None:
        """A SIGKILL that the main process sent is told apart, and takes no kernel kill with it."""
        story = told(deaths=(death(cause="time-limit"),))
        assert story.kills == ()
        assert [one.kind for one in story.not_kills] == ["time-limit"]

    def test_a_sigkill_without_a_kernel_line_is_possible(self) -> None:
        """Exit by signal 9 proves nothing by itself."""
        (found,) = told(deaths=(death(tasks=(task(),)),)).kills
        assert (found.confidence, found.killer, found.missing) == ("possible", "unknown", ("kernel report",))
        assert found.task is not None

    def test_several_tasks_in_flight_are_candidates(self) -> None:
        """Where no line ties one to the child, all are named and none is chosen."""
        tasks = (task("a.one", "1", "received"), task("b.two", "2", "received"))
        (found,) = told(kill(), deaths=(death(tasks=tasks),)).kills
        assert found.task is not None
        assert (found.task.name, found.task.id) == (None, None)
        assert [one.id for one in found.task.candidates] == ["1", "2"]

    def test_several_runs_of_one_task_name_it(self) -> None:
        """Which message it was is open, but not which task."""
        tasks = (task(id_="1", how="received"), task(id_="2", how="received"))
        (found,) = told(kill(), deaths=(death(tasks=tasks),)).kills
        assert found.task is not None
        assert (found.task.name, found.task.id) == ("shop.tasks.report", None)

    def test_a_whole_worker_that_vanished_explains_the_silence(self) -> None:
        """When a group was killed as a whole the main process died too, and the kills share worker and tasks."""
        members = [
            kill(0.1 * n, 100 + n, cgroup=in_docker(), group=f"/docker/{ID}", episode=1) for n in range(3)
        ]
        gone = death(-5, cause="vanished", name=None, pid=None, until=at(20), tasks=(task(),), signal=None)
        story = told(*members, deaths=(gone,))
        assert len(story.kills) == 3
        for one in story.kills:
            assert one.worker is not None
            assert one.worker.whole
            assert any("main process died too" in note for note in one.notes)

    def test_a_log_that_merely_ends_is_no_death(self) -> None:
        """A worker whose log stops, with no kill near, is not told of at all."""
        story = told(deaths=(death(cause="vanished", until=None),))
        assert (story.kills, story.not_kills) == ((), ())

    def test_clocks_of_another_zone_are_noticed(self) -> None:
        """Deaths that would each meet a kill two hours earlier suggest the zone to read them with."""
        kills = [kill(600.0 * n, n + 1, cgroup=in_docker()) for n in range(3)]
        deaths = tuple(death(600.0 * n + 7200.4, 50 + n, place=Place()) for n in range(3))
        (warning,) = told(*kills, deaths=deaths).warnings
        assert "2 h ahead" in warning
        assert "--tz celery.log=ZONE" in warning


class TestSigns:
    """What supervisors and runtimes add."""

    def test_a_pod_s_status_names_the_container_of_a_kernel_kill(self) -> None:
        """The pod's uid ties them; the kill is told once, with the pod's name and its limit."""
        owner = Owner(limited="/kubepods/x", victim="/kubepods/x", container_id=ID, pod_uid=POD_UID)
        place = Place(pod="shop/worker-1", pod_uid=POD_UID, container="worker", container_id=ID)
        (found,) = told(
            kill(cgroup=owner),
            signs=(sign("oom", "kubernetes", 1, place=place, exit_code=137, limit=256 * MIB),),
        ).kills
        assert (found.place.pod, found.place.container, found.confidence) == (
            "shop/worker-1",
            "worker",
            "confirmed",
        )
        assert found.copies == 2
        assert found.memory == MemoryLimit(limit=256 * MIB)

    def test_a_runtime_s_word_alone_is_probable(self) -> None:
        """A container that its runtime calls OOM-killed, with no kernel line, is a probable kill."""
        place = Place(container="worker", container_id=ID)
        (found,) = told(
            signs=(sign("oom", "docker", 0, place=place), sign("sigkill", "docker", 1, place=place))
        ).kills
        assert (found.confidence, found.pid, found.copies) == ("probable", None, 2)

    def test_an_exit_code_alone_is_possible(self) -> None:
        """137 is a SIGKILL, and nothing more."""
        (found,) = told(signs=(sign("sigkill", "docker", 0, place=Place(container_id=ID)),)).kills
        assert found.confidence == "possible"

    def test_another_killer_s_kill_is_its_own(self) -> None:
        """What systemd-oomd killed is not the kernel's kill of moments before."""
        unit = Place(unit="celery.service")
        found = told(
            kill(), signs=(sign("killed", "systemd-oomd", 2, killer="systemd-oomd", place=unit),)
        ).kills
        assert [one.killer for one in found] == ["kernel", "systemd-oomd"]

    def test_the_unit_s_line_belongs_to_the_kill_in_its_control_group(self) -> None:
        """Systemd's words about the unit add nothing but evidence."""
        owner = Owner(victim="/system.slice/celery.service", unit="celery.service")
        (found,) = told(
            kill(cgroup=owner), signs=(sign("oom", "systemd", 3, place=Place(unit="celery.service")),)
        ).kills
        assert len(found.evidence) == 2

    def test_what_is_no_kill_stays_apart(self) -> None:
        """An eviction is told as such."""
        story = told(signs=(sign("eviction", "kubernetes", 0),))
        assert story.kills == ()
        assert [one.kind for one in story.not_kills] == ["eviction"]

    def test_a_worker_s_death_finds_a_runtime_s_kill(self) -> None:
        """Without any kernel log, Docker's word and Celery's line still make one story."""
        place = Place(container_id=ID)
        (found,) = told(
            signs=(sign("oom", "docker", 0, place=place),),
            deaths=(death(place=Place(node=f"celery@{ID[:12]}"), tasks=(task(),)),),
        ).kills
        assert found.confidence == "probable"
        assert found.task is not None


class TestPatterns:
    """What repeats."""

    def test_a_unit_that_is_killed_larger_each_time_is_growing(self) -> None:
        """Four kills ten minutes apart, each 50 MiB larger: growing, regular, 300 MiB an hour."""
        owner = Owner(victim="/system.slice/celery.service", unit="celery.service")
        kills = [kill(600.0 * n, 10 + n, cgroup=owner, anon_rss=(200 + 50 * n) * MIB) for n in range(4)]
        (found,) = group(kills)
        assert (found.kind, found.name, found.bursts) == ("unit", "celery.service", 4)
        assert (found.pattern, found.regular, found.interval_s) == ("growing", True, 600.0)
        assert found.slope == pytest.approx(300 * MIB)

    def test_kills_at_one_size_are_flat(self) -> None:
        """Sizes within a tenth of each other are the same."""
        kills = [kill(500.0 * n, 10 + n, anon_rss=(200 + n) * MIB) for n in range(3)]
        assert group(kills)[0].pattern == "flat"

    def test_the_most_repeated_comes_first(self) -> None:
        """Three kills of one unit rank before one bigger kill of another process."""
        once = kill(50, 9, "java", anon_rss=4000 * MIB)
        kills = [once, *(kill(600.0 * n, 10 + n) for n in range(3))]
        assert [one.name for one in group(kills)] == ["celery", "java"]

    def test_a_storm_is_one_burst(self) -> None:
        """Kills of one episode count once."""
        kills = [kill(0.5 * n, 10 + n, episode=1) for n in range(5)]
        assert [len(burst) for burst in bursts_of(kills)] == [5]
        assert (group(kills)[0].kills, group(kills)[0].bursts) == (5, 1)

    def test_a_redelivered_task_that_is_killed_again_is_a_loop(self) -> None:
        """Three kills of the same message are a poison pill."""
        kills = [kill(60.0 * n, 10 + n) for n in range(3)]
        deaths = tuple(
            death(60.0 * n + 0.3, 30 + n, f"ForkPoolWorker-{n}", tasks=(task(deliveries=n + 1),))
            for n in range(3)
        )
        (loop,) = loops_of(told(*kills, deaths=deaths).kills, deaths)
        assert (loop.name, loop.id, loop.kills, loop.deliveries, loop.how) == (
            "shop.tasks.report", "7c1e", 3, 3, "same id",
        )  # fmt: skip

    def test_equal_arguments_make_a_loop_too(self) -> None:
        """Messages of different ids with the same task and arguments count together."""
        kills = [kill(60.0 * n, 10 + n) for n in range(2)]
        deaths = tuple(
            death(60.0 * n + 0.3, 30 + n, f"ForkPoolWorker-{n}", tasks=(task(id_=f"{n}", arguments="ab12"),))
            for n in range(2)
        )
        (loop,) = loops_of(told(*kills, deaths=deaths).kills, deaths)
        assert (loop.id, loop.how, loop.kills) == (None, "same arguments", 2)

    def test_a_task_seen_again_is_told_once_with_its_end(self) -> None:
        """Received again and then succeeded: it ran twice, since it was received again, and succeeded in the end."""
        line = Evidence("celery.log", 9, "Task a.b[1] received")
        again = [
            TaskAgain("a.b", "1", "received", at(0), at(5), line),
            TaskAgain("a.b", "1", "succeeded", at(0), at(9), line),
        ]
        (found,) = ran_twice(again)
        assert (found.outcome, found.again) == ("succeeded", at(5))


class TestChoosing:
    """What is shown."""

    def test_choices_hold_to_what_they_say(self) -> None:
        """Each part of a choice takes what it names and nothing else."""
        one = kill(comm="celery", host="node-7", cgroup=in_docker())
        assert Choice(since=at(-1), until=at(1), host="node-*", comm="cel*", container=ID[:8]).takes(one)
        for choice in (
            Choice(since=at(1)),
            Choice(until=at(-1)),
            Choice(host="node-8"),
            Choice(comm="python*"),
            Choice(container="other"),
            Choice(container=OTHER_ID[:12]),
        ):
            assert not choice.takes(one)

    def test_what_has_no_time_is_never_left_out_by_time(self) -> None:
        """A kill without a clock may lie anywhere."""
        assert Choice(since=at(0), until=at(1)).takes(kill(None))

    def test_the_kernel_s_count_shows_what_is_lost(self) -> None:
        """Five counted and one found is told; one counted and one found is not."""
        assert list(shortfall([Counter("vmstat", "oom_kill", 1, "host")], [kill()])) == []
        (sentence,) = shortfall([Counter("vmstat", "oom_kill", 5, "host")], [kill()])
        assert "counted 5" in sentence
        assert "1 is found" in sentence


def test_places_that_cannot_be_one_are_told_apart() -> None:
    """Different containers, pods, units and hosts contradict; silence does not."""
    assert kinship(Place(container_id=ID), Place(container_id=OTHER_ID)) is None
    assert kinship(Place(unit="a.service"), Place(unit="b.service")) is None
    assert kinship(Place(host="a"), Place(host="b")) is None
    assert kinship(Place(pod="shop/a"), Place(pod="b")) is None
    silent = kinship(Place(), Place(host="b"))
    assert silent is not None
    assert silent.score == 0


events = st.lists(
    st.tuples(st.floats(0, 300), st.integers(1, 6), st.sampled_from([ID, OTHER_ID, None])), max_size=12
)


@given(events, events, st.randoms(use_true_random=False))
def test_no_kill_is_lost_or_told_twice(
    kills: list[tuple[float, int, str | None]],
    deaths: list[tuple[float, int, str | None]],
    chance: random.Random,
) -> None:
    """However they lie, every kernel kill stays, every death has its place once, and the order of telling is nothing."""
    told_kills = [
        kill(seconds, 100 + n, cgroup=in_docker(cid) if cid else None)
        for n, (seconds, _, cid) in enumerate(kills)
    ]
    told_deaths = [
        death(seconds, 1000 + n, f"ForkPoolWorker-{n}", place=Place(container_id=cid))
        for n, (seconds, _, cid) in enumerate(deaths)
    ]
    found = join(told_kills, (), told_deaths, ()).kills
    assert sorted(one.pid or 0 for one in found if one.confidence == "confirmed") == sorted(
        one.pid or 0 for one in told_kills
    )
    names = [one.worker.name for one in found if one.worker is not None]
    assert sorted(names, key=str) == sorted((one.name for one in told_deaths), key=str)
    chance.shuffle(told_deaths)
    again = join(told_kills, (), told_deaths, ()).kills
    assert sorted(str(one.worker and one.worker.matched) for one in again) == sorted(
        str(one.worker and one.worker.matched) for one in found
    )


def test_the_owner_s_names_reach_kills_at_other_times() -> None:
    """A container's name is a fact about its id: kills that no sign tells of get it too."""
    place = Place(container="worker", container_id=ID)
    found = told(
        kill(0, 1, cgroup=in_docker()),
        kill(9000, 2, cgroup=in_docker()),
        signs=(sign("oom", "docker", 1, place=place),),
    ).kills
    assert {one.place.container for one in found} == {"worker"}
    assert replace(found[0], evidence=()).comm == "celery"


def summary(first: float, last: float, *, kernel: bool) -> SourceSummary:
    """Return what a source held that covers some time; a kernel's has seconds since boot."""
    return SourceSummary(
        "logs/kern.log", "text", 9, 900, at(first), at(last), 0, (at(-100),) if kernel else ()
    )


def test_a_silent_kernel_log_speaks_against_a_bare_sigkill() -> None:
    """Where a kernel's log covers the time and tells of nothing, that is said; elsewhere, and of other kills, it is not."""
    bare = told(deaths=(death(),)).kills[0]
    (noted,) = with_silence([bare], [summary(-60, 60, kernel=True)])
    assert "kern.log covers that time" in noted.notes[0]
    for source in (summary(-60, 60, kernel=False), summary(5, 60, kernel=True)):
        assert list(with_silence([bare], [source])) == [bare]
    assert list(with_silence([kill()], [summary(-60, 60, kernel=True)])) == [kill()]


def test_kills_without_a_date_say_what_would_date_them() -> None:
    """Seconds since boot need the boot's time; a kill with a date, or without any stamp, needs nothing said."""
    assert "--boot-time" in next(undated([kill(None, monotonic=5.0)]))
    assert list(undated([kill(), kill(None)])) == []


def test_kills_that_only_the_kernel_s_count_tells_of_are_the_answer() -> None:
    """Where no line can be read, the first line is no all-clear."""
    headline = oom_report(OomResult((), (), unseen=51)).headline
    assert headline.startswith("51 OOM kills since boot by the kernel's count")


def test_a_second_copy_of_a_worker_s_log_tells_nothing_new() -> None:
    """The same deaths out of two files are told once."""
    copy = replace(death(), evidence=(Evidence("copy/celery.log", 37, "Process exited"),))
    assert len(told(deaths=(death(), copy)).kills) == 1
