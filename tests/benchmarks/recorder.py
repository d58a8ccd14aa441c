"""What the flight recorder costs: a no-op task through Celery's own tracer, with and without it, in the same run.

Usage:
    python tests/benchmarks/recorder.py [--tasks N] [--rounds N]

Needs celery. No broker: the tracer is built and called as a pool child does it, the result is not stored.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery, signals
from celery.app.trace import build_tracer

from leakhunt.capture import agent as agents
from leakhunt.capture.celery_worker import Worker
from leakhunt.capture.settings import Settings

app = Celery("shop", broker="memory://", backend="disabled://")


@app.task(name="shop.tasks.nothing")  # type: ignore[untyped-decorator]
def nothing(_number: int) -> None:
    """Do nothing."""


@contextmanager
def recording(folder: str, *, reset_peak: bool) -> Iterator[None]:
    """Have the integration record, as in a pool's child."""
    app.conf.worker_max_memory_per_child = None if reset_peak else 1 << 30
    Worker(Settings(record=True, folder=folder), lambda: app).connect(signals)
    signals.worker_process_init.send(sender=None)
    agent = agents.agent()
    assert agent is not None
    assert agent.recorder is not None
    try:
        yield
    finally:
        agent.leave()
        for name in ("worker_process_init", "task_prerun", "task_postrun"):
            getattr(signals, name).disconnect(dispatch_uid=f"leakhunt.celery.{name}")


@contextmanager
def listening() -> Iterator[None]:
    """Connect receivers that do nothing: what Celery itself takes for the two signals."""

    def nothing_at_all(**_: Any) -> None:  # noqa: ANN401 - the signal's
        pass

    signals.task_prerun.connect(nothing_at_all, weak=False)
    signals.task_postrun.connect(nothing_at_all, weak=False)
    try:
        yield
    finally:
        signals.task_prerun.disconnect(nothing_at_all)
        signals.task_postrun.disconnect(nothing_at_all)


def tracer() -> Callable[[str], object]:
    """Return what runs the task once; built anew, since a tracer looks for receivers when it is built."""
    traced = build_tracer(nothing.name, nothing, app=app)
    request = {
        "id": "",
        "task": nothing.name,
        "retries": 0,
        "argsrepr": "(7,)",
        "kwargsrepr": "{}",
        "delivery_info": {"exchange": "", "routing_key": "celery", "priority": 0, "redelivered": False},
        "hostname": "celery@bench",
        "is_eager": False,
        "ignore_result": True,
    }
    return lambda task_id: traced(task_id, (7,), {}, {**request, "id": task_id})


def microseconds(run: Callable[[str], object], ids: list[str]) -> float:
    """Return the processor time of one task; other programs' share of a busy machine is not counted."""
    gc.collect()
    began = time.process_time()
    for task_id in ids:
        run(task_id)
    return (time.process_time() - began) / len(ids) * 1e6


def main() -> None:
    """Measure in turns, and print the medians of the rounds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=9)
    chosen = parser.parse_args()
    app.finalize()
    ids = [str(uuid.uuid4()) for _ in range(chosen.tasks)]
    plain: list[float] = []
    with_peak: list[float] = []
    without_peak: list[float] = []
    signalled: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o700)
        for _ in range(chosen.rounds):
            plain.append(microseconds(tracer(), ids))
            with listening():
                signalled.append(microseconds(tracer(), ids))
            for reset_peak, found in ((True, with_peak), (False, without_peak)):
                with recording(folder, reset_peak=reset_peak):
                    found.append(microseconds(tracer(), ids))
    base = statistics.median(plain)
    print(f"no-op task through the tracer: {base:.1f} us of processor time")
    for what, found in (
        ("signals alone", signalled),
        ("recorded, peak reset", with_peak),
        ("recorded, peak not reset", without_peak),
    ):
        added = statistics.median(found) - base
        print(f"{what}: +{added:.1f} us, {added / base:.0%} of the tracer alone (goal: 50 us)")


if __name__ == "__main__":
    main()
