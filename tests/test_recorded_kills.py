from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
from conftest import subprocess_environment
from oom_tools import SECONDS, KernelLog, memory_cgroup, why_not

import leakhunt

MIB = 1 << 20
TASK, TASK_ID = "shop.tasks.render_export", "0b8c9a52-5f0e-4f0a-9f6e-3d1c2b7a4e11"

# A pool child as it is: forked from a process that lives on, with the recorder around what it runs. It never takes more
# than 512 MiB: where the limit does not hold, it ends by itself instead of eating the machine.
PROGRAM = f"""
import os, sys
from leakhunt.capture.record.recorder import Recorder

pid = os.fork()
if pid:
    print(pid, flush=True)
    os.waitpid(pid, 0)
    os._exit(0)
recorder = Recorder.open(sys.argv[1], {{"role": "child", "node": "celery@shop-1", "name": "ForkPoolWorker-1"}})
recorder.started("shop.tasks.send_receipt", "7d0f4c1e")
recorder.ended("shop.tasks.send_receipt", "7d0f4c1e", "SUCCESS")
recorder.started("{TASK}", "{TASK_ID}", queue="exports", redelivered=True)
kept = [b"x" * (1 << 20) for _ in range(512)]
recorder.ended("{TASK}", "{TASK_ID}", "SUCCESS")
os._exit(0)
"""


def test_the_record_of_a_killed_process_names_its_task(tmp_path: Path) -> None:
    """After a real OOM kill, oom-scan and tasks name the task that the killed process was running, for certain."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    log, before = KernelLog(), datetime.now(timezone.utc)
    try:
        with memory_cgroup(64 * MIB) as group:
            done = subprocess.run(
                group.entered(sys.executable, "-c", PROGRAM, str(tmp_path / "records")),
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
                env=subprocess_environment(),
            )
            pid = int(done.stdout)
            (tmp_path / "kmsg.txt").write_bytes(log.records_until(b"Killed process %d (" % pid))
    finally:
        log.close()
    (kill,) = leakhunt.oom_scan([tmp_path]).kills
    assert (kill.pid, kill.confidence) == (pid, "confirmed")
    assert kill.task is not None
    assert (kill.task.name, kill.task.id, kill.task.how) == (TASK, TASK_ID, "recorded")
    assert kill.worker is not None
    assert (kill.worker.name, kill.worker.queue, kill.worker.confidence) == (
        "ForkPoolWorker-1",
        "exports",
        "certain",
    )
    result = leakhunt.tasks([tmp_path / "records"])
    (running,) = result.running
    assert (running.task, running.id, running.pid, running.ended) == (TASK, TASK_ID, pid, "killed")
    assert running.since is not None
    assert before <= running.since <= datetime.now(timezone.utc)
    assert {task.name: task.killed for task in result.tasks} == {TASK: 1, "shop.tasks.send_receipt": 0}
