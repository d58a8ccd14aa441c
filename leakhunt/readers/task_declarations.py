"""The tasks that a source file declares, by syntax alone."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from leakhunt.readers.names import Function, Reference, last_name, same_module

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from leakhunt.readers.names import FunctionNode, Names

_FUNCTION_POSITION = {"add_job": 0, "enqueue": 0, "enqueue_at": 1, "enqueue_call": 0, "enqueue_in": 1}
MAY_DECLARE = re.compile("task|actor|job", re.IGNORECASE)
MAY_REGISTER = re.compile(
    rb"(?:task|actor|job|enqueue(?:_at|_call|_in)?)\s*\(|\b(?:functions|cron_jobs)\s*[:=]"
)
_QUEUE = re.compile(
    r"(?:apscheduler|celery|django[._]tasks|django_dramatiq|django_rq|dramatiq|huey|procrastinate|rq|taskiq)\."
)
_OTHER_TOOL = re.compile(
    "airflow|crewai|dagster|doit|fabric|flytekit|invoke|kfp|locust|luigi|metaflow|nox|prefect|pytest|robocorp"
)
_OWN_WORD = re.compile("(?:db_)?(?:periodic_)?task|on_commit_task|scheduled_job|shared_task")
_WORD = re.compile(f"{_OWN_WORD.pattern}|actor|job")
_ARQ_PREFIX = {"functions": "", "cron_jobs": "cron:"}
_BROKER_TASK = "broker.task"  # Taskiq's
_NAME_KEYWORDS = {
    "actor": ("actor_name",),
    "add_job": ("id",),
    "scheduled_job": ("id",),
}


@dataclass(frozen=True)
class Registration:
    """A statement that makes a task of a function it names, which may be in another file.

    Attributes:
        path: the file of the statement.
        reference: the function.
        given_name: the name it gives the task, or an empty string.
        word: the declaring word, such as ``task`` or ``enqueue``.
    """

    path: Path
    reference: Reference
    given_name: str
    word: str

    def means(self, function: Function) -> bool:
        """Whether this is the function."""
        kind, dotted = self.reference
        if kind == "local":
            nested = function.qualname.endswith(f".<locals>.{dotted}")
            return self.path == function.path and (function.qualname == dotted or nested)
        home, _, name = dotted.rpartition(".")
        if kind not in {"import", "string"} or name != function.qualname or not home:
            return False
        return same_module(home, function.module) or f".{function.module}".startswith(f".{home}.")


class Declarations:
    """The tasks of one file.

    Attributes:
        tasks: the name of each task whose function says so itself.
        registrations: the functions made tasks by name.
    """

    def __init__(
        self,
        names: Names,
        functions: Sequence[tuple[FunctionNode, Function]],
        classes: Mapping[str, ast.ClassDef],
        calls: Iterable[ast.Call],
    ) -> None:
        self._names = names
        self._classes = classes
        self.tasks = dict(self._class_tasks({id(node): function for node, function in functions}))
        self.tasks.update(self._decorated(functions))
        by_call = (each for call in calls for each in self._registered_by(call))
        self.registrations = (*by_call, *self._listed_in_settings())

    def _decorated(
        self, functions: Iterable[tuple[FunctionNode, Function]]
    ) -> Iterator[tuple[Function, str]]:
        for node, function in functions:
            for decorator in node.decorator_list:
                word = self._word(decorator)
                if word:
                    yield function, _given_name(word, decorator) or default_name(word, function)

    def _word(self, decorator: ast.expr) -> str:
        """Return the word by which a decorator declares a task, such as ``shared_task``, or an empty string."""
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        word = last_name(target)
        is_own = isinstance(target, ast.Attribute) and _OWN_WORD.fullmatch(word) is not None
        origins = self._names.origins(target)
        for origin in origins:
            *objects, declared = origin.split(".")
            if _QUEUE.match(origin) and _WORD.fullmatch(declared):
                return _BROKER_TASK if objects[0] == "taskiq" else declared
            is_own = is_own and not (_OTHER_TOOL.fullmatch(objects[0]) or _OTHER_TOOL.fullmatch(objects[-1]))
        if is_own and isinstance(target, ast.Attribute) and word == "task" and self._is_broker(target.value):
            return _BROKER_TASK
        return word if is_own else ""

    def _is_broker(self, owner: ast.expr) -> bool:
        """Whether ``owner.task`` is Taskiq's: Celery has an app and Huey a huey where Taskiq has a broker."""
        tops = {module.partition(".")[0].partition("_")[0] for module in self._names.imported}
        return last_name(owner).lower().endswith("broker") or (
            "taskiq" in tops and not tops & {"celery", "huey"}
        )

    def _class_tasks(self, functions: Mapping[int, Function]) -> Iterator[tuple[Function, str]]:
        for qualname, node in self._classes.items():
            members = [functions[id(each)] for each in node.body if id(each) in functions]
            runs = [function for function in members if function.name == "run"]
            if runs and self._derives_from_task(qualname):
                given = [_text(value) for target, value in _assignments(node) if target == "name"]
                yield runs[-1], "".join(given[-1:]) or f"{self._names.module}.{node.name}"

    def _derives_from_task(self, qualname: str) -> bool:
        pending, seen = [qualname], set[str]()
        while pending:
            current = pending.pop()
            if current in seen or current not in self._classes:
                continue
            seen.add(current)
            for base in self._classes[current].bases:
                origins = self._names.origins(base)
                if any(_is_task_class(origin, base) for origin in origins):
                    return True
                pending.extend(origins)
        return False

    def _registered_by(self, call: ast.Call) -> Iterator[Registration]:
        word = self._word(call.func)
        if word:
            name = _given_name(word, call) or _given_name(word, call.func)
            yield from self._registrations(call.args[:1], name, word)
            return
        word = last_name(call.func)
        position = _FUNCTION_POSITION.get(word)
        if position is not None and (isinstance(call.func, ast.Attribute) or self._is_from_queue(call.func)):
            functions = call.args[position : position + 1] or _keyword(call, "func")
            yield from self._registrations(
                functions, _given_name(word, call) if word == "add_job" else "", word
            )

    def _is_from_queue(self, expression: ast.expr) -> bool:
        return any(_QUEUE.match(origin) for origin in self._names.origins(expression))

    def _listed_in_settings(self) -> Iterator[Registration]:
        for node in self._classes.values():
            if not node.name.endswith("WorkerSettings") and "arq" not in self._names.imported:
                continue
            for target, value in _assignments(node):
                if target in {"functions", "cron_jobs"} and isinstance(value, (ast.List, ast.Tuple)):
                    for each in value.elts:
                        yield from self._listed(each, target)

    def _listed(self, element: ast.expr, word: str) -> Iterator[Registration]:
        """Yield what ``f``, ``func(f, name="x")`` or ``cron(f)`` registers; a path in a string is its own name."""
        functions, name = [element], ""
        if isinstance(element, ast.Call):
            functions = element.args[:1] or _keyword(element, "coroutine")
            name = _given_name(word, element)
        dotted = "".join(map(_text, functions))
        yield from self._registrations(functions, name or (dotted and _ARQ_PREFIX[word] + dotted), word)

    def _registrations(self, functions: Iterable[ast.expr], name: str, word: str) -> Iterator[Registration]:
        for function in functions:
            for reference in self._names.references(function):
                yield Registration(self._names.path, reference, name, word)


