from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import APP, ROOT, Run, celery, squeezed, subprocess_environment
from rich.cells import cell_len

from leakhunt.units import format_size

DIFF = ["diff", *celery("callbacks", "before", "after"), "--source", APP]
TOP = ["top", *celery("callbacks", "after"), "--source", APP]
FORMATS = ("table", "json", "markdown", "csv", "github")
LEAKHUNT = (sys.executable, "-m", "leakhunt")


# Files


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_file_gets_what_standard_output_gets(run: Run, tmp_path: Path, output_format: str) -> None:
    """``-o`` writes the very bytes that standard output would get, and standard output nothing."""
    path = tmp_path / "result"
    written = run([*DIFF, "-f", output_format, "-o", str(path)])
    assert (written.code, written.out, written.err) == (0, "", "")
    assert path.read_text(encoding="utf-8") == run([*DIFF, "-f", output_format]).out


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_standard_output_has_names(run: Run, name: str) -> None:
    """``-`` and ``/dev/stdout`` are standard output."""
    assert run([*TOP, "-f", "csv", "-o", name]).out == run([*TOP, "-f", "csv"]).out


def test_standard_output_may_be_a_file_by_its_device(tmp_path: Path) -> None:
    """``-o /dev/stdout`` works too where the shell sent standard output to a file."""
    path = tmp_path / "out.json"
    with path.open("wb") as file:
        command = [*LEAKHUNT, *TOP, "-f", "json", "-o", "/dev/stdout"]
        subprocess.run(command, stdout=file, check=True, cwd=ROOT, env=subprocess_environment())
    assert json.loads(path.read_bytes())["schema"] == "leakhunt.top/1"


def test_a_device_is_written_in_place(run: Run) -> None:
    """A device is written to, not replaced by a file."""
    assert run([*TOP, "-o", "/dev/null"]).code == 0
    assert not Path("/dev/null").is_file()


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_the_mode_is_the_umask_s(run: Run, tmp_path: Path, mask: int) -> None:
    """A written file has the mode that the umask leaves, as if any program had made it."""
    path = tmp_path / "result.txt"
    before = os.umask(mask)
    try:
        assert run([*TOP, "-o", str(path)]).code == 0
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_link_stays_a_link(run: Run, tmp_path: Path) -> None:
    """Writing through a symbolic link replaces the file it points to, in that file's folder."""
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there/result.txt", tmp_path / "latest.txt"
    link.symlink_to(target)
    assert run([*TOP, "-o", str(link)]).code == 0
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8") == run(TOP).out
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["latest.txt", "result.txt", "there"]


@pytest.mark.parametrize("parent", ["no/such/folder", "a-file"])
def test_a_place_that_cannot_be_written_is_told(run: Run, tmp_path: Path, parent: str) -> None:
    """Where no file can be made, the error names the file, and standard output gets nothing instead."""
    (tmp_path / "a-file").write_text("kept", encoding="utf-8")
    path = tmp_path / parent / "result.json"
    result = run([*TOP, "-f", "json", "-o", str(path)])
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {path}: cannot be written: ")
    assert result.err.endswith("\n\nhint: nothing was written\n")
    assert (tmp_path / "a-file").read_text(encoding="utf-8") == "kept"


