"""A task that is delivered again after a death: what became of the later run says nothing of the one that died."""

from __future__ import annotations

import pytest
from worker_tools import again, at, banner, child, deaths, hear, main, task_id

from leakhunt.model.incident import WorkerDeath

BIG, SMALL = task_id(0xB), task_id(0x5)
KILLED = "signal 9 (SIGKILL)"
STEPS = (1 << 20, 61)  # bytes at a time: a file, and a log that is followed


def received(seconds: float, name: str, number: str) -> str:
    """Return a delivery."""
    return main(seconds, f"Task shop.{name}[{number}] received")


def killed(seconds: float, number: int, job: int) -> list[str]:
    """Return what a worker says of a child that was killed at work."""
    lost = f"Task handler raised error: WorkerLostError('Worker exited prematurely: {KILLED} Job: {job}.')"
    name = f"ForkPoolWorker-{number}"
    return [
        main(seconds, f"Process '{name}' pid:{20 + number} exited with '{KILLED}'", "ERROR"),
        main(seconds + 0.03, lost, "ERROR"),
    ]


def succeeded(seconds: float, number: int, name: str, one: str, took: float) -> str:
    """Return the end of a run."""
    return child(seconds, number, f"Task shop.{name}[{one}] succeeded in {took}s: None")


def heard(lines: list[str], step: int = 1 << 20) -> list[WorkerDeath]:
    """Return the deaths by SIGKILL that a log tells of."""
    data = "".join(f"{line}\n" for line in lines).encode()
    return [one for one in deaths(hear(data, step=step)) if one.cause == "sigkill"]


def ids(death: WorkerDeath) -> list[str | None]:
    """Return the tasks that may have died."""
    return [task.id for task in death.tasks]


