"""Time and memory of ``leakhunt oom-scan``, against grep on the same file, in turn.

    python tests/benchmarks/kernel_log.py [--size 256] [--kills 10000] [--rounds 5]

Logs of the same size are made, of the kernel alone and of a whole machine (a sixth of whose lines are Celery's), each
without kills and with them, every tenth a whole report with its task table and the others as a storm leaves them. Each
measurement is a process of its own, its start-up included: of the core that reads the kernel's words, and of the whole
command, with all that hears other programs' lines, the join and its output, a line for each kill or one document. The median of the rounds' ratios is what counts; single times depend on the machine and the moment.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import NamedTuple

from leakhunt.readers.compiled import fast

_CORE = """
import gc
import sys

gc.disable()  # as the command does
from leakhunt.model.oom import OomKill
from leakhunt.readers.oom_inputs import gather
from leakhunt.readers.oom_reading import read

(source,) = gather([sys.argv[1]]).inputs
for event in read(source):
    if isinstance(event, OomKill):
        print(event.pid)
"""
_KERNEL_NOISE = (
    "web-1 kernel: [{m}] eth0: link becomes ready",
    'web-1 kernel: [{m}] audit: type=1400 audit(1700000000.123:{n}): apparmor="STATUS" operation="profile_load"',
    "web-1 kernel: [{m}] EXT4-fs (vda{n}): mounted filesystem with ordered data mode. Opts: (null). Quota mode: none.",
    "web-1 kernel: [{m}] IPv6: ADDRCONF(NETDEV_CHANGE): veth{n}: link becomes ready",
    "web-1 kernel: [{m}] [UFW BLOCK] IN=eth0 OUT= SRC=10.0.3.{n} DST=10.0.3.1 LEN=40 TOS=0x00 PROTO=TCP SPT=443 DPT=51234",
)
_NOISE = (
    "web-1 systemd[1]: Started Session {n} of user root.",
    "web-1 kernel: [{m}] eth0: link becomes ready",
    "web-1 sshd[812]: Accepted publickey for deploy from 10.0.3.{n} port 51234 ssh2: RSA SHA256:abcdef",
    "web-1 celery[4411]: [2026-11-21 03:10:42,678: INFO/ForkPoolWorker-3] Task shop.tasks.process_data[{n}] succeeded",
    'web-1 kernel: [{m}] audit: type=1400 audit(1700000000.123:{n}): apparmor="STATUS" operation="profile_load"',
    'web-1 dockerd[900]: time="2026-11-21T03:10:42Z" level=info msg="container {n} has headroom in its bedroom"',
)
_REPORT = (
    "celery invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
    "CPU: 1 PID: {pid} Comm: celery Not tainted 5.15.0-91-generic #101-Ubuntu",
    "Hardware name: QEMU Standard PC (Q35 + ICH9, 2009), BIOS 1.15.0-1 04/01/2014",
    "Call Trace:",
    *(f" [<ffffffff81{frame:06x}>] ? some_function+0x1be/0x1fa" for frame in range(18)),
    "memory: usage 524288kB, limit 524288kB, failcnt 812",
    "swap: usage 0kB, limit 9007199254740988kB, failcnt 0",
    "Memory cgroup stats for /docker/{cid}:",
    *(
        f"{name} {number}"
        for number, name in enumerate(("anon", "file", "kernel_stack", "slab", "sock", "shmem"))
    ),
    "Tasks state (memory values in pages):",
    "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
    *(
        f"[{pid:7d}]  1000 {pid:5d}    30000    10000   167936        0             0 celery"
        for pid in range(300, 312)
    ),
    "[{pid:7d}]  1000 {pid:5d}   250000   120000  1679360        0             0 celery",
    (
        "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset={cid},mems_allowed=0,oom_memcg=/docker/{cid},"
        "task_memcg=/docker/{cid},task=celery,pid={pid},uid=1000"
    ),
)
_KILL = (
    "Memory cgroup out of memory: Killed process {pid} (celery) total-vm:1000000kB, anon-rss:{rss}kB, "
    "file-rss:10000kB, shmem-rss:0kB, UID:1000 pgtables:1640kB oom_score_adj:0"
)


class Cost(NamedTuple):
    """What a process took, and how many lines it printed."""

    wall: float
    peak: float
    lines: int


def main() -> None:
    """Make both logs, measure grep and the reader in turns and print the ratios."""
    options = _options()
    grep = shutil.which("grep")
    if grep is None:
        raise SystemExit("grep is needed to compare with")
    built = "compiled" if fast is not None else "pure"
    print(f"{options.size} MiB, Python {sys.version.split()[0]}, {built}, {options.rounds} rounds, medians")
    print(
        f"{'log':>8} {'kills':>7} {'what':>8} {'grep':>9} {'leakhunt':>9} {'ratio':>6} {'peak':>9} {'kills found':>11}"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "kern.log")
        for name, noise in (("kernel", _KERNEL_NOISE), ("machine", _NOISE)):
            for kills in (0, options.kills):
                make_log(path, options.size << 20, kills, noise)
                command = ["-m", "leakhunt", "oom-scan", path, "--format"]
                measured = (
                    ("core", ["-c", _CORE, path]),
                    ("command", [*command, "ndjson"]),
                    ("json", [*command, "json"]),
                )
                for what, words in measured:
                    label = f"{name:>8} {kills:>7,} {what:>8}"
                    compare(grep, path, label, [sys.executable, *words], options.rounds)


def compare(grep: str, path: str, label: str, ours: list[str], rounds: int) -> None:
    """Measure grep and ours in turns, and print the medians."""
    pairs = [(run([grep, "-icE", "oom|killed process", path]), run(ours)) for _ in range(rounds)]
    median = statistics.median
    grep_s, ours_s = median(pair[0].wall for pair in pairs), median(pair[1].wall for pair in pairs)
    ratio = median(pair[1].wall / pair[0].wall for pair in pairs)
    peak = median(pair[1].peak for pair in pairs)
    print(
        f"{label} {grep_s:>7.2f} s {ours_s:>7.2f} s {ratio:>5.2f}x {peak:>5.0f} MiB {pairs[0][1].lines:>11,}",
        flush=True,
    )


def make_log(path: str, size: int, kills: int, noise: Sequence[str]) -> None:
    """Write a log of that size with so many kills spread over it."""
    chance = random.Random(1)
    seconds, written, made = 0.0, 0, 0
    with open(path, "w", encoding="ascii") as file:
        while written < size:
            lines = []
            for _ in range(500):
                seconds += 0.3
                lines.append(
                    _stamped(
                        chance.choice(noise).format(n=chance.randrange(250), m=f"{seconds:.6f}"), seconds
                    )
                )
            due = kills if written + 60_000 >= size else int(kills * written / size)
            for number in range(made, due):
                seconds += 6.0 if number % 10 == 0 else 0.01
                stamp = f"web-1 kernel: [{seconds:.6f}] "
                words = {"pid": 1000 + number, "cid": f"{number // 10:064x}", "rss": 400_000 + number}
                report = (*_REPORT, _KILL) if number % 10 == 0 else (_KILL,)
                lines.extend(_stamped(stamp + text.format(**words), seconds) for text in report)
            made = due
            text = "\n".join(lines) + "\n"
            written += file.write(text)


def _stamped(text: str, seconds: float) -> str:
    day, rest = divmod(int(seconds), 86400)
    return f"Nov {1 + day % 30:2d} {rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d} {text}"


def run(command: list[str]) -> Cost:
    """Run a program to its end and return what the system says it took."""
    begun = time.perf_counter()
    # Elsewhere than here, where the checkout would be found instead of what is installed.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tempfile.gettempdir()) as process:
        lines = sum(1 for _ in process.stdout) if process.stdout else 0
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode > (0 if command[0] == sys.executable else 1):  # grep says 1 where it finds nothing
        raise SystemExit(f"{command[0]}: exit code {process.returncode}")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return Cost(time.perf_counter() - begun, usage.ru_maxrss / unit, lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="MiB")
    parser.add_argument("--kills", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
