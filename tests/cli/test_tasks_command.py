from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import ROOT, Run, document, schema
from record_tools import BEGAN, end, executions, process, start, written

import leakhunt

MIXED, KILLED = "fixtures/records/mixed", "fixtures/records/killed"
PROOF: dict[str, Any] = json.loads((ROOT / "fixtures/records/proof.json").read_text(encoding="utf-8"))
KIB, MIB = 1 << 10, 1 << 20


def test_real_processes_are_judged_right(run: Run) -> None:
    """Of real tasks, the one that keeps memory keeps, by about what it keeps; the spiking one spikes; the others are clean."""
    found = {task["name"]: task for task in document(run, "tasks", MIXED)["tasks"]}
    assert sorted(found) == PROOF["mixed"]["tasks"]
    (leaking,) = PROOF["mixed"]["kept_each"]
    (spiking,) = PROOF["mixed"]["spike"]
    assert {name: task["verdict"] for name, task in found.items()} == {
        **dict.fromkeys(found, "clean"), leaking: "keeps", spiking: "spikes",
    }  # fmt: skip
    kept = found[leaking]["kept_per_execution"]
    assert kept["median"] == pytest.approx(PROOF["mixed"]["kept_each"][leaking], rel=0.03)
    assert 70 * MIB < found[leaking]["recycle_after"] * PROOF["mixed"]["kept_each"][leaking] <= 100 * MIB
    assert abs(found[spiking]["peak"]["median"] - PROOF["mixed"]["spike"][spiking]) < 1 << 20
    assert found["shop.tasks.pay"]["failures"] == found["shop.tasks.pay"]["executions"] > 0
    assert {name for name, task in found.items() if task["own_queue"]} == {leaking, spiking}


def test_the_first_line_answers(run: Run) -> None:
    """The headline names what keeps memory with its cost per execution, and what spikes."""
    first = run(["tasks", MIXED], env={"COLUMNS": "200"}).out.partition("\n")[0]
    assert first.startswith("shop.tasks.render keeps about ")
    assert " per execution (" in first
    assert "shop.tasks.export spikes to " in first


def test_a_kill_is_told(run: Run) -> None:
    """A task whose process the kernel killed is named with its id, and what proves it."""
    found = document(run, "tasks", f"{KILLED}/records")
    (task,) = found["running"]
    assert (task["task"], task["id"]) == (PROOF["killed"]["task"], PROOF["killed"]["id"])
    assert (task["ended"], task["proof"]) == ("killed", "its worker's main process left")


def test_a_clean_record_is_called_clean(run: Run, tmp_path: Path) -> None:
    """Where nothing keeps memory or spikes, the first line says so."""
    written(tmp_path / "w.jsonl", [process(), *executions([("a.b", 0)] * 50)])
    result = run(["tasks", str(tmp_path)])
    assert result.out.startswith("No task type keeps memory or spikes: 50 executions of 1 task type.\n")


def test_none_of_several_is_blamed(run: Run, tmp_path: Path) -> None:
    """Of tasks that always ran in turns the headline names both, says what to do next, and advises nothing for either."""
    written(tmp_path / "w.jsonl", [process(), *executions([("a.render", 0), ("a.clean", 4 * KIB)] * 300)])
    text = run(["tasks", str(tmp_path)], env={"COLUMNS": "200"}).out
    assert text.startswith(
        "a.clean or a.render keeps 4.0 KiB per execution (they always ran in turns, which RSS cannot tell apart: "
    )
    assert "leakhunt hunt" in text
    assert "own queue" not in text
    assert "a queue and workers" not in text
    assert "worker_max_tasks_per_child" not in text
    found = document(run, "tasks", str(tmp_path))["tasks"]
    assert (
        f" over {found[0]['suspected']['executions']} of {sum(task['executions'] for task in found)} executions)"
        in text
    )
    for task in found:
        assert (task["verdict"], task["kept_per_execution"], task["own_queue"]) == ("too few", None, False)
        assert task["suspected"]["tasks"] == ["a.clean", "a.render"]
        assert (task["suspected"]["ran"], task["suspected"]["per_execution"]) == ("in turns", 4 * KIB)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there are no flight records"),
        (b"", "it is empty"),
        (b"hello\n", "it is no flight record"),
        (bytes(range(256)) * 20, "it is binary"),
        (b'"id":"x","state":"SUCCESS","rss":1}\n', "it is no flight record"),
        (
            b'{"e":"end","t":1795000000.5,"id":"x","task":"a.b","rss":1}\n',
            "the line about its process is missing",
        ),
    ],
    ids=["empty folder", "empty file", "a log", "garbage", "half a line", "the last line alone"],
)
def test_what_is_no_record_is_an_error(run: Run, tmp_path: Path, content: bytes | None, said: str) -> None:
    """A folder without records is refused with what was wrong and how records are made; beside one it is a note."""
    if content is not None:
        (tmp_path / "a.jsonl").write_bytes(content)
    result = run(["tasks", str(tmp_path)])
    assert result.code == 2
    assert said in result.err
    assert "leakhunt run --record" in result.err
    written(tmp_path / "w.jsonl", [process()])
    result = run(["tasks", str(tmp_path)])
    assert result.code == 0
    assert result.out.startswith("No execution ended in 1 process.\n")