TWO = [received(0, "big", BIG), received(1, "small", SMALL)]
ENDS = {
    "succeeds": "Task shop.big[{}] succeeded in 100.0s: None",
    "fails": "Task shop.big[{}] raised unexpected: ValueError('x')",
    "is retried": "Task shop.big[{}] retry: Retry in 3s",
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("gap", [0.1, 5, 60, 900])
def test_the_end_of_a_second_run_does_not_clear_the_first(gap: float, end: str, step: int) -> None:
    """Delivered again after the death: whatever becomes of that run, the task is the one that died."""
    anew = 44 + gap
    lines = [
        *TWO,
        *killed(44, 2, 0),
        succeeded(44.05, 1, "small", SMALL, 43.0),
        received(anew, "big", BIG),
        child(anew + 100.01, 3, ENDS[end].format(BIG)),
        main(anew + 200, "worker: Warm shutdown (MainProcess)"),
    ]
    (death,) = heard(lines, step)
    assert ids(death) == [BIG]


@pytest.mark.parametrize("gap", [0.1, 5, 60, 900])
def test_a_task_that_was_alone_keeps_its_death(gap: float) -> None:
    """The only task in flight died; that it succeeds at the second try changes nothing."""
    lines = [
        received(0, "big", BIG),
        *killed(44, 2, 0),
        received(44 + gap, "big", BIG),
        succeeded(64 + gap, 3, "big", BIG, 19.9),
    ]
    (death,) = heard(lines)
    assert (ids(death), death.busy) == ([BIG], True)
    (one,) = again(hear("".join(f"{line}\n" for line in lines).encode()))
    assert (one.outcome, one.first, one.again) == ("succeeded", at(0), at(44 + gap))


@pytest.mark.parametrize("gap", [0.1, 5, 60, 900])
def test_a_second_run_that_is_killed_too_is_named_both_times(gap: float) -> None:
    """Killed, delivered again, killed, delivered again, and then it succeeds: both kills are that task's."""
    second, third = 44 + gap, 144 + 2 * gap
    lines = [
        *TWO,
        *killed(44, 2, 0),
        received(second, "big", BIG),
        succeeded(second + 1, 1, "small", SMALL, 44.0 + gap),
        *killed(second + 100, 3, 2),
        received(third, "big", BIG),
        succeeded(third + 100.1, 4, "big", BIG, 100.0),
    ]
    assert [ids(one) for one in heard(lines)] == [[BIG], [BIG]]


@pytest.mark.parametrize("took", [1.0, 46.9])
def test_a_task_that_ends_without_a_second_delivery_did_not_die(took: float) -> None:
    """Nothing but its end is heard after the death: it was another's."""
    lines = [*TWO, *killed(44, 2, 0), succeeded(48, 1, "big", BIG, took)]
    (death,) = heard(lines)
    assert ids(death) == [SMALL]


def test_a_retry_after_a_death_is_an_end_of_that_run() -> None:
    """Retried first and delivered again then: the run that was there at the death came to its end."""
    lines = [
        *TWO,
        *killed(44, 2, 0),
        child(45, 1, f"Task shop.big[{BIG}] retry: Retry in 1s"),
        received(46, "big", BIG),
        succeeded(50, 1, "big", BIG, 3.9),
    ]
    (death,) = heard(lines)
    assert ids(death) == [SMALL]


def test_a_duplicate_beside_a_run_that_goes_on_is_told_by_how_long_it_took() -> None:
    """A visibility timeout delivers what still runs: a run that took longer than since then was spared by the death."""
    lines = [
        *TWO,
        *killed(44, 2, 0),
        received(50, "big", BIG),
        succeeded(60, 1, "big", BIG, 59.9),
    ]
    (death,) = heard(lines)
    assert ids(death) == [SMALL]


def test_a_duplicate_that_fails_twice_had_two_runs() -> None:
    """One delivery since the death and two ends: the first run was not killed."""
    fails = f"Task shop.big[{BIG}] raised unexpected: ValueError('x')"
    lines = [*TWO, *killed(44, 2, 0), received(50, "big", BIG), child(60, 1, fails), child(70, 3, fails)]
    (death,) = heard(lines)
    assert ids(death) == [SMALL]


def test_each_delivery_explains_one_end() -> None:
    """Killed, then failed and delivered again by hand, then succeeded: still the one that died."""
    lines = [
        *TWO,
        *killed(44, 2, 0),
        received(45, "big", BIG),
        child(50, 3, f"Task shop.big[{BIG}] raised unexpected: ValueError('x')"),
        received(55, "big", BIG),
        succeeded(60, 3, "big", BIG, 4.9),
        succeeded(61, 1, "small", SMALL, 60.0),
    ]
    (death,) = heard(lines)
    assert ids(death) == [BIG]


def test_where_jobs_are_counted_the_number_decides() -> None:
    """A start in the log makes the job's number count; a later run's end does not contradict it."""
    lines = [
        *banner(2),
        main(0, "celery@w1 ready."),
        *TWO,
        *killed(44, 2, 1),
        received(45, "small", SMALL),
        succeeded(50, 3, "small", SMALL, 4.9),
        succeeded(51, 1, "big", BIG, 50.9),
    ]
    (death,) = heard(lines)
    assert (death.tasks[0].id, death.tasks[0].how) == (SMALL, "job")


@pytest.mark.parametrize("step", STEPS)
def test_a_task_that_kills_child_after_child_within_seconds_is_named_each_time(step: int) -> None:
    """Three deaths 4 s apart, all told at the end: that it died again does not mean that it had not died before."""
    lines = []
    for number in range(3):
        lines += [received(4 * number, "big", BIG), *killed(4 * number + 2, number + 1, number)]
    lines += [received(12, "big", BIG), succeeded(30, 4, "big", BIG, 17.9)]
    assert [ids(one) for one in heard(lines, step)] == [[BIG], [BIG], [BIG]]


def test_of_two_deaths_at_once_one_had_the_task() -> None:
    """Two children died and one task of the two is known: it did not die with the other as well."""
    lines = [
        *banner(2),
        main(0, "celery@w1 ready."),
        *TWO,
        child(2, 1, f"shop.big[{BIG}]: working"),
        *killed(44, 2, 1),
        *killed(44.1, 1, 0),
        received(45, "big", BIG),
        received(45, "small", SMALL),
        succeeded(50, 3, "big", BIG, 4.9),
        succeeded(51, 4, "small", SMALL, 5.9),
    ]
    assert [ids(one)[0] for one in heard(lines)] == [SMALL, BIG]
