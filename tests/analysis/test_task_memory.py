from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_tools import BEGAN, BOOT, RSS, end, executions, process, start, written

from leakhunt.analysis.culprits import judge_all
from leakhunt.analysis.keeping import judge, runs
from leakhunt.analysis.sharing import shares
from leakhunt.analysis.tasks import analyse
from leakhunt.model.columns import Executions
from leakhunt.model.record import Alive, TaskMemory, TasksResult
from leakhunt.present.tasks import tasks_report
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
    assert task.kept_total == pytest.approx(5 * KIB * task.counted, rel=0.01)
    assert task.recycle_after == 20_000


def test_a_child_is_replaced_rather_too_soon(tmp_path: Path) -> None:
    """Where executions keep now more, now less, the advice goes by the upper quartile, rounded down."""
    task = only(tmp_path, [("a.leaks", size) for size in ([20 * KIB] * 100 + [60 * KIB] * 100) * 12])[
        "a.leaks"
    ]
    assert task.kept is not None
    assert task.recycle_after == 100 * MIB // task.kept.high // 100 * 100 == 1_800
    assert task.recycle_after < 100 * MIB // task.kept.median


def test_memory_in_large_steps_gives_advice_too(tmp_path: Path) -> None:
    """Where most executions show nothing, as memory is taken in large steps, the advice goes by the average at least."""
    task = only(tmp_path, [("a.leaks", 64 * KIB if number % 40 == 39 else 0) for number in range(4_000)])[
        "a.leaks"
    ]
    assert task.verdict == "keeps"
    assert task.recycle_after is not None
    assert 0.7 * 100 * MIB < task.recycle_after * 64 * KIB / 40 <= 100 * MIB


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
    chance = random.Random(1)  # noqa: S311 - likewise
    both = chance.sample([*leak, *[("a.clean", 0)] * 200], 400)
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


def test_one_at_a_time_the_last_alone_can_run(tmp_path: Path) -> None:
    """Where another task began later in a process that runs one at a time, the end of the first is lost, and nobody killed it."""
    lines = [
        process(),
        *(start("a.b", name, BEGAN + at) for at, name in enumerate(("one", "two", "three"), 1)),
    ]
    written(tmp_path / "w.jsonl", lines)
    result = told(tmp_path, _alive(frozenset()))
    assert [(task.id, task.ended) for task in result.running] == [
        ("three", "killed"),
        ("one", "end not recorded"),
        ("two", "end not recorded"),
    ]
    assert result.tasks[0].killed == 1
    assert any(text.startswith("the end of 2 executions is not in the records") for text in result.warnings)
    written(tmp_path / "w.jsonl", [process(shared=True), *lines[1:]])
    assert {task.ended for task in told(tmp_path, _alive(frozenset())).running} == {"killed"}


def test_a_task_inside_another_ends_none(tmp_path: Path) -> None:
    """A task that one calls itself came by no queue, and both run."""
    lines = [process(), start("a.b", "one", BEGAN + 1), {**start("a.c", "two", BEGAN + 2), "queue": None}]
    written(tmp_path / "w.jsonl", lines)
    running = told(tmp_path, _alive(frozenset({(4242, 5000)}))).running
    assert [task.ended for task in running] == ["still running", "still running"]
    assert "4242 is alive" in running[0].proof


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
    for _ in range(1_500):
        task = chance.randrange(tasks + 1)
        columns.add(task, rss, rss + sizes[task], rss)
        rss += sizes[task]
    for task, share in shares([columns]).sure.items():
        assert share.slope == pytest.approx(sizes[task], abs=max(4 * share.error, 1.0) + 1_500)


# --- whose growth it is -----------------------------------------------------------------------------------------------


