"""Runs pytest with patience for what a busy machine does to it.

python tests/patience.py pytest [ARGUMENT ...]

A run that falls silent shows all its stacks, is ended, and is run once more: one stood still for an hour on CPython 3.13.0,
after 47 tests, and nobody knows why. A test that hangs is another matter: pytest-timeout ends it, much earlier than the
silence here, as a failure. Tests that fail beside others, many of which wait for real processes,
are run once more alone, which is said; what fails then has failed.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time

SILENCE = 420.0  # s
RUNS = 2
FAILED = 1  # pytest's exit code where tests did
ALONE = ("-n", "0", "--last-failed", "--last-failed-no-failures", "none")


def main() -> None:
    """Leave with the exit code of the command, or with 1 when it fell silent each time."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for run in range(RUNS):
        code = spoken(sys.argv[1:])
        if code == FAILED:
            print("\nWhat failed is run once more, alone.", flush=True)
            code = spoken([*sys.argv[1:], *ALONE])
        if code is not None:
            raise SystemExit(code)
        print(f"\nRun {run + 1} of {RUNS} printed nothing for {SILENCE:.0f} s and was ended.", flush=True)
    raise SystemExit(1)


def spoken(command: list[str], silence: float = SILENCE) -> int | None:
    """Run a command and pass on what it prints; None when it was ended for its silence."""
    environment = dict(os.environ)
    if sys.stdout.isatty():
        environment["PYTEST_ADDOPTS"] = f"--color=yes {environment.get('PYTEST_ADDOPTS', '')}"
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, start_new_session=True
    ) as started:
        try:
            if passed_on(started, silence):
                return started.wait()
            end(started)
        except BaseException:
            os.killpg(started.pid, signal.SIGINT)
            passed_on(started, 10)
            raise
    return None


def passed_on(started: subprocess.Popen[bytes], silence: float) -> bool:
    """Pass on what a process prints; True at its end, False when nothing came for that many seconds."""
    output = started.stdout
    assert output is not None
    last = time.monotonic()
    while time.monotonic() - last < silence:
        if select.select([output], [], [], 1)[0]:
            piece = os.read(output.fileno(), 65536)
            if not piece:
                return True
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            last = time.monotonic()
        elif started.poll() is not None:  # somebody it left behind holds its output
            return True
    return False


def end(started: subprocess.Popen[bytes]) -> None:
    """Have a command and its workers dump their stacks, as pytest sets it up for SIGABRT, and end them."""
    os.killpg(started.pid, signal.SIGABRT)
    passed_on(started, 5)
    os.killpg(started.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
