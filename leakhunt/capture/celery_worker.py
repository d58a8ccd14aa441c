"""What Celery tells about its worker and its tasks, passed on to the agents; Celery itself is not imported here."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from leakhunt.capture import agent as agents
from leakhunt.capture.facts.tasks import registry
from leakhunt.capture.resident import Agent
from leakhunt.capture.settings import Settings
from leakhunt.capture.taker import Tasks
from leakhunt.capture.undisturbed import say
from leakhunt.capture.who import Who

_UID = "leakhunt.celery"
_SIGNALS = (
    "celeryd_init",
    "celeryd_after_setup",
    "worker_ready",
    "worker_process_init",
    "worker_process_shutdown",
    "task_postrun",
)
_RECYCLED = 155  # billiard's exit code for a child that is replaced as its settings ask
_POOLS = {"thread": "threads"}  # the module's name, where the pool is called otherwise
_TOGETHER = "several tasks run in one process at once, whose memory is no single task's"


class Worker:
    """A worker as its signals show it; forks carry this into its children.

    Attributes:
        settings: what the agents are asked to do.
        controller: Celery's worker; None in one that was not started by its command.
        pool: the pool's name.
        node: the worker's name.
        main: the pid of the main process; 0 while unknown.
    """

    def __init__(self, settings: Settings, app: Callable[[], Any]) -> None:
        """Prepare for a worker.

        Args:
            settings: what the agents are asked to do.
            app: gives the application where the worker does not.
        """
        self.settings = settings
        self.controller: Any = None
        self.pool: str | None = None
        self.node: str | None = None
        self.main = 0
        self._app = app

    def connect(self, signals: object) -> None:
        """Connect to Celery's signals; they hold only weak references unless told."""
        recorded = ("task_prerun",) if self.settings.record else ()
        for name in (*_SIGNALS, *recorded):
            signal = getattr(signals, name)
            signal.connect(getattr(self, f"on_{name}"), weak=False, dispatch_uid=f"{_UID}.{name}")

    def find_itself(self) -> Agent:
        """Start in a process that runs already; nothing has been told before."""
        name = _process_name()
        if name == "MainProcess":
            self.main = os.getpid()
            return self._start("main", name, quiet=True)
        self.pool = "prefork"
        return self._start("child", name, quiet=True)

    # --- the worker -----------------------------------------------------------------------------------------------

    def on_celeryd_init(self, sender: object = None, instance: object = None, **_: object) -> None:
        """Take note of the main process; with the solo pool a child's signals come in it, too."""
        self.main = os.getpid()
        self.node = str(sender) if sender else None
        self.controller = instance

    def on_celeryd_after_setup(self, instance: object = None, **_: object) -> None:
        """Start in the main process of a pool of processes, before it forks them."""
        last = str(getattr(getattr(instance, "pool_cls", None), "__module__", "")).rpartition(".")[2]
        self.pool = _POOLS.get(last, last) or None
        if self.pool == "prefork":
            self._start("main", "MainProcess")

    def on_worker_ready(self, **_: object) -> None:
        """Start in the main process of any other pool: by now all imports are done."""
        if self.pool == "prefork" or self.main != os.getpid():
            return
        if self._start("main", "MainProcess").who.shared:
            say(f"pool {self.pool}: {_TOGETHER}")

    def on_worker_process_init(self, **_: object) -> None:
        """Start in a child of a pool of processes; it has four seconds until it is taken for stuck."""
        if self.main != os.getpid():
            self.pool = "prefork"
            self._start("child", _process_name())

    def on_worker_process_shutdown(self, exitcode: int | None = None, **_: object) -> None:
        """End in a child: ``atexit`` does not run there."""
        agent = _agent_here()
        if agent is not None and self.main != os.getpid():
            if exitcode == _RECYCLED and agent.recorder is not None:
                agent.recorder.recycled(self._why_recycled())
            agent.leave(exitcode)

    # --- its tasks ------------------------------------------------------------------------------------------------

    def on_task_prerun(
        self,
        task_id: str = "",
        task: Any = None,  # noqa: ANN401 - Celery's
        args: object = None,
        kwargs: object = None,
        **_: object,
    ) -> None:
        """Record that a task begins."""
        agent = _agent_here()
        if agent is None or agent.recorder is None:
            return
        request = task.request
        delivery = request.delivery_info or {}
        agent.recorder.started(
            task.name,
            task_id,
            queue=delivery.get("routing_key"),
            retries=request.retries,
            redelivered=delivery.get("redelivered"),
            acks_late=task.acks_late,
            reject_lost=task.reject_on_worker_lost,
            args=args,
            kwargs=kwargs,
            argsrepr=request.argsrepr,
            kwargsrepr=request.kwargsrepr,
        )

    def on_task_postrun(
        self,
        task_id: str = "",
        task: Any = None,  # noqa: ANN401 - Celery's
        state: str | None = None,
        **_: object,
    ) -> None:
        """Record that a task has ended, count it, and see whether a snapshot is due."""
        agent = _agent_here()
        if agent is not None:
            if agent.recorder is not None:
                agent.recorder.ended(task.name, task_id, state)
            agent.task_ended(task.name)

    # --- the agent ------------------------------------------------------------------------------------------------

    def _start(self, role: str, name: str | None = None, *, quiet: bool = False) -> Agent:
        """Start the agent of this process."""
        who = Who(role, self.pool, self.node, name)
        agent = agents.start(self.settings, who, head=self._head, tasks=self._tasks, quiet=quiet)
        agent.defers = not who.works
        return agent

    def _application(self) -> Any:  # noqa: ANN401 - Celery's
        """Return the application."""
        app = getattr(self.controller, "app", None)
        return app if app is not None else self._app()

    def _tasks(self) -> Tasks:
        """Return where the application's tasks are written."""
        return registry(self._application())

    def _head(self) -> Mapping[str, object]:
        """Return what the recorder's first line tells of the worker's settings; sizes in bytes, times in seconds."""
        conf = self._application().conf
        limit = self._setting("worker_max_memory_per_child")
        head: dict[str, object] = {
            "celery": getattr(sys.modules.get("celery"), "__version__", None),
            "acks_late": conf.task_acks_late,
            "reject_on_worker_lost": conf.task_reject_on_worker_lost,
            "max_tasks_per_child": self._setting("worker_max_tasks_per_child"),
            "max_memory_per_child": limit * 1024 if isinstance(limit, int) else None,
            "concurrency": self._setting("worker_concurrency"),
            "prefetch_multiplier": conf.worker_prefetch_multiplier,
            "time_limit": self._setting("task_time_limit"),
            "soft_time_limit": self._setting("task_soft_time_limit"),
            "visibility_timeout": (conf.broker_transport_options or {}).get("visibility_timeout"),
        }
        if self.main == os.getpid():
            with suppress(Exception):  # the registry is the program's
                head["tasks"] = self._tasks()
        return head

    def _setting(self, name: str) -> object:
        """Return a setting of the worker, which its command line may have changed."""
        chosen = getattr(self.controller, name.partition("_")[2], None)
        return chosen if chosen is not None else getattr(self._application().conf, name)

    def _why_recycled(self) -> str:
        """Return which limit a child has reached; Celery compares the one of memory, in KiB, with its peak."""
        limit = self._setting("worker_max_memory_per_child")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return "memory" if isinstance(limit, int) and 0 < limit < peak else "tasks"


def _agent_here() -> Agent | None:
    """Return the agent of this very process, or None."""
    found = agents.agent()
    return found if found is not None and found.here else None


def _process_name() -> str | None:
    """Return what billiard, which Celery forks with, calls this process."""
    with suppress(Exception):  # another version may keep it elsewhere
        return str(sys.modules["billiard.process"].current_process().name)
    return None
