"""How Celery words what a worker does, as it stands in raw bytes: alone on a line, or inside JSON.

The words are those of celery 3.1.26, 4.4.7 and 5.7.0 (``worker/request.py`` and ``job.py``, ``worker/strategy.py``,
``worker/control.py``, ``app/trace.py``, ``apps/worker.py``, ``concurrency/asynpool.py``) and of billiard 3.3.0.23, 3.5.0.5,
3.6.4.0 and 4.3.2 (``pool.py``, ``common.py``). No pattern asks how a line begins: people choose their own formats.
"""

from __future__ import annotations

import re

_NAME = rb"([^\s\[\]]{1,255})"
_ID = rb"\[([^\]\s\"\\]{1,100})\]"

# What happens to a task: once or twice for every task, so this is searched in whole buffers. The literal beginning makes
# that fast. Groups: what stands before the name, the name, the id, what stands behind, a pid; then name and id as a pool
# shows them when a task is handed to it.
EVENT = re.compile(
    rb"ask(?:( accepted: | from broker: |: | )" + _NAME + _ID
    + rb"(?: (received|succeeded|raised|retry:|ignored|INTERNAL|[Rr]eject|Task already|pid:(\d{1,10})))?"
    + rb"|Pool: Apply <[^>\n]{1,300}> \(args:\(u?'([^'\n]{1,255})', u?'([^'\n]{1,100})')"
)  # fmt: skip
BEFORE, NAME, ID, AFTER, PID, POOL_NAME, POOL_ID = range(1, 8)

# What a task's own logger wrote in a child: its number, the task's name and id.
OWN_LINE = re.compile(rb"Worker-(\d{1,9})\] " + _NAME + _ID + rb": ")
CHILD = re.compile(rb"Worker-(\d{1,9})(?![\d\w])")
CHILD_NAME = re.compile(rb"\w{0,24}Worker-\d{1,9}")
ARGUMENTS = re.compile(rb"'argsrepr': (.{0,2000}?), 'kwargsrepr': (.{0,2000}?), 'origin'")

EXITED = re.compile(
    rb"Process u?'([^'\n]{1,100})' pid:(\d{1,10}) exited with u?[\"']((?:signal|exitcode) -?\d{1,5})"
)
LOST = re.compile(
    rb"WorkerLostError\((?:u?['\"]|\\\")Worker exited prematurely: ((?:signal|exitcode) -?\d{1,5})"
    rb"[^'\"\n]{0,40}?(?: Job: (\d{1,12}))?\.?['\"\\]"
)
LOST_BY_NAME = re.compile(rb"[Tt]ask " + _NAME + _ID + rb" raised unexpected: $")
LOST_BUT_DONE = re.compile(rb"[Tt]ask " + _NAME + _ID + rb" succeeded before the worker was lost: $")
RETRIED_AFTER = b"after worker was lost: "
HARD_LIMIT = re.compile(rb"Hard time limit \([^)\n]{1,24}\) exceeded for " + _NAME + _ID)
TERMINATING = re.compile(rb"Terminating ([^\s(\"\\]{1,100}) \((?:Signals\.)?(SIG\w{1,12}|\d{1,3})")
RECYCLED = re.compile(
    rb"child process exiting after exceeding memory limit \((\d{1,15})KiB / (\d{1,15})KiB\)"
)
NO_SIGN_OF_LIFE = re.compile(
    rb"Timed out waiting for UP message from <(?:\w{0,30}Process\()?([^,\s>]{1,100})"
)
CONCURRENCY = re.compile(rb"\.> concurrency: (\d{1,6})(?: \((\w{1,40})\))?")
BANNER = re.compile(rb"-------------- ([^\s@]{1,120}@[^\s]{1,255}) v\d")
READY = re.compile(rb"([^\s@\"'\[\]]{1,120}@[^\s\"\[\]]{1,255}) ready\.")
SHUTDOWN = re.compile(
    rb"worker: (?:Warm|Cold) shutdown \(|Restarting celery worker \(|\| Worker: Closing Hub"
)

# What may stand in a line that matters, beside the tasks' own. The first must not be missed in any log; where tasks
# are received there is a worker, and only there do the last mean something.
DEATHS = (b"exited ", b"Hard time limit (")
TASKS = (b"] received", b"Received task: ", b"task from broker: ")
LIFE = (
    b".> concurrency: ",
    b"-------------- ",
    b" ready.",
    b" shutdown (MainProcess",
    b"Restarting celery worker (",
    b"| Worker: Closing Hub",
    b"exceeding memory limit (",
    b"UP message from",
    b"Terminating ",
)

COLOURS = re.compile(rb"(?:\x1b|\\u001[bB]|\\x1[bB]|#033)\[[0-9;]{0,16}m")
