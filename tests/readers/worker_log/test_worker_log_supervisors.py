"""What other supervisors say when a child of theirs is killed, and when they killed it themselves."""

from __future__ import annotations

import pytest
from worker_tools import deaths, hear, wrapped

G = "[2026-11-21 03:10:42 +0000] [7] "
SUPERVISOR = "2026-11-21 03:10:42,678 "
JOB = "5f0d8f5e-9c55-4a5e-8a8e-2f6f3f8f1a11"

# program, lines, cause, name, pid, signal
CASES = [
    ("gunicorn", [f"{G}[ERROR] Worker (pid:27) was sent SIGKILL! Perhaps out of memory?"], "sigkill", None, 27, 9),
    ("gunicorn", [f"{G}[WARNING] Worker with pid 27 was terminated due to signal 9"], "sigkill", None, 27, 9),
    ("gunicorn", [f"{G}[ERROR] Worker (pid:27) was sent SIGTERM!"], "terminated", None, 27, 15),
    ("gunicorn", [f"{G}[ERROR] Worker (pid:27) was sent code 64!"], "signal", None, 27, 64),
    (
        "gunicorn",
        [
            f"{G}[CRITICAL] WORKER TIMEOUT (pid:27)",
            f"{G}[ERROR] Worker (pid:27) was sent SIGKILL! Perhaps out of memory?",
        ],
        "timeout",
        None,
        27,
        9,
    ),
    (
        "gunicorn",
        [f"{G}[CRITICAL] WORKER TIMEOUT (pid:28)", f"{G}[ERROR] Worker (pid:27) was sent SIGKILL! Perhaps out of memory?"],
        "sigkill",
        None,
        27,
        9,
    ),
    ("uwsgi", ["DAMN ! worker 2 (pid: 178) died, killed by signal 9 :( trying respawn ..."], "sigkill", "2", 178, 9),
    ("uwsgi", ["DAMN ! worker 2 (pid: 178) MISTERIOUSLY killed by signal 11 :( trying respawn ..."], "signal", "2", 178, 11),
    (
        "uwsgi",
        [
            "Sat Nov 21 03:10:42 2026 - *** HARAKIRI ON WORKER 2 (pid: 178, try: 1, graceful: no) ***",
            "DAMN ! worker 2 (pid: 178) died, killed by signal 9 :( trying respawn ...",
        ],
        "timeout",
        "2",
        178,
        9,
    ),
    (
        "supervisord",
        [
            f"{SUPERVISOR}INFO spawned: 'celery' with pid 27",
            f"{SUPERVISOR}INFO success: celery entered RUNNING state, process has stayed up for > than 1 seconds",
            f"{SUPERVISOR}WARN exited: celery (terminated by SIGKILL; not expected)",
        ],
        "sigkill",
        "celery",
        27,
        9,
    ),
    ("supervisord", [f"{SUPERVISOR}INFO exited: celery (terminated by SIGKILL; not expected)"], "sigkill", "celery", None, 9),
    ("supervisord", [f"{SUPERVISOR}INFO reaped unknown pid 33 (terminated by SIGKILL)"], "sigkill", None, 33, 9),
    ("rq", ["03:10:42 Moving job to FailedJobRegistry (work-horse terminated unexpectedly; waitpid returned 9)"],
     "sigkill", None, None, 9),
    ("rq", ["03:10:42 Worker w1: killed horse pid 41", ("03:11:00 Worker w1: moving job x to FailedJobRegistry "
            "(Work-horse terminated unexpectedly; waitpid returned 9 (signal 9); )")], "timeout", None, 41, 9),
    ("rq", [(f"03:10:42 Worker w1: moving job {JOB} to FailedJobRegistry (Work-horse terminated unexpectedly; "
            "waitpid returned None; )")], "signal", None, None, None),
    ("dramatiq", [("[2026-11-21 03:10:42,678] [PID 9] [MainThread] [dramatiq.MainProcess] [CRITICAL] Worker with PID 88666 "
                  "exited unexpectedly (code -9). Shutting down...")], "sigkill", None, 88666, 9),
    ("huey", ["[2026-11-21 03:10:42,678] WARNING:huey.consumer:MainThread:Worker 3 died, restarting."],
     "signal", "3", None, None),
    ("airflow", [("[2026-11-21, 03:10:42 UTC] {local_task_job_runner.py:266} INFO - Task exited with return code -9. For more "
                 "information, see https://airflow.apache.org/docs/")], "sigkill", None, None, 9),
    ("airflow", ["[2026-11-21, 03:10:42 UTC] {local_task_job.py:208} INFO - Task exited with return code Negsignal.SIGKILL"],
     "sigkill", None, None, 9),
    ("airflow", [('[2026-11-21, 03:10:42 UTC] CRITICAL - Process terminated by signal. For more information, see '
                 'https://airflow.apache.org/docs/x.html#TaskRunner-killed: signal=-9: signal_name="SIGKILL": source="task"')],
     "sigkill", None, None, 9),
    ("airflow", [('{"timestamp":"2026-11-21T03:10:42Z","level":"critical","event":"Process terminated by signal. Likely out of '
                 'memory error (OOM). For more information, see https://x","signal":-9,"signal_name":"SIGKILL"}')],
     "sigkill", None, None, 9),
    ("pytorch", ["RuntimeError: DataLoader worker (pid 1285) is killed by signal: Killed. "], "sigkill", None, 1285, 9),
    ("joblib", [("joblib.externals.loky.process_executor.TerminatedWorkerError: A worker process managed by the executor was "
                "unexpectedly terminated. This could be caused by a segmentation fault while calling the function or by an "
                "excessive memory usage causing the Operating System to kill the worker."),
                "The exit codes of the workers are {SIGKILL(-9)}"], "sigkill", None, None, 9),
    ("concurrent.futures", [("concurrent.futures.process.BrokenProcessPool: A process in the process pool was terminated "
                            "abruptly while the future was running or pending.")], "signal", None, None, None),
    ("shell", ["/srv/run.sh: line 21:  3839 Killed                  python -m shop.worker"], "sigkill", "python", 3839, 9),
    ("shell", ["Killed"], "sigkill", None, None, 9),
    ("shell", ["[1]+  Killed                  python -m shop.worker"], "sigkill", None, None, 9),
]  # fmt: skip


