from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from conftest import ROOT, Run, celery

PLAIN = ROOT / "fixtures/snapshots/pythons/cp314.bin"


def as_zstd(data: bytes) -> bytes:
    """Compress by zstd."""
    return zstandard.ZstdCompressor().compress(data)


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress), ("zst", as_zstd)],
)
@pytest.mark.parametrize("keep_suffix", [True, False])
def test_compressed_snapshots_are_read(
    run: Run, tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes], keep_suffix: bool
) -> None:
    """What gzip, bzip2, xz and zstd made is known by its content, whatever the file is called."""
    packed = tmp_path / (f"now.bin.{suffix}" if keep_suffix else "now.bin")
    packed.write_bytes(compress(PLAIN.read_bytes()))
    rows = [json.loads(run(["top", str(path), "-f", "json"]).out)["rows"] for path in (PLAIN, packed)]
    assert rows[0]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_standard_input_is_a_snapshot(run: Run, compress: Callable[[bytes], bytes]) -> None:
    """``-`` reads standard input, compressed or not, and the result is that of the file."""
    piped = run(["top", "-", "-f", "csv"], stdin=compress(PLAIN.read_bytes()))
    assert (piped.code, piped.err) == (0, "")
    assert piped.out == run(["top", str(PLAIN), "-f", "csv"]).out


def test_one_side_of_a_diff_may_be_standard_input(run: Run) -> None:
    """A diff takes one of its snapshots from standard input."""
    before, after = (f"{PLAIN.parent}/{name}" for name in ("cp314.bin", "cp314-after.bin"))
    piped = run(["diff", "-", after, "-f", "csv"], stdin=PLAIN.read_bytes())
    assert (piped.code, piped.out) == (0, run(["diff", before, after, "-f", "csv"]).out)


def refused(run: Run, *arguments: str, stdin: bytes = b"") -> str:
    """Return what is said about input that cannot be used; nothing goes to standard output."""
    result = run([*arguments], stdin=stdin)
    assert (result.code, result.out) == (2, "")
    for word in ("Traceback", "Error(", "Exception", "LeakhuntError", "Errno"):
        assert word not in result.err
    return result.err


def test_standard_input_cannot_be_read_twice(run: Run) -> None:
    """Two snapshots from standard input are refused before anything is read."""
    assert refused(run, "diff", "-", "-", stdin=PLAIN.read_bytes()) == (
        "error: standard input can be read once only\n\nhint: name a file for the others\n"
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.bin", "error: missing.bin: no such file or directory\n"),
        ("fixtures", "error: fixtures: is a directory\n\nhint: name the file inside it\n"),
        ("/dev/null", "error: /dev/null: is a device, not a file\n"),
    ],
)
@pytest.mark.parametrize("before", [[], celery("steady", "before")])
def test_a_path_without_a_snapshot_is_refused(run: Run, name: str, said: str, before: list[str]) -> None:
    """A missing file, a directory or a device is named, as the first or the second snapshot."""
    command = "diff" if before else "top"
    assert refused(run, command, *before, name) == said


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"timestamp,rss\n1,2\n", "not a tracemalloc snapshot but"),
        (b"\x80\x04cbuiltins\neval\n(S'1'\ntR.", "names builtins.eval"),
        (b"\x1f\x8b\x08\x00cut", "gzip"),
        (PLAIN.read_bytes()[:3000], "is cut after 3,000 bytes"),
    ],
    ids=["empty", "text", "hostile", "gzip", "cut"],
)
def test_what_is_no_snapshot_is_refused(run: Run, tmp_path: Path, data: bytes, words: str) -> None:
    """A file that is no whole snapshot is named with what is wrong with it."""
    path = tmp_path / "after.bin"
    path.write_bytes(data)
    said = refused(run, "diff", str(PLAIN), str(path))
    assert said.startswith(f"error: {path}: ")
    assert words in said


