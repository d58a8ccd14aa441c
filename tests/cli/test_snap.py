from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import sys
import termios
from pathlib import Path

import pytest
from conftest import Run  # noqa: TC002 - as in every test
from live_tools import Child, bystander, let_go, stand_in

from leakhunt.cli.live import Progress
from leakhunt.control.ask import Stage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc are Linux's here")


def on(run: Run, *pids: int) -> None:
    """Switch tracing on."""
    assert run(["trace", *map(str, pids), "on"]).code == 0


def test_paths_stand_alone_on_standard_output(run: Run, tmp_path: Path) -> None:
    """Each path is a line of its own on standard output, and everything else is on standard error."""
    with stand_in(tmp_path / "a") as one, stand_in(tmp_path / "b", node="celery@x", name="W-2") as two:
        on(run, one.pid, two.pid)
        result = run(["snap", str(one.pid), str(two.pid)])
        assert result.code == 0
        paths = result.out.splitlines()
        assert [Path(path).parent.parent.name for path in paths] == ["a", "b"]
        assert all(os.path.isfile(path) for path in paths)
        assert f"{one.pid}: stood still for 4 ms, 12 traced blocks\n" in result.err
        assert f"{two.pid} (celery@x W-2): left out: the number of open files\n" in result.err
        quiet = run(["snap", "-q", str(one.pid)])
        assert (quiet.code, quiet.err, len(quiet.out.splitlines())) == (0, "", 1)


def test_one_failure_does_not_stop_the_others(run: Run, tmp_path: Path) -> None:
    """What fails is told with its hint; the exit code is 0 if one snapshot was taken, and 2 if none was."""
    with stand_in(tmp_path / "a") as good, stand_in(tmp_path / "b", "refuse") as bad, bystander() as none:
        on(run, good.pid)
        result = run(["snap", str(none), str(bad.pid), str(good.pid), str(good.pid)])
        assert (result.code, len(result.out.splitlines())) == (0, 1)
        assert f"warning: process {none} has no leakhunt agent" in result.err
        assert (
            f"warning: {bad.pid}: 12 MiB are free, 40 MiB needed\nhint: wait, or use --force\n" in result.err
        )
        result = run(["snap", str(none), str(bad.pid)])
        assert (result.code, result.out) == (2, "")
        assert (
            f"error: {bad.pid}: 12 MiB are free, 40 MiB needed\n\nhint: wait, or use --force\n" in result.err
        )


def test_untraced_is_told_with_the_remedy(run: Run, tmp_path: Path) -> None:
    """The agent's own reason and hint arrive as an error."""
    with stand_in(tmp_path) as child:
        result = run(["snap", str(child.pid)])
        assert (result.code, result.out) == (2, "")
        assert result.err == f"error: {child.pid}: it does not trace\n\nhint: trace it first\n"


@pytest.mark.parametrize("words", [[], ["1", "--celery"], ["--all", "--celery", "x"], ["--all", "1"]])
def test_processes_are_named_in_one_way(run: Run, words: list[str]) -> None:
    """Numbers, --celery and --all exclude each other, and one of them is needed."""
    result = run(["snap", *words])
    assert (result.code, result.out) == (2, "")
    assert "name processes in one way" in result.err


def test_a_node_is_named_by_a_glob(run: Run, tmp_path: Path) -> None:
    """--celery takes the pool children of the nodes that match, and says if there is none."""
    about = {"role": "child", "pool": "prefork", "node": "glob-test@x"}
    with stand_in(tmp_path / "a", **about) as one, stand_in(tmp_path / "b", **about) as two:
        on(run, one.pid, two.pid)
        for node in ("glob-test", "glob-*@x"):
            result = run(["snap", "--celery", node])
            assert (result.code, len(result.out.splitlines())) == (0, 2)
    result = run(["snap", "--celery", "glob-test"])
    assert (result.code, result.out) == (2, "")
    assert "no Celery worker with an agent whose node matches 'glob-test' runs here" in result.err
    assert "leakhunt run -- celery" in result.err


@pytest.mark.parametrize("word", ["abc", "0", "-1", "4242.5", "٤٢"])
def test_what_is_no_number_is_told(run: Run, word: str) -> None:
    """A word in the place of a process's number is refused as what it is not."""
    result = run(["snap", "--", word])
    assert (result.code, result.out) == (2, "")
    assert f"'{word}' is not a PID: write the number that ps shows" in result.err


