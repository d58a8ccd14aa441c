"""What is said where a worker's death fits several kills, or a task ran more than twice, or only a counter knows."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from test_incident import ID, OTHER_ID, at, death, in_docker, kill, task, told

from leakhunt.analysis.incident.counted import unseen
from leakhunt.analysis.incident.loops import ran_twice
from leakhunt.analysis.incident.story import join
from leakhunt.model.evidence import Evidence, Place
from leakhunt.model.incident import Counter, TaskAgain, WorkerDeath
from leakhunt.model.oom import LostTask, OomKill
from leakhunt.model.verdict import OomResult
from leakhunt.present.oom import oom_report
from leakhunt.present.oom_document import document
from leakhunt.render import terminal
from leakhunt.render.json import render

UNNAMED = Place()
TWO_PLACES = (kill(0, 7001, cgroup=in_docker()), kill(0, 8001, cgroup=in_docker(OTHER_ID)))


def lost(*, seconds: float = 0.1, **more: object) -> WorkerDeath:
    """Return the death of a worker whose log names no container, with its only task."""
    return death(
        seconds,
        **{"tasks": (task("shop.b", "shop.b-id", "received"),), "place": UNNAMED, **more},  # type: ignore[arg-type]
    )


def shown(kills: tuple[OomKill, ...]) -> tuple[str, str]:
    """Return the first sentence, and all of the report."""
    report = oom_report(OomResult((), kills))
    return report.headline, terminal.render(report, width=200, color=False)


def sign_of(outcome: str, again: float | None, *, last: float | None = None, **more: object) -> TaskAgain:
    """Return a sign that a task began again."""
    line = Evidence("celery.log", 9, "Task a.b[1] received")
    moment = None if again is None else at(again)
    return TaskAgain(
        "a.b",
        "1",
        outcome,
        at(0),
        moment,
        line,
        None if last is None else at(last),
        **more,  # type: ignore[arg-type]
    )


class TestRivals:
    """A death that may belong to one of several kills."""

    def test_both_kills_say_that_the_worker_may_be_theirs(self) -> None:
        """Two containers in one second and a log that names neither: the row that has the worker and the other say so."""
        first, second = told(*TWO_PLACES, deaths=(lost(),)).kills
        assert first.worker is not None
        assert first.worker.confidence == "possible"
        assert first.notes == (f"the kill of container {OTHER_ID[:12]} fits that worker as well",)
        assert (second.worker, second.task) == (None, None)
        assert second.notes == (
            f"as well as the kill of container {ID[:12]}, this one fits ForkPoolWorker-3 with task shop.b",
        )

    def test_the_first_sentence_does_not_claim_what_is_merely_possible(self) -> None:
        """The worker's name and the task of a possible pair are no facts."""
        headline, text = shown(told(*TWO_PLACES, deaths=(lost(),)).kills)
        assert "ForkPoolWorker" not in headline
        assert ", running" not in headline
        assert "possibly task shop.b[shop.b-id]" in text
        assert "possibly ForkPoolWorker-3 (0.1 s apart" in text

    @pytest.mark.parametrize("late", [3.0, 5.4])
    def test_a_late_word_is_possible_and_said_to_be(self, late: float) -> None:
        """One kill and a death some seconds later, of unknown place: possibly running."""
        headline, _ = shown(told(kill(cgroup=in_docker()), deaths=(lost(seconds=late),)).kills)
        assert headline.endswith(", possibly running shop.b.")
        assert "ForkPoolWorker" not in headline

    def test_what_is_likely_is_said_plainly(self) -> None:
        """Nothing else near: the worker and its task are named."""
        headline, _ = shown(told(kill(cgroup=in_docker()), deaths=(lost(),)).kills)
        assert "ForkPoolWorker-3 (celery, pid 4242)" in headline
        assert headline.endswith(", running shop.b.")

    def test_a_place_or_a_better_partner_decides(self) -> None:
        """A rival that its own worker's container names is no rival, nor is one that the death's own place excludes."""
        named = death(0.1, 31, "ForkPoolWorker-9", place=Place(container_id=OTHER_ID), tasks=(task(),))
        first, second = told(*TWO_PLACES, deaths=(lost(), named)).kills
        assert (first.notes, second.notes) == ((), ())
        assert first.worker is not None
        assert second.worker is not None
        assert (first.worker.name, second.worker.name) == ("ForkPoolWorker-3", "ForkPoolWorker-9")

    def test_two_unnamed_logs_and_two_containers_leave_it_open_which_is_which(self) -> None:
        """Each row has a worker, and says that the other kill fits it as well."""
        deaths = (lost(pid=11, name="ForkPoolWorker-1"), lost(pid=12, name="ForkPoolWorker-2"))
        found = told(*TWO_PLACES, deaths=deaths).kills
        assert all(len(one.notes) == 1 and "fits that worker as well" in one.notes[0] for one in found)
        assert {one.worker.confidence for one in found if one.worker is not None} == {"possible"}

    def test_a_death_that_is_told_of_a_container_has_no_rival_elsewhere(self) -> None:
        """The place decides, and nothing is said of another."""
        named = lost(place=Place(container_id=OTHER_ID))
        first, second = told(*TWO_PLACES, deaths=(named,)).kills
        assert first.worker is None
        assert second.worker is not None
        assert (first.notes, second.notes) == ((), ())

    def test_a_quick_series_in_one_container_is_no_doubt(self) -> None:
        """A kill each 4 s and a death 0.1 s behind each: every death has its kill, and no other is as near."""
        kills = [kill(4.0 * number, 7001 + number, cgroup=in_docker()) for number in range(3)]
        deaths = tuple(
            lost(seconds=4.0 * number + 0.1, pid=17 + number, name=f"ForkPoolWorker-{number + 1}")
            for number in range(3)
        )
        found = told(*kills, deaths=deaths).kills
        assert [one.worker.name for one in found if one.worker] == [f"ForkPoolWorker-{n}" for n in (1, 2, 3)]
        assert {one.worker.confidence for one in found if one.worker} == {"likely"}