@pytest.mark.parametrize("wrapping", ["plain", "docker-json", "compose", "journal-json", "kubectl", "cri"])
@pytest.mark.parametrize("case", CASES)
def test_a_supervisor_is_understood(
    wrapping: str, case: tuple[str, list[str], str, str | None, int | None, int | None]
) -> None:
    """Each program's words give one death, with what they say of it."""
    program, lines, cause, name, pid, signal = case
    (death,) = deaths(hear(wrapped(lines, wrapping)))
    assert (death.program, death.cause, death.name, death.pid, death.signal) == (
        program,
        cause,
        name,
        pid,
        signal,
    )
    assert death.evidence[0].line == len(lines)


QUIET = [
    f"{G}[INFO] Worker exiting (pid: 27)",
    f"{G}[ERROR] Worker (pid:27) exited with code 1",
    f"{SUPERVISOR}INFO exited: celery (exit status 0; expected)",
    f"{SUPERVISOR}INFO stopped: celery (terminated by SIGKILL)",
    f"{SUPERVISOR}INFO exited: celery (terminated by SIGTERM; expected)",
    "[2026-11-21, 03:10:42 UTC] {local_task_job.py:208} INFO - Task exited with return code 0",
    "[2026-11-21, 03:10:42 UTC] {local_task_job.py:208} INFO - Task exited with return code -15",
    "Process terminated by signal 15",
    "RuntimeError: DataLoader worker (pid ...) is killed by signal: Killed.",
    "* Killed in action: line 4",
    "Oct 1 03:10:42 web kernel: Killed process 3839 (python) total-vm:1kB",
]