def default_name(word: str, function: Function) -> str:
    """Return the name that a queue gives a task which was given none."""
    if word in _ARQ_PREFIX:
        return _ARQ_PREFIX[word] + function.qualname
    if word == _BROKER_TASK:
        return f"{function.module}:{function.name}"
    return function.name if word == "actor" else f"{function.module}.{function.name}"


def _given_name(word: str, expression: ast.expr) -> str:
    keywords = _NAME_KEYWORDS.get(word, ("name", "task_name"))
    return next((_text(value) for keyword in keywords for value in _keyword(expression, keyword)), "")


def _keyword(expression: ast.expr, name: str) -> list[ast.expr]:
    keywords = expression.keywords if isinstance(expression, ast.Call) else []
    return [keyword.value for keyword in keywords if keyword.arg == name]


def _text(value: ast.expr) -> str:
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def _assignments(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    for statement in node.body:
        if isinstance(statement, ast.Assign):
            yield from ((last_name(target), statement.value) for target in statement.targets)
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            yield last_name(statement.target), statement.value


def _is_task_class(origin: str, base: ast.expr) -> bool:
    home, _, name = origin.rpartition(".")
    if origin.startswith("celery."):
        return name.endswith("Task")
    is_app = isinstance(base, ast.Attribute) and home.rpartition(".")[2].endswith(("app", "celery"))
    return name == "Task" and is_app
