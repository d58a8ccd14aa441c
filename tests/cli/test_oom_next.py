from __future__ import annotations

import pytest

from leakhunt.model.oom import OomKill
from leakhunt.present.oom_next import next_step
from leakhunt.readers.kernel_log.cgroup import owner_of

ID = "ab" * 32


def kill(path: str, comm: str = "celery") -> OomKill:
    """Return a kill in a control group."""
    return OomKill(pid=7, comm=comm, cgroup=owner_of(path, path))


@pytest.mark.parametrize(
    ("path", "command"),
    [
        (f"/docker/{ID}", f"docker logs --timestamps {ID[:12]}"),
        (f"/machine.slice/libpod-{ID}.scope", f"podman logs --timestamps {ID[:12]}"),
        (f"/kubepods/burstable/pod11111111-2222-3333-4444-555555555555/{ID}", f"crictl logs --timestamps {ID[:13]}"),
        ("/nomad.slice/share.slice/0a1b2c3d-1111-2222-3333-444444444444.worker.scope",
         "nomad alloc logs -stderr 0a1b2c3d-1111-2222-3333-444444444444"),
    ],
)  # fmt: skip
def test_a_container_s_log_is_had_from_what_runs_it(path: str, command: str) -> None:
    """Each runtime's own command fetches the log."""
    step = next_step(kill(path), ("kern.log",))
    assert step is not None
    assert step.command == f"{command} > worker.log 2>&1; leakhunt oom-scan kern.log worker.log"


def test_who_keeps_no_logs_is_not_asked_for_one() -> None:
    """A system container of LXC has no log of its own to be fetched."""
    step = next_step(kill("/lxc.payload.web1/system.slice/celery.service"), ("kern.log",))
    assert step is None or "logs" not in step.command


def test_what_is_no_worker_has_no_tasks() -> None:
    """A database that was killed has a log, in which no task is named."""
    path = "/system.slice/mysqld.service"
    assert [
        step.purpose if (step := next_step(kill(path, comm), ("kern.log",))) else None
        for comm in ("mysqld", "celery")
    ] == ["its own log of that time", "the worker's log, which names the task"]
