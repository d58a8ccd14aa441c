"""Each of Celery's wordings, behind each wrapping, and the rules that put lines together."""

from __future__ import annotations

import json

import pytest
from worker_tools import WRAPPINGS, again, at, banner, child, deaths, hear, main, task_id, wrapped

A, B, C = task_id(0xA), task_id(0xB), task_id(0xC)
NAME = "shop.tasks.charge"
EXITED = "Process '{name}' pid:{pid} exited with '{status}'"
LOST = "Task handler raised error: WorkerLostError('Worker exited prematurely: {status}{job}.'{tail})"
KILLED = "signal 9 (SIGKILL)"


def exited(name: str = "ForkPoolWorker-2", pid: int = 27, status: str = KILLED) -> str:
    """Return what billiard says of a child that is gone."""
    return EXITED.format(name=name, pid=pid, status=status)


def lost(job: int | None = None, status: str = KILLED, tail: str = "") -> str:
    """Return what Celery says of a task that is gone with its child."""
    return LOST.format(status=status, job="" if job is None else f" Job: {job}", tail=tail)


def received(number: str, name: str = NAME) -> str:
    """Return what Celery 5 says of a task that came."""
    return f"Task {name}[{number}] received"


INCIDENT = [
    *banner(2),
    main(0, "celery@w1 ready."),
    main(1, received(A)),
    main(1.1, received(B, "shop.tasks.other")),
    child(1.2, 2, f"{NAME}[{A}]: charging"),
    main(2, received(C, "shop.tasks.other")),
    main(60, exited(), "ERROR"),
    main(60.02, lost(0), "ERROR"),
    "Traceback (most recent call last):",
    '  File "/srv/venv/billiard/pool.py", line 1265, in mark_as_worker_lost',
    "    raise WorkerLostError(",
    f"billiard.exceptions.WorkerLostError: Worker exited prematurely: {KILLED} Job: 0.",
    child(61, 1, f"Task shop.tasks.other[{B}] succeeded in 1.0s: None"),
    child(62, 3, f"Task shop.tasks.other[{C}] succeeded in 1.0s: None"),
]


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_death_is_understood_behind_every_wrapping(wrapping: str) -> None:
    """Child, pid, signal, task and node are read from any carrier, and both lines are one death."""
    (death,) = deaths(hear(wrapped(INCIDENT, wrapping)))
    assert (death.program, death.cause, death.name, death.pid) == (
        "celery",
        "sigkill",
        "ForkPoolWorker-2",
        27,
    )
    assert (death.signal, death.exit_code, death.busy) == (9, None, True)
    (task,) = death.tasks
    assert (task.name, task.id, task.how, task.child) == (NAME, A, "child", "ForkPoolWorker-2")
    assert death.place.node == "celery@w1"
    assert [one.line for one in death.evidence] == [9, 10]
    assert exited() in death.evidence[0].text
    assert "\x1b" not in death.evidence[0].text
    assert death.when is not None


@pytest.mark.parametrize(
    ("wrapping", "place"),
    [
        ("compose", {"container": "celery-slow_1"}),
        ("kubectl", {"pod": "worker-7d9f8-abcde", "container": "celery"}),
        ("journal-json", {"unit": "celery.service", "host": "web-1"}),
        ("syslog", {"host": "web-1"}),
    ],
)
def test_a_wrapping_tells_the_place(wrapping: str, place: dict[str, str]) -> None:
    """Container, pod, unit and host come from what stands around the line."""
    (death,) = deaths(hear(wrapped(INCIDENT, wrapping)))
    assert {key: getattr(death.place, key) for key in place} == place


@pytest.mark.parametrize(
    ("came", "name", "tail"),
    [
        ("Task {}[{}] received", "ForkPoolWorker-2", ""),
        ("Received task: {}[{}]  ", "ForkPoolWorker-2", ""),
        ("Received task: {}[{}]  ETA:[2026-11-21 03:10:45.123456+00:00] ", "PoolWorker-2", ""),
        ("Received task: {}[{}]", "Worker-2", ","),
        ("Got task from broker: {}[{}]", "Worker-2", ","),
    ],
)
def test_every_version_is_understood(came: str, name: str, tail: str) -> None:
    """Receptions, children's names and representations of all versions give the same death."""
    style = name.rpartition("-")[0]
    lines = [
        main(0, came.format(NAME, A)),
        main(0, came.format(NAME, B)),
        child(1, 2, f"{NAME}[{B}]: charging", style=style),
        main(60, exited(name), "ERROR"),
        main(60.5, lost(None, tail=tail), "ERROR"),
    ]
    (death,) = deaths(
        [one for one in hear(wrapped(lines, "plain")) if getattr(one, "cause", "") != "vanished"]
    )
    assert (death.name, death.cause, [task.id for task in death.tasks]) == (name, "sigkill", [B])


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-21 03:11:42,685 - ERROR - request.py - on_failure - {}",
        "[2026-11-21 03:11:42,685] [ERROR] [celery.worker.request] {}",
        "2026-11-21 03:11:42.685 | ERROR    | celery.worker.request:on_failure:740 - {}",
    ],
)
def test_a_format_of_ones_own_is_understood(line: str) -> None:
    """Lines are known by their messages, not by how they begin."""
    lines = [line.format(received(A)), line.format(lost(4))]
    (death,) = deaths(hear(wrapped(lines, "plain")))
    assert (death.name, death.signal, [task.id for task in death.tasks]) == (None, 9, [A])


