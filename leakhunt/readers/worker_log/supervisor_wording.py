"""How other supervisors than Celery word it when a child of theirs is killed.

The words are those of gunicorn 19.9 to 23.0 (``arbiter.py``), uWSGI 2.0.31 (``core/master.c``, ``core/master_utils.c``),
supervisor 4.2.5 (``process.py``, ``supervisord.py``, ``options.py``), RQ 1.8 and 2.6 (``worker.py``), Dramatiq 2.2
(``cli.py``), Huey 3.5 (``consumer.py``), Airflow 1.10, 2.10 (``local_task_job_runner.py``) and Task SDK 1.1
(``supervisor.py``), PyTorch (``torch/csrc/DataLoader.cpp``), joblib 1.4 (``loky/process_executor.py``), CPython
(``concurrent/futures/process.py``) and bash. ARQ, which runs its tasks in its own process, and Taskiq say nothing.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Wording(NamedTuple):
    """How a program says one thing.

    Attributes:
        program: who speaks.
        word: what every such line holds; found fast.
        pattern: the line; its groups are ``name``, ``pid``, ``signal``, ``code``, ``status``, ``job``.
        dies: whether it tells of a death, or of what led to one or names a process.
        cause: what caused the death; empty where the signal says it.
        echoes: whether one death is told several times.
    """

    program: str
    word: bytes
    pattern: re.Pattern[bytes]
    dies: bool = True
    cause: str = ""
    echoes: bool = False


_SIG = rb"(?P<signal>SIG[A-Z]{2,8}|(?:code |signal )?\d{1,3})"
_PID = rb"(?P<pid>\d{1,10})"
WORDINGS = (
    Wording(
        "gunicorn", b"Worker (pid:", re.compile(rb"Worker \(pid:" + _PID + rb"\) was sent " + _SIG + rb"!")
    ),
    Wording(
        "gunicorn",
        b"terminated due",
        re.compile(rb"Worker with pid " + _PID + rb" was terminated due to signal " + _SIG),
    ),
    Wording("gunicorn", b"WORKER TIMEOUT", re.compile(rb"WORKER TIMEOUT \(pid:" + _PID + rb"\)"), dies=False),
    Wording(
        "uwsgi",
        b"killed by signal",
        re.compile(
            rb"DAMN ! worker (?P<name>\d{1,6}) \(pid: "
            + _PID
            + rb"\) (?:died,|MISTERIOUSLY) killed by signal (?P<signal>\d{1,3})"
        ),
    ),
    Wording("uwsgi", b"HARAKIRI ON", re.compile(rb"HARAKIRI ON WORKER \d{1,6} \(pid: " + _PID), dies=False),
    Wording(
        "supervisord",
        b"terminated by",
        re.compile(
            rb"exited: (?P<name>[^\s(]{1,200}) \(terminated by " + _SIG + rb"[^;\n]{0,20}; not expected\)"
        ),
    ),
    Wording(
        "supervisord",
        b"terminated by",
        re.compile(rb"reaped unknown pid " + _PID + rb" \(terminated by " + _SIG),
    ),
    Wording(
        "supervisord",
        b"spawned: '",
        re.compile(rb"spawned: '(?P<name>[^'\n]{1,200})' with pid " + _PID),
        dies=False,
    ),
    Wording(
        "rq",
        b"terminated unexpectedly; waitpid",
        re.compile(
            rb"(?:job (?P<job>\S{1,100}) to FailedJobRegistry .{0,20})?[Ww]ork-horse (?:was )?terminated unexpectedly; "
            rb"waitpid returned (?P<status>\d{1,6}|None)"
        ),
    ),
    Wording("rq", b"illed horse pid", re.compile(rb"[Kk]illed horse pid " + _PID), dies=False),
    Wording(
        "dramatiq",
        b"exited unexpectedly",
        re.compile(rb"Worker with PID " + _PID + rb" exited unexpectedly \(code (?P<code>-?\d{1,5})\)"),
    ),
    Wording("huey", b"died, restarting", re.compile(rb"Worker (?P<name>\d{1,6}) died, restarting")),
    Wording(
        "airflow",
        b"exited with return code",
        re.compile(
            rb"Task exited with return code (?:Negsignal\.(?P<signal>SIG[A-Z]{2,8})|(?P<code>-\d{1,3}))"
        ),
    ),
    Wording(
        "airflow",
        b"Process terminated by signal.",
        re.compile(
            rb"Process terminated by signal\.[^\n]{0,900}?signal(?:_name)?\\?\"?\s?[=:]\s?\\?\"?"
            rb"(?P<signal>SIG[A-Z]{2,8}|-\d{1,3})"
        ),
    ),
    Wording(
        "pytorch",
        b"killed by signal",
        re.compile(
            rb"DataLoader worker \(pid "
            + _PID
            + rb"\) is killed by signal: (?P<signal>Killed|Terminated|[A-Z])"
        ),
        echoes=True,
    ),
    Wording(
        "pytorch",
        b"exited unexpectedly",
        re.compile(
            rb"DataLoader worker \(pid\(s\) (?P<pid>\d{1,10}(?:, \d{1,10}){0,200})\) exited unexpectedly"
        ),
        echoes=True,
    ),
    Wording(
        "joblib",
        b"exit codes of the workers are",
        re.compile(rb"exit codes of the workers are \{[^}\n]{0,2000}?(?P<signal>SIGKILL)\(-9\)"),
        echoes=True,
    ),
    Wording(
        "concurrent.futures",
        b"terminated abruptly",
        re.compile(rb"A process in the process pool was terminated abruptly while the future was"),
        echoes=True,
    ),
    Wording(
        "shell",
        b"Killed",
        re.compile(rb": line \d{1,7}: {1,8}" + _PID + rb" (?P<signal>Killed) {2,40}(?P<name>[^\s]{1,200})"),
    ),
    Wording(
        "shell",
        b"Killed",
        re.compile(rb"\[\d{1,5}\][+-]? {1,4}(?:" + _PID + rb" )?(?P<signal>Killed) {2,40}"),
    ),
    Wording("shell", b"Killed", re.compile(rb"(?:^|[\s|\"])(?P<signal>Killed)(?:\\r)?(?:\\n\"|\r?$|\"[,}])")),
)
# What must not be missed in any log, and what is looked for once its program is known to speak. A shell's word stands
# alone, or spaces or a colour follow it; the kernel's goes on.
_ALONE = (b"Killed  ", b"Killed\n", b"Killed\r", b'Killed"', b"Killed\\", b"Killed\x1b")
DEATHS = (
    b"terminated",
    b"killed by signal",
    b"Worker (pid:",
    *_ALONE,
    b"died, restarting",
    b"exit codes of the workers are",
)
EARLIER = tuple((wording.program, wording.word) for wording in WORDINGS if not wording.dies)
