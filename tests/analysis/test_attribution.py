from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from conftest import Blocks, snapshot_of

from leakhunt.analysis.attribution import ANCHORS, Attributor
from leakhunt.analysis.modules import ModuleNames
from leakhunt.model.capture_reading import parse_tasks
from leakhunt.model.task import Attribution, TaskRef

PACKAGES = "/srv/venv/lib/python3.11/site-packages"
LIBRARY = "/usr/local/lib/python3.11"
APP = "/srv/app/shop/tasks.py"
CACHE = "/srv/app/shop/cache.py"
QUOTE = TaskRef("shop.tasks.quote", APP, 10, 20)
OUTER = TaskRef("shop.tasks.outer", "/srv/app/shop/outer.py", 1, 9)
CELERY = (f"{PACKAGES}/celery/app/trace.py", 883)

Stack = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Function:
    """A function of a source tree."""

    qualname: str
    module: str
    lineno: int
    last_lineno: int


@dataclass
class Tree:
    """A source tree that knows what it was told."""

    tasks: tuple[TaskRef, ...] = ()
    functions: dict[str, Function] = field(default_factory=dict)
    reaching: dict[str, TaskRef] = field(default_factory=dict)

    def task_at(self, filename: str, lineno: int) -> TaskRef | None:
        """Return the task told for a line."""
        found = (t for t in self.tasks if t.filename == filename and t.lineno <= lineno <= t.last_lineno)
        return next(found, None)

    def function_at(self, filename: str, lineno: int) -> Function | None:
        """Return the function told for a file."""
        function = self.functions.get(filename)
        return function if function and function.lineno <= lineno <= function.last_lineno else None

    def task_reaching(self, filename: str, lineno: int) -> TaskRef | None:  # noqa: ARG002 - the protocol's
        """Return the only task told to call into a file."""
        return self.reaching.get(filename)


def attributed(
    stack: Stack,
    tree: Tree | None = None,
    *,
    limit: int | None = 10,
    capture: dict[str, Any] | None = None,
) -> Attribution | None:
    """Return the task of one stack, oldest frame first."""
    snapshot = snapshot_of(Blocks(stack, 1), limit=limit, capture=capture)
    names = ModuleNames(["/srv/app/shop/tasks.py", "/srv/app/other.py"])
    return Attributor(tree, names.module)(snapshot, snapshot.rows.stacks[0])


# The source tree


def test_a_frame_in_a_task_s_body_names_it() -> None:
    """The task is found though other calls lie between it and the line that allocates."""
    stack = (CELERY, (APP, 15), (CACHE, 14), (f"{LIBRARY}/json/encoder.py", 200))
    assert attributed(stack, Tree((QUOTE,))) == Attribution(QUOTE, "source")


def test_the_newest_task_on_a_stack_is_it() -> None:
    """A task that another one runs eagerly owns what it allocates."""
    stack = (CELERY, (OUTER.filename, 5), CELERY, (APP, 15))
    assert attributed(stack, Tree((OUTER, QUOTE))) == Attribution(QUOTE, "source")


def test_a_frame_in_a_task_s_body_needs_no_worker() -> None:
    """A task's body on the stack is enough where the stack was cut below the worker."""
    assert attributed(((APP, 15),), Tree((QUOTE,)), limit=1) == Attribution(QUOTE, "source")


def test_a_line_outside_every_body_is_of_no_task() -> None:
    """Code of the task's file that is no part of its body belongs to no task."""
    assert attributed(((APP, 21),), Tree((QUOTE,))) is None


# The registry in the snapshot


def entry(first: int, last: int, filename: str = APP) -> dict[str, Any]:
    """Return an entry of the registry as leakhunt stores it."""
    return {"file": filename, "first": first, "last": last}


def test_the_registry_comes_before_the_source() -> None:
    """What the worker itself registered is believed before what the sources at hand say."""
    capture = {"tasks": {"registered.name": entry(10, 20)}}
    found = attributed((CELERY, (APP, 15)), Tree((QUOTE,)), capture=capture)
    assert found == Attribution(TaskRef("registered.name", APP, 10, 20), "registry")


def test_the_source_answers_where_the_registry_does_not() -> None:
    """A task that is not registered is still found in the sources."""
    capture = {"tasks": {"other": entry(30, 40)}}
    assert attributed(((APP, 15),), Tree((QUOTE,)), capture=capture) == Attribution(QUOTE, "source")