@pytest.mark.parametrize(
    ("status", "cause", "signal", "code"),
    [
        (KILLED, "sigkill", 9, None),
        ("signal 11 (SIGSEGV)", "signal", 11, None),
        ("signal 15 (SIGTERM)", "terminated", 15, None),
        ("exitcode 1", "signal", None, 1),
        ("exitcode 155", "recycled", None, 155),
    ],
)
def test_a_status_is_a_signal_or_a_code(
    status: str, cause: str, signal: int | None, code: int | None
) -> None:
    """What ended a child is told apart."""
    (death,) = deaths(hear(wrapped([main(0, exited(status=status), "ERROR")], "plain")))
    assert (death.cause, death.signal, death.exit_code) == (cause, signal, code)


def test_a_loss_alone_is_a_death() -> None:
    """Where logging is set up by hand the child's line is missing, and the loss must do."""
    lines = [json.dumps({"asctime": f"2026-11-21 03:10:4{number},000", "levelname": "ERROR", "message": message})
             for number, message in enumerate([received(A), received(B), lost(1), lost(0)])]  # fmt: skip
    found = deaths(hear(wrapped(lines, "plain")))
    assert [(one.name, one.cause, one.when) for one in found] == [
        (None, "sigkill", at(0)),
        (None, "sigkill", at(1)),
    ]
    assert found[0].tasks_omitted == 0


def test_structlog_is_understood() -> None:
    """A record's text may be called an event, and its time a timestamp in UTC."""
    records = [
        {
            "event": received(A),
            "level": "info",
            "timestamp": "2026-11-21T03:10:42.000000Z",
            "data": {"id": A, "args": "(1,)"},
        },
        {"event": lost(0), "level": "error", "timestamp": "2026-11-21T03:10:43.000000Z"},
    ]
    (death,) = deaths(hear(wrapped(map(json.dumps, records), "docker-json")))
    (task,) = death.tasks
    assert (task.id, task.since is not None, task.arguments is not None) == (A, True, True)
    assert death.evidence[0].text == lost(0)


def test_several_deaths_at_once_are_counted() -> None:
    """Two children that die in one moment are two deaths, each with its own task."""
    lines = [
        main(0, received(A)),
        main(0, received(B)),
        child(1, 1, f"{NAME}[{B}]: charging"),
        child(1, 2, f"{NAME}[{A}]: charging"),
        main(60, exited("ForkPoolWorker-1", 11), "ERROR"),
        main(60, exited("ForkPoolWorker-2", 12), "ERROR"),
        main(60.01, lost(7), "ERROR"),
        main(60.01, lost(6), "ERROR"),
    ]
    found = deaths(hear(wrapped(lines, "plain")))
    assert [(one.pid, [task.id for task in one.tasks]) for one in found] == [(11, [B]), (12, [A])]


def test_a_loss_that_comes_late_belongs_to_its_exit() -> None:
    """Eleven seconds may lie between both lines; what succeeds meanwhile did not die."""
    lines = [
        main(0, received(A)),
        main(0, received(B)),
        main(60, exited(), "ERROR"),
        child(62, 1, f"Task {NAME}[{A}] succeeded in 62.0s: None"),
        main(71, lost(), "ERROR"),
        main(200, received(C)),
        child(201, 1, f"Task {NAME}[{C}] succeeded in 1.0s: None"),
    ]
    found = [one for one in deaths(hear(wrapped(lines, "plain"))) if one.cause == "sigkill"]
    assert [[task.id for task in one.tasks] for one in found] == [[B]]


def test_an_idle_child_took_no_task_with_it() -> None:
    """A worker that says nothing of a loss lost none."""
    lines = [main(0, received(A)), main(60, exited(), "ERROR"), main(90, "still here")]
    death = deaths(hear(wrapped(lines, "plain")))[0]
    assert (death.cause, death.busy, death.tasks) == ("sigkill", False, ())