def full_disk(*_: object) -> None:
    """Fail as a write to a full disk does."""
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("step", ["fchmod", "replace"])
def test_a_failed_write_keeps_the_file_before(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """When writing fails halfway, the file that was there is whole and nothing else is left."""
    path = tmp_path / "result.txt"
    path.write_text("the result of yesterday", encoding="utf-8")
    monkeypatch.setattr(os, step, full_disk)
    result = run([*TOP, "-o", str(path)])
    assert result.code == 2
    assert result.err == (
        f"error: {path}: cannot be written: No space left on device\n\nhint: nothing was written\n"
    )
    assert path.read_text(encoding="utf-8") == "the result of yesterday"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_analysis_keeps_the_file_before(run: Run, tmp_path: Path) -> None:
    """When a snapshot cannot be read, the output file is not touched."""
    path = tmp_path / "result.txt"
    path.write_text("the result of yesterday", encoding="utf-8")
    assert run(["top", "missing.bin", "-o", str(path)]).code == 2
    assert path.read_text(encoding="utf-8") == "the result of yesterday"


# Limits


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ([], 0),
        (["--fail-over", "5468400"], 1),
        (["--fail-over", "5468401"], 0),
        (["--fail-over", "5MiB"], 1),
        (["--fail-over", "5.5 MB"], 0),
        (["--fail-over-total", "8MiB"], 1),
        (["--fail-over-total", "8.2MiB"], 0),
        (["--fail-over", "1GiB", "--fail-over-total", "1MiB"], 1),
        (["--fail-over", "5MiB", "--top", "1", "--sort", "name"], 1),
        (["--fail-over", "5MiB", "--exclude", "shop.*"], 0),
    ],
)
@pytest.mark.parametrize("output_format", ["table", "json"])
def test_a_limit_reached_leaves_with_1(run: Run, limits: list[str], code: int, output_format: str) -> None:
    """Growth at or over a limit leaves with 1 and a reason, also of a row not listed; the result is the same."""
    result = run([*DIFF, *limits, "-f", output_format])
    assert result.code == code
    assert bool(result.err) is bool(code)
    assert all(line.startswith("limit reached: ") for line in result.err.splitlines())
    assert result.out


def test_a_limit_of_nothing_is_reached_by_any_growth_alone(run: Run) -> None:
    """``--fail-over 0`` means any growth: equal snapshots do not reach it."""
    (path,) = celery("callbacks", "after")
    limits = ["--fail-over", "0", "--fail-over-total", "0"]
    assert run(["diff", path, path, *limits]).code == 0
    assert run([*DIFF, *limits]).code == 1


def test_a_row_over_the_limit_is_an_error_on_github(run: Run) -> None:
    """The annotation of a row over the limit is an error, that of any other a warning."""
    lines = run([*DIFF, "--fail-over", "1MiB", "-f", "github"]).out.splitlines()
    kinds = [line.split()[0] for line in lines if "file=" in line]
    assert kinds == ["::error"] * 2 + ["::warning"] * 8
    assert f"file={APP}/shop/tasks/shipping.py,line=11," in lines[1]


# Consoles


def test_color_is_chosen(run: Run) -> None:
    """Output that goes to no terminal has colour only when that is asked for."""
    unset = {"NO_COLOR": None}
    assert "\x1b[" not in run(TOP, env=unset).out
    assert "\x1b[" not in run([*TOP, "--color", "never"], env=unset).out
    assert "\x1b[" in run([*TOP, "--color", "always"], env=unset).out