def test_a_cut_snapshot_is_read_when_asked(run: Run, tmp_path: Path) -> None:
    """``--allow-partial`` reads a cut dump, and every format says that it is partial."""
    whole = (ROOT / "fixtures/snapshots/pythons/cp314-after.bin").read_bytes()
    path = tmp_path / "cut.bin"
    path.write_bytes(whole[: len(whole) // 2])
    arguments = ["diff", str(PLAIN), str(path), "--allow-partial"]
    document = json.loads(run([*arguments, "-f", "json"]).out)
    assert [info["partial"] for info in document["snapshots"]] == [False, True]
    assert document["skipped"][0]["what"] == str(path)
    for output_format in ("table", "markdown", "github", "csv"):
        result = run([*arguments, "-f", output_format], env={"COLUMNS": "500"})
        assert result.code == 0
        assert "is cut" in (result.err if output_format == "csv" else result.out)


def test_one_snapshot_is_no_diff(run: Run) -> None:
    """A diff of one snapshot is refused with the command that takes one."""
    assert "for one alone: leakhunt top FILE" in refused(run, "diff", *celery("steady", "before"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["diff"], "Missing argument"),
        (["top"], "Missing argument"),
        (["top", "a", "b"], "unexpected extra argument"),
        (["nonsense"], "nonsense"),
        (["diff", "a", "b", "--nonsense"], "--nonsense"),
        (["diff", "a", "b", "-f", "xml"], "xml"),
        (["top", "a", "-f", "github"], "github"),
        (["diff", "a", "b", "--group-by", "colour"], "colour"),
        (["diff", "a", "b", "--top", "-1"], "-1"),
        (["diff", "a", "b", "--domain", "-1"], "-1"),
        (["diff", "a", "b", "--fail-over", "much"], "'much' is not a size; write a number of bytes"),
        (["diff", "a", "b", "--fail-over-total", "-5"], "'-5' is not a size"),
        (["diff", "a", "b", "--map", "/srv"], "'/srv' is not OLD=NEW"),
        (["diff", "a", "b", "--source", "/no/such/folder"], "/no/such/folder"),
        (["diff", "a", "b", "-o", "fixtures"], "fixtures"),
    ],
)
def test_wrong_usage_is_refused(run: Run, arguments: list[str], words: str) -> None:
    """What the command line cannot mean leaves with 2, the usage, and the word that is wrong."""
    said = refused(run, *arguments)
    assert words in said
    assert said.startswith("Usage: leakhunt")


def test_options_that_do_not_go_together_are_refused(run: Run) -> None:
    """A cumulative grouping by task is refused with its reason."""
    said = refused(run, "diff", *celery("steady"), "--cumulative", "--group-by", "task")
    assert said == (
        "error: --cumulative does not go with --group-by task\n"
        "\nhint: a stack or a task holds each block once anyway\n"
    )


def test_control_characters_of_a_name_are_not_obeyed(run: Run) -> None:
    """An error about a file shows the control characters of its name as escapes."""
    said = refused(run, "top", "evil\x1b]0;title\x07\n.bin")
    assert said == "error: evil\\x1b]0;title\\x07\\n.bin: no such file or directory\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_long_reading_shows_progress_to_a_terminal_alone(
    run: Run, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    """Large snapshots show a progress bar on standard error when that is a terminal, and never elsewhere."""
    monkeypatch.setattr("leakhunt.cli.loading._WORTH_A_BAR", 0)
    result = run(["diff", *celery("kept_exceptions"), "-f", "csv"], terminal=terminal)
    assert result.code == 0
    assert ("100%" in result.err) is terminal
    assert "reading" not in result.out


def test_an_interrupt_leaves_nothing_behind(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C says so in one word, leaves with 130, and touches no output file."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("leakhunt.api.snapshots.diff", interrupted)
    path = tmp_path / "result.txt"
    result = run(["diff", *celery("steady"), "-o", str(path)])
    assert (result.code, result.out, result.err.strip()) == (130, "", "interrupted")
    assert not list(tmp_path.iterdir())
