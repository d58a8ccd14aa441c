from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import APP, LEAKS, ROOT, Run, celery, squeezed

CELERY_APP = ("--source", APP)


def proof(case: str) -> dict[str, Any]:
    """Return what was measured when the case's snapshots were made."""
    text = (ROOT / "fixtures/snapshots/celery" / case / "proof.json").read_text(encoding="utf-8")
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def diff_document(run: Run, *arguments: str) -> dict[str, Any]:
    """Return what ``leakhunt diff`` says as JSON."""
    result = run(["diff", *arguments, "--format", "json"])
    assert (result.code, result.err) == (0, "")
    parsed: dict[str, Any] = json.loads(result.out)
    return parsed


@pytest.mark.parametrize("case", LEAKS)
def test_three_snapshots_put_the_leaking_line_first(run: Run, case: str) -> None:
    """The first row is the leaking line with its task, and grew by exactly what was measured."""
    known = proof(case)
    place = known["place"]
    first = diff_document(run, *celery(case), *CELERY_APP)["rows"][0]
    growth = place["growth"]
    expected = [growth["before_after"][key] + growth["after_later"][key] for key in ("size", "count")]
    assert first["traceback"] == [{"filename": f"/srv/app/{place['file']}", "lineno": place["lineno"]}]
    assert [first["size_diff"], first["count_diff"]] == expected
    assert first["trend"] == "grows in every interval"
    assert first["task"]["name"] == known["leaking_task"]
    assert first["task"]["how"] == "source"
    assert first["code"] == place["line"]
    assert first["source"] == f"{APP}/{place['file']}"


@pytest.mark.parametrize("case", LEAKS)
@pytest.mark.parametrize(
    ("moments", "interval"), [(("before", "after"), "before_after"), (("after", "later"), "after_later")]
)
def test_two_snapshots_rank_as_was_measured(
    run: Run, case: str, moments: tuple[str, str], interval: str
) -> None:
    """The five lines that grew most are those that the standard library found when the fixtures were made."""
    rows = diff_document(run, *celery(case, *moments), *CELERY_APP)["rows"]
    found = [(row["traceback"][0], row["size_diff"], row["count_diff"]) for row in rows[:5]]
    expected = [
        ({"filename": line["file"], "lineno": line["lineno"]}, line["size"], line["count"])
        for line in proof(case)["largest_growth"][interval]
    ]
    assert found == expected


@pytest.mark.parametrize("case", LEAKS)
def test_the_leaking_task_comes_first(run: Run, case: str) -> None:
    """Grouped by task, the leaking task is first, with its own file and line."""
    known = proof(case)
    first = diff_document(run, *celery(case), *CELERY_APP, "--group-by", "task")["rows"][0]
    assert first["key"] == known["leaking_task"]
    assert first["traceback"][0]["filename"].startswith("/srv/app/shop/tasks/")


@pytest.mark.parametrize("case", LEAKS)
def test_without_sources_the_worker_names_the_task_function(run: Run, case: str) -> None:
    """Without the project's sources the frame that the worker called stands for the task: its module and a line."""
    first = diff_document(run, *celery(case), "--source", "tests")["rows"][0]
    module = proof(case)["leaking_task"].rpartition(".")[0]
    assert first["task"]["how"] == "anchor"
    assert first["task"]["name"] == f"{module}:{first['task']['lineno']}"


@pytest.mark.parametrize("case", LEAKS)
@pytest.mark.parametrize("output_format", ["table", "markdown", "github"])
def test_people_read_the_leak_in_the_first_sentence(run: Run, case: str, output_format: str) -> None:
    """In every format for people the first line names the leaking line and the task."""
    known = proof(case)
    result = run(["diff", *celery(case), *CELERY_APP, "-f", output_format], env={"COLUMNS": "400"})
    headline = result.out.splitlines()[0].replace("&#95;", "_")
    assert result.code == 0
    assert f"{known['place']['file']}:{known['place']['lineno']}" in headline
    assert known["leaking_task"] in headline


def test_the_one_off_is_larger_than_the_leak_until_the_third_snapshot(run: Run) -> None:
    """A table loaded once leads between two snapshots; the third puts the small steady leak before it."""
    two = diff_document(run, *celery("cache_by_id", "before", "after"))["rows"]
    three = diff_document(run, *celery("cache_by_id"))["rows"]
    assert two[0]["traceback"][0]["filename"] == "/srv/app/shop/zones.py"
    assert three[0]["traceback"][0]["filename"] == "/srv/app/shop/cache.py"
    assert two[0]["trend"] is None
    once = next(row for row in three if row["traceback"][0]["filename"] == "/srv/app/shop/zones.py")
    assert once["trend"] == "grew once"