@pytest.mark.parametrize("gap", [0.1, 5.0, 11.0])
def test_a_hard_time_limit_is_no_want_of_memory(gap: float) -> None:
    """A child that its own worker killed is told as such, whenever the exit is noticed."""
    lines = [
        main(0, received(A)),
        main(0, received(B)),
        main(60, "Task handler raised error: TimeLimitExceeded(60)", "ERROR"),
        main(60, f"Hard time limit (60s) exceeded for {NAME}[{A}]", "ERROR"),
        main(60 + gap, exited(), "ERROR"),
        child(80, 1, f"Task {NAME}[{B}] succeeded in 62.0s: None"),
    ]
    (death,) = deaths(hear(wrapped(lines, "plain")))
    assert (death.cause, death.name, death.signal) == ("time-limit", "ForkPoolWorker-2", 9)
    assert [(task.id, task.how) for task in death.tasks] == [(A, "named")]


def test_a_limit_of_one_child_does_not_excuse_another() -> None:
    """Where it is known which child was to be killed, another that dies is a death of its own."""
    lines = [
        main(0, received(A)),
        main(0, received(B)),
        child(1, 1, f"{NAME}[{A}]: charging"),
        main(60, f"Hard time limit (60s) exceeded for {NAME}[{A}]", "ERROR"),
        main(60.1, exited("ForkPoolWorker-2", 12), "ERROR"),
        main(60.1, lost(1), "ERROR"),
        main(60.3, exited("ForkPoolWorker-1", 11), "ERROR"),
    ]
    found = {
        one.name: (one.cause, [task.id for task in one.tasks])
        for one in deaths(hear(wrapped(lines, "plain")))
    }
    assert found == {"ForkPoolWorker-1": ("time-limit", [A]), "ForkPoolWorker-2": ("sigkill", [B])}


def test_a_limit_without_an_exit_is_a_death() -> None:
    """In JSON logs the limit is all that is said."""
    lines = [main(0, received(A)), main(60, f"Hard time limit (60.0s) exceeded for {NAME}[{A}]", "ERROR")]
    (death,) = deaths(hear(wrapped(lines, "docker-json")))
    assert (death.cause, [task.id for task in death.tasks]) == ("time-limit", [A])


def test_what_a_worker_kills_itself_is_no_mystery() -> None:
    """A revoked task's child, and one that never came up, were killed by their worker."""
    lines = [
        main(0, received(A)),
        main(5, f"Terminating {A} (Signals.SIGKILL)"),
        main(6, exited("ForkPoolWorker-1", 11), "ERROR"),
        main(
            50,
            "Timed out waiting for UP message from <ForkProcess(ForkPoolWorker-7, started daemon)>",
            "ERROR",
        ),
        main(51, exited("ForkPoolWorker-7", 17), "ERROR"),
    ]
    assert [(one.cause, one.pid) for one in deaths(hear(wrapped(lines, "plain")))] == [
        ("terminated", 11),
        ("timeout", 17),
    ]


def test_recycling_is_told_as_such() -> None:
    """A child that reached its own limit of memory was not killed."""
    words = "child process exiting after exceeding memory limit (512000KiB / 400000KiB)"
    lines = [
        main(0, received(A)),
        child(1, 4, words, "WARNING"),
        child(2, 4, f"Task {NAME}[{A}] succeeded in 1s: None"),
    ]
    (death,) = deaths(hear(wrapped(lines, "plain")))
    assert (death.cause, death.name) == ("recycled", "ForkPoolWorker-4")


def test_a_worker_that_starts_anew_without_farewell_has_vanished() -> None:
    """All in flight are candidates; the time lies between its last words and its successor's first."""
    lines = [
        *banner(2),
        main(0, "celery@w1 ready."),
        main(1, received(A)),
        main(2, received(B)),
        main(3, "some other words"),
        *banner(2),
        main(30, "celery@w1 ready."),
        main(31, received(A)),
        child(32, 1, f"Task {NAME}[{A}] succeeded in 1s: None"),
        "worker: Warm shutdown (MainProcess)",
        *banner(2),
        main(60, "celery@w1 ready."),
    ]
    heard = hear(wrapped(lines, "plain"))
    (death,) = deaths(heard)
    assert (death.cause, death.when, death.until) == ("vanished", at(3), at(30))
    assert [task.id for task in death.tasks] == [A, B]
    assert [(one.id, one.outcome, one.first, one.again) for one in again(heard)] == [
        (A, "succeeded", at(1), at(31))
    ]


def test_a_log_that_ends_with_tasks_in_flight_may_be_a_death() -> None:
    """The last words are told, and that nobody was seen again; after a farewell nothing is."""
    lines = [
        main(0, received(A)),
        main(1, received(B)),
        child(2, 1, f"Task {NAME}[{A}] succeeded in 1s: None"),
    ]
    (death,) = deaths(hear(wrapped(lines, "plain")))
    assert (death.cause, death.when, death.until, [task.id for task in death.tasks]) == (
        "vanished",
        at(2),
        None,
        [B],
    )
    assert deaths(hear(wrapped([*lines, "worker: Cold shutdown (MainProcess)"], "plain"))) == []


