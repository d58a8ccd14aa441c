"""Programs of the system that print logs: started with fixed words, read, and stopped."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence

_DIRECTORIES = "/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin:/run/current-system/sw/bin"
_CHUNK = 1 << 16
_MOST_TALK = 1 << 12
_PATIENCE_S = 5.0


def find(name: str) -> str | None:
    """Return the absolute path of a program of the system, or None; the caller's search path is not asked."""
    return shutil.which(name, path=_DIRECTORIES)


class Output:
    """What a program prints.

    Args:
        argv: the program's absolute path and its words.

    Attributes:
        said: the beginning of what it printed on standard error, once it has ended.
        code: its exit code, or None until then.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self.said = ""
        self.code: int | None = None
        self._argv = list(argv)

    def chunks(self, pause_s: float | None = None) -> Iterator[bytes]:
        """Start the program and yield what it prints; it is stopped when nobody wants more.

        Args:
            pause_s: after so long a wait nothing is yielded; None waits for as long as it takes.
        """
        environment = {"LC_ALL": "C", "PATH": _DIRECTORIES}
        with tempfile.TemporaryFile() as errors:
            try:
                process = subprocess.Popen(  # noqa: S603 - an absolute path and words of ours, no shell
                    self._argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=environment,
                    bufsize=0,
                )
            except OSError as error:
                self.said, self.code = error.strerror or str(error), 127
                return
            try:
                with process:
                    try:
                        yield from _read(process, pause_s)
                    finally:
                        _stop(process)
            finally:
                self.code = process.returncode
                errors.seek(0)
                self.said = errors.read(_MOST_TALK).decode("utf-8", "backslashreplace").strip()


def _read(process: subprocess.Popen[bytes], pause_s: float | None) -> Iterator[bytes]:
    """Yield what a program prints until it closes its output."""
    if process.stdout is None:
        return
    pipe = process.stdout.fileno()
    while True:
        if pause_s is not None and not select.select([pipe], [], [], pause_s)[0]:
            yield b""
            continue
        data = os.read(pipe, _CHUNK)
        if not data:
            process.wait()
            return
        yield data


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a program that still runs."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