@pytest.mark.parametrize("line", QUIET)
def test_what_is_no_violent_death_is_not_told(line: str) -> None:
    """Orderly ends, polite signals and prose are passed over."""
    assert hear(f"{line}\n".encode()) == []


@pytest.mark.parametrize(
    "line",
    ["Killed", "Killed\r", '{"log":"Killed\\n"}', '{"log":"Killed"}', '["Killed","x"]', "\x1b[31mKilled\x1b[0m",
     '{"log":"\\u001b[31mKilled\\u001b[0m"}', "run.sh: line 21: 3839 Killed                  python -m shop.worker"],
)  # fmt: skip
def test_a_shell_s_word_wakes_in_whatever_wrapping(line: str) -> None:
    """The word alone on a line, coloured or in JSON, is found among other lines."""
    assert [one.program for one in deaths(hear(f"a line\n{line}\nanother\n".encode()))] == ["shell"]


def test_a_traceback_tells_a_death_once() -> None:
    """What a traceback repeats is the same death; what comes much later is another."""
    line = "RuntimeError: DataLoader worker (pid 1285) is killed by signal: Killed. "
    assert len(deaths(hear("\n".join([line] * 3 + ["x"] * 500 + [line]).encode()))) == 2


def test_several_pids_are_several_deaths() -> None:
    """A line that names three workers tells of three."""
    line = "RuntimeError: DataLoader worker (pid(s) 12, 13, 14) exited unexpectedly"
    assert [one.pid for one in deaths(hear(line.encode()))] == [12, 13, 14]


@pytest.mark.parametrize("coloured", [False, True])
def test_rq_names_its_job(coloured: bool) -> None:
    """The job is the one named, or the last announced."""
    announced = f"default: shop.tasks.charge(order=3) ({JOB})"
    if coloured:
        announced = f"\x1b[32mdefault\x1b[39;49;00m: \x1b[34mshop.tasks.charge(order=3)\x1b[39;49;00m ({JOB})"
    ends = [
        "Moving job to FailedJobRegistry (work-horse terminated unexpectedly; waitpid returned 9)",
        f"Worker w1: moving job {JOB} to FailedJobRegistry (Work-horse terminated unexpectedly; waitpid returned 9 (signal 9); )",
    ]
    for end in ends:
        (death,) = deaths(hear(f"03:10:42 {announced}\n03:10:43 {end}\n".encode()))
        assert [(task.name, task.id, task.how) for task in death.tasks] == [
            ("shop.tasks.charge", JOB, "named")
        ]


def test_airflow_names_its_task() -> None:
    """The task instance that the log is of is named."""
    lines = [
        (
            "[2026-11-21, 03:10:40 UTC] {task_command.py:467} INFO - Running <TaskInstance: shop.load manual__2026-11-21 "
            "[running]> on host airflow-worker-0"
        ),
        "[2026-11-21, 03:10:42 UTC] {local_task_job_runner.py:266} INFO - Task exited with return code -9",
    ]
    (death,) = deaths(hear(wrapped(lines, "plain")))
    assert [(task.name, task.id) for task in death.tasks] == [("shop.load", "manual__2026-11-21")]


def test_a_pid_is_remembered_from_long_before() -> None:
    """What supervisord said long before the first death is found, in the same piece or in the one before."""
    spawned = f"{SUPERVISOR}INFO spawned: 'celery' with pid 27\n"
    died = f"{SUPERVISOR}WARN exited: celery (terminated by SIGKILL; not expected)\n"
    data = (spawned + "noise\n" * 500 + died + spawned.replace("27", "28") + died).encode()
    for step in (1 << 20, 1000, 64):
        assert [one.pid for one in deaths(hear(data, step=step))] == [27, 28]
