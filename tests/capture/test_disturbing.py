from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from agent_tools import program
from conftest import subprocess_environment

from leakhunt.capture import aside
from leakhunt.capture.bell import Bell
from leakhunt.capture.tracing import Tracing

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signals are Linux's here")


def test_a_bell_rings_again_after_a_thread_that_was_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that has looked before its starter goes on leaves a bell that rings."""

    def at_once(work: object) -> bool:
        assert callable(work)
        work()
        return True

    monkeypatch.setattr(aside, "begin", at_once)
    before = signal.getsignal(signal.SIGURG)
    looks: list[int] = []
    try:
        bell = Bell(signal.SIGURG, lambda: looks.append(1))
        assert bell.hang() == ""
        for _ in range(3):
            signal.raise_signal(signal.SIGURG)
    finally:
        signal.signal(signal.SIGURG, before)
    assert looks == [1, 1, 1]


def test_a_bell_rings_again_where_no_thread_could_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no thread left, the next signal tries again."""
    tried: list[int] = []
    monkeypatch.setattr(aside, "begin", lambda _: tried.append(1))
    before = signal.getsignal(signal.SIGURG)
    try:
        Bell(signal.SIGURG, lambda: None).hang()
        for _ in range(2):
            signal.raise_signal(signal.SIGURG)
    finally:
        signal.signal(signal.SIGURG, before)
    assert tried == [1, 1]


@pytest.mark.parametrize("hours", [-24, 24])
def test_setting_the_clock_ends_no_tracing(monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    """Tracing for a time lasts that time, whatever somebody does to the clock; its end is told by the clock as it is."""
    tracing = Tracing()
    tracing.start(1, seconds=600)
    real, forward = time.time, time.monotonic
    try:
        monkeypatch.setattr(time, "time", lambda: real() + hours * 3600)
        assert not tracing.stop_when_due()
        assert tracing.until == pytest.approx(real() + hours * 3600 + 600, abs=60)
        monkeypatch.setattr(time, "monotonic", lambda: forward() + 601)
        assert tracing.stop_when_due()
        assert tracing.until is None
    finally:
        tracing.stop()


@pytest.mark.parametrize("closed", ["2>&-", ""], ids=["closed", "moved"])
def test_nothing_is_said_into_the_program_s_files(tmp_path: Path, closed: str) -> None:
    """Where standard error is closed, or is another file by now, what has its number is not written to."""
    data = tmp_path / "data"
    code = f"""
import os
from leakhunt.capture.undisturbed import say
if {closed == ""}:
    os.close(2)
file = open({str(data)!r}, "wb", buffering=0)
assert file.fileno() == 2
file.write(b"a")
say("something")
file.write(b"b")
"""
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", code],
        env=subprocess_environment(),
        cwd=tmp_path,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0
    assert data.read_bytes() == b"ab"


def test_traces_are_dropped_where_a_pool_s_child_begins(tmp_path: Path) -> None:
    """A pool's child drops what its main process had traced; a process of which nobody says what it is keeps it."""
    code = """
agents.start(Settings(agent=True, trace=True, frames=1))
kept = [bytearray(1000) for _ in range(1000)]
for who in (Who("child", "prefork"), Who()):
    pid = os.fork()
    if pid == 0:
        agents.start(Settings(), who)
        say(agents.agent().tracing.told()["inherited"], tracemalloc.get_traced_memory()[0] < 500_000)
        os._exit(0)
    os.waitpid(pid, 0)
"""
    with program(code, tmp_path / "leakhunt") as running:
        assert running.end() == (0, "left out True\nincluded False\n", "")
