"""Logs of real workers; ``logs/make.py`` made them, and knows who died with what."""

from __future__ import annotations

from pathlib import Path

import pytest
from worker_tools import again, deaths, hear

LOGS = sorted((Path(__file__).parent / "logs").glob("*.log"))
HOLD, LATE, LIMITED = "shop.tasks.hold", "shop.tasks.late", "shop.tasks.limited"


@pytest.mark.parametrize("log", LOGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("step", [1 << 20, 4096, 301])
def test_a_real_log_names_each_death_and_its_task(log: Path, step: int) -> None:
    """Seven deaths of each worker are told once, with the task that died first among the candidates."""
    found = deaths(hear(log.read_bytes(), step=step))
    told = sorted(
        (one.when is None, one.when, one.name, one.cause, one.tasks[0].name if one.tasks else None)
        for one in found
    )
    assert [one[2:] for one in told[:4]] == [
        ("ForkPoolWorker-1", "sigkill", HOLD),
        ("ForkPoolWorker-3", "sigkill", None),
        ("ForkPoolWorker-4", "time-limit", LIMITED),
        ("ForkPoolWorker-5", "sigkill", LATE),
    ]
    assert sorted(one[2:] for one in told[4:6]) == [
        ("ForkPoolWorker-2", "sigkill", HOLD),
        ("ForkPoolWorker-6", "sigkill", LATE),
    ]
    assert told[6][2:] == (None, "vanished", LATE)
    assert len(told) == 7


@pytest.mark.parametrize("log", LOGS, ids=lambda path: path.stem)
def test_a_real_death_is_sure_of_its_task(log: Path) -> None:
    """Which of several tasks died is known: by a child's pid or words, or by the pool's number of the task."""
    for one in deaths(hear(log.read_bytes())):
        if one.cause == "sigkill" and one.tasks:
            assert one.tasks[0].how in {"accepted", "child", "job"}
            assert (one.signal, one.busy) == (9, True)
            assert one.place.node == "celery@worker-1"
            assert one.pid is not None


@pytest.mark.parametrize("log", LOGS, ids=lambda path: path.stem)
def test_a_real_redelivery_is_seen(log: Path) -> None:
    """A rejected task is lost again and succeeds then; one that died with its worker succeeds in the next one."""
    heard = hear(log.read_bytes())
    assert [(one.name, one.outcome) for one in again(heard)] == [
        (LATE, "lost"),
        (LATE, "succeeded"),
        (LATE, "succeeded"),
    ]
    twice = [one.tasks[0] for one in deaths(heard) if one.name == "ForkPoolWorker-6"]
    assert [one.deliveries for one in twice] == [2]
    gone = next(one for one in deaths(heard) if one.cause == "vanished")
    assert gone.when is not None
    assert gone.until is not None
    assert 5 < (gone.until - gone.when).total_seconds() < 20


@pytest.mark.parametrize("log", [log for log in LOGS if "info" not in log.stem], ids=lambda path: path.stem)
def test_arguments_are_told_apart_where_the_log_shows_them(log: Path) -> None:
    """Logs in JSON and those of DEBUG give equal hashes for equal arguments only."""
    found = {one.name: one.tasks[0].arguments for one in deaths(hear(log.read_bytes())) if one.tasks}
    assert found["ForkPoolWorker-5"] == found["ForkPoolWorker-6"] is not None
    assert len({found["ForkPoolWorker-1"], found["ForkPoolWorker-2"], found["ForkPoolWorker-5"]}) == 3
