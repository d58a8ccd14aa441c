"""Bring an agent into a process that has none, through what CPython 3.14 and later offer for that."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time

import leakhunt
from leakhunt.capture.settings import Settings
from leakhunt.control import process as system
from leakhunt.control.ask import Stage, Waiting
from leakhunt.control.find import Agent, find
from leakhunt.control.interpreters import ATTACHABLE, choose, send, version_of
from leakhunt.control.process import Process
from leakhunt.control.rights import refusal
from leakhunt.errors import LeakhuntError
from leakhunt.units import format_duration

TIMEOUT_S = 30.0
_REPLY_LIMIT = 1 << 14
_PATIENCE_S = 0.02
_BEGUN_S = 10.0  # for what it has begun, once the time is up

# Runs in the target. It imports leakhunt from one folder, and leaves sys.path as it is.
_SCRIPT = """\
def _leakhunt_attach(package, folder, settings):
    import json, os, shutil, sys
    try:
        os.close(os.open(folder + "/begun", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError:  # nobody waits any more
        return shutil.rmtree(folder, ignore_errors=True)
    try:
        if "leakhunt" not in sys.modules:
            from importlib.util import module_from_spec, spec_from_file_location
            spec = spec_from_file_location(
                "leakhunt", package + "/__init__.py", submodule_search_locations=[package]
            )
            module = sys.modules["leakhunt"] = module_from_spec(spec)
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules["leakhunt"]
                raise
        from leakhunt.capture.agent import attach
        why = attach(settings)
    except BaseException as error:
        why = "the agent cannot be loaded there: %s: %s" % (type(error).__name__, error)
    try:
        with open(folder + "/.part", "x") as file:
            json.dump({"why": why}, file)
        os.rename(folder + "/.part", folder + "/reply.json")
    except OSError:
        pass

"""


def attach(
    pid: int,
    settings: Settings,
    *,
    python: str = "",
    timeout: float = TIMEOUT_S,
    waiting: Waiting | None = None,
) -> Agent:
    """Load the agent into a running process.

    Args:
        pid: the process as seen from here.
        settings: what the agent does there.
        python: an interpreter of the process's version; empty to look for one.
        timeout: how many seconds the process may take until it comes to it.
        waiting: called with the seconds passed and what is waited for, several times a second.

    Returns:
        the agent; the one that is there already, if any.

    Raises:
        LeakhuntError: it cannot be done; the message says what is missing.
    """
    process = system.read_process(pid)
    with contextlib.suppress(LeakhuntError):
        return find(pid)
    version = _checked(process)
    package = _package(process)
    interpreter = choose(process, version, python)
    with system.acting_as(process):
        folder, script = _written(package, settings)
    sent = False
    try:
        send(process, interpreter, script)
        sent = True
        _wait(process, folder, timeout, waiting)
    finally:
        with system.acting_as(process):
            if not (sent and system.alive(process) and _withdraw(folder)):  # else the script itself tidies up
                shutil.rmtree(folder, ignore_errors=True)
    return find(pid)


def _checked(process: Process) -> tuple[int, int]:
    """Look at everything that would keep the agent out, before the process is touched.

    Raises:
        LeakhuntError: something would.
    """
    pid = process.pid
    if not system.HAS_PROC:
        raise LeakhuntError(
            "attach works on Linux only", f"start the program under 'leakhunt run' instead of {pid}"
        )
    if os.geteuid() not in {0, process.uid}:
        raise LeakhuntError(
            f"process {pid} belongs to the user {system.user_name(process.uid)}",
            "run this as that user, or as root",
        )
    try:
        version = version_of(pid)
    except PermissionError:
        raise refusal(process, "", "PermissionError") from None
    if version is None:
        raise LeakhuntError(
            f"process {pid} shows no sign of CPython", "name the Python process itself, not a shell around it"
        )
    if version < ATTACHABLE:
        raise LeakhuntError(
            f"process {pid} runs Python {version[0]}.{version[1]}; an agent can be brought into 3.14 and later only",
            "start it as 'leakhunt run -- COMMAND', or call leakhunt.celery.install(app) in it",
        )
    variables = system.environment(pid) or {}
    if variables.get("PYTHON_DISABLE_REMOTE_DEBUG") or "disable-remote-debug" in _options(pid):
        raise LeakhuntError(
            f"process {pid} was started with PYTHON_DISABLE_REMOTE_DEBUG or -X disable-remote-debug",
            "start it without, or as 'leakhunt run -- COMMAND'",
        )
    if process.root:
        raise LeakhuntError(
            f"process {pid} sees other files than this one: it is in a container, or has a /tmp of its own",
            f"run leakhunt there: docker exec, kubectl exec, or nsenter --mount --pid --target {pid} leakhunt attach "
            f"{process.inner}",
        )
    return version


def _options(pid: int) -> set[str]:
    """Return the values of ``-X`` among a process's words."""
    words = system.arguments(pid)
    return {
        word.removeprefix("-X").strip()
        for before, word in zip(["", *words], words)
        if "-X" in (before, word[:2])
    }


def _package(process: Process) -> str:
    """Return the folder of leakhunt that the process is to import.

    Raises:
        LeakhuntError: the process's user may not read it.
    """
    folder = os.path.dirname(os.path.abspath(leakhunt.__file__))
    with system.acting_as(process):
        readable = os.access(os.path.join(folder, "__init__.py"), os.R_OK, effective_ids=True)
    if not readable:
        raise LeakhuntError(
            f"{folder}: the user {system.user_name(process.uid)}, as whom process {process.pid} runs, may not read it",
            "install leakhunt where that user can",
        )
    return folder


def _wait(process: Process, folder: str, timeout: float, waiting: Waiting | None) -> None:
    """Wait until the script has run in the process.

    Raises:
        LeakhuntError: it did not run in time, or says why it could not do its work.
    """
    began = time.monotonic()
    begun = False
    while True:
        runs = system.alive(process)
        with system.acting_as(process):
            reply = _reply(folder)
        if reply is not None:
            if reply:
                raise LeakhuntError(f"process {process.pid}: {reply}")
            return
        passed = time.monotonic() - began
        if not runs:
            raise LeakhuntError(f"process {process.pid} ended before the agent was in it")
        if passed >= timeout and not begun:
            with system.acting_as(process):
                begun = not _withdraw(folder)
        if passed >= timeout + (_BEGUN_S if begun else 0):
            raise LeakhuntError(
                f"process {process.pid} did not come to it within {format_duration(passed)}: "
                "its main thread is in C code, or blocked",
                "try again, or wait longer: --timeout" + ("" if begun else "; nothing is loaded later on"),
            )
        if waiting is not None:
            waiting(passed, Stage.ASKED)
        time.sleep(_PATIENCE_S)


def _withdraw(folder: str) -> bool:
    """Keep the script from doing anything, unless it has begun."""
    try:
        os.close(
            os.open(os.path.join(folder, "begun"), os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        )
    except FileExistsError:
        return False
    except OSError:
        pass
    return True


def _reply(folder: str) -> str | None:
    """Read what the script said: a reason, an empty string if all went well, or None while it has not run."""
    try:
        fd = os.open(
            os.path.join(folder, "reply.json"), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        )
    except OSError:
        return None
    try:
        found = json.loads(os.read(fd, _REPLY_LIMIT))
        why = found.get("why") if isinstance(found, dict) else "?"
    except (OSError, ValueError, RecursionError):
        return "its answer cannot be read"
    finally:
        os.close(fd)
    return why[:1000] if isinstance(why, str) else ""


def _written(package: str, settings: Settings) -> tuple[str, str]:
    """Write the script into a folder of its own, and return both; nobody else may look into it.

    Raises:
        LeakhuntError: it cannot be written.
    """
    try:
        folder = tempfile.mkdtemp(prefix="leakhunt-")
        script = os.path.join(folder, "attach.py")
        call = (
            f"_leakhunt_attach({package!r}, {folder!r}, {settings._replace(agent=True).to_environment()!r})\n"
        )
        with open(script, "x", encoding="utf-8") as file:
            file.write(f"{_SCRIPT}{call}")
    except OSError as error:
        raise LeakhuntError(
            f"{tempfile.gettempdir()}: the script for the process cannot be written: {error.strerror}",
            "TMPDIR names another folder",
        ) from None
    return folder, script


def can_attach(pid: int) -> bool:
    """Whether a process has no agent, and is of a Python into which one can be brought."""
    with contextlib.suppress(LeakhuntError):
        find(pid)
        return False
    try:
        version = version_of(pid)
    except PermissionError:
        version = None
    return version is not None and version >= ATTACHABLE