@pytest.mark.parametrize(
    ("env", "colored"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_a_terminal_gets_color_unless_it_declines(run: Run, env: dict[str, str], colored: bool) -> None:
    """On a terminal the table has colour, unless NO_COLOR or TERM=dumb say otherwise."""
    env = {"NO_COLOR": "", "TERM": "xterm", **env}
    assert ("\x1b[" in run(TOP, env=env, terminal=True).out) is colored


@pytest.mark.parametrize(("no_color", "label"), [("", "\x1b[31m\x1b[1merror:\x1b[0m"), ("1", "error:")])
def test_an_error_has_color_on_a_terminal(run: Run, no_color: str, label: str) -> None:
    """The word that begins an error is red on a terminal, unless NO_COLOR is set."""
    result = run(["top", "missing.bin"], env={"NO_COLOR": no_color}, terminal=True)
    assert result.err == f"{label} missing.bin: no such file or directory\n"


def test_color_changes_no_word(run: Run) -> None:
    """Without its escape sequences, a coloured table is the plain one."""
    colored = run([*TOP, "--color", "always"]).out
    plain = re.sub(r"\x1b\[[\d;]*m", "", colored)
    assert [line.rstrip() for line in plain.splitlines()] == run(TOP).out.splitlines()


@pytest.mark.parametrize("command", [DIFF, TOP, [*DIFF, "-g", "traceback"], [*DIFF, "-g", "task"]])
@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_line_is_wider_than_the_console(run: Run, command: list[str], width: int) -> None:
    """At every width each line fits, and every place and number is there."""
    out = run([*command, "-n", "3"], env={"COLUMNS": str(width)}).out
    assert max(map(cell_len, out.splitlines())) <= width
    assert "…" not in out
    rows = csv.DictReader(run([*command, "-n", "3", "-f", "csv"]).out.splitlines())
    for row in rows:
        assert squeezed(row["place"]) in squeezed(out)
        assert squeezed(format_size(int(row["size"]))) in squeezed(out)


@pytest.mark.parametrize("columns", ["", "wide", "0", "-5", "3"])
def test_an_odd_number_of_columns_does_no_harm(run: Run, columns: str) -> None:
    """COLUMNS that is no sensible number is not obeyed."""
    result = run(TOP, env={"COLUMNS": columns})
    assert (result.code, result.err) == (0, "")
    assert "shop" in result.out


def test_a_pipe_gets_unbroken_lines(run: Run) -> None:
    """Without COLUMNS, what goes to a pipe is not broken into lines, so it can be searched."""
    headline = run(DIFF, env={"COLUMNS": None}).out.splitlines()[0]
    assert headline.startswith("Grew ")
    assert headline.endswith("shop.tasks.shipping.ship_order.")


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_console_without_unicode_gets_ascii(run: Run, tmp_path: Path, output_format: str) -> None:
    """Where standard output takes ASCII only, other characters show as escapes."""
    source = tmp_path / "shop/tasks"
    source.mkdir(parents=True)
    (source / "shipping.py").write_text("\n" * 10 + "label = 'Größe 漢'\n", encoding="utf-8")
    result = run([*DIFF[:3], "--source", str(tmp_path), "-f", output_format], encoding="ascii")
    assert (result.code, result.err) == (0, "")
    assert result.out.isascii()
    if output_format in ("table", "markdown"):
        assert "Gr\\xf6\\xdfe" in result.out


# Real processes


@pytest.mark.parametrize(("limits", "code"), [([], 0), (["--fail-over", "1MiB"], 1)])
@pytest.mark.parametrize("output_format", ["json", "table"])
def test_a_reader_that_leaves_is_no_error(limits: list[str], code: int, output_format: str) -> None:
    """When the reader of standard output leaves early, nothing is said, and the exit code is the usual one."""
    read, write = os.pipe()
    os.close(read)
    command = [*LEAKHUNT, *DIFF, "-n", "0", "-f", output_format, *limits]
    try:
        done = subprocess.run(
            command, stdout=write, stderr=subprocess.PIPE, check=False, cwd=ROOT, env=subprocess_environment()
        )
    finally:
        os.close(write)
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    assert b"Broken" not in done.stderr
    assert done.stderr.count(b"\n") == code


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("output_format", ["csv", "json"])
def test_a_full_disk_is_told(output_format: str) -> None:
    """When standard output cannot be written, the error says so, once, and the exit code is 2."""
    with open("/dev/full", "wb") as full:
        command = [*LEAKHUNT, *DIFF, "-n", "0", "-f", output_format]
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, check=False, cwd=ROOT, env=subprocess_environment()
        )
    assert done.stderr.decode() == "error: the output could not be written: No space left on device\n"
    assert done.returncode == 2


def test_the_module_is_the_program() -> None:
    """``python -m leakhunt`` does what the program does."""
    done = subprocess.run(
        [*LEAKHUNT, "--version"], capture_output=True, check=True, cwd=ROOT, env=subprocess_environment()
    )
    assert done.stdout.startswith(b"leakhunt ")