def test_the_innermost_registered_function_is_the_task() -> None:
    """Of two registered functions around a line, the one that begins later holds it."""
    capture = {"tasks": {"outer": entry(1, 50), "inner": entry(10, 20), "before": entry(1, 5)}}
    found = attributed(((APP, 15),), capture=capture)
    assert found is not None
    assert found.task.name == "inner"


@pytest.mark.parametrize(
    "capture",
    [
        None,
        {},
        {"tasks": None},
        {"tasks": ["a"]},
        {"tasks": {"a": None}},
        {"tasks": {"a": {"file": APP}}},
        {"tasks": {"a": {"file": 5, "first": 1, "last": 2}}},
        {"tasks": {"a": {"file": APP, "first": "1", "last": 2}}},
        {"tasks": {"a": {"file": APP, "first": 1, "last": None}}},
    ],
)
def test_a_registry_of_another_form_is_passed_over(capture: dict[str, Any] | None) -> None:
    """Entries that are not as leakhunt writes them name no task and do no harm."""
    assert list(parse_tasks(capture)) == []
    assert attributed((("/srv/app/shop/a.py", 1),), capture=capture) is None


def test_unknown_keys_of_the_registry_are_ignored() -> None:
    """A later version may store more about a task."""
    assert list(parse_tasks({"tasks": {"a": {**entry(1, 2), "queue": "mail"}}})) == [TaskRef("a", APP, 1, 2)]


# Workers


def package(path: str, lineno: int = 1) -> tuple[str, int]:
    """Return a frame of an installed package."""
    return f"{PACKAGES}/{path}", lineno


WORKERS: dict[str, Stack] = {
    "celery prefork": (package("billiard/pool.py"), package("celery/app/trace.py", 564), package("celery/app/trace.py", 883)),
    "celery threads": ((f"{LIBRARY}/concurrent/futures/thread.py", 58), package("celery/app/trace.py"), CELERY),
    "rq": (package("rq/worker/base.py"), package("rq/job.py", 1300), package("rq/job.py", 1350)),
    "dramatiq": (package("dramatiq/worker.py"), package("dramatiq/actor.py")),
    "huey": (package("huey/consumer.py"), package("huey/api.py", 380), package("huey/api.py", 870)),
    "taskiq": ((f"{LIBRARY}/asyncio/events.py", 80), package("taskiq/receiver/receiver.py")),
    "apscheduler": ((f"{LIBRARY}/concurrent/futures/thread.py", 58), package("apscheduler/executors/base.py")),
}  # fmt: skip


def test_every_queue_is_tried() -> None:
    """The table of workers below has each anchor."""
    seen = {name[len(PACKAGES) + 1 :] for stack in WORKERS.values() for name, _ in stack}
    assert seen >= ANCHORS


@pytest.mark.parametrize("worker", WORKERS.values(), ids=WORKERS)
@pytest.mark.parametrize("below", [(), ((CACHE, 14),), ((CACHE, 14), (f"{LIBRARY}/json/encoder.py", 2))])
def test_what_a_worker_calls_is_the_task(worker: Stack, below: Stack) -> None:
    """Without sources the frame that a queue's worker calls is the task, named by its module and line."""
    found = attributed((*worker, (APP, 15), *below))
    assert found == Attribution(TaskRef("shop.tasks:15", APP, 15), "anchor")


@pytest.mark.parametrize("worker", WORKERS.values(), ids=WORKERS)
def test_what_a_worker_calls_has_the_name_of_its_function(worker: Stack) -> None:
    """With sources that declare no task, the function that the worker calls gives the name."""
    tree = Tree(functions={APP: Function("Quotes.run", "shop.tasks", 12, 18)})
    found = attributed((*worker, (APP, 15), (CACHE, 14)), tree)
    assert found == Attribution(TaskRef("shop.tasks.Quotes.run", APP, 12, 18), "anchor")


