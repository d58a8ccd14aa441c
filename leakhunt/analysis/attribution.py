"""Growth linked to task code: which task's run allocated the blocks of a stack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Optional, Protocol

from leakhunt.analysis.modules import installed_path
from leakhunt.model.capture_reading import parse_tasks
from leakhunt.model.snapshot import Frame, Snapshot
from leakhunt.model.task import Attribution, TaskRef

# The file of each queue's worker that calls task functions, below the folder it is installed in.
ANCHORS = frozenset(
    {
        "celery/app/trace.py",
        "rq/job.py",
        "dramatiq/actor.py",
        "huey/api.py",
        "taskiq/receiver/receiver.py",
        "apscheduler/executors/base.py",
    }
)
# What may stand between a worker and the function it calls.
_WRAPPERS = frozenset(
    {"sentry_sdk", "opentelemetry", "ddtrace", "newrelic", "elasticapm", "wrapt", "scout_apm"}
)
_WRAPPER_FILES = frozenset(
    {"celery/app/autoretry.py", "celery/app/task.py", "celery/local.py", "functools.py"}
)
_QUEUES = frozenset(
    {"celery", "billiard", "kombu", "vine", "rq", "dramatiq", "huey", "taskiq", "apscheduler"}
)


class FunctionLike(Protocol):
    """A function of the source tree."""

    @property
    def qualname(self) -> str:
        """Its qualified name."""

    @property
    def module(self) -> str:
        """The dotted name of its module."""

    @property
    def lineno(self) -> int:
        """Its first line."""

    @property
    def last_lineno(self) -> int:
        """Its last line."""


class TaskFinder(Protocol):
    """Knows the source tree."""

    def task_at(self, filename: str, lineno: int) -> TaskRef | None:
        """Return the task whose function body holds a line."""

    def function_at(self, filename: str, lineno: int) -> FunctionLike | None:
        """Return the function that holds a line."""

    def task_reaching(self, filename: str, lineno: int) -> TaskRef | None:
        """Return the only task that calls the function that holds a line."""


class Attributor:
    """Finds the task of a stack; each distinct frame is looked up once.

    The newest frame that lies in a task function decides, by the registry stored in the snapshot or by the source.
    Without either, the frame that a queue's worker called is the task. Where the stack was cut before it came to a
    worker, a function that only one task calls is taken for that task.

    Args:
        finder: the source tree, or None.
        module_of: the dotted name of a file's module.
    """

    def __init__(self, finder: TaskFinder | None, module_of: Callable[[str], str]) -> None:
        self._finder = finder
        self._module_of = module_of
        self._tables: dict[int, _Table] = {}
        self._reaching = _Reaching(finder)

    def __call__(self, snapshot: Snapshot, stack: tuple[int, ...]) -> Attribution | None:
        """Return the task of a row of a snapshot, or None."""
        table = self._tables.get(id(snapshot))
        if table is None:
            table = self._tables[id(snapshot)] = _Table(snapshot, self._finder)
        found = next(filter(None, map(table.__getitem__, reversed(stack))), None)
        if found is not None:
            return found
        if not table.anchors.isdisjoint(stack):
            anchored = self._anchored(snapshot.traceback(stack))
            return Attribution(anchored, "anchor") if anchored else None
        limit = snapshot.traceback_limit
        if self._finder is None or (limit is not None and len(stack) < limit):
            return None
        reaching = self._reaching
        task = next(filter(None, (reaching[snapshot.frames[index]] for index in reversed(stack))), None)
        return Attribution(task, "inferred") if task else None

    def _anchored(self, frames: tuple[Frame, ...]) -> TaskRef | None:
        newest = max(at for at, frame in enumerate(frames) if _is_anchor(frame))
        called = next((frame for frame in frames[newest + 1 :] if not _is_wrapper(frame)), None)
        if called is None or not _may_be_task(called):
            return None
        function = self._finder.function_at(*called) if self._finder else None
        if function is None:
            return TaskRef(
                f"{self._module_of(called.filename)}:{called.lineno}", called.filename, called.lineno
            )
        name = f"{function.module}.{function.qualname}"
        return TaskRef(name, called.filename, function.lineno, function.last_lineno)


class _Reaching(dict[Frame, Optional[TaskRef]]):
    """From a frame to the only task that calls its function."""

    def __init__(self, finder: TaskFinder | None) -> None:
        super().__init__()
        self._finder = finder

    def __missing__(self, frame: Frame) -> TaskRef | None:
        task = self[frame] = self._finder.task_reaching(*frame) if self._finder else None
        return task


class _Table(dict[int, Optional[Attribution]]):
    """From the index of a frame to the task whose body holds it.

    Attributes:
        anchors: the indexes of the frames in which a queue's worker calls tasks.
    """

    def __init__(self, snapshot: Snapshot, finder: TaskFinder | None) -> None:
        super().__init__()
        anchor_files = {name for name in snapshot.filenames if installed_path(name) in ANCHORS}
        self.anchors = frozenset(i for i, frame in enumerate(snapshot.frames) if frame[0] in anchor_files)
        self._frames = snapshot.frames
        self._finder = finder
        self._registry: dict[str, list[TaskRef]] = {}
        for task in parse_tasks(snapshot.capture):
            self._registry.setdefault(task.filename, []).append(task)

    def __missing__(self, index: int) -> Attribution | None:
        filename, lineno = self._frames[index]
        registered = [
            task for task in self._registry.get(filename, ()) if task.lineno <= lineno <= task.last_lineno
        ]
        found: Attribution | None = None
        if registered:
            found = Attribution(max(registered, key=lambda task: task.lineno), "registry")
        elif self._finder is not None and (task := self._finder.task_at(filename, lineno)) is not None:
            found = Attribution(task, "source")
        self[index] = found
        return found


def _is_anchor(frame: Frame) -> bool:
    return installed_path(frame.filename) in ANCHORS


def _is_wrapper(frame: Frame) -> bool:
    path = installed_path(frame.filename) or ""
    return path in _WRAPPER_FILES or path.split("/", 1)[0] in _WRAPPERS


def _may_be_task(frame: Frame) -> bool:
    """Tell whether a frame that a worker called can be a task: no queue's own code, no standard library."""
    path = installed_path(frame.filename)
    if path is None:
        return not frame.filename.startswith("<frozen")
    in_packages = "-packages/" in frame.filename
    return in_packages and path.split("/", 1)[0] not in _QUEUES
