from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from live_tools import Child, bystander, stand_in

from leakhunt.capture.settings import Settings
from leakhunt.control import attach as module
from leakhunt.control.attach import attach, can_attach
from leakhunt.control.interpreters import choose, version_of
from leakhunt.control.process import read_process
from leakhunt.control.rights import refusal
from leakhunt.errors import LeakhuntError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="attach is Linux's")
WAITING = "print('ready', flush=True); input()"


def test_a_process_s_version_is_known_from_its_files() -> None:
    """The version is read from what a process has mapped, without asking anybody."""
    with bystander() as pid:
        assert version_of(pid) == sys.version_info[:2]
    with Child(["sh", "-c", "echo ready; read line"]) as shell:
        assert version_of(shell.pid) is None
        with pytest.raises(LeakhuntError, match=f"process {shell.pid} shows no sign of CPython"):
            attach(shell.pid, Settings())
    assert version_of(pid) is None


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="this Python can be reached")
def test_an_older_python_is_refused_with_what_to_do() -> None:
    """Below 3.14 the version is named, and what can be done instead."""
    with bystander() as pid:
        assert not can_attach(pid)
        with pytest.raises(LeakhuntError, match=r"runs Python 3\.\d+; .* 3\.14 and later only") as caught:
            attach(pid, Settings())
    assert "leakhunt run" in caught.value.hint
    assert "leakhunt.celery.install(app)" in caught.value.hint


def test_an_agent_that_is_there_suffices(tmp_path: Path) -> None:
    """Attaching twice brings no second agent."""
    with stand_in(tmp_path) as child:
        assert attach(child.pid, Settings()).pid == child.pid
        assert not can_attach(child.pid)


@pytest.mark.parametrize(
    ("options", "variables"),
    [
        (["-X", "disable-remote-debug"], {}),
        (["-Xdisable-remote-debug"], {}),
        ([], {"PYTHON_DISABLE_REMOTE_DEBUG": "1"}),
    ],
)
def test_a_process_that_forbids_it_is_not_touched(
    monkeypatch: pytest.MonkeyPatch, options: list[str], variables: dict[str, str]
) -> None:
    """A process that was started with the switch against it is told as such, before anything is tried."""
    monkeypatch.setattr(module, "version_of", lambda _: (3, 14))
    child = Child([sys.executable, *options, "-c", WAITING], **variables)
    with child, pytest.raises(LeakhuntError, match="PYTHON_DISABLE_REMOTE_DEBUG or -X disable-remote-debug"):
        attach(child.pid, Settings())


def test_a_python_of_that_version_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the target's own file is no Python and none of its version is here, --python is asked for."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with Child(["/bin/sh", "-c", "echo ready; read line"]) as child:
        process = read_process(child.pid)
        with pytest.raises(LeakhuntError, match=r"there is no python3\.99 here") as caught:
            choose(process, (3, 99), "")
        assert "--python /path/to/python3.99" in caught.value.hint
        assert choose(process, (3, 99), "/opt/python").words == ("/opt/python",)
        mine = tmp_path / "python3.99"
        mine.touch(mode=0o755)
        assert choose(process, (3, 99), "").words == (str(mine),)
    with bystander() as pid:
        assert choose(read_process(pid), (3, 99), "").words == (f"/proc/{pid}/exe",)


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        (
            "RuntimeError: Remote debugging is not enabled in the remote process",
            "remote debugging is switched off in it",
            "start it without PYTHON_DISABLE_REMOTE_DEBUG",
        ),
        ("RuntimeError: Remote debugging is not enabled", "/p cannot reach into processes", "--python PATH"),
        (
            "RuntimeError: Remote debugging support has not been compiled in",
            "/p cannot reach into processes: Remote debugging support has not been compiled in",
            "--python PATH",
        ),
        (
            "RuntimeError: Can't send commands from a Python 3.14 process to a Python 3.13 process",
            "of different versions: Can't send commands from a Python 3.14",
            "--python PATH",
        ),
        (
            "RuntimeError: PyRuntime address lookup failed",
            "cannot be reached by /p: PyRuntime",
            "leakhunt run",
        ),
        ("", "no reason given", "leakhunt run"),
    ],
)
def test_the_interpreter_s_word_is_translated(said: str, message: str, hint: str) -> None:
    """What CPython says is told in words that name the switch to turn."""
    error = refusal(read_process(os.getpid()), "/p", said)
    assert message in error.message
    assert hint in error.hint
    assert "RuntimeError" not in error.message


@pytest.mark.parametrize(
    ("rights", "message", "hint"),
    [
        ((0, False, 0), "this container lacks the capability SYS_PTRACE", "--cap-add SYS_PTRACE"),
        ((0, True, 1), "a security module or another user namespace", "own container"),
        ((1000, False, 1), "ptrace_scope is 1, so only a parent", "sudo sysctl kernel.yama.ptrace_scope=0"),
        ((1000, False, 2), "ptrace_scope is 2, so only root", "run this as root"),
        ((1000, False, 3), "ptrace_scope is 3, so nobody", "leakhunt run"),
        ((1000, False, 0), "it has more rights than this one", "run this as root"),
    ],
)
def test_the_missing_right_is_named(
    monkeypatch: pytest.MonkeyPatch, rights: tuple[int, bool, int], message: str, hint: str
) -> None:
    """Of a refusal by the kernel the likeliest reason is told, with its remedy."""
    uid, capable, scope = rights
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr("leakhunt.control.rights._yama", lambda: scope)
    monkeypatch.setattr("leakhunt.control.rights._may_trace", lambda: capable)
    error = refusal(read_process(os.getpid()), "/p", "PermissionError: [Errno 1] Operation not permitted")
    assert message in error.message
    assert hint in error.hint


def test_a_folder_named_for_python_is_no_python(tmp_path: Path) -> None:
    """A program that lies among Python's packages does not run Python."""
    folder = tmp_path / "lib" / "python3.12" / "site-packages"
    folder.mkdir(parents=True)
    program = folder / "sleeper"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    with subprocess.Popen([str(program), "60"]) as process:
        try:
            assert version_of(process.pid) is None
        finally:
            process.kill()
