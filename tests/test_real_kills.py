from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from conftest import subprocess_environment
from oom_tools import SECONDS, Cgroup, KernelLog, RefusedError, memory_cgroup, why_not

import leakhunt
from leakhunt.model.oom import OomKill

MIB = 1 << 20
TASK = "shop.tasks.render_export"
TASK_ID = "0b8c9a52-5f0e-4f0a-9f6e-3d1c2b7a4e11"
OTHER_ID = "7d0f4c1e-2a3b-4c5d-8e9f-0a1b2c3d4e5f"

# Never more than this much: where the limit does not hold, the program ends by itself instead of eating the machine.
EAT = """
def eat():
    kept = []
    for _ in range(512):
        kept.append(b"x" * (1 << 20))
    return len(kept)
"""

PROGRAM = f"""
import sys
{EAT}
print("ready", flush=True)
sys.stdin.readline()
eat()
"""

# The worker gives itself its tasks, so that no second program has to wait for it.
PROJECT = f"""
import os

from celery import Celery
from celery.signals import worker_ready
{EAT}
app = Celery("shop", broker="filesystem://")
app.conf.update(
    broker_transport_options={{
        "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control", "polling_interval": 0.1
    }},
    worker_enable_remote_control=False,
    task_ignore_result=True,
)


@app.task(name="shop.tasks.send_receipt")
def send_receipt(number):
    return number


@app.task(name="{TASK}")
def render_export(month):
    with open("pid", "w") as file:
        file.write(str(os.getpid()))
    eat()


@worker_ready.connect
def begin(**_):
    send_receipt.apply_async((7001,), task_id="{OTHER_ID}")
    render_export.apply_async(("2026-10",), task_id="{TASK_ID}")
"""


def told(folder: Path) -> list[OomKill]:
    """Return the kills that the logs in a folder tell of."""
    result = leakhunt.oom_scan([folder], boot_time=boot_time())
    return [kill for kill in result.kills if kill.confidence == "confirmed"]


def of_machine(group: Cgroup) -> list[OomKill]:
    """Return the kills by a cgroup's limit that this machine's own logs tell of."""
    return of_group(list(leakhunt.oom_scan().kills), group)


def boot_time() -> datetime:
    """Return when the machine was started, as the kernel's stamps count."""
    return datetime.now(timezone.utc) - timedelta(seconds=time.clock_gettime(time.CLOCK_MONOTONIC))


def of_group(kills: list[OomKill], group: Cgroup) -> list[OomKill]:
    """Return the kills by one cgroup's limit: other tests may have theirs at the same time."""
    return [kill for kill in kills if kill.cgroup and (kill.cgroup.limited or "").endswith(f"/{group.name}")]


@pytest.fixture
def kernel_log() -> Iterator[KernelLog]:
    """Return the kernel's live log from here on, or skip where no process can be killed."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    log = KernelLog()
    try:
        yield log
    finally:
        log.close()


@contextmanager
def started(argv: list[str], cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a program with pipes; it is killed, and waited for, on leaving."""
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=subprocess_environment(TZ="UTC"),
    )
    # A program that says nothing is killed, so that reading from it comes to an end.
    watchdog = threading.Timer(SECONDS, process.kill)
    watchdog.start()
    try:
        with process:
            try:
                yield process
            finally:
                process.kill()
    finally:
        watchdog.cancel()
        watchdog.join()


