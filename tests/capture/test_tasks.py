from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from leakhunt.capture.facts.tasks import lines_of, registry

Function = Callable[..., Any]


def plain(number: int) -> int:
    """Return a number, by way of a function inside."""

    def inside() -> int:
        return number

    return inside()


def wrapped(function: Function) -> Function:
    """Decorate as one should."""

    @functools.wraps(function)
    def wrapper(*args: object) -> object:
        return function(*args)

    return wrapper


def unwrapped(function: Function) -> Function:
    """Decorate without ``functools.wraps``."""

    def wrapper(*args: object) -> object:
        return function(*args)

    return wrapper


class Callable_:  # noqa: N801 - as users write them
    """A task body that is an object."""

    def __call__(self) -> int:
        """Return one."""
        return 1


class Task:
    """What Celery makes of a function: a class with ``run``."""

    def __init__(self, run: object, **more: object) -> None:
        self.run = run
        self.__dict__.update(more)


class ByHand(Task):
    """A task written as a class."""

    def __init__(self) -> None:
        """Do without a function."""

    def run(self, number: int) -> int:  # type: ignore[override]
        """Return a number."""
        return number


class Hostile:
    """A task that answers nothing."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError(name)


def lines(function: object) -> dict[str, object]:
    """Return where a function stands, by its source."""
    source, first = inspect.getsourcelines(function)  # type: ignore[arg-type]
    return {"file": __file__, "first": first, "last": first + len(source) - 1}


@pytest.mark.parametrize(
    "run",
    [
        plain,
        wrapped(plain),
        unwrapped(plain),
        wrapped(unwrapped(wrapped(plain))),
        functools.partial(plain, 1),
        functools.partial(wrapped(plain), 1),
        staticmethod(plain),
        functools.lru_cache(maxsize=2)(plain),
        plain.__get__(object()),
    ],
)
def test_a_task_is_its_innermost_function(run: object) -> None:
    """Below decorators, partials, methods and caches the lines are those of the function that somebody wrote."""
    assert lines_of(Task(run)) == lines(plain)


def test_a_task_may_be_a_class() -> None:
    """The lines of a task that is a class are those of its ``run``, or of what is called."""
    assert lines_of(ByHand()) == lines(ByHand.run)
    assert lines_of(Task(Callable_())) == lines(Callable_.__call__)


def test_autoretry_hides_nothing() -> None:
    """With ``autoretry_for`` Celery keeps the function under another name."""
    assert lines_of(Task(print, _orig_run=plain)) == lines(plain)


def test_the_registry_leaves_celery_out() -> None:
    """Only the application's own tasks are listed, and what has no lines is left out."""

    class App:
        _tasks: dict[object, object] = {  # noqa: RUF012 - never changed
            "shop.pay": Task(plain),
            "celery.chord": Task(plain),
            "shop.c": Task(print),
            7: Task(plain),
            "shop.hostile": Hostile(),
        }

    assert registry(App()) == {"shop.pay": lines(plain)}


@pytest.mark.parametrize("app", [None, 7, Hostile(), object(), type("App", (), {"tasks": 7})()], ids=range(5))
def test_what_is_no_application_has_no_tasks(app: object) -> None:
    """Anything may be given; nothing is raised."""
    assert registry(app) == {}


def test_a_circle_of_wrappers_ends() -> None:
    """Functions that say to wrap each other are no endless loop."""
    one, other = wrapped(plain), wrapped(plain)
    one.__wrapped__, other.__wrapped__ = other, one  # type: ignore[attr-defined]
    assert lines_of(Task(one)) is not None


def test_a_real_application() -> None:
    """Celery's own decorators give the lines of the functions."""
    celery = pytest.importorskip("celery")
    app = celery.Celery("shop", set_as_current=False)

    @app.task(name="shop.plain")  # type: ignore[untyped-decorator]
    def one() -> int:
        return 1

    @app.task(name="shop.bound", bind=True, autoretry_for=(ValueError,))  # type: ignore[untyped-decorator]
    def two(self: object) -> object:
        return self

    app.finalize()
    found = registry(app)
    assert sorted(found) == ["shop.bound", "shop.plain"]
    assert found["shop.plain"]["last"] - found["shop.plain"]["first"] == 2
    assert found["shop.bound"]["last"] - found["shop.bound"]["first"] == 2
    assert {lines["file"] for lines in found.values()} == {__file__}