def test_a_steady_program_stays_within_its_bounds(run: Run) -> None:
    """The program without a leak grows by less than 64 KiB in its second interval, in all rows together."""
    limits = ["--fail-over", "32KiB", "--fail-over-total", "64KiB"]
    result = run(["diff", *celery("steady", "after", "later"), *limits])
    assert (result.code, result.err) == (0, "")
    assert diff_document(run, *celery("steady", "after", "later"))["totals"]["size_diff"] < 64 << 10


@pytest.mark.parametrize("case", LEAKS)
def test_the_bounds_of_the_steady_program_catch_every_leak(run: Run, case: str) -> None:
    """The limits that the steady program keeps are reached by each leak, in every row's and in the total sense."""
    limits = ["--fail-over", "32KiB", "--fail-over-total", "64KiB"]
    result = run(["diff", *celery(case, "after", "later"), *limits])
    assert result.code == 1
    assert [line.partition(":")[0] for line in result.err.splitlines()] == ["limit reached"] * 2


def test_a_snapshot_against_itself_grew_nothing(run: Run) -> None:
    """Equal snapshots have no rows, and the headline says that nothing grew."""
    path = celery("callbacks", "after")[0]
    result = run(["diff", path, path])
    assert result.out.startswith("Nothing grew from ")
    assert diff_document(run, path, path)["rows"] == []


def test_top_agrees_with_the_dump_that_was_made(run: Run) -> None:
    """Blocks and bytes of one snapshot are those that were counted when it was made."""
    after = proof("callbacks")["snapshots"]["after"]
    result = run(["top", *celery("callbacks", "after"), "-f", "json"])
    (info,) = json.loads(result.out)["snapshots"]
    assert (info["blocks"], info["size"], info["traceback_limit"]) == (
        after["traces"],
        after["dump_bytes"],
        10,
    )


def test_top_names_the_line_that_holds_most(run: Run) -> None:
    """The largest line of the last snapshot comes first, with its task and its source."""
    result = run(["top", *celery("callbacks", "later"), *CELERY_APP])
    assert (result.code, result.err) == (0, "")
    for words in (
        "shop/tasks/shipping.py:11",
        "shop.tasks.shipping.ship_order",
        "label=bytearray(LABEL_SIZE)",
    ):
        assert words in squeezed(result.out)


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        ("shop.tasks", {"/srv/app/shop/tasks/"}),
        ("shop.cache", {"/srv/app/shop/cache.py"}),
        ("*/shop/cache.py:14", {"/srv/app/shop/cache.py"}),
        ("celery", {"/celery/"}),
        ("json.*", {"/json/"}),
    ],
)
def test_include_keeps_what_it_names(run: Run, pattern: str, kept: set[str]) -> None:
    """A dotted name or a glob keeps its own files only, and what it hides is counted."""
    document = diff_document(run, *celery("cache_by_id"), "--include", pattern, "-n", "0")
    names = {row["traceback"][0]["filename"] for row in document["rows"]}
    assert names
    assert all(any(part in name for part in kept) for name in names)
    assert document["warnings"] == []
    growth = sum(row["size_diff"] for row in document["rows"])
    assert growth + document["hidden"]["size_diff"] == document["totals"]["size_diff"]


def test_a_filter_that_matches_nothing_is_told(run: Run) -> None:
    """A pattern without any match is reported rather than silently hiding everything."""
    document = diff_document(run, *celery("steady"), "--include", "yourapp.")
    assert document["rows"] == []
    assert document["warnings"] == ["the filter 'yourapp.' matches nothing in these snapshots"]


def test_mapped_paths_meet_local_sources(run: Run) -> None:
    """A mapped prefix stands in every place of the result, and its source lines are found."""
    document = diff_document(run, *celery("callbacks"), "--map", f"/srv/app={ROOT / APP}")
    first = document["rows"][0]
    assert first["traceback"][0]["filename"] == str(ROOT / APP / "shop/tasks/shipping.py")
    assert first["task"]["name"] == "shop.tasks.shipping.ship_order"
    assert first["code"] == "label = bytearray(LABEL_SIZE)"