def test_the_end_of_the_process_is_said_at_once(run: Run, tmp_path: Path) -> None:
    """That the process ended while its snapshot was written is said beside, and the path is printed all the same."""
    with stand_in(tmp_path, "orphan") as child:
        on(run, child.pid)
        os.mkfifo(tmp_path / "go")

        class Heard(Progress):
            def waiting(self, passed: float, stage: Stage) -> None:
                super().waiting(passed, stage)
                if stage is Stage.OUTLIVED:
                    let_go(tmp_path / "go")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("leakhunt.cli.live.Progress", Heard)
            result = run(["snap", str(child.pid)])
    assert (result.code, len(result.out.splitlines())) == (0, 1)
    assert (
        f"{child.pid}: it has ended; the fork that writes its snapshot lives on, and is waited for\n"
        in result.err
    )


def test_a_worker_that_can_write_nothing_is_told(run: Run, tmp_path: Path) -> None:
    """A worker that was started under leakhunt, and has no folder to write in, is named when no agent is found."""
    (tmp_path / "link").symlink_to(tmp_path)
    words = [sys.executable, "-c", "print('ready', flush=True); input()", "celery", "worker"]
    with Child(words, LEAKHUNT_DIR=str(tmp_path / "link")) as child:
        told = f"process {child.pid} was started under leakhunt, and its agent can write nothing: {tmp_path}/link is a link"
        result = run(["snap", "--celery", "no-such-node"])
        assert (result.code, result.out) == (2, "")
        assert f"warning: {told} or no folder\nhint: start it with LEAKHUNT_DIR set to a folder" in result.err
        assert f"error: {told}" in run(["snap", str(child.pid)]).err


def test_names_from_a_registration_are_made_harmless(run: Run, tmp_path: Path) -> None:
    """A node's name cannot command the terminal."""
    with stand_in(tmp_path, "refuse", node="\x1b[2J\r\nworker") as child:
        result = run(["snap", str(child.pid)])
        assert "\x1b" not in result.err
        assert "\\x1b[2J\\r\\nworker" in result.err


def test_before_and_after(run: Run, tmp_path: Path) -> None:
    """--before-after prints what grew between two snapshots, by the options of diff; paths are told beside."""
    with stand_in(tmp_path) as child:
        on(run, child.pid)
        result = run(
            ["snap", str(child.pid), "--before-after", "100ms", "-f", "json", "--source", str(tmp_path)]
        )
        assert result.code == 0
        document = json.loads(result.out)
        assert document["schema"].startswith("leakhunt.diff/")
        assert len(document["snapshots"]) == 2
        assert result.err.splitlines()[-1].count(f"{tmp_path}/snapshots/") == 2


def test_before_and_after_take_one_process(run: Run, tmp_path: Path) -> None:
    """Two processes at once have no one difference."""
    with stand_in(tmp_path / "a") as one, stand_in(tmp_path / "b") as two:
        result = run(["snap", str(one.pid), str(two.pid), "--before-after", "1s"])
        assert (result.code, result.out) == (2, "")
        assert "--before-after takes one process" in result.err


def test_progress_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a narrow terminal the name is cut, so that the line never breaks and what happens is seen."""
    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    with open(terminal, "w", encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stderr", file)
        with Progress("4242 (celery@web-1.example.org ForkPoolWorker-1)") as progress:
            progress.phase("at work", 3.0, 300.0)
        file.flush()
        shown = os.read(reader, 4096).decode()
    os.close(reader)
    lines = shown.split("\r")
    assert lines[1].startswith("\\ 4242 (celery@")
    assert lines[1].endswith(": at work, 3 s of 5 min")
    assert max(map(len, lines)) < 40


def test_progress_shows_on_a_terminal_only(run: Run, tmp_path: Path) -> None:
    """A process that does not answer is waited for with a line that is gone at the end; in a pipe nothing shows."""
    with stand_in(tmp_path, "ignore") as child:
        shown = run(["snap", str(child.pid), "--timeout", "700ms"], terminal=True)
        hidden = run(["snap", str(child.pid), "--timeout", "700ms"])
    assert "waiting for its answer" in shown.err
    assert shown.err.rpartition("\r")[2].startswith("error: ") or "\r" in shown.err
    assert "waiting" not in hidden.err
    assert (shown.code, hidden.code) == (2, 2)
