"""An interpreter of the same version as a process's, through which the process is reached."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from typing import NamedTuple

from leakhunt.control import process as system
from leakhunt.control.process import Process
from leakhunt.control.rights import refusal
from leakhunt.errors import LeakhuntError

ATTACHABLE = (3, 14)  # from this version on an agent can be brought in
_LIBRARY = re.compile(r"(?:lib)?python(3)\.(\d{1,3})t?(?:\.|$)|.*\.cpython-(3)(\d{1,3})t?-", re.ASCII)
_MAPS_LIMIT = 8 << 20
_HELPER_TIMEOUT_S = 20.0

# Runs in an interpreter of the target's version; the words after it are the process and the script.
_HELPER = """\
import sys
try:
    sys.remote_exec(int(sys.argv[1]), sys.argv[2])
except BaseException as error:
    print(type(error).__name__, error, sep=": ")
    sys.exit(1)
"""


class Interpreter(NamedTuple):
    """A Python that can reach the target.

    Attributes:
        words: how it is started.
        environ: its variables.
        own: whether it is ours to trust; else it runs as the target's user.
    """

    words: tuple[str, ...]
    environ: Mapping[str, str]
    own: bool


def version_of(pid: int) -> tuple[int, int] | None:
    """Return a process's Python version, by the files that it has mapped; None if there is no Python in it.

    Raises:
        PermissionError: they may not be seen.
    """
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            text = file.read(_MAPS_LIMIT).decode("utf-8", "replace")
    except PermissionError:
        raise
    except OSError:
        return None
    found: dict[tuple[int, int], int] = {}
    for line in text.splitlines():
        match = _LIBRARY.match(line.rpartition("/")[2].split(" ", 1)[0])  # a folder's name says nothing
        if match is not None:
            version = (int(match[1] or match[3]), int(match[2] or match[4]))
            found[version] = found.get(version, 0) + 1
    return max(found, key=lambda version: found[version]) if found else None


def choose(process: Process, version: tuple[int, int], python: str) -> Interpreter:
    """Choose a Python of the target's version: the one named, our own, the target's, one on the PATH.

    Raises:
        LeakhuntError: there is none.
    """
    name = f"python{version[0]}.{version[1]}"
    ours = {key: value for key, value in os.environ.items() if key != "PYTHON_DISABLE_REMOTE_DEBUG"}
    plain = {key: value for key, value in ours.items() if not key.startswith("PYTHON")}
    if python:
        return Interpreter((python,), plain, own=True)
    if sys.version_info[:2] == version and sys.executable:
        return Interpreter((sys.executable,), ours, own=True)
    exe = f"/proc/{process.pid}/exe"
    try:
        is_python = os.path.basename(os.readlink(exe)).startswith("python")
        about = os.stat(exe)
    except OSError:
        is_python = False
    if is_python:
        own = process.uid == os.geteuid() or (about.st_uid == 0 and not about.st_mode & 0o022)
        theirs = system.environment(process.pid) or {}
        kept = (
            ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME") if process.uid == os.geteuid() or not own else ("PATH",)
        )
        return Interpreter((exe,), {key: theirs[key] for key in kept if key in theirs}, own)
    path = shutil.which(name)
    if path is None:
        raise LeakhuntError(
            f"process {process.pid} runs Python {version[0]}.{version[1]}, which only the same version can reach, and "
            f"there is no {name} here",
            f"name one: leakhunt attach {process.pid} --python /path/to/{name}",
        )
    return Interpreter((path,), plain, own=True)


def send(process: Process, interpreter: Interpreter, script: str) -> None:
    """Have the interpreter hand the script to the process.

    Raises:
        LeakhuntError: it could not.
    """
    words = [*interpreter.words, "-S", "-s", "-P", "-c", _HELPER, str(process.pid), script]
    user = None if interpreter.own else process.uid
    group = None if interpreter.own else process.gid
    try:
        done = subprocess.run(  # noqa: S603 - a Python of this machine, chosen above
            words,
            env=dict(interpreter.environ),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_HELPER_TIMEOUT_S,
            check=False,
            user=user,
            group=group,
            extra_groups=None if interpreter.own else (),
        )
    except (OSError, subprocess.SubprocessError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it does not end"
        raise LeakhuntError(
            f"{interpreter.words[0]}: cannot be started: {reason}",
            f"name another Python of the same version: leakhunt attach {process.pid} --python PATH",
        ) from None
    if done.returncode:
        raise refusal(process, interpreter.words[0], done.stdout[:2000].decode("utf-8", "replace").strip())
