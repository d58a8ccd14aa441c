"""Why a process has no agent that can be asked, and how it gets one."""

from __future__ import annotations

import contextlib
import os
import stat

from leakhunt.capture.boot import is_worker
from leakhunt.capture.place import OTHERS_WRITE
from leakhunt.capture.settings import PREFIX
from leakhunt.control import process as system
from leakhunt.control.folders import folder_of
from leakhunt.control.interpreters import ATTACHABLE, version_of
from leakhunt.control.process import Process
from leakhunt.errors import LeakhuntError

_START = "start it as 'leakhunt run -- COMMAND', or a Celery worker that has leakhunt installed with LEAKHUNT_AGENT=1"


def why_none(process: Process) -> LeakhuntError:
    """Word why no agent of a process is found, and what to do."""
    pid = process.pid
    if process.uid != os.geteuid() and os.geteuid() != 0:
        return LeakhuntError(
            f"process {pid} belongs to the user {system.user_name(process.uid)}",
            "run this as that user, or as root",
        )
    if system.HAS_PROC and system.environment(pid) is None:
        return LeakhuntError(
            f"process {pid} hides its variables, so it cannot be told where its agent keeps its files, if it has one; "
            "processes that changed their user do that",
            "set LEAKHUNT_DIR to that folder" + ("" if os.geteuid() == 0 else ", or run this as root"),
        )
    reason = unusable(process)
    if reason:
        return in_vain(process, reason)
    folder = _out_of_reach(process)
    if folder:
        return LeakhuntError(
            f"process {pid} runs as the user {system.user_name(process.uid)} now, and may not use its agent's folder "
            f"{folder}, which belongs to {system.user_name(os.stat(folder).st_uid)}",
            "start it with LEAKHUNT_DIR set to a folder of the user that it becomes",
        )
    return _without_agent(pid)


def _without_agent(pid: int) -> LeakhuntError:
    """Word that a process has no agent, and how it gets one, which its Python's version decides."""
    none = f"process {pid} has no leakhunt agent"
    try:
        version = version_of(pid) if system.HAS_PROC else None
    except PermissionError:
        return LeakhuntError(
            f"{none}, or not yet", f"{_START}; or, if it runs Python 3.14 or later: leakhunt attach {pid}"
        )
    if version is None and system.HAS_PROC:
        return LeakhuntError(
            f"{none}, and shows no sign of CPython", "name the Python process itself, not a shell around it"
        )
    if version is not None and version >= ATTACHABLE:
        return LeakhuntError(f"{none}, or not yet", f"bring one into it: leakhunt attach {pid}; or {_START}")
    runs = "" if version is None else f"; it runs Python {version[0]}.{version[1]}"
    return LeakhuntError(f"{none}, or not yet{runs}", _START)


def workers_in_vain() -> list[LeakhuntError]:
    """Word of each Celery worker that was started under leakhunt, and whose agent has nowhere to write."""
    found = []
    seen: set[int] = set()
    for pid in system.pids() if system.HAS_PROC else ():
        if not is_worker(system.arguments(pid)):
            continue
        seen.add(pid)
        if system.parent(pid) in seen:  # a child of the pool: its worker speaks for it
            continue
        with contextlib.suppress(LeakhuntError):
            process = system.read_process(pid)
            reason = unusable(process)
            if reason:
                found.append(in_vain(process, reason))
    return found


def in_vain(process: Process, reason: str) -> LeakhuntError:
    """Word that a process was started under leakhunt, and that its agent has nowhere to write."""
    return LeakhuntError(
        f"process {process.pid} was started under leakhunt, and its agent can write nothing: {reason}",
        "start it with LEAKHUNT_DIR set to a folder that its user can write to",
    )


def unusable(process: Process) -> str:
    """Tell why a process that was started under leakhunt cannot use its folder; empty where it can, or was not."""
    theirs = (system.environment(process.pid) or {}) if system.HAS_PROC else {}
    if not any(name.startswith(PREFIX) for name in theirs):
        return ""
    folder = folder_of(process, theirs)
    if not folder or _out_of_reach(process):
        return ""
    with system.acting_as(process):
        return _refused(folder, process)


def _refused(folder: str, process: Process) -> str:
    """Tell why a folder, as a process sees it, is none to write in; empty where it is one, or cannot be looked at."""
    here = process.root + folder
    about = None
    with contextlib.suppress(OSError):
        about = os.lstat(here)
    if about is not None and not stat.S_ISDIR(about.st_mode):
        return f"{folder} is a link or no folder"
    if about is not None and (about.st_uid != process.uid or about.st_mode & OTHERS_WRITE):
        return f"{folder} is another user's, or others can write there"
    above = here
    while not os.path.lexists(above) and above != os.path.dirname(above):
        above = os.path.dirname(above)
    try:
        about_disk = os.statvfs(above)
    except OSError:
        return ""
    if about_disk.f_flag & os.ST_RDONLY:
        return f"{folder} is on a read-only file system"
    if not about_disk.f_bavail or (about_disk.f_files and not about_disk.f_favail):
        return f"{folder} is on a full disk"
    may = process.root or os.access(above, os.W_OK | os.X_OK, effective_ids=True)
    return "" if may else f"{folder} cannot be made or written to by the user {system.user_name(process.uid)}"


def _out_of_reach(process: Process) -> str:
    """Return the folder that a process made before it became another user; empty where it is not so."""
    if os.geteuid() != 0 or process.root or not system.HAS_PROC:
        return ""
    theirs = system.environment(process.pid) or {}
    if not any(name.startswith(PREFIX) for name in theirs):
        return ""
    folder = folder_of(process, theirs)
    with contextlib.suppress(OSError, ValueError):
        about = os.lstat(folder)
        if stat.S_ISDIR(about.st_mode) and about.st_uid != process.uid:
            return folder
    return ""