def test_workers_in_one_file_are_told_apart() -> None:
    """Children of two workers bear the same names; each death takes a task of its own worker."""
    lines = [
        f"{service} | {line}"
        for line in (main(0, received(A)), main(60, exited(), "ERROR"), main(60.1, lost(), "ERROR"))
        for service in ("slow_1 ", "quick_1")
    ]
    lines = [line.replace(A, B) if line.startswith("quick") else line for line in lines]
    found = {
        one.place.container: [task.id for task in one.tasks] for one in deaths(hear(wrapped(lines, "plain")))
    }
    assert found == {"slow_1": [A], "quick_1": [B]}


def test_a_poison_pill_is_counted() -> None:
    """A task that is delivered again after each death says how often it was."""
    lines = []
    for number in range(4):
        lines += [
            main(10 * number, received(A)),
            child(10 * number + 1, number + 1, f"{NAME}[{A}]: charging"),
            main(10 * number + 5, exited(f"ForkPoolWorker-{number + 1}", 20 + number), "ERROR"),
            main(10 * number + 5, lost(number), "ERROR"),
        ]
    heard = hear(wrapped(lines, "plain"))
    assert [one.tasks[0].deliveries for one in deaths(heard)] == [1, 2, 3, 4]
    assert [one.outcome for one in again(heard)] == ["lost", "lost", "lost"]


def test_celery_3_names_the_task() -> None:
    """A loss told as a failure of its task needs no guess."""
    words = f"Task {NAME}[{B}] raised unexpected: WorkerLostError('Worker exited prematurely: {KILLED}.',)"
    lines = [
        main(0, f"Received task: {NAME}[{A}]"),
        main(0, f"Received task: {NAME}[{B}]"),
        main(60, exited("Worker-2"), "ERROR"),
        main(60.1, words, "ERROR"),
        child(61, 1, f"Task {NAME}[{A}] succeeded in 1s: None", style="Worker"),
    ]
    (death,) = deaths(hear(wrapped(lines, "plain")))
    assert [(task.id, task.how) for task in death.tasks] == [(B, "named")]


def test_a_retried_task_is_no_longer_in_flight() -> None:
    """Retries, failures, rejections and revocations end a task's run."""
    ends = [
        "retry: Retry in 3s",
        "raised unexpected: ValueError('x')",
        "ignored",
        "raised expected: Foo()",
        "INTERNAL ERROR: x",
    ]
    lines = []
    for number, end in enumerate(ends):
        lines += [
            main(number, received(task_id(number))),
            child(number, 1, f"Task {NAME}[{task_id(number)}] {end}"),
        ]
    lines += [main(9, f"Received task: {NAME}[{B}]"), main(9, f"Discarding revoked task: {NAME}[{B}]")]
    assert hear(wrapped(lines, "plain")) == []


@pytest.mark.parametrize("pause", [0, 1])
def test_a_live_log_is_told_without_waiting_for_more(pause: int) -> None:
    """A death whose loss was heard is told when the source pauses; one without, when it pauses again; and once."""
    from worker_tools import listening  # noqa: PLC0415 - only here

    listener = listening()
    listener.read(f"{main(0, received(A))}\n{main(1, exited(), 'ERROR')}\n".encode(), 1)
    if not pause:
        listener.read(f"{main(1, lost(), 'ERROR')}\n".encode(), 3)
    listener.settle()
    assert len(listener.events) == (0 if pause else 1)
    listener.settle()
    assert len(listener.events) == 1
    if pause:
        listener.read(f"{main(1, lost(), 'ERROR')}\n".encode(), 3)
    listener.finish()
    assert [one.cause for one in deaths(listener.events) if one.cause != "vanished"] == ["sigkill"]


DECOYS = [
    "task:python state:D stack:0 pid:27 ppid:1 flags:0x4002",
    "Nov 21 03:10:42 web-1 systemd[1]: Task [x] received",
    "if 'Worker exited prematurely' in str(exc): # WorkerLostError",
    "raise WorkerLostError('Worker exited prematurely: %s' % status)",
    "Process 'nginx' exited with 'signal'",
    'INSERT INTO faq VALUES ("What does Process ForkPoolWorker-3 exited with signal 9 mean?")',
    "Killed process 4711 (python) total-vm:1kB, anon-rss:1kB, file-rss:0kB",
    "exited: 3 windows",
    "The task was terminated.",
    "He was Killed in action",
]


@pytest.mark.parametrize("line", DECOYS)
def test_what_only_looks_like_a_death_is_none(line: str) -> None:
    """Documentation, code and other programs' words are no deaths."""
    assert hear(f"{line}\n".encode() * 3) == []