def heap(
    order: Sequence[str], kept: Mapping[str, int], needs: Mapping[str, int], slack: int = 0
) -> list[tuple[str, int]]:
    """Return work whose RSS grows as a heap does: what a task frees stays resident, and others' memory may fill it."""
    live, resident, work = 0, slack, []
    for task in order:
        before = resident // PAGE * PAGE
        live += kept.get(task, 0)
        resident = max(resident, live + needs.get(task, 0))
        work.append((task, resident // PAGE * PAGE - before))
    return work


def traced(work: Sequence[tuple[str, int]], kept: Mapping[str, int], *, of: range) -> list[dict[str, Any]]:
    """Return the lines of work, of which some executions were traced; each keeps what is said, and nothing else."""
    lines, size = executions(work), 1 << 20
    for number, (task, _) in enumerate(work):
        if number in of:
            begins = {"anew": True} if number == of.start else {}
            lines[2 * number].update(traced=size, **begins)
            size += kept.get(task, 0)
            lines[2 * number + 1].update(traced=size)
    return lines


def by_name(folder: Path, *lives: list[dict[str, Any]]) -> dict[str, TaskMemory]:
    """Return what several processes' lines come to, by the tasks' names."""
    for number, lines in enumerate(lives):
        written(folder / f"w-{number}.jsonl", [process(4242 + number), *lines])
    return {task.name: task for task in told(folder).tasks}


KEPT, NEEDS = {"a.render": 3 * KIB}, {"a.clean": 100 * KIB}
TURNS = ["a.render", "a.clean"] * 1_200


def mix(number: int, *tasks: str, seed: int = 1) -> list[str]:
    """Return tasks in random order."""
    return random.Random(seed).choices(tasks, k=number)  # noqa: S311 - likewise


def verdicts(found: Mapping[str, TaskMemory]) -> dict[str, str]:
    """Return the verdicts by the tasks' names."""
    return {name: task.verdict for name, task in found.items()}


def test_of_tasks_in_turns_none_is_named(tmp_path: Path) -> None:
    """Where two tasks always run in turns and RSS grows during the innocent one, neither is named, and both are suspected."""
    found = only(tmp_path, heap(TURNS, KEPT, NEEDS))
    assert found.keys() == {"a.render", "a.clean"}
    for task in found.values():
        assert (task.verdict, task.kept, task.own_queue, task.recycle_after) == ("too few", None, False, None)
        assert task.suspected is not None
        assert task.suspected.tasks == ("a.clean", "a.render")
        assert task.suspected.ran == "in turns"
        assert task.suspected.each == pytest.approx(3 * KIB, rel=0.02)
        assert "it always ran in turns with a." in task.why


@pytest.mark.parametrize("pattern", [(0, 0, 1), (0, 1, 1), (0, 1, 2), (0, 1, 2, 0, 1), (0, 0, 0, 2, 1)])
@pytest.mark.parametrize("needs", [0, 100 * KIB, 4 * MIB])
@pytest.mark.parametrize("size", [3 * KIB, 64 * KIB])
def test_of_tasks_in_step_no_innocent_is_named(
    tmp_path: Path, pattern: tuple[int, ...], needs: int, size: int
) -> None:
    """Whatever the step, a task that keeps nothing is never named, and is never suspected without the one that keeps."""
    order = [f"a.{at}" for at in pattern * (1_200 // len(pattern))]
    found = only(tmp_path, heap(order, {"a.0": size}, {"a.1": needs, "a.2": needs // 2}))
    assert {name for name, task in found.items() if task.verdict == "keeps"} <= {"a.0"}
    for task in found.values():
        assert task.suspected is None or "a.0" in task.suspected.tasks


def test_what_was_traced_names_the_right_one(tmp_path: Path) -> None:
    """Where tracemalloc traced, the task that keeps is named though RSS grows during the other, with what it keeps exactly."""
    work = heap(TURNS, KEPT, NEEDS)
    found = by_name(tmp_path, traced(work, KEPT, of=range(2_400)))
    assert verdicts(found) == {"a.render": "keeps", "a.clean": "clean"}
    assert {task.measured for task in found.values()} == {"traced"}
    render = found["a.render"]
    assert render.kept is not None
    assert (render.kept.median, render.kept_total) == (3 * KIB, 3 * KIB * render.counted)
    assert found["a.clean"].kept_total == 0


@pytest.mark.parametrize("of", [range(200), range(1_000, 1_200), range(1_900, 2_100)])
def test_a_while_of_tracing_is_enough(tmp_path: Path, of: range) -> None:
    """Tracing that was on for a twelfth of the time, early, amid or late, tells for all of it."""
    found = by_name(tmp_path, traced(heap(TURNS, KEPT, NEEDS), KEPT, of=of))
    assert verdicts(found) == {"a.render": "keeps", "a.clean": "clean"}
    assert found["a.render"].counted < len(of)


GARBAGE = 300 * KIB


def littered(order: Sequence[str], fails: range, collected: int) -> list[dict[str, Any]]:
    """Return lines of traced work: ``a.leaks`` keeps, ``a.fails`` now and then leaves garbage, which goes during any task.

    Args:
        order: the tasks.
        fails: at which places one that fails leaves garbage.
        collected: after so many executions garbage is collected; 0 is never.
    """
    lines, size, garbage = executions([(task, 0) for task in order]), 1 << 20, 0
    for number, task in enumerate(order):
        lines[2 * number].update(traced=size, **({"anew": True} if number == 0 else {}))
        size += 7 * KIB if task == "a.leaks" else 20
        if number in fails and task == "a.fails":
            size, garbage = size + GARBAGE, garbage + GARBAGE
        if collected and number % collected == collected - 1:
            size, garbage = size - garbage, 0
        lines[2 * number + 1].update(traced=size)
    return lines


def test_garbage_that_goes_during_another_task_is_no_leak_and_hides_none(tmp_path: Path) -> None:
    """What failures leave until it is collected is told as such; what another task keeps is told whole, and multiplies out."""
    order = mix(3_000, "a.leaks", "a.fails")
    found = by_name(tmp_path, littered(order, range(0, 3_000, 13), collected=311))
    assert verdicts(found) == {"a.leaks": "keeps", "a.fails": "clean"}
    leaks, fails = found["a.leaks"], found["a.fails"]
    assert leaks.kept == (7 * KIB, 7 * KIB, 7 * KIB)
    assert leaks.kept_total == 7 * KIB * leaks.counted
    assert "garbage collection takes such back" in fails.why
    assert fails.kept_total is not None
    assert fails.kept_total < KIB * fails.counted
    assert fails.recycle_after is None


def test_garbage_before_any_collection_is_said_to_be_uneven(tmp_path: Path) -> None:
    """A few executions that left all there is are no habit: how many, and how much, is said, and nothing is advised."""
    found = by_name(tmp_path, littered(["a.ping", "a.fails"] * 88, range(1, 176, 20), collected=0))
    assert verdicts(found) == {"a.ping": "clean", "a.fails": "too few"}
    fails = found["a.fails"]
    assert fails.why.startswith(f"uneven: 8 of {fails.counted} executions left 2.3 MiB; ")
    assert (fails.suspected, fails.recycle_after, fails.own_queue) == (None, None, False)


def test_what_few_executions_keep_is_not_called_garbage(tmp_path: Path) -> None:
    """A leak in one execution of twenty beside garbage of others that goes: it is still there, so it is not called clean."""
    order = mix(3_000, "a.rare", "a.fails")
    lines, more = littered(order, range(0, 3_000, 13), collected=311), 0
    for number, task in enumerate(order):
        lines[2 * number]["traced"] += more
        more += GARBAGE if task == "a.rare" and number % 20 == 7 else 0
        lines[2 * number + 1]["traced"] += more
    found = by_name(tmp_path, lines)
    assert found["a.rare"].verdict in {"keeps", "too few"}
    assert found["a.fails"].verdict != "keeps"
    assert "left" in found["a.rare"].why


def test_growth_while_tracing_is_partly_the_tracer_s(tmp_path: Path) -> None:
    """Where executions were traced, the growth of processes is said to hold what tracing costs; without, it is not."""
    by_name(tmp_path / "1", littered(["a.leaks"] * 100, range(0), collected=0))
    assert "what it costs to trace included" in tasks_report(told(tmp_path / "1")).facts[0]
    only(tmp_path / "2", [("a.leaks", PAGE)] * 100)
    assert "trace" not in tasks_report(told(tmp_path / "2")).facts[0]


def test_what_goes_all_at_once_is_not_kept(tmp_path: Path) -> None:
    """A task that lets go of what it gathered in every tenth execution keeps nothing, whatever nine of ten leave."""
    order = mix(2_000, "a.leaks", "a.gathers")
    lines, size, held, times = executions([(task, 0) for task in order]), 1 << 20, 0, 0
    for number, task in enumerate(order):
        lines[2 * number].update(traced=size, **({"anew": True} if number == 0 else {}))
        size += 7 * KIB * (task == "a.leaks")
        if task == "a.gathers":
            times += 1
            size, held = (size + 7 * KIB, held + 7 * KIB) if times % 10 else (size - held, 0)
        lines[2 * number + 1].update(traced=size)
    found = by_name(tmp_path, lines)
    assert found["a.leaks"].verdict == "keeps"
    assert found["a.gathers"].verdict != "keeps"


def test_what_grows_unevenly_is_still_kept(tmp_path: Path) -> None:
    """Sizes that differ from one execution to the next are kept as they are, as long as most leave some."""
    chance = random.Random(3)  # noqa: S311 - likewise
    lines, size = executions([("a.leaks", 0)] * 400), 1 << 20
    sizes = [chance.choice([KIB, 5 * KIB, 40 * KIB]) for _ in range(400)]
    for number, left in enumerate(sizes):
        lines[2 * number].update(traced=size, **({"anew": True} if number == 0 else {}))
        size += left
        lines[2 * number + 1].update(traced=size)
    task = by_name(tmp_path, lines)["a.leaks"]
    assert task.verdict == "keeps"
    assert task.kept is not None
    assert task.kept.median == pytest.approx(sum(sizes) / 400, rel=0.2)


def test_tracing_that_began_anew_compares_nothing_across(tmp_path: Path) -> None:
    """Figures of two tracings are not subtracted from each other: a smaller one after a restart gives nothing back."""
    work = heap(TURNS, KEPT, NEEDS)
    lines = traced(work, KEPT, of=range(1_200))
    later = traced(work, KEPT, of=range(1_200, 2_400))
    found = by_name(tmp_path, [*lines[:2_400], *later[2_400:]])
    assert verdicts(found) == {"a.render": "keeps", "a.clean": "clean"}
    assert found["a.render"].counted > 1_100


def test_memory_that_is_not_traced_is_still_seen(tmp_path: Path) -> None:
    """A task that keeps native memory is named by RSS, and it is said that tracemalloc does not see it."""
    order = mix(1_500, "a.render", "a.clean")
    found = by_name(tmp_path, traced(heap(order, {"a.render": 8 * KIB}, {}), {}, of=range(1_500)))
    assert verdicts(found) == {"a.render": "keeps", "a.clean": "clean"}
    assert found["a.render"].measured == "rss fitted to executions"
    assert "tracemalloc does not see" in found["a.render"].why


def test_a_mix_tells(tmp_path: Path) -> None:
    """In a random mix the growth follows the executions of the one that keeps, whoever it shows in."""
    found = only(tmp_path, heap(mix(2_400, "a.render", "a.clean"), KEPT, NEEDS))
    assert verdicts(found) == {"a.render": "keeps", "a.clean": "clean"}
    render = found["a.render"]
    assert render.measured == "rss fitted to executions"
    assert render.kept is not None
    assert render.kept.median == pytest.approx(3 * KIB, rel=0.1)


def test_two_of_three_are_found(tmp_path: Path) -> None:
    """Two tasks that keep memory are both named in a random mix, each with its own size, and the third is not."""
    kept = {"a.one": 4 * KIB, "a.two": 12 * KIB}
    found = only(tmp_path, heap(mix(3_000, "a.one", "a.two", "a.three"), kept, {"a.three": 60 * KIB}))
    assert verdicts(found) == {"a.one": "keeps", "a.two": "keeps", "a.three": "clean"}
    for name, size in kept.items():
        spread = found[name].kept
        assert spread is not None
        assert spread.median == pytest.approx(size, rel=0.25)


def test_a_leak_in_one_process_of_two_is_found(tmp_path: Path) -> None:
    """A task that keeps memory in one process alone is named, with how many it is."""
    order = [mix(1_200, "a.render", "a.clean", seed=seed) for seed in (1, 2)]
    leaking = heap(order[0], {"a.render": 8 * KIB}, NEEDS)
    found = by_name(tmp_path, executions(leaking), executions(heap(order[1], {}, NEEDS)))
    assert verdicts(found) == {"a.render": "keeps", "a.clean": "clean"}
    alone = by_name(
        tmp_path / "alone",
        executions([("a.render", 8 * KIB)] * 300),
        executions([("a.render", 0)] * 300),
    )
    assert verdicts(alone) == {"a.render": "keeps"}


def test_a_process_that_ran_one_alone_clears_it(tmp_path: Path) -> None:
    """Tasks that ran in turns in one process are told apart where another process ran one of them alone."""
    turns = executions(heap(TURNS, KEPT, NEEDS))
    alone = executions(heap(["a.clean"] * 1_200, {}, NEEDS))
    found = by_name(tmp_path, turns, alone)
    assert found["a.render"].verdict == "keeps"
    assert found["a.clean"].verdict == "clean"


def test_caches_that_fill_are_nobody_s_leak(tmp_path: Path) -> None:
    """Growth that stops after a while is no leak, in a mix as in turns."""
    for name, order in (("mix", mix(2_000, "a.b", "a.c")), ("turns", ["a.b", "a.c"] * 1_000)):
        work = heap(order, {"a.b": 16 * KIB}, {})
        work = [(task, grown if number < 600 else 0) for number, (task, grown) in enumerate(work)]
        assert set(verdicts(only(tmp_path / name, work)).values()) == {"clean"}


@pytest.mark.parametrize("seed", range(4))
def test_what_one_keeps_and_another_frees_is_no_leak(tmp_path: Path, seed: int) -> None:
    """A task whose garbage another one sweeps keeps nothing in the end, by RSS and by what was traced."""
    work, held = [], 0
    for task in mix(1_500, "a.litters", "a.litters", "a.litters", "a.sweeps", seed=seed):
        change = 16 * KIB if task == "a.litters" else -held
        held += change
        work.append((task, change))
    assert "keeps" not in verdicts(only(tmp_path / "rss", work)).values()
    lines, size = executions(work), 64 << 20
    for number, (_, change) in enumerate(work):
        lines[2 * number].update(traced=size, anew=number == 0)
        size += change
        lines[2 * number + 1].update(traced=size)
    assert "keeps" not in verdicts(by_name(tmp_path / "traced", lines)).values()


def test_a_few_executions_of_several_name_nobody(tmp_path: Path) -> None:
    """Where a process ran several tasks a few times, growth is said, and nobody is blamed for it."""
    found = only(tmp_path, [("a.b", MIB), ("a.c", 0)] * 12)
    assert set(verdicts(found).values()) == {"too few"}
    assert all(task.suspected is not None and task.suspected.ran == "too few" for task in found.values())


def columns_of(work: Iterable[tuple[str, int]]) -> Executions:
    """Return work as columns; tasks are called by their numbers."""
    columns, rss = Executions(), 1 << 30
    for task, grown in work:
        columns.add(int(task), rss, rss + grown, rss + grown)
        rss += grown
    return columns


@pytest.mark.parametrize("cache", [0, 64])
def test_what_is_named_alone_does_not_read_low(cache: int) -> None:
    """In random mixes, while a cache fills or not, the one task that keeps memory is told with what it keeps on average."""
    slopes = []
    for seed in range(12):
        left, work = cache, []
        order = mix(2_000, "0", "1", "2", "3", seed=seed)
        for task, grown in heap(order, {"0": 3 * KIB}, {"1": 100 * KIB, "2": 30 * KIB}):
            fills = task == "3" and left > 0
            left -= fills
            work.append((task, grown + 16 * KIB * fills))
        sure = shares([columns_of(work)]).sure
        assert sure.keys() <= {0}
        slopes += [share.slope for share in sure.values()]
    assert len(slopes) >= 10
    assert sum(slopes) / len(slopes) == pytest.approx(3 * KIB, rel=0.05)


def test_growth_that_shows_late_seldom_names_where_it_shows() -> None:
    """Where a rare task's growth is what a frequent one left long before, it is seldom named: both are suspected."""
    named = suspected = 0
    for seed in range(20):
        chance = random.Random(seed)  # noqa: S311 - likewise
        waiting, work = 0, []
        for task in chance.choices("012", [30, 5, 60], k=1_500):
            shows = min(waiting, chance.randrange(70_000)) // PAGE * PAGE if task == "1" else 0
            waiting += 5_000 * (task == "0") - shows
            work.append((task, shows))
        found = shares([columns_of(work)])
        named += 1 in found.sure
        suspected += found.doubt is not None and {0, 1} <= found.doubt.slopes.keys()
    assert named <= 3
    assert suspected >= 16


@pytest.mark.parametrize("seed", range(60))
def test_the_wrong_one_is_not_named(seed: int) -> None:
    """In a random mix, on a heap that gives nothing back, none but the task that keeps is named, or suspected without it."""
    chance = random.Random(seed)  # noqa: S311 - likewise
    size, needs = chance.choice([3 * KIB, 20 * KIB]), chance.choice([0, 30 * KIB, 300 * KIB])
    names = [str(number) for number in range(chance.randint(2, 4))]
    order = chance.choices(names, [chance.uniform(0.05, 1.0) for _ in names], k=1_200)
    work = heap(order, {"0": size}, {name: needs // int(name) for name in names[1:]})
    judged = judge_all([columns_of(work)], names)
    keeping = {names[task] for task, one in judged.items() if one.keeping.verdict == "keeps"}
    suspected = {name for one in judged.values() if one.suspected is not None for name in one.suspected.tasks}
    assert keeping <= {"0"}
    assert not suspected or "0" in keeping | suspected