class TestRuns:
    """How often a task ran."""

    def test_each_delivery_that_died_counts(self) -> None:
        """Delivered three times and killed three times: three runs, the first of the later ones at its time."""
        (found,) = ran_twice([sign_of("lost", 840, last=840), sign_of("lost", 1740, last=1740)])
        assert (found.runs, found.again, found.last, found.outcome) == (3, at(840), at(1740), "lost")
        (advice,) = oom_report(OomResult((), (), twice=(found,))).advice
        assert advice.startswith("Ran at least 3 times: a.b[1], begun again at 2026-11-21 03:24:42, last at ")
        assert "the last run died too" in advice

    def test_what_was_received_last_has_no_end_yet(self) -> None:
        """Killed twice and delivered once more: the last run's end is what the log does not show."""
        (found,) = ran_twice([sign_of("lost", 4, last=4), sign_of("received", 8, last=8)])
        assert (found.runs, found.outcome) == (3, "received")
        (advice,) = oom_report(OomResult((), (), twice=(found,))).advice
        assert advice.startswith("Probably ran at least 3 times")
        assert "the log does not show the end of the last run" in advice

    def test_a_kill_of_the_last_delivery_is_its_end(self) -> None:
        """Two deliveries and two kills of the task: the second run died too, whatever the worker's log lacks."""
        killed = kill(9, task=LostTask("a.b", "1", "only"))
        kills = [replace(killed, when=at(1)), killed]
        (found,) = ran_twice([sign_of("received", 5)], kills)
        assert (found.runs, found.outcome) == (2, "lost")
        (found,) = ran_twice([sign_of("received", 5)], kills[:1])
        assert (found.runs, found.outcome) == (2, "received")

    def test_a_copy_of_a_log_and_a_record_count_nothing_twice(self) -> None:
        """The same moment out of two files is one run, and so is what a flight record tells of it."""
        record = sign_of("received", 5.2, recorded=True)
        ended = sign_of("succeeded", 9, times=0, recorded=True)
        (found,) = ran_twice([sign_of("received", 5), sign_of("succeeded", 5), record, ended])
        assert (found.runs, found.outcome, found.again) == (2, "succeeded", at(5))

    def test_several_deliveries_behind_one_sign_are_all_counted(self) -> None:
        """A worker that tells of no death in between was delivered the task three times more."""
        (found,) = ran_twice([sign_of("received", 4, last=12, times=3)])
        assert (found.runs, found.last) == (4, at(12))

    def test_the_document_tells_the_same(self) -> None:
        """The contract has how often and when last."""
        again = [sign_of("lost", 840, last=840), sign_of("lost", 1740, last=1740)]
        story = join([], (), (), again)
        text = "".join(render(document(OomResult((), (), twice=story.twice))))
        (found,) = json.loads(text)["ran_twice"]
        assert (found["runs"], found["again"], found["last"]) == (
            3,
            "2026-11-21T03:24:42Z",
            "2026-11-21T03:39:42Z",
        )