def lines_until(process: subprocess.Popen[str], word: str) -> list[str]:
    """Return the lines of a program's output up to one that holds a word."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if word in line:
            return lines
    pytest.fail(f"the program ended without {word!r}:\n{''.join(lines)}")


def test_the_kill_of_a_real_process_is_found(kernel_log: KernelLog, tmp_path: Path) -> None:
    """A Python process that is killed for want of memory in its cgroup is found in /dev/kmsg: pid, scope, limit."""
    before = datetime.now(timezone.utc)
    with memory_cgroup(64 * MIB) as group:
        with started(group.entered(sys.executable, "-c", PROGRAM), tmp_path) as process:
            lines_until(process, "ready")
            comm = Path(f"/proc/{process.pid}/comm").read_text(encoding="utf-8").rstrip("\n")
            process.communicate("go\n", timeout=SECONDS)
            assert process.returncode == -9
        (tmp_path / "kmsg.txt").write_bytes(kernel_log.records_until(b"Killed process %d (" % process.pid))
    (kill,) = of_group(told(tmp_path), group)
    assert [one.pid for one in of_machine(group)] == [process.pid]
    assert (kill.pid, kill.comm, kill.uid) == (process.pid, comm, 0)
    assert (kill.confidence, kill.killer, kill.scope) == ("confirmed", "kernel", "memcg")
    assert kill.memory is not None
    assert (kill.memory.limit, kill.memory.version) == (group.limit, group.version)
    assert kill.rss is not None
    assert 32 * MIB < kill.rss < 96 * MIB
    assert kill.when is not None
    assert before <= kill.when <= datetime.now(timezone.utc)
    assert kill.copies == 1


@pytest.mark.skipif(importlib.util.find_spec("celery") is None, reason="celery is not installed")
def test_the_kill_of_a_real_pool_child_is_found(kernel_log: KernelLog, tmp_path: Path) -> None:
    """A Celery pool child that is killed for want of memory is found, with its cgroup, beside a master that lives on."""
    before = datetime.now(timezone.utc)
    for name in ("queue", "control"):
        (tmp_path / name).mkdir()
    (tmp_path / "shop_oom.py").write_text(PROJECT, encoding="utf-8")
    worker = [sys.executable, "-m", "celery", "-A", "shop_oom", "worker", "-c", "1", "-l", "INFO"]
    worker += ["-n", "celery@worker-1", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    with memory_cgroup(256 * MIB) as group, started(group.entered(*worker), tmp_path) as process:
        log = "".join(lines_until(process, "WorkerLostError("))  # its job number names the task
        child = int((tmp_path / "pid").read_text(encoding="utf-8"))
        (tmp_path / "kmsg.txt").write_bytes(kernel_log.records_until(b"Killed process %d (" % child))
        assert process.poll() is None
        assert process.pid in group.pids()
    (tmp_path / "worker.log").write_text(log, encoding="utf-8")
    (kill,) = of_group(told(tmp_path), group)
    assert [(one.pid, one.scope) for one in of_machine(group)] == [(child, "memcg")]
    assert (kill.pid, kill.scope, kill.confidence) == (child, "memcg", "confirmed")
    assert kill.when is not None
    assert before <= kill.when <= datetime.now(timezone.utc)
    assert kill.pid != process.pid
    assert {child, process.pid} <= {row.pid for row in kill.tasks}
    assert re.search(rf"Process 'ForkPoolWorker-1' pid:{child} exited with 'signal 9 \(SIGKILL\)'", log)
    assert f"Task {TASK}[{TASK_ID}] received" in log
    assert kill.task is not None
    assert (kill.task.name, kill.task.id) == (TASK, TASK_ID)
    assert kill.worker is not None
    assert (kill.worker.name, kill.worker.confidence) == ("ForkPoolWorker-1", "certain")
    assert f"{TASK}[{TASK_ID}] succeeded" not in log


def test_a_cgroup_is_left_as_it_was_found() -> None:
    """A test that fails in the middle leaves neither its cgroup nor a process in it behind."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    seen = []

    def fails() -> None:
        with memory_cgroup(64 * MIB) as group:
            argv = group.entered(sys.executable, "-c", PROGRAM)
            process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            seen.append((group, process))
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            assert group.pids() == [process.pid]
            raise RefusedError("enough")

    with pytest.raises(RefusedError, match="enough"):
        fails()
    ((group, process),) = seen
    assert not group.folder.exists()
    with process:
        assert process.wait(timeout=SECONDS) == -9
