"""Logs that mean harm, or are of another kind: bounded time, bounded memory, no exception."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worker_tools import banner, child, deaths, hear, listening, main, task_id, wrapped

from leakhunt.readers.kernel_log import structured

NAME = "shop.tasks.charge"
PIECES = [
    b"[2026-11-21 03:10:42,678: ERROR/MainProcess] ",
    b"[2026-11-21 03:10:42,678: INFO/ForkPoolWorker-3] ",
    b"Process 'ForkPoolWorker-3' pid:27 exited with 'signal 9 (SIGKILL)'",
    b"Process 'ForkPoolWorker-99999999999' pid:9999999999 exited with 'exitcode -7'",
    b"Task handler raised error: WorkerLostError('Worker exited prematurely: signal 9 (SIGKILL) Job: 0.')",
    b"Task a.b[%s] " % task_id(1).encode(),
    b"received",
    b"succeeded in 1s: None",
    b"Received task: a[b]",
    b"Task accepted: a[b] pid:27",
    b"TaskPool: Apply <f> (args:('a', 'b', {'argsrepr': '()', 'kwargsrepr': '{}', 'origin'",
    b"Hard time limit (1s) exceeded for a[b]",
    b"Terminating b (Signals.SIGKILL)",
    b"Discarding revoked task: a[b]",
    b" -------------- celery@w v5",
    b".> concurrency: 2 (prefork)",
    b"celery@w ready.",
    b"worker: Warm shutdown (MainProcess)",
    b"Timed out waiting for UP message from <ForkProcess(ForkPoolWorker-1, x)>",
    b"WORKER TIMEOUT (pid:27)",
    b"Worker (pid:27) was sent SIGKILL!",
    b"spawned: 'x' with pid 3",
    b"exited: x (terminated by SIGKILL; not expected)",
    b"Work-horse terminated unexpectedly; waitpid returned 70000",
    b"exited unexpectedly (code -9)",
    b"Killed",
    b"\n",
    b"\n",
    b"\r\n",
    b"\\n",
    b'{"log":"',
    b'"MESSAGE":[27,91]',
    b'{"MESSAGE":[1,2],"_SYSTEMD_UNIT":"x"}',
    b"\x1b[31m",
    b"\xff\x00",
    b"web | ",
    b"[pod/a/b] ",
    b"Nov 21 03:10:42 web celery[1]: ",
]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=20)), max_size=60),
    st.integers(1, 4000),
    st.booleans(),
)
def test_any_bytes_are_heard(pieces: list[bytes], step: int, settle: bool) -> None:
    """Whatever a log holds, however it is cut, hearing it raises nothing."""
    data = b"".join(pieces)
    for kind in (structured.TEXT, structured.DOCKER_JSON, structured.JOURNAL_JSON):
        hear(data, step=step, kind=kind)
    listener = listening()
    for number, line in enumerate(data.splitlines(keepends=True)):
        listener.read(line, number + 1)
        if settle:
            listener.settle()
    listener.finish()
    assert all(one.evidence for one in deaths(listener.events))


def seconds(data: bytes, kind: str = structured.TEXT) -> float:
    """Return the processor's time for hearing a log."""
    before = time.process_time()
    hear(data, kind=kind)
    return time.process_time() - before


def _flood() -> bytes:
    return b"".join(b"Task a.b[%s] received\n" % task_id(number).encode() for number in range(4000))


HOSTILE = {
    "names without end": b"Task " + b"a" * 100_000 + b"\n",
    "tasks without end": b"Task a" * 40_000,
    "brackets": b"Task a[" * 30_000,
    "losses": b"WorkerLostError('Worker exited prematurely: signal 9 " * 3_000 + b"\n",
    "losses in lines": PIECES[4] + b"\n",
    "exits in lines": PIECES[2] + b"\n",
    "limits": PIECES[11] + b"\n",
    "one long line of exits": PIECES[2] * 3_000,
    "banners": PIECES[14] + b"\n" + PIECES[5] + b"received\n",
    "work-horses": b": a(" * 400 + b"\nwork-horse terminated unexpectedly; waitpid returned 9\n",
    "kills": b"Killed\n",
    "half a kill": b" Killed  " * 100,
    "instances": b"<TaskInstance: " * 200 + b"Task exited with return code -9\n",
    "signals": b"Process terminated by signal. signal" * 100 + b"\n",
    "exit codes": b"exit codes of the workers are {" * 100 + b"\n",
    "prefixes": b"Nov 21 03:10:42 " * 50 + b"Task a[b] received\n",
    "flood": _flood(),
    "deaths in a flood": _flood() + (PIECES[2] + b"\n" + PIECES[4] + b"\n") * 50,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_time_grows_with_length_only(name: str) -> None:
    """Twice the log takes about twice the time; nothing is searched again and again."""
    block = HOSTILE[name]
    block = block * max(1, 60_000 // len(block))
    twice, four_times = seconds(block * 2), seconds(block * 4)
    assert four_times < 4 * twice + 0.3
    assert twice < 10


def test_what_is_kept_is_bounded() -> None:
    """Tasks that never end are forgotten, and counted."""
    lines = [f"Task {NAME}[{task_id(number)}] received" for number in range(10_300)]
    lines += ["Process 'ForkPoolWorker-1' pid:9 exited with 'signal 9 (SIGKILL)'"]
    death = deaths(hear("\n".join(lines).encode()))[0]
    assert len(death.tasks) == 20
    assert death.tasks_omitted == 10_300 - 20


def test_workers_without_number_are_forgotten() -> None:
    """A log that invents a worker for every line keeps only some of them."""
    listener = listening()
    for number in range(2_000):
        listener.read(f"w{number} | Task a[{task_id(number)}] received\n".encode(), number + 1)
    assert len(listener._celery.flight.pools) <= 256
    assert len(listener._celery.flight.tasks) <= 256


def test_a_log_of_another_kind_costs_little() -> None:
    """An access log is searched, not read: faster than any line could be looked at."""
    line = b'10.0.0.1 - - [21/Nov/2026:03:10:42 +0000] "GET /api/v1/items/7 HTTP/1.1" 200 512 "-" "Mozilla/5.0 (X11)"\n'
    data = line * (16_000_000 // len(line))
    assert seconds(data) < 2


def test_noise_does_not_hide_a_death() -> None:
    """One death in megabytes of other things is found, with its task and the right line."""
    rng = random.Random(7)  # noqa: S311 - the same noise each time
    noise = [main(1, "".join(rng.choices("abc Task[]received exited", k=60))) for _ in range(20_000)]
    lines = [*banner(2), main(0, f"Task {NAME}[{task_id(1)}] received"), *noise]
    lines += [main(60, "Process 'ForkPoolWorker-1' pid:9 exited with 'signal 9 (SIGKILL)'", "ERROR"), *noise]
    lines += [child(70, 2, "bye")]
    death = next(one for one in deaths(hear(wrapped(lines, "plain"), step=1 << 16)) if one.cause == "sigkill")
    assert death.evidence[0].line == 20_005
    assert [task.evidence.line for task in death.tasks] in ([4], [])
