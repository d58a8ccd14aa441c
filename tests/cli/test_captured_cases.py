from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from conftest import ROOT, Run

CAPTURED = "fixtures/snapshots/captured"
MOMENTS = ("before", "after", "later")
HELD = ("global_list", "class_attribute")
BESIDE = ("fragmentation", "native")
CASES = (*HELD, *BESIDE, "garbage")


def proof(case: str) -> dict[str, Any]:
    """Return what was measured when the case's snapshots were taken."""
    parsed: dict[str, Any] = json.loads((ROOT / CAPTURED / case / "proof.json").read_text(encoding="utf-8"))
    return parsed


def paths(case: str) -> list[str]:
    """Return the snapshots of a case, oldest first."""
    return [f"{CAPTURED}/{case}/{moment}.bin.xz" for moment in MOMENTS[: len(proof(case)["memory"])]]


def compared(run: Run, case: str, *options: str) -> dict[str, Any]:
    """Return what ``leakhunt diff`` says of a case as JSON."""
    result = run(["diff", *paths(case), *options, "--format", "json"])
    assert (result.code, result.err) == (0, "")
    parsed: dict[str, Any] = json.loads(result.out)
    return parsed


@pytest.mark.parametrize("case", HELD)
@pytest.mark.parametrize("group_by", ["lineno", "task", "traceback"])
def test_a_real_leak_is_named_with_its_cost_and_its_holder(run: Run, case: str, group_by: str) -> None:
    """The first row is a leak, divided by the executions that were counted, and held by what holds it."""
    known = proof(case)
    row = compared(run, case, "--group-by", group_by)["rows"][0]
    assert row["task"]["name"] == known["task"]
    assert row["verdict"] == "leak"
    assert row["per_execution"]["executions"] == sum(known["executions_per_interval"].values())
    if group_by == "lineno":
        assert row["per_execution"]["count"] == pytest.approx(
            known["place"]["blocks_per_execution"], rel=0.01
        )
    assert row["held_by"][0]["name"] == known["held_by"]


@pytest.mark.parametrize("case", HELD)
def test_two_snapshots_of_a_real_leak_are_a_suspect(run: Run, case: str) -> None:
    """Without the third snapshot, the same growth is a suspect."""
    result = run(["diff", *paths(case)[:2], "--format", "json"])
    assert json.loads(result.out)["rows"][0]["verdict"] == "suspect"


@pytest.mark.parametrize("case", CASES)
def test_the_kind_of_growth_is_the_real_one(run: Run, case: str) -> None:
    """What made RSS grow is named, from the figures that the process's kernel and allocators gave."""
    known = proof(case)
    ledger = compared(run, case)["ledger"]
    assert ledger["kind"] == known["kind"]
    assert ledger["rss"]["growth"] == known["rss_growth"]
    assert sum(part["growth"] or 0 for part in ledger["parts"].values()) == known["rss_growth"]
    assert ledger["most"] >= 0.5 * known["rss_growth"]


@pytest.mark.parametrize("case", BESIDE)
def test_growth_that_no_line_explains_is_in_the_first_sentence(run: Run, case: str) -> None:
    """Where tracemalloc is flat and RSS grows, the headline says what it is."""
    words = {
        "fragmentation": "fragmentation, not a leak",
        "native": "native memory, which no traceback shows",
    }[case]
    headline = run(["diff", *paths(case)], env={"COLUMNS": "400"}).out.splitlines()[0]
    assert words in headline


def test_deferred_garbage_is_found_with_its_line(run: Run) -> None:
    """What only waits for a collection is told with its size and the line that allocated it."""
    known = proof("garbage")
    ledger = compared(run, "garbage")["ledger"]
    assert ledger["garbage"]["size"] == known["garbage"]["bytes"]
    first = ledger["garbage"]["sites"][0]
    assert (first["filename"], first["lineno"]) == (
        f"/srv/app/{known['place']['file']}",
        known["place"]["lineno"],
    )


def test_a_glob_of_files_in_another_order_is_told_the_right_one(run: Run) -> None:
    """Snapshots named by the alphabet are compared as named, and the order in which they were taken is told."""
    before, after, later = paths("global_list")
    out = run(["diff", after, before, later], env={"COLUMNS": "400"}).out
    assert f"not in the order in which they were taken, which is {before} {after} {later}\n" in out


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("group_by", ["lineno", "filename", "traceback", "module", "package", "task"])
def test_every_grouping_keeps_the_contract(run: Run, case: str, group_by: str) -> None:
    """The JSON of each case, compared and alone, gathered in any way, is what the schemas say."""
    for command, files in (("diff", paths(case)), ("top", paths(case)[-1:])):
        schema = json.loads((ROOT / f"leakhunt/schemas/{command}-1.json").read_text(encoding="utf-8"))
        cumulative = () if group_by in ("traceback", "task") else ("--cumulative",)
        for options in ((), cumulative):
            result = run([command, *files, "--group-by", group_by, *options, "-n", "0", "-f", "json"])
            jsonschema.Draft202012Validator(schema).validate(json.loads(result.out))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("output_format", ["table", "markdown", "csv", "github"])
def test_every_format_takes_them(run: Run, case: str, output_format: str) -> None:
    """Each format prints each case, with all details."""
    result = run(["diff", *paths(case), "--details", "-f", output_format])
    assert (result.code, result.err) == (0, "")
    assert result.out
