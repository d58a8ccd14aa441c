from __future__ import annotations

import itertools
import json

import jsonschema
import pytest
from conftest import APP, ROOT, Run, celery, document, schema

GROUPINGS = ("lineno", "filename", "traceback", "module", "package", "task")
PYTHONS = "fixtures/snapshots/pythons"

TWO = tuple(celery("callbacks", "before", "after"))
INPUTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "diff": (TWO, tuple(celery("callbacks"))),
    "top": ((celery("callbacks", "later")[0],), (f"{PYTHONS}/cp36.bin",)),
}
CHOICES: tuple[tuple[str, ...], ...] = (
    (),
    ("--source", APP),
    ("-n", "0", "--no-default-excludes"),
    ("-n", "1", "--include", "shop.*", "--exclude", "*/stock.py:16", "--all-frames"),
    ("--domain", "0", "--sort", "name"),
    ("--domain", "7", "--include", "nothing.at.all"),
    ("--map", "/srv/app=/srv/releases/42", "--sort", "count"),
)


@pytest.mark.parametrize("command", ["diff", "top"])
def test_a_schema_is_one_itself(command: str) -> None:
    """Each schema is a valid JSON Schema of 2020-12, and forbids keys it does not describe."""
    contract = schema(command)
    jsonschema.Draft202012Validator.check_schema(contract)
    objects = [contract, *contract["$defs"].values(), contract["properties"]["filters"]]
    assert all(part["additionalProperties"] is False for part in objects)


@pytest.mark.parametrize("command", ["diff", "top"])
def test_a_schema_describes_every_key(command: str) -> None:
    """Every property of a schema has a description or refers to a definition."""
    contract = schema(command)
    objects = [contract, *contract["$defs"].values()]
    for part, (name, value) in itertools.chain.from_iterable(
        zip(itertools.repeat(part), part["properties"].items()) for part in objects
    ):
        assert "description" in value, f"{name} of {part.get('title', part)}"


@pytest.mark.parametrize("group_by", GROUPINGS)
@pytest.mark.parametrize("command", ["diff", "top"])
def test_every_output_keeps_the_contract(run: Run, command: str, group_by: str) -> None:
    """The JSON of every grouping, under many options, is what the schema says."""
    for paths, chosen in itertools.product(INPUTS[command], CHOICES):
        parsed = document(run, command, *paths, "--group-by", group_by, *chosen)
        assert parsed["group_by"] == group_by
        assert parsed["listed"] == len(parsed["rows"])
        named = group_by in ("module", "package", "task")
        assert all(("key" in row) is named for row in parsed["rows"])
        assert [row["rank"] for row in parsed["rows"]] == list(range(1, parsed["listed"] + 1))


@pytest.mark.parametrize("group_by", ["lineno", "filename", "module", "package"])
@pytest.mark.parametrize("command", ["diff", "top"])
def test_cumulative_output_keeps_the_contract(run: Run, command: str, group_by: str) -> None:
    """Cumulative results keep the schema, and no share passes 1."""
    for paths in INPUTS[command]:
        parsed = document(run, command, *paths, "--group-by", group_by, "--cumulative", "-n", "0")
        assert parsed["cumulative"]
        assert all(row["share"] is None or row["share"] <= 1 for row in parsed["rows"])


@pytest.mark.parametrize(
    ("command", "absent"), [("diff", set()), ("top", {"size_diff", "count_diff", "trend"})]
)
def test_top_has_no_differences(run: Run, command: str, absent: set[str]) -> None:
    """Keys of differences are those of a diff alone."""
    parsed = document(run, command, *INPUTS[command][0])
    keys = {*parsed["rows"][0], *parsed["totals"], *parsed["hidden"]}
    assert {"size_diff", "count_diff", "trend"} - keys == absent


def test_series_have_one_entry_for_each_snapshot(run: Run) -> None:
    """A row's series is as long as the list of snapshots, and its ends make the difference."""
    for paths in INPUTS["diff"]:
        for row in document(run, "diff", *paths, "-n", "0")["rows"]:
            assert len(row["series"]) == len(paths)
            assert row["series"][-1]["size"] - row["series"][0]["size"] == row["size_diff"]
            assert row["series"][-1]["count"] - row["series"][0]["count"] == row["count_diff"]
            assert (row["trend"] is None) == (len(paths) == 2)


@pytest.mark.parametrize(
    "version", ["cp36", "cp37", "cp38", "cp39", "cp310", "cp311", "cp312", "cp313", "cp314"]
)
def test_every_python_keeps_the_contract(run: Run, version: str) -> None:
    """A diff of two dumps of each CPython is valid, and counts what that Python counted."""
    known = json.loads((ROOT / PYTHONS / "expected.json").read_text(encoding="utf-8"))
    names = [f"{version}.bin", f"{version}-after.bin"]
    parsed = document(run, "diff", *(f"{PYTHONS}/{name}" for name in names))
    told = [(info["blocks"], info["size"]) for info in parsed["snapshots"]]
    assert told == [(known[name]["count"], known[name]["size"]) for name in names]


def test_another_schema_is_refused(run: Run) -> None:
    """The schema of a diff refuses the JSON of a top, so the schemas do hold something."""
    parsed = document(run, "top", *INPUTS["top"][0])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema("diff")).validate(parsed)
