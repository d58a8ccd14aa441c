from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Run, subprocess_environment
from live_tools import Child

from leakhunt.capture.folder import Folder
from leakhunt.control.launch import Start

SHOW = """
import json, os, signal, sys
own = {"LEAKHUNT_SAID", "LEAKHUNT_RUN"}
ours = {name: value for name, value in os.environ.items() if name.startswith("LEAKHUNT_") and name not in own}
ignored = open("/proc/self/status").read().partition("SigIgn:")[2].split()[0] if sys.platform == "linux" else "0"
print(json.dumps([sys.argv[1:], ours, os.environ["PYTHONPATH"], ignored]))
sys.exit(7)
"""


def started(folder: Path, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run leakhunt for real in a folder, with a program that shows what it was given."""
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "leakhunt",
            "run",
            *options,
            "--",
            sys.executable,
            "-c",
            SHOW,
            "a",
            "--trace",
            "b c",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=folder,
        env=subprocess_environment(XDG_STATE_HOME=str(folder), **environ),
    )


def test_the_program_takes_leakhunt_s_place(tmp_path: Path) -> None:
    """It gets its own words, the bootstrap before the PYTHONPATH that was there, and its exit code is ours."""
    done = started(tmp_path)
    words, variables, path, _ = json.loads(done.stdout)
    assert done.returncode == 7
    assert words == ["a", "--trace", "b c"]
    assert variables == {"LEAKHUNT_AGENT": "1", "LEAKHUNT_RECORD": "1"}
    first, *others = path.split(":")
    assert (first.endswith("/leakhunt/capture/bootstrap"), others) == (True, [str(ROOT)])


def test_one_line_says_what_is_on(tmp_path: Path) -> None:
    """What is on, and how a snapshot is taken, is one line on standard error."""
    line = (
        "leakhunt: agent on, flight recorder on; from another shell: leakhunt trace PID on, leakhunt snap PID"
    )
    assert [
        text for text in started(tmp_path).stderr.splitlines() if text.startswith("leakhunt: agent on")
    ] == [line]


def test_options_are_variables(tmp_path: Path) -> None:
    """Every option arrives as a variable, in place of one that was there."""
    options = "--trace --frames 12 --no-record --every 100 --interval 30m --at-rss 80% --each-growth 256MiB --at-exit"
    more = "--keep 3 --budget 2GiB --dir state --signal WINCH --no-retainers --trim --force"
    done = started(tmp_path, *options.split(), *more.split(), LEAKHUNT_FRAMES="3", LEAKHUNT_RECORD="1")
    assert json.loads(done.stdout)[1] == {
        "LEAKHUNT_AGENT": "1",
        "LEAKHUNT_TRACE": "1",
        "LEAKHUNT_FRAMES": "12",
        "LEAKHUNT_EVERY": "100",
        "LEAKHUNT_INTERVAL": "1800.0",
        "LEAKHUNT_AT_RSS": "80%",
        "LEAKHUNT_EACH_GROWTH": str(256 << 20),
        "LEAKHUNT_AT_EXIT": "1",
        "LEAKHUNT_KEEP": "3",
        "LEAKHUNT_BUDGET": str(2 << 30),
        "LEAKHUNT_DIR": str(tmp_path / "state"),
        "LEAKHUNT_SIGNAL": "WINCH",
        "LEAKHUNT_RETAINERS": "0",
        "LEAKHUNT_TRIM": "1",
        "LEAKHUNT_FORCE": "1",
    }


def test_variables_stay_where_no_option_says_otherwise(tmp_path: Path) -> None:
    """LEAKHUNT_ variables that were set are kept, the recorder's among them."""
    done = started(tmp_path, "--every", "5", LEAKHUNT_FRAMES="3", LEAKHUNT_RECORD="0", LEAKHUNT_KEEP="2")
    assert json.loads(done.stdout)[1] == {
        "LEAKHUNT_AGENT": "1",
        "LEAKHUNT_FRAMES": "3",
        "LEAKHUNT_EVERY": "5",
        "LEAKHUNT_KEEP": "2",
    }


@pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc are Linux's here")
def test_a_variable_that_means_nothing_is_told(tmp_path: Path) -> None:
    """A name that looks like a setting and is none is told, with the one that may be meant; the program runs."""
    done = started(tmp_path, LEAKHUNT_ATRSS="80%")
    assert done.returncode == 7
    assert "warning: LEAKHUNT_ATRSS means nothing to leakhunt; LEAKHUNT_AT_RSS does\n" in done.stderr


def test_a_folder_that_is_no_good_is_told_before_the_program_starts(run: Run, tmp_path: Path) -> None:
    """Where others can write, and have put a link in the place of the user's own folder, nothing is begun."""
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / f"leakhunt-{os.geteuid()}").symlink_to(tmp_path)
    result = run(["run", "--dir", str(folder), "--", sys.executable, "-c", "print('started')"])
    assert (result.code, result.out) == (2, "")
    assert f"leakhunt-{os.geteuid()}: a link or no folder; not followed" in result.err


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC])
def test_the_first_line_is_true_where_nothing_can_be_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Where the folder takes no file, the program starts, and the one line says so instead of what is on."""

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Folder, "write", refuse)
    monkeypatch.setattr(Start, "replace_this_process", lambda _: None)
    result = run(["run", "--dir", str(tmp_path / "state"), "--", sys.executable, "x.py"])
    remedy = "make room there, or choose" if code == errno.ENOSPC else "choose"
    assert result.err == (
        f"leakhunt: no agent: nothing can be written in {tmp_path}/state: {os.strerror(code)}; {remedy} another folder "
        "with --dir or LEAKHUNT_DIR\n"
    )


def test_a_read_only_file_system_keeps_no_program_from_starting(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the folder cannot even be made for that reason, the line says so, and the program starts."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "mkdir", refuse)
    monkeypatch.setattr(Start, "replace_this_process", lambda _: None)
    result = run(["run", "--dir", str(tmp_path / "state"), "--", sys.executable, "x.py"])
    assert result.code == 0
    assert result.err.startswith(f"leakhunt: no agent: nothing can be written in {tmp_path}/state: Read-only")


def test_what_is_no_python_is_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a program that Python does not run, the line says where the agent will be."""
    monkeypatch.setattr(Start, "replace_this_process", lambda _: None)
    result = run(["run", "--dir", str(tmp_path / "state"), "--", "ls", "x"])
    assert result.err.startswith(
        "leakhunt: ls is no Python; in each Python that it starts or embeds: agent on, flight recorder on; "
    )


@pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc are Linux's here")
def test_a_folder_for_everybody_is_used(run: Run, tmp_path: Path) -> None:
    """In a volume that all may write to, the program has a folder of its own, where it is found again."""
    shared = tmp_path / "volume"
    shared.mkdir()
    shared.chmod(0o777)
    growing = str(ROOT / "tests" / "growing.py")
    words = [sys.executable, "-m", "leakhunt", "run", "--trace", "--", sys.executable, growing]
    with Child(words, LEAKHUNT_DIR=str(shared)) as child:
        result = run(["snap", str(child.pid), "--light"])
    assert result.code == 0, result.err
    assert Path(result.out.strip()).parent == shared / f"leakhunt-{os.geteuid()}" / "snapshots"


def test_a_program_is_hunted_from_outside(run: Run, tmp_path: Path) -> None:
    """A program that was started under leakhunt is traced, asked, and hunted; the line that grows is found."""
    words = [
        sys.executable,
        "-m",
        "leakhunt",
        "run",
        "--",
        sys.executable,
        str(ROOT / "tests" / "growing.py"),
    ]
    with Child(words, LEAKHUNT_DIR=str(tmp_path)) as child:
        pid = str(child.pid)
        plain = run(["snap", pid])
        assert plain.code == 0, plain.err
        assert f"{pid}: nothing is traced in it" in plain.err
        result = run(
            ["hunt", pid, "--warm-up", "50ms", "--for", "500ms", "-f", "json", "--source", str(tmp_path)]
        )
        assert result.code == 0, result.err
        first = json.loads(result.out)["rows"][0]
        assert "growing.py" in json.dumps(first)
        assert first["size_diff"] > 0
        assert run(["trace", pid, "status"]).out.startswith(f"{pid}: not tracing")
        paths = result.err.splitlines()[-1].split()[-2:]
        assert all(Path(path).parent == tmp_path / "snapshots" for path in paths)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_the_program_inherits_no_ignored_signal() -> None:
    """SIGPIPE and SIGXFSZ, which Python ignores for itself, are as they would be without leakhunt."""
    plain = subprocess.run(
        ["/bin/sh", "-c", "grep SigIgn /proc/self/status"], capture_output=True, text=True, check=True
    )
    under = subprocess.run(
        [sys.executable, "-m", "leakhunt", "run", "sh", "-c", "grep SigIgn /proc/self/status"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=subprocess_environment(),
    )
    ours, theirs = (int(done.stdout.split()[1], 16) & 0x7FFF_FFFF for done in (under, plain))
    assert ours == theirs  # 32 and 33 are the C library's own


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["python3", "-I", "x.py"], "error: this program cannot be reached: python -I ignores PYTHONPATH"),
        (["no-such-thing"], "error: no-such-thing: no such command"),
        ([], "Missing argument"),
        (["--at-rss", "lots", "--", "true"], "'lots' is not a size"),
        (["--at-rss", "180%", "--", "true"], "'180%' is not a level of memory"),
        (["--signal", "USR1", "--", "true"], "SIGUSR1 is not free"),
        (["--no-such-option", "--", "true"], "No such option"),
    ],
)
def test_what_cannot_be_started_is_told(run: Run, words: list[str], complaint: str) -> None:
    """What cannot be reached, is not there, or is not understood, is refused with exit code 2."""
    result = run(["run", *words])
    assert (result.code, result.out) == (2, "")
    assert complaint in result.err


def test_a_variable_that_is_wrong_is_told(run: Run) -> None:
    """A LEAKHUNT_ variable that cannot be understood stops the start, and is named."""
    result = run(["run", "true"], env={"LEAKHUNT_EVERY": "often"})
    assert (result.code, result.out) == (2, "")
    assert "LEAKHUNT_EVERY='often' is not understood" in result.err