class TestCounters:
    """Kills that nothing but a count tells of."""

    @pytest.mark.parametrize(
        ("counter", "words"),
        [
            (Counter("in/memory.events", "oom_kill", 3, ""), "3 OOM kills by the kernel's count in memory.events"),
            (Counter("memory.events", "oom_kill", 3, "/a.slice"), "3 OOM kills by the kernel's count of /a.slice"),
            (Counter("/proc/vmstat", "oom_kill", 3, "host"), "3 OOM kills since boot by the kernel's count"),
        ],
    )  # fmt: skip
    def test_the_first_line_is_no_all_clear(self, counter: Counter, words: str) -> None:
        """Whoever counts, the answer is the count."""
        result = OomResult((), (), counters=(counter,), unseen=unseen([counter], []))
        assert oom_report(result).headline.startswith(words)

    def test_the_machine_s_count_is_of_all_groups(self) -> None:
        """Groups may hold each other: the machine's count, or else the largest, is taken."""
        groups = [Counter("a", "oom_kill", 3, "/a"), Counter("b", "oom_kill", 2, "/a/b")]
        assert unseen(groups, []) == 3
        assert unseen([*groups, Counter("/proc/vmstat", "oom_kill", 0, "host")], []) == 0
        assert unseen([Counter("a", "oom", 4, "")], []) == 0

    def test_what_is_found_is_not_missing(self) -> None:
        """A kill in the group that counted it is the one that was counted."""
        inside = kill(cgroup=in_docker(), scope="memcg")
        assert unseen([Counter("a", "oom_kill", 1, f"/docker/{ID}")], [inside]) == 0


class TestTimesOfDay:
    """Logs that stamp their lines with the time of day alone."""

    @staticmethod
    def horse(stamp: str, **more: object) -> WorkerDeath:
        """Return the death of RQ's work-horse, without a date."""
        line = Evidence(
            "rq.log", 3, f"{stamp} Work-horse terminated unexpectedly; waitpid returned 9 (signal 9); "
        )
        values: dict[str, object] = {
            "cause": "sigkill",
            "evidence": (line,),
            "tasks": (task("jobs.build", "6f1c", "named"),),
        }
        return WorkerDeath("rq", **{**values, **more})  # type: ignore[arg-type]

    @pytest.mark.parametrize("stamp", ["03:10:42", "03:10:45", "[03:10:41]", "03:10:43,120"])
    def test_the_only_kill_at_that_time_of_day_may_be_it(self, stamp: str) -> None:
        """A second or some after the kill, whatever the day: possible, and said why."""
        (found,) = told(kill(comm="rq"), deaths=(self.horse(stamp),)).kills
        assert found.worker is not None
        assert (found.worker.program, found.worker.confidence) == ("rq", "possible")
        assert found.task is not None
        assert found.task.name == "jobs.build"
        assert found.when == at(0)
        assert "rq.log have no date" in found.notes[-1]

    @pytest.mark.parametrize(
        "kills",
        [
            (kill(comm="mysqld"),),
            (kill(comm="rq"), kill(86_400, pid=7, comm="rq")),
            (kill(comm="rq", cgroup=in_docker()), kill(pid=7, comm="rq", cgroup=in_docker(OTHER_ID))),
            (kill(-7200, comm="rq"),),
            (kill(None, comm="rq"),),
        ],
    )
    def test_what_does_not_fit_alone_is_not_taken(self, kills: tuple[OomKill, ...]) -> None:
        """Another program's, one of each day, two at once, another hour, no clock: both stay, and a warning says why."""
        story = told(*kills, deaths=(self.horse("03:10:44"),))
        assert len(story.kills) == len(kills) + 1
        assert all(one.worker is None for one in story.kills if one.killer == "kernel")
        (bare,) = [one for one in story.kills if one.killer == "unknown"]
        assert bare.when is None
        assert any("the stamps of rq.log have no date" in warning for warning in story.warnings)

    @pytest.mark.parametrize("stamp", ["", "24:00:00", "03:10:420", "job 03:10:42", "3:10:42"])
    def test_what_is_no_time_of_day_is_none(self, stamp: str) -> None:
        """Such lines have no clock at all, and nothing is said of a date."""
        story = told(kill(comm="rq"), deaths=(self.horse(stamp),))
        assert len(story.kills) == 2
        assert story.warnings == ()

    def test_past_midnight_the_day_is_the_next(self) -> None:
        """Killed in the last second of a day and told in the first of the next."""
        late = (at(0).replace(hour=23, minute=59, second=59) - at(0)).total_seconds()
        (found,) = told(kill(late, comm="rq"), deaths=(self.horse("00:00:01"),)).kills
        assert found.worker is not None
        assert found.worker.matched[0] == "2.0 s"