@pytest.mark.parametrize(
    "wrapper",
    [
        package("sentry_sdk/integrations/celery.py"),
        package("opentelemetry/instrumentation/celery/__init__.py"),
        package("ddtrace/contrib/celery/app.py"),
        package("newrelic/hooks/application_celery.py"),
        package("elasticapm/instrumentation/packages/base.py"),
        package("wrapt/wrappers.py"),
        package("scout_apm/celery.py"),
        package("celery/app/autoretry.py"),
        package("celery/app/task.py"),
        package("celery/local.py"),
        (f"{LIBRARY}/functools.py", 125),
    ],
)
def test_wrappers_are_looked_through(wrapper: tuple[str, int]) -> None:
    """What monitors or wraps a task stands between the worker and the task, and is not it."""
    for wrappers in ((wrapper,), (wrapper, wrapper)):
        found = attributed((CELERY, *wrappers, (APP, 15)))
        assert found is not None
        assert found.task.filename == APP


@pytest.mark.parametrize(
    "called",
    [
        package("celery/backends/redis.py"),
        package("kombu/serialization.py"),
        package("billiard/common.py"),
        (f"{LIBRARY}/json/decoder.py", 353),
        (f"{LIBRARY}/logging/__init__.py", 1500),
        ("<frozen importlib._bootstrap>", 1),
    ],
)
def test_a_worker_s_own_work_is_no_task(called: tuple[str, int]) -> None:
    """Code of a queue or of the standard library that a worker calls is no task, though a task's code follows."""
    assert attributed((CELERY, called)) is None
    assert attributed((CELERY, called, (CACHE, 14))) is None


def test_a_worker_alone_is_no_task() -> None:
    """Blocks that the worker's own line allocates belong to no task."""
    assert attributed((package("billiard/pool.py"), CELERY)) is None
    assert attributed((CELERY, package("celery/app/task.py"))) is None


def test_an_installed_package_may_hold_a_task() -> None:
    """A task that a third-party package brings is one."""
    found = attributed((CELERY, package("djcelery_email/tasks.py", 30)))
    assert found is not None
    assert found.task.name == "djcelery_email.tasks:30"


def test_a_file_of_the_same_name_elsewhere_is_no_anchor() -> None:
    """Only the installed worker counts: an application's own ``huey/api.py`` calls no tasks."""
    assert attributed((("/srv/app/huey/api.py", 1), (APP, 15))) is None


# Stacks that were cut


REACHED = Tree(reaching={CACHE: QUOTE})


@pytest.mark.parametrize(
    ("stack", "limit", "inferred"),
    [
        (((CACHE, 14),), 1, True),
        (((CACHE, 14), (f"{LIBRARY}/json/encoder.py", 2)), 2, True),
        (((CACHE, 14),), None, True),
        (((CACHE, 14),), 2, False),
        (((f"{LIBRARY}/threading.py", 1), (CACHE, 14)), 10, False),
        ((CELERY, package("celery/backends/redis.py"), (CACHE, 14)), 3, False),
        ((("/srv/app/shop/other.py", 1),), 1, False),
    ],
)
def test_a_caller_is_inferred_only_where_the_stack_is_cut(
    stack: Stack, limit: int | None, inferred: bool
) -> None:
    """A function that only one task calls stands for it, but never where the stack shows who called."""
    assert attributed(stack, REACHED, limit=limit) == (Attribution(QUOTE, "inferred") if inferred else None)


def test_what_is_seen_comes_before_what_is_inferred() -> None:
    """A task or a worker on the stack decides before the call graph."""
    tree = Tree((OUTER,), reaching={CACHE: QUOTE})
    assert attributed(((OUTER.filename, 5), (CACHE, 14)), tree, limit=2) == Attribution(OUTER, "source")
    found = attributed((CELERY, (APP, 15), (CACHE, 14)), REACHED, limit=3)
    assert found is not None
    assert found.how == "anchor"


def test_snapshots_with_registries_of_their_own_are_kept_apart() -> None:
    """One attributor answers for several snapshots, each by its own registry."""
    old = snapshot_of(Blocks(((APP, 15),), 1), capture={"tasks": {"old": entry(10, 20)}})
    new = snapshot_of(Blocks(((APP, 15),), 1), capture={"tasks": {"new": entry(10, 20)}})
    attributor = Attributor(None, str)
    found = [attributor(snapshot, (0,)) for snapshot in (old, new, old)]
    assert [attribution.task.name for attribution in found if attribution] == ["old", "new", "old"]
