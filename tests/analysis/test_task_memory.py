from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_tools import BEGAN, BOOT, RSS, end, executions, process, start, written

from leakhunt.analysis.keeping import judge, runs
from leakhunt.analysis.sharing import shares
from leakhunt.analysis.tasks import analyse
from leakhunt.model.record import Alive, Executions, TaskMemory, TasksResult
from leakhunt.readers.oom_inputs import gather
from leakhunt.readers.records import read_records

KIB, MIB = 1 << 10, 1 << 20
PAGE = 4096


def told(folder: Path, alive: Alive | None = None) -> TasksResult:
    """Analyse the records of a folder."""
    with gather([str(folder)]) as gathered:
        return analyse(read_records(gathered.inputs), alive)


def only(folder: Path, work: list[tuple[str, int]], peak: int = 0) -> dict[str, TaskMemory]:
    """Return what one process's work comes to, by the tasks' names."""
    written(folder / "w.jsonl", [process(), *executions(work, peak=peak)])
    return {task.name: task for task in told(folder).tasks}


def in_pages(sizes: list[int]) -> list[int]:
    """Return sizes as RSS shows them: in whole pages, when these are touched."""
    total = shown = 0
    pages = []
    for size in sizes:
        total += size
        pages.append(total // PAGE * PAGE - shown)
        shown = total // PAGE * PAGE
    return pages


def test_a_task_that_keeps_a_little_each_time_is_found(tmp_path: Path) -> None:
    """5 KiB per execution, which RSS shows as one page or two, are a leak of 5 KiB."""
    task = only(tmp_path, [("a.leaks", size) for size in in_pages([5 * KIB] * 1_200)])["a.leaks"]
    assert task.verdict == "keeps"
    assert task.kept is not None
    assert task.kept.median == pytest.approx(5 * KIB, rel=0.01)
    assert task.kept_total == pytest.approx(5 * KIB * task.measured, rel=0.01)
    assert task.recycle_after == (100 * MIB) // task.kept.median


def test_a_leak_of_less_than_a_page_is_found(tmp_path: Path) -> None:
    """300 bytes per execution show as a page now and then; groups of executions show them as they are."""
    task = only(tmp_path, [("a.leaks", size) for size in in_pages([300] * 2_000)])["a.leaks"]
    assert task.verdict == "keeps"
    assert task.kept is not None
    assert 200 <= task.kept.median <= 400


def test_noise_is_no_leak(tmp_path: Path) -> None:
    """RSS that goes up and down by some pages is clean, however long it is watched."""
    for seed in range(8):
        chance = random.Random(seed)  # noqa: S311 - chance, not secrets
        level = [chance.choice([0, 0, 0, 1, 2, 5]) * PAGE for _ in range(1_000)]
        work = [("a.clean", after - before) for before, after in zip([0, *level], level)]
        assert only(tmp_path, work)["a.clean"].verdict == "clean"


def test_a_cache_that_filled_is_clean(tmp_path: Path) -> None:
    """Growth that stopped is a cache, and is said to have stopped."""
    work = [("a.caches", 40 * KIB if number < 200 else 0) for number in range(1_000)]
    task = only(tmp_path, work)["a.caches"]
    assert task.verdict == "clean"


def test_a_spike_that_is_given_back_spikes(tmp_path: Path) -> None:
    """A task that needs 300 MiB for a moment keeps nothing, and spikes."""
    task = only(tmp_path, [("a.spikes", 0)] * 50, peak=300 * MIB)["a.spikes"]
    assert (task.verdict, task.kept_total) == ("spikes", 0)
    assert task.peak is not None
    assert task.peak.max == 300 * MIB


def test_a_first_execution_is_no_leak_and_no_spike(tmp_path: Path) -> None:
    """What a process loads at its first execution is warm-up, told apart."""
    task = only(tmp_path, [("a.imports", 200 * MIB), *[("a.imports", 0)] * 100])["a.imports"]
    assert (task.verdict, task.kept_total, task.warm_up) == ("clean", 0, 200 * MIB)
    assert task.peak is not None
    assert task.peak.max == 0


def test_few_executions_are_too_few(tmp_path: Path) -> None:
    """Five executions that each grow prove nothing yet."""
    assert only(tmp_path, [("a.b", MIB)] * 5)["a.b"].verdict == "too few"


def test_a_result_on_its_way_is_not_kept(tmp_path: Path) -> None:
    """What is resident at a task's end and gone before the next begins was its result."""
    lines = [process()]
    for number in range(100):
        lines += [
            start("a.b", f"i-{number}", BEGAN + number),
            end("a.b", f"i-{number}", BEGAN + number + 0.5, RSS + 10 * MIB, RSS + 10 * MIB),
        ]
    written(tmp_path / "w.jsonl", lines)
    (task,) = told(tmp_path).tasks
    assert (task.verdict, task.kept_total) == ("clean", 0)


def test_the_growth_goes_to_the_task_whose_executions_it_follows(tmp_path: Path) -> None:
    """A leak that fills what another task freed shows while that one runs, and is still the leaking task's."""
    chance = random.Random(1)  # noqa: S311 - likewise
    work: list[tuple[str, int]] = []
    hidden = 0
    for _ in range(2_000):
        if chance.random() < 0.4:
            hidden += 8 * KIB
            work.append(("a.leaks", 0))
        else:
            grown, hidden = hidden // PAGE * PAGE, hidden % PAGE
            work.append(("a.innocent", grown))
    found = only(tmp_path, work)
    assert found["a.leaks"].verdict == "keeps"
    assert found["a.leaks"].kept is not None
    assert abs(found["a.leaks"].kept.median - 8 * KIB) < KIB
    assert found["a.innocent"].verdict == "clean"


def test_what_another_task_gives_back_is_not_kept(tmp_path: Path) -> None:
    """Garbage that the collector frees during another task is no leak of the first."""
    work = [("a.litters", MIB), ("a.sweeps", -MIB)] * 200
    assert only(tmp_path, work)["a.litters"].verdict == "clean"


def test_troublemakers_belong_on_their_own_queue(tmp_path: Path) -> None:
    """A task that keeps memory beside peaceful ones belongs on its own queue; alone it need not move."""
    leak = [("a.leaks", 64 * KIB)] * 200
    both = [task for pair in zip(leak, [("a.clean", 0)] * 200) for task in pair]
    found = only(tmp_path / "both", both)
    assert (found["a.leaks"].own_queue, found["a.clean"].own_queue) == (True, False)
    assert found["a.leaks"].queues == ("default",)
    assert not only(tmp_path / "alone", leak)["a.leaks"].own_queue


def test_memory_of_threads_is_nobody_s(tmp_path: Path) -> None:
    """Where several tasks ran at once, executions are counted, and memory is not."""
    work = executions([("a.leaks", MIB)] * 100)
    written(tmp_path / "w.jsonl", [process(shared=True), *work])
    result = told(tmp_path)
    (task,) = result.tasks
    assert (task.executions, task.verdict, task.kept, task.peak) == (100, "too few", None, None)
    assert "no single task's" in result.warnings[0]


def _alive(processes: frozenset[tuple[int, int]]) -> Alive:
    """Return what is alive on the machine of the records."""
    return Alive(BOOT, 1, sees_all=True, processes=processes)


def running(
    folder: Path, alive: Alive | None, *more: list[dict[str, Any]], **known: object
) -> tuple[str, str]:
    """Return what became of a task that did not end, and how that is known."""
    written(folder / "w.jsonl", [process(**known), start("a.b", "one", BEGAN + 1)])
    for number, lines in enumerate(more):
        written(folder / f"more-{number}.jsonl", lines)
    (task,) = [task for task in told(folder, alive).running if task.id == "one"]
    return task.ended, task.proof


@pytest.mark.parametrize(
    ("alive", "ended"),
    [
        (None, "unknown"),
        (_alive(frozenset({(4242, 5000)})), "still running"),
        (_alive(frozenset({(4242, 9000)})), "killed"),
        (Alive(BOOT, 1, sees_all=False, processes=frozenset()), "unknown"),
        (Alive("another", 1, sees_all=True, processes=frozenset()), "unknown"),
    ],
    ids=["not asked", "alive", "its number is another's", "other namespace", "other boot"],
)
def test_a_task_was_killed_only_where_its_process_is_known_to_be_gone(
    tmp_path: Path, alive: Alive | None, ended: str
) -> None:
    """A task without an end was killed, is running, or is said to be unknown."""
    assert running(tmp_path, alive)[0] == ended


def test_other_records_prove_that_a_process_is_gone(tmp_path: Path) -> None:
    """A later process of the same number, another boot, or the main process's end prove a kill."""
    later = [{**process(start=9000), "t": BEGAN + 100}]
    assert running(tmp_path / "1", None, later)[0] == "killed"
    boot = [{**process(boot="another", pid=1), "t": BEGAN + 100}]
    assert running(tmp_path / "2", None, boot) == ("killed", "its machine was started again")
    main = [process(4000, role="main", name="MainProcess"), {"e": "exit", "t": BEGAN + 9, "code": 0}]
    assert running(tmp_path / "3", None, main) == ("killed", "its worker's main process left")
    restarted = [{**process(4001, role="main", name="MainProcess"), "t": BEGAN + 100}]
    assert running(tmp_path / "4", None, restarted) == ("killed", "its worker was started again")
    beside = [{**process(4300, name="ForkPoolWorker-2"), "t": BEGAN + 100}]
    assert running(tmp_path / "5", None, beside)[0] == "unknown"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-(1 << 22), 1 << 22)), max_size=120))
