"""Which right was missing when a process could not be reached, and how it is given."""

from __future__ import annotations

import os

from leakhunt.capture import procfs
from leakhunt.control import process as system
from leakhunt.control.process import Process
from leakhunt.errors import LeakhuntError

_YAMA = "/proc/sys/kernel/yama/ptrace_scope"
_SYS_PTRACE = 19  # the capability's number
_YAMA_WORDS = {
    1: ("only a parent may reach into a process", "sudo sysctl kernel.yama.ptrace_scope=0"),
    2: ("only root may reach into a process", "run this as root"),
    3: ("nobody may reach into a process until the next boot", "restart the program under 'leakhunt run'"),
}


def refusal(process: Process, python: str, said: str) -> LeakhuntError:
    """Word why an interpreter could not reach a process.

    Args:
        process: the process.
        python: the interpreter.
        said: its error, the exception's name first.
    """
    pid = process.pid
    if said.startswith("PermissionError"):
        return _denied(process)
    if "not enabled in the remote process" in said:
        return LeakhuntError(
            f"process {pid} does not let itself be reached: remote debugging is switched off in it",
            "start it without PYTHON_DISABLE_REMOTE_DEBUG and -X disable-remote-debug, with a Python that has it built in",
        )
    if "Remote debugging" in said:
        return LeakhuntError(
            f"{python} cannot reach into processes: {said.partition(': ')[2]}",
            "unset PYTHON_DISABLE_REMOTE_DEBUG here, or name another Python of the same version: --python PATH",
        )
    if "Can't send commands" in said or "Cannot send commands" in said or "free-threaded" in said:
        return LeakhuntError(
            f"{python} and process {pid} are of different versions: {said.partition(': ')[2]}",
            f"name a Python of the process's version: leakhunt attach {pid} --python PATH",
        )
    return LeakhuntError(
        f"process {pid} cannot be reached by {python}: {said.partition(': ')[2] or said or 'no reason given'}",
        "start it as 'leakhunt run -- COMMAND'",
    )


def _denied(process: Process) -> LeakhuntError:
    """Find out which right is missing, the likeliest first."""
    pid = process.pid
    scope = _yama()
    if _may_trace():
        return LeakhuntError(
            f"process {pid} may not be reached, though this process has CAP_SYS_PTRACE: a security module or another user "
            "namespace is in the way",
            "run leakhunt in the process's own container or namespace",
        )
    if os.geteuid() == 0:
        return LeakhuntError(
            f"process {pid} may not be reached: this container lacks the capability SYS_PTRACE",
            "docker run --cap-add SYS_PTRACE; in Kubernetes securityContext.capabilities.add: [SYS_PTRACE]; or run this as "
            f"the user {system.user_name(process.uid)}",
        )
    if scope in _YAMA_WORDS:
        why, remedy = _YAMA_WORDS[scope]
        return LeakhuntError(
            f"process {pid} may not be reached: kernel.yama.ptrace_scope is {scope}, so {why}",
            remedy
            if scope > 1
            else f"{remedy}, or run this as root; in a container add the capability SYS_PTRACE",
        )
    return LeakhuntError(
        f"process {pid} may not be reached: it has more rights than this one, or has forbidden it",
        "run this as root",
    )


def _yama() -> int:
    """Return the kernel's ptrace scope; 0 where there is none."""
    scope = procfs.read(_YAMA).strip()
    return int(scope) if scope.isdecimal() else 0


def _may_trace() -> bool:
    """Whether this process has the capability to reach into any other."""
    mask = procfs.fields(procfs.read("/proc/self/status")).get("CapEff", "0")
    return bool(int(mask, 16) >> _SYS_PTRACE & 1)