def test_sizes_that_are_all_the_same_are_told_once(run: Run, tmp_path: Path) -> None:
    """Where the quartiles are one size, it is no range."""
    written(tmp_path / "w.jsonl", [process(), *executions([("a.b", 4 * KIB)] * 300)])
    out = run(["tasks", str(tmp_path)], env={"COLUMNS": "200"}).out
    assert "  +4.0 KiB each, by RSS\n" in out
    assert "mostly" not in out


def test_processes_that_ran_nothing_are_not_counted(run: Run) -> None:
    """Executions are told of so many processes as ran any: a pool's main process runs none."""
    assert "60 executions in 1 process;" in run(["tasks", f"{KILLED}/records"]).out


def at(seconds: float) -> str:
    """Return what a user may type for a moment so many seconds after BEGAN."""
    return f"@{BEGAN + seconds}"


@pytest.mark.parametrize(
    ("options", "ended"),
    [
        ([], 5),
        (["--since", at(3.5)], 3),  # the third ends then
        (["--since", at(3.6)], 2),
        (["--until", at(3.5)], 3),
        (["--until", at(3.4)], 2),
        (["--since", at(2.2), "--until", at(4.2)], 2),  # begun before one border, and ended behind the other
        (["--since", at(9)], 0),
    ],
)
def test_a_time_counts_what_ended_in_it(run: Run, tmp_path: Path, options: list[str], ended: int) -> None:
    """With --since and --until the executions count that ended then, borders included, whenever they began."""
    left = {"e": "exit", "t": BEGAN + 20, "code": 0}
    written(tmp_path / "w.jsonl", [process(), *executions([("a.b", 4 * KIB)] * 5), left])
    found = document(run, "tasks", str(tmp_path), *options)
    assert sum(task["executions"] for task in found["tasks"]) == ended
    assert [one["executions"] for one in found["processes"]] == [ended]
    assert found["running"] == found["warnings"] == []
    assert all(one["ended"] == "exit" for one in found["processes"])
    text = run(["tasks", str(tmp_path), *options], env={"COLUMNS": "200"}).out
    assert ("Counted (times in UTC): " in text) == bool(options)


def test_what_was_running_at_the_borders(run: Run, tmp_path: Path) -> None:
    """A task that began behind the time, or ended behind it, is not among those that did not end; nor are processes gone before."""
    old, main = process(4242), process(4000, ppid=1, role="main", name="MainProcess")
    work = [
        start("a.b", "ended", BEGAN + 1),
        end("a.b", "ended", BEGAN + 8),
        start("a.c", "killed", BEGAN + 9),
    ]
    written(tmp_path / "w.jsonl", [old, *work])
    written(tmp_path / "m.jsonl", [main, {"e": "exit", "t": BEGAN + 30, "code": 0}])

    def running(*options: str) -> list[tuple[str, str]]:
        return [
            (one["id"], one["ended"]) for one in document(run, "tasks", str(tmp_path), *options)["running"]
        ]

    assert running() == running("--since", at(8.5)) == running("--since", at(9)) == [("killed", "killed")]
    assert running("--until", at(5)) == running("--until", at(8.5)) == []
    assert running("--since", at(10)) == []
    pids = [one["pid"] for one in document(run, "tasks", str(tmp_path), "--since", at(10))["processes"]]
    assert pids == [4000]
    assert document(run, "tasks", str(tmp_path), "--until", f"@{BEGAN - 60}")["processes"] == []
    assert run(["tasks", str(tmp_path), "--since", "whenever"]).code == 2


def test_csv_has_a_row_for_each_task(run: Run) -> None:
    """CSV has one table: each task type with all of its figures, in bytes."""
    rows = list(csv.DictReader(io.StringIO(run(["tasks", MIXED, "-f", "csv"]).out)))
    assert {row["place"] for row in rows} == set(PROOF["mixed"]["tasks"])
    assert all(row["peak_p95"].isdecimal() for row in rows)