def test_nothing_kept_is_invented(work: list[tuple[int, int]]) -> None:
    """What the tasks of a process keep, warm-up included, is what it grew, but for a growth that the last one shows."""
    columns, rss = Executions(), 1 << 30
    for task, grown in work:
        columns.add(task, rss, rss + grown, rss + max(grown, 0))
        rss += grown
    found = runs(columns)
    last = max(0, work[-1][1]) if len(work) > 1 else 0
    assert sum(run.warm_up + sum(run.kept) for run in found.values()) == rss - (1 << 30) - last
    for run in found.values():
        assert judge([run]).verdict in {"keeps", "clean", "too few"}
    shares([columns])


@given(st.integers(1, 6), st.integers(0, 2**32))
def test_shares_are_found_again(tasks: int, seed: int) -> None:
    """Where growth is the sum of what each execution keeps, the shares are these amounts."""
    chance = random.Random(seed)  # noqa: S311 - likewise
    sizes = [chance.randrange(0, 1 << 16) for _ in range(tasks + 1)]
    columns, rss = Executions(), 1 << 30
    for _ in range(2_500):
        task = chance.randrange(tasks + 1)
        columns.add(task, rss, rss + sizes[task], rss)
        rss += sizes[task]
    for task, share in shares([columns]).items():
        assert share.slope == pytest.approx(sizes[task], abs=max(4 * share.error, 1.0) + 1_500)
