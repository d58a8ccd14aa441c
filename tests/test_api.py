from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import APP, ROOT, Run, celery, line, pairs, snapshot_of

import leakhunt
from leakhunt.present.snapshots_document import document


def test_every_public_name_is_there() -> None:
    """Each name of ``__all__`` can be had from the package, and is documented unless it is a constant."""
    for name in leakhunt.__all__:
        value = getattr(leakhunt, name)
        assert isinstance(value, str) or inspect.getdoc(value), name


def test_another_name_is_refused_as_python_does() -> None:
    """A name the package does not have is an AttributeError that names it."""
    with pytest.raises(AttributeError, match="module 'leakhunt' has no attribute 'nonsense'"):
        _ = leakhunt.nonsense


def test_the_package_is_typed() -> None:
    """The marker that makes type checkers read the package's annotations is in it."""
    assert (ROOT / "leakhunt/py.typed").exists()


@pytest.fixture
def in_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test in the root of the repository."""
    monkeypatch.chdir(ROOT)


@pytest.mark.usefixtures("in_root")
def test_a_diff_takes_what_load_gives() -> None:
    """Loading and comparing two files gives the leaking line, typed, with its task."""
    result = leakhunt.diff([leakhunt.load(path) for path in celery("callbacks")], sources=[APP])
    first = result.rows[0]
    assert first.traceback == (leakhunt.Frame("/srv/app/shop/tasks/shipping.py", 11),)
    assert first.task is not None
    assert first.task.task.name == "shop.tasks.shipping.ship_order"
    assert result.omitted == 0
    assert result.totals.size_diff == result.snapshots[-1].size - result.snapshots[0].size


@pytest.mark.usefixtures("in_root")
@pytest.mark.parametrize("group_by", ["lineno", "task", "traceback"])
def test_the_api_answers_as_the_command_does(run: Run, group_by: str) -> None:
    """The JSON of the command is the document of the API's result."""
    paths = celery("callbacks", "before", "after")
    result = leakhunt.diff([leakhunt.load(path) for path in paths], group_by=group_by, limit=10)
    printed = json.loads(run(["diff", *paths, "--group-by", group_by, "-f", "json"]).out)
    assert json.loads(json.dumps(document(result))) == printed


def test_load_takes_a_path_object() -> None:
    """A path may be any path-like object."""
    assert leakhunt.load(ROOT / "fixtures/snapshots/pythons/cp314.bin").blocks > 0


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """The API says nothing on standard output or standard error."""
    path = ROOT / "fixtures/snapshots/pythons/cp314.bin"
    leakhunt.top(leakhunt.load(path), sources=[Path(__file__).parent])
    leakhunt.diff([leakhunt.load(path)] * 2, sources=[Path(__file__).parent])
    assert capfd.readouterr() == ("", "")


def test_arguments_are_not_changed() -> None:
    """Snapshots given to the API are as they were, also when paths are mapped."""
    before, after = pairs([10, 20])
    leakhunt.diff([before, after], maps=[("/srv/app", "/x")])
    assert [before, after] == pairs([10, 20])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"group_by": "colour"}, "cannot group by 'colour'"),
        ({"sort": "colour"}, "cannot sort by 'colour'"),
        ({"group_by": "task", "cumulative": True}, "does not go with"),
        ({"sources": ["/no/such/folder"]}, "/no/such/folder: is no folder"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], words: str) -> None:
    """Wrong options are a LeakhuntError that says what is wrong and has a hint."""
    with pytest.raises(leakhunt.LeakhuntError, match=words) as caught:
        leakhunt.diff(pairs([1, 2]), **options)  # type: ignore[arg-type]
    assert caught.value.hint


@pytest.mark.parametrize("snapshots", [[], pairs([1])])
def test_a_diff_needs_two(snapshots: list[leakhunt.Snapshot]) -> None:
    """One snapshot is no diff."""
    with pytest.raises(leakhunt.LeakhuntError, match="two snapshots or more"):
        leakhunt.diff(snapshots)


def test_a_missing_file_is_told() -> None:
    """A file that is not there is a LeakhuntError that names it."""
    with pytest.raises(leakhunt.LeakhuntError, match=r"^/no/such/file\.bin: no such file or directory$"):
        leakhunt.load("/no/such/file.bin")


def test_filters_of_the_api_are_the_command_s() -> None:
    """Default excludes can be replaced and all frames be looked at."""
    snapshot = snapshot_of(line("/a.py", 1, 10), line("<unknown>", 0, 5))
    assert leakhunt.top(snapshot).hidden.size == 5
    assert leakhunt.top(snapshot, default_excludes=()).hidden.size == 0
    assert leakhunt.top(snapshot, default_excludes=["/a.py"]).hidden.size == 10
    assert leakhunt.top(snapshot, include=["/a.py"], default_excludes=()).hidden.size == 5


def test_a_snapshot_of_this_very_process_is_read(tmp_path: Path) -> None:
    """A dump that a fresh interpreter takes of itself is read, and sums to what it held."""
    path = tmp_path / "now.bin"
    code = (
        "import sys, tracemalloc\n"
        "tracemalloc.start(5)\n"
        "kept = [bytearray(1000) for _ in range(100)]\n"
        "snapshot = tracemalloc.take_snapshot()\n"
        "snapshot.dump(sys.argv[1])\n"
        "print(sum(trace.size for trace in snapshot.traces), len(snapshot.traces))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=True, text=True)
    snapshot = leakhunt.load(path)
    assert [snapshot.size, snapshot.blocks] == list(map(int, done.stdout.split()))
    assert leakhunt.top(snapshot).rows[0].count >= 200