def test_hostile_names_are_neutralised(run: Run, tmp_path: Path) -> None:
    """A task's name with control characters, markup or a formula is shown as text."""
    name = "=cmd\x1b[31m|`x`<b>"
    work = [*executions([(name, 0)] * 20), start(name, "\x1b]0;x\x07", BEGAN + 500)]
    written(tmp_path / "w.jsonl", [process(), *work])
    for kind in ("table", "markdown", "csv"):
        assert "\x1b" not in run(["tasks", str(tmp_path), "-f", kind]).out
    assert "<b>" not in run(["tasks", str(tmp_path), "-f", "markdown"]).out
    assert "\n=" not in run(["tasks", str(tmp_path), "-f", "csv"]).out


def test_without_names_the_user_s_own_records_are_read(run: Run, tmp_path: Path) -> None:
    """Without arguments the records of this user's folder are read; without such, the error says how to get them."""
    env = {"LEAKHUNT_DIR": str(tmp_path)}
    result = run(["tasks"], env=env)
    assert result.code == 2
    assert "there are no records" in result.err
    assert "hint:" in result.err
    written(tmp_path / "records" / "w.jsonl", [process(), *executions([("a.b", 0)] * 20)])
    assert run(["tasks"], env=env).code == 0


def test_the_schema_is_one_itself() -> None:
    """The contract is a valid JSON Schema that forbids keys it does not describe."""
    contract = schema("tasks")
    jsonschema.Draft202012Validator.check_schema(contract)
    assert all(part["additionalProperties"] is False for part in (contract, *contract["$defs"].values()))


@pytest.mark.parametrize("paths", [[MIXED], [f"{KILLED}/records"]])
def test_the_api_gives_what_the_command_prints(
    run: Run, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``leakhunt.tasks`` returns the tasks that the command lists."""
    monkeypatch.chdir(ROOT)
    listed = [task["name"] for task in document(run, "tasks", *paths)["tasks"]]
    assert [task.name for task in leakhunt.tasks(paths).tasks] == listed


def test_threads_are_said_to_hide_what_tasks_keep(run: Run, tmp_path: Path) -> None:
    """Where all ran beside others, the first line says that memory cannot be told, and that more executions change nothing."""
    written(tmp_path / "w.jsonl", [process(shared=True), *executions([("a.b", MIB), ("a.c", 0)] * 50)])
    text = run(["tasks", str(tmp_path)], env={"COLUMNS": "300"}).out
    assert text.startswith(
        "Cannot tell of 100 executions of 2 task types: 1 process ran several tasks at once"
    )
    assert "leakhunt hunt names the lines" in text.partition("\n")[0]
    assert text.count("cannot tell: its processes ran several tasks at once") == 2
    assert "too few" not in text


def test_a_kill_comes_first(run: Run, tmp_path: Path) -> None:
    """What was killed is the news, before what keeps memory; its id stands on a line of its own."""
    main = [process(4000, role="main", boot="another"), {"e": "exit", "t": BEGAN + 900, "code": 0}]
    written(tmp_path / "main.jsonl", main)
    lines = [
        process(boot="another"),
        *executions([("a.b", 8 * KIB)] * 400),
        start("a.c", "7c02b41c" * 4, BEGAN + 500),
    ]
    written(tmp_path / "w.jsonl", lines)
    text = run(["tasks", str(tmp_path)]).out
    assert text.startswith("a.c was killed while running; a.b keeps about 8.0 KiB per execution")
    assert f"  {'7c02b41c' * 4}\n" in text
    assert "journalctl -k -o json > kernel.json" in " ".join(text.split())


def test_one_execution_has_no_median(run: Run, tmp_path: Path) -> None:
    """A spike that was seen once is said to be one execution's."""
    written(tmp_path / "w.jsonl", [process(), *executions([("a.b", 0)], peak=100 * MIB)])
    text = run(["tasks", str(tmp_path)]).out
    assert "one execution\n" in text
    assert "95 of 100" not in text


def test_many_suspects_are_counted(run: Run, tmp_path: Path) -> None:
    """Of up to four suspects each is named; of more, how many there are; a row says from whom it is not told apart."""
    for number, first in ((4, "a.0, a.1, a.2 or a.3 keeps "), (5, "one of 5 task types keeps ")):
        work = [(f"a.{at}", 4 * KIB if not at else 0) for at in range(number)] * 200
        written(tmp_path / str(number) / "w.jsonl", [process(), *executions(work)])
        text = run(["tasks", str(tmp_path / str(number))], env={"COLUMNS": "200"}).out
        assert text.startswith(first)
        assert "cannot tell from a.1, a.2, a.3" in text
        assert text.count("RSS cannot tell apart") == 1
        assert "too few to tell" not in text
