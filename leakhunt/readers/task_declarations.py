"""What a name in a source file refers to, and the tasks that the file declares; by syntax alone."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Union

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

FunctionNode = Union[ast.FunctionDef, ast.AsyncFunctionDef]

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
_NAME_KEYWORDS = {
    "actor": ("actor_name",),
    "add_job": ("id",),
    "scheduled_job": ("id",),
}
_CHAIN_LIMIT = 8
_DOTTED = re.compile(r"[^\W\d]\w*(?:[.:][^\W\d]\w*)+")


@dataclass(frozen=True)
class Definition:
    """A class or function of a source file; ``qualname`` is what Python calls ``__qualname__``."""

    path: Path
    module: str
    qualname: str

    @property
    def name(self) -> str:
        """The name that the statement binds."""
        return self.qualname.rpartition(".")[2]

    @property
    def owner(self) -> str:
        """The name of the class whose body holds the definition, or an empty string."""
        owner = self.qualname.rpartition(".")[0].rpartition(".")[2]
        return "" if owner == "<locals>" else owner


@dataclass(frozen=True)
class Function(Definition):
    """One ``def``; ``lineno`` is its first line, the decorators included."""

    lineno: int
    last_lineno: int


class Reference(NamedTuple):
    """A function or class as code names it.

    Attributes:
        kind: what the name starts from: ``import`` (an imported name), ``string`` (a dotted path in a string),
            ``local`` (a name of this file), ``self`` (an attribute of ``self``, ``cls`` or ``super()``) or
            ``unknown`` (an attribute of anything else).
        dotted: the name with its import undone, such as ``shop.utils.load``; the attribute alone when the start
            is ``self`` or unknown.
    """

    kind: str
    dotted: str


class Names:
    """What the names of one file stand for.

    Attributes:
        path: the file.
        module: its dotted name.
        imported: the modules that its import statements name.
        star: whether it imports names that are not written down.
    """

    def __init__(self, path: Path, module: str, tree: ast.Module) -> None:
        self.path = path
        self.module = module
        self.imported: set[str] = set()
        self.star = False
        self._imports: defaultdict[str, set[str]] = defaultdict(set)
        self._rebound: set[str] = set()
        for node in ast.walk(tree):
            self._bind(node)

    def origins(self, expression: ast.expr) -> tuple[str, ...]:
        """Return what ``a.b.c`` may be, imports undone: ``("x.a.b.c",)``; empty when no name starts it."""
        root, rest = chain(expression)
        if not root or root == "super()":
            return ()
        return tuple(".".join((origin, *rest)) for origin in sorted(self._imports.get(root, {root})))

    def references(self, expression: ast.expr, owner: str = "") -> Iterator[Reference]:
        """Yield what an expression, in a method of the class ``owner``, may refer to."""
        if isinstance(expression, ast.Constant):
            if isinstance(expression.value, str) and _DOTTED.fullmatch(expression.value[:200]):
                yield Reference("string", expression.value.replace(":", "."))
            return
        root, rest = chain(expression)
        if owner and root in {"self", "cls", "super()"}:
            if rest:
                yield Reference("self" if len(rest) == 1 else "unknown", rest[-1])
            elif root == "cls":
                yield Reference("local", owner)
        elif rest and (not root or root in self._rebound):
            yield Reference("unknown", rest[-1])
        else:
            kind = "import" if root in self._imports else "local"
            yield from (Reference(kind, origin) for origin in self.origins(expression))

    def _bind(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                self._imports[alias.asname or top].add(alias.name if alias.asname else top)
                self.imported.update((alias.name, top))
        elif isinstance(node, ast.ImportFrom):
            origin = self._absolute(node)
            self.imported.add(origin)
            for alias in node.names:
                self.star = self.star or alias.name == "*"
                self._imports[alias.asname or alias.name].add(f"{origin}.{alias.name}".lstrip("."))
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            self._rebound.add(node.id)
        elif isinstance(node, ast.arg):
            self._rebound.add(node.arg)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.module.split(".")
        climb = node.level - (self.path.name == "__init__.py")
        package = parts[: max(len(parts) - climb, 0)]
        return ".".join([*package, node.module] if node.module else package)


def chain(expression: ast.expr) -> tuple[str, list[str]]:
    """Split ``a.b.c`` into its first name and its attributes; the first is empty when it is no name."""
    attributes: list[str] = []
    while isinstance(expression, ast.Attribute) and len(attributes) < _CHAIN_LIMIT:
        attributes.append(expression.attr)
        expression = expression.value
    if isinstance(expression, ast.Name):
        return expression.id, attributes[::-1]
    is_super = isinstance(expression, ast.Call) and last_name(expression.func) == "super"
    return "super()" if is_super else "", attributes[::-1]


def last_name(expression: ast.expr) -> str:
    """Return the ``c`` of ``a.b.c`` or ``a.b.c(...)``, or an empty string."""
    expression = expression.func if isinstance(expression, ast.Call) else expression
    if isinstance(expression, ast.Attribute):
        return expression.attr
    return expression.id if isinstance(expression, ast.Name) else ""


def same_module(one: str, other: str) -> bool:
    """Whether two dotted names may be one module, found from different directories."""
    return f".{one}".endswith(f".{other}") or f".{other}".endswith(f".{one}")


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
                return declared
            is_own = is_own and not (_OTHER_TOOL.fullmatch(objects[0]) or _OTHER_TOOL.fullmatch(objects[-1]))
        return word if is_own else ""

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
                        yield from self._listed(each)

    def _listed(self, element: ast.expr) -> Iterator[Registration]:
        """Yield what ``f``, ``func(f, name="x")`` or ``cron(f)`` registers."""
        if not isinstance(element, ast.Call):
            yield from self._registrations([element], "", "functions")
            return
        functions = element.args[:1] or _keyword(element, "coroutine")
        yield from self._registrations(functions, _given_name("functions", element), "functions")

    def _registrations(self, functions: Iterable[ast.expr], name: str, word: str) -> Iterator[Registration]:
        for function in functions:
            for reference in self._names.references(function):
                yield Registration(self._names.path, reference, name, word)


def default_name(word: str, function: Function) -> str:
    """Return the name that a queue gives a task which was given none."""
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
